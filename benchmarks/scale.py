"""What an operation costs in graphs of a thousand to a million operations.

    nox -s bench                           # after other programs
    python benchmarks/scale.py             # the table alone
    python benchmarks/scale.py --check     # exits with 1 where an operation of a large graph costs too much
    python benchmarks/scale.py --write     # puts the table into docs/performance.md, and draws the plot beside it

Two shapes, on 4x4 matrices: a *chain*, where each operation takes the result of the one before it, and a *wide* graph,
in which half of the operations share one argument, and the other half adds their results, two and two.

A graph is built, differentiated and freed.  Small ones are made so often that each size has as many operations; the
sizes take turns, and in each turn the time per operation is compared with that of the smallest.  Each size has a new
process in each turn, so that none inherits another's memory, or what Python's collector has learnt from it.  Measured
is the processor's time of that process, so that other programs count as little as they can.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import pages
import torch
from tqdm import tqdm
from workloads import NEURONIX, PYTORCH, SIDES, Library

LIMIT = 1.5  # how much more an operation of the largest graph may cost than one of the smallest
SIZES = (10**3, 10**4, 10**5, 10**6)
AT_LEAST = 10**5  # operations of each size in each turn
TURNS = 3
PLOT = pages.ASSETS / "scale.svg"


class Cost(NamedTuple):
    """Seconds for an operation."""

    build: float
    backward: float
    free: float

    @property
    def whole(self) -> float:
        """All three."""
        return self.build + self.backward + self.free


def chain(library: Library, operations: int) -> Any:
    """Each operation takes the result of the one before it."""
    constant = library.constant(torch.full((4, 4), 0.5))
    x = library.leaf(torch.ones(4, 4))
    for _ in range(operations // 2):
        x = x * constant
        x = x + constant
    return x


def wide(library: Library, operations: int) -> Any:
    """Half of the operations share an argument; the others add their results in pairs."""
    constant = library.constant(torch.full((4, 4), 0.5))
    hub = library.leaf(torch.ones(4, 4)) * constant
    results = [hub * constant for _ in range(operations // 2)]
    while len(results) > 1:
        odd = results[len(results) // 2 * 2 :]
        results = [left + right for left, right in zip(results[::2], results[1::2], strict=False)] + odd
    return results[0]


SHAPES: dict[str, Callable[[Library, int], Any]] = {"chain": chain, "wide": wide}


def once(library: Library, shape: str, operations: int) -> tuple[float, float, float]:
    """Seconds for building, differentiating and freeing one graph."""
    gradient = torch.ones(4, 4)
    start = time.process_time()
    result = SHAPES[shape](library, operations)
    built = time.process_time()
    result.backward(gradient)
    differentiated = time.process_time()
    del result
    return built - start, differentiated - built, time.process_time() - differentiated


def measure(library: Library, shape: str, operations: int, at_least: int = AT_LEAST) -> Cost:
    """The cost of an operation in graphs of one size."""
    repeats = max(1, at_least // operations)
    phases = zip(*(once(library, shape, operations) for _ in range(repeats)), strict=True)
    return Cost(*(sum(seconds) / (repeats * operations) for seconds in phases))


def measure_afresh(library: str, shape: str, operations: int, at_least: int) -> Cost:
    """`measure` in a new process."""
    command = [sys.executable, __file__, "--one", library, shape, str(operations), str(at_least)]
    return Cost(*json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure_here(name: str, shape: str, operations: str, at_least: str) -> None:
    """What the new process does: measure, and print the cost."""
    library = next(side for side in SIDES if side.name == name)
    once(library, shape, SIZES[0])  # nobody pays for being first
    print(json.dumps(measure(library, shape, int(operations), int(at_least))))


def measure_all(
    sizes: tuple[int, ...] = SIZES, turns: int = TURNS, at_least: int = AT_LEAST
) -> dict[tuple[str, str, int], list[Cost]]:
    """The costs in all turns, by library, shape and size."""
    costs: dict[tuple[str, str, int], list[Cost]] = {}
    kinds = [(library.name, shape) for library in SIDES for shape in SHAPES]
    with tqdm(total=turns * len(kinds) * len(sizes), desc="scale", leave=False, disable=not sys.stderr.isatty()) as bar:
        for _ in range(turns):
            for (name, shape), size in product(kinds, sizes):
                costs.setdefault((name, shape, size), []).append(measure_afresh(name, shape, size, at_least))
                bar.update()
    return costs


def growth(costs: dict[tuple[str, str, int], list[Cost]], library: str, shape: str, size: int) -> float:
    """The median of the turns' ratios to the smallest size."""
    smallest = min(key[2] for key in costs)
    pairs = zip(costs[library, shape, size], costs[library, shape, smallest], strict=True)
    return statistics.median(cost.whole / base.whole for cost, base in pairs)


def rows(costs: dict[tuple[str, str, int], list[Cost]]) -> list[list[str]]:
    """Lines of the table: microseconds."""
    lines = []
    for library, shape, size in costs:
        found = costs[library, shape, size]
        phases = [statistics.median(phase) * 1e6 for phase in zip(*found, strict=True)]
        whole = statistics.median(cost.whole for cost in found) * 1e6
        ratio = growth(costs, library, shape, size)
        lines.append(
            [shape, library, f"{size:,}", *(f"{phase:.2f}" for phase in phases), f"{whole:.2f}", f"{ratio:.2f}"]
        )
    return lines


def draw(costs: dict[tuple[str, str, int], list[Cost]]) -> None:
    """Time of an operation over the size of the graph."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "neuronix", "font.size": 9, "axes.spines.top": False})
    plt.rcParams.update({"axes.spines.right": False})
    figure, panels = plt.subplots(1, len(SHAPES), figsize=(10, 3.8), layout="constrained", sharey=True)
    for panel, shape in zip(panels, SHAPES, strict=True):
        for library, colour in ((NEURONIX, "#2563eb"), (PYTORCH, "#9ca3af")):
            sizes = [size for name, kind, size in costs if (name, kind) == (library.name, shape)]
            times = [statistics.median(cost.whole for cost in costs[library.name, shape, n]) * 1e6 for n in sizes]
            panel.plot(sizes, times, marker="o", color=colour, label=library.name)
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.set_title(shape)
        panel.set_xlabel("operations in the graph")
    panels[0].set_ylabel("µs an operation: built, differentiated, freed")
    panels[0].legend(frameon=False)
    PLOT.parent.mkdir(exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the limit is missed")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"how often everything is measured (default: {TURNS})")
    parser.add_argument("--write", action="store_true", help="put table and plot into docs/")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # what a new process measures
    options = parser.parse_args()
    if options.one:
        return measure_here(*options.one)
    costs = measure_all(turns=options.turns)
    heads = ["shape", "library", "operations", "build, µs", "backward, µs", "free, µs", "whole, µs", "growth"]
    table = pages.table(heads, rows(costs))
    print(f"{pages.machine()}\n\n{table}")
    if options.write:
        draw(costs)
        plot = f"![Time of an operation in graphs of a thousand to a million operations](assets/{PLOT.name})"
        pages.write("scale", f"{pages.machine()}\n\n{table}\n\n{plot}")
    grown = {shape: growth(costs, NEURONIX.name, shape, SIZES[-1]) for shape in SHAPES}
    missed = [f"{shape}: {ratio:.2f} > {LIMIT}" for shape, ratio in grown.items() if ratio > LIMIT]
    if options.check and missed:
        raise SystemExit("limit missed: " + ", ".join(missed))


if __name__ == "__main__":
    main()
