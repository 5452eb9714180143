"""Where the time of one small operation goes.

    nox -s bench                          # after other programs
    python benchmarks/overhead.py         # the table alone
    python benchmarks/overhead.py --write # puts the table into docs/performance.md

A product of a tracked 4x4 matrix and a constant, 2,000 in a chain as in ``training.py``, is taken apart by leaving
things out: the array kernel alone, the operation without recording, the recorded operation, and the pass backward,
which runs the same kernel once for each.  A line is the difference to the line above.  Each figure is the least of some
runs, in the processor's time of this process: what the work takes, not what the machine adds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pages
import torch

from neuronix.autograd import CustomTensor, no_grad

OPERATIONS = 2000
RUNS = 30
FACTOR = torch.full((4, 4), 0.999)


class Costs(NamedTuple):
    """Microseconds for an operation."""

    kernel: float
    unrecorded: float
    recorded: float
    backward: float
    free: float


def chain(x: Any, constant: Any) -> Any:
    """A product after the other."""
    for _ in range(OPERATIONS):
        x = x * constant
    return x


def least(run: Callable[[], tuple[float, ...]], runs: int) -> list[float]:
    """For each of the times that ``run`` returns the least of some runs, in microseconds for an operation."""
    return [min(times) / OPERATIONS * 1e6 for times in zip(*(run() for _ in range(runs)), strict=True)]


def clocked(run: Callable[[], Any]) -> tuple[float, Any]:
    """The processor's seconds that a call takes, and its result."""
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def measure(runs: int = RUNS) -> Costs:
    """All costs."""
    values = torch.ones(4, 4)
    constant = CustomTensor(FACTOR)

    def kernel() -> tuple[float, ...]:
        return (clocked(lambda: chain(values, FACTOR))[0],)

    def unrecorded() -> tuple[float, ...]:
        with no_grad():
            x = CustomTensor(values, requires_grad=True)
            return (clocked(lambda: chain(x, constant))[0],)

    def recorded() -> tuple[float, ...]:
        leaf = CustomTensor(values, requires_grad=True)
        forward, result = clocked(lambda: chain(leaf, constant))
        held = [result]
        del result
        backward, _ = clocked(lambda: held[0].backward(torch.ones(4, 4)))
        return forward, backward, clocked(held.clear)[0]

    forward, backward, free = least(recorded, runs)
    (alone,), (plain,) = least(kernel, runs), least(unrecorded, runs)
    return Costs(alone, plain, forward, backward, free)


def rows(costs: Costs) -> list[list[str]]:
    """Lines of the table: each part and its share."""
    parts = {
        "forward: the array kernel, called from Python": costs.kernel,
        "forward: taking the arrays out of the tensors, and a tensor for the result": costs.unrecorded - costs.kernel,
        "forward: recording (the node, its parents, what is saved, the index)": costs.recorded - costs.unrecorded,
        "backward: the array kernel": costs.kernel,
        "backward: the order of the nodes, the rule's call, handing on": costs.backward - costs.kernel,
        "freeing the history": costs.free,
    }
    whole = costs.recorded + costs.backward + costs.free
    return [[name, f"{part:.2f}", f"{part / whole:.0%}"] for name, part in parts.items()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--check", action="store_true", help="do nothing more: there is no limit")
    options = parser.parse_args()
    table = pages.table(["part of an operation", "µs", "share"], rows(measure()))
    print(table)
    if options.write:
        pages.write("overhead", f"{pages.machine()}\n\n{table}")


if __name__ == "__main__":
    main()
