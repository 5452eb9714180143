"""micrograd's side: single numbers."""

from __future__ import annotations

import worker
from micrograd.engine import Value


def scalars() -> worker.Step:
    """An expression of single numbers, forward and backward."""

    def step() -> float:
        x, w, b = Value(0.5), Value(0.9), Value(0.1)
        y = x
        for _ in range(worker.SCALAR_STEPS):
            y = (y * w + b).relu() + x
        y.backward()
        return float(y.data + x.grad + w.grad + b.grad)

    return step


if __name__ == "__main__":
    worker.serve("micrograd", "micrograd", ("engine.py",), {"eager": {"scalars": scalars}})
