"""micrograd's side: single numbers."""

from __future__ import annotations

from typing import Any

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


def second() -> object:
    """A gradient is a plain number here."""
    x = Value(2.0)
    (x**3).backward()
    first: Any = x.grad
    first.backward()
    return float(x.grad)


def in_place() -> object:
    """A new value under the old name."""
    x = Value(1.0)
    y = x * 3
    y *= 5
    y.backward()
    return float(x.grad)


def changed() -> object:
    """A rule reads a value when it runs."""
    x, w = Value(3.0), Value(2.0)
    y = x * w
    w.data *= 5
    y.backward()
    return float(x.grad)


def deep() -> object:
    """The order of nodes is found by recursion."""
    x = Value(1.0)
    y = x
    for _ in range(worker.DEPTH):
        y = y * 1.0
    y.backward()
    return float(x.grad)


QUESTIONS: worker.Questions = {"second": second, "in_place": in_place, "changed": changed, "deep": deep}

if __name__ == "__main__":
    worker.serve("micrograd", "micrograd", ("engine.py",), {"eager": {"scalars": scalars}}, QUESTIONS)
