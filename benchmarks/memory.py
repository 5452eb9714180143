"""How much memory a training step takes, in units of PyTorch's.

    nox -s bench                            # after other programs
    python benchmarks/memory.py             # the table alone
    python benchmarks/memory.py --check     # exits with 1 where the limit is missed
    python benchmarks/memory.py --write     # puts the table into docs/performance.md

What is counted is the memory of tensors: a dispatch mode sees every operation of both libraries, notes each new storage
that a result has, and a finalizer notes when that is gone.  Parameters, buffers, the optimizer's state and the data,
which are there before the step, count as well; gradients do from when they are made.  Counting is exact: two runs give
the same number.  What a kernel allocates for itself while it runs isn't seen; the kernels are the same on both sides.
"""

from __future__ import annotations

import argparse
import gc
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import pages
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from workloads import NEURONIX, PYTORCH, WORKLOADS, Library, Training, Workload

LIMIT = 1.02


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's isn't annotated
    """Counts the bytes of storages that are alive, and the most that there were.

    Example:
        >>> import torch
        >>> with Meter() as meter:
        ...     x = torch.zeros(100)
        ...     y = x + 1
        ...     del x
        ...     z = y.view(10, 10)
        >>> meter.live, meter.peak
        (400, 800)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        result = func(*args, **(kwargs or {}))
        self.count(tree_leaves(result))
        return result

    def count(self, values: Iterable[Any]) -> None:
        """Count the storages of tensors that haven't been seen."""
        for value in values:
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            key = storage._cdata
            if key in self._seen:
                continue
            self._seen[key] = weakref.finalize(storage, self._gone, key, storage.nbytes())
            self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)

    def _gone(self, key: int, size: int) -> None:
        del self._seen[key]
        self.live -= size


class Memory(NamedTuple):
    """Bytes.

    Attributes:
        before: What is alive before a step.
        passes: The most during the forward and backward pass.
        step: The most during the whole step.
    """

    before: int
    passes: int
    step: int


def state(side: Training) -> list[Any]:
    """The tensors that are alive between two steps."""
    model = [getattr(value, "data", value) for value in [*side.model.parameters(), *side.model.buffers()]]
    kept = [value for entries in side.optimizer.state.values() for value in entries.values()]
    return [*model, *kept, side.inputs, side.targets]


def measure(workload: Workload, library: Library) -> Memory:
    """Count one training step, after two that make the optimizer's state."""
    side = workload.on(library)
    for _ in range(2):
        side.step()
    gc.collect()
    with Meter() as meter:
        meter.count(state(side))
        before = meter.live
        side.passes()
        passes = meter.peak
        side.optimizer.step()
        side.zero_grad()
    return Memory(before, passes, meter.peak)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the limit is missed")
    parser.add_argument("--only", help="names of workloads, separated by commas")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    chosen = list(WORKLOADS) if options.only is None else options.only.split(",")
    rows, missed = [], []
    for name in chosen:
        if name not in WORKLOADS:
            parser.error(f"unknown workload {name!r}; there are {', '.join(WORKLOADS)}")
        ours, theirs = measure(WORKLOADS[name], NEURONIX), measure(WORKLOADS[name], PYTORCH)
        for part in ("passes", "step"):
            peaks = getattr(ours, part), getattr(theirs, part)
            ratio = peaks[0] / peaks[1]
            sizes = [f"{size / 2**20:.2f}" for size in (theirs.before, *peaks)]
            rows.append([name, part, *sizes, f"{ratio:.3f}", f"{LIMIT:.2f}"])
            if ratio > LIMIT:
                missed.append(f"{name} ({part}): {ratio:.3f} > {LIMIT:.2f}")
    table = pages.table(["workload", "part", "before, MiB", "Neuronix, MiB", "PyTorch, MiB", "ratio", "limit"], rows)
    print(table)
    if options.write:
        pages.write("memory", table)
    if options.check and missed:
        raise SystemExit("limit missed: " + ", ".join(missed))


if __name__ == "__main__":
    main()
