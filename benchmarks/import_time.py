"""How long `import neuronix.autograd` takes on top of `import torch`.

    nox -s bench                               # among the other benchmarks
    python benchmarks/import_time.py --check   # exits with 1 where the limit is missed

Every figure comes from fresh processes of three kinds that take turns: torch alone, torch and neuronix.autograd, torch
and all packages.  Each import is timed from inside; the median of neuronix.autograd's times is what the limit is for.
The difference between the medians of whole processes stands beside it: it says the same with more noise, for what torch
takes varies by more than what Neuronix adds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from typing import NamedTuple

import pages

LIMIT = 0.100  # seconds that neuronix.autograd may add
PACKAGES = ("torch", "neuronix.autograd", "neuronix.nn", "neuronix.losses", "neuronix.optim")
PROGRAM = """
import importlib, json, os, sys, time
times = []
for name in sys.argv[1:]:
    start = time.perf_counter()
    importlib.import_module(name)
    times.append(time.perf_counter() - start)
print(json.dumps(times), flush=True)
os._exit(0)  # taking torch down takes a third of the time that it runs, and isn't the question
"""


class Process(NamedTuple):
    """The times of one process: each import's, and the whole one's."""

    imports: list[float]
    whole: float


class Figures(NamedTuple):
    """Medians, in seconds."""

    imports: dict[str, float]
    whole_difference: float
    processes: int

    @property
    def added(self) -> float:
        """What the limit is for."""
        return self.imports["neuronix.autograd"]


def run(*packages: str) -> Process:
    """Import the packages in a process of their own."""
    # Without bytecode each start would compile all of torch's sources again.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *packages], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return Process(json.loads(done.stdout), time.perf_counter() - start)


def measure(rounds: int) -> Figures:
    """Let the three kinds of processes take turns."""
    run(*PACKAGES)  # writes the bytecode, and brings the files into memory
    alone, with_autograd, with_all = [], [], []
    for _ in range(rounds):
        alone.append(run("torch").whole)
        with_autograd.append(run("torch", "neuronix.autograd"))
        with_all.append(run(*PACKAGES).imports)
    imports = dict(zip(PACKAGES, map(statistics.median, zip(*with_all, strict=True)), strict=True))
    imports["neuronix.autograd"] = statistics.median(process.imports[1] for process in with_autograd)
    difference = statistics.median(process.whole for process in with_autograd) - statistics.median(alone)
    return Figures(imports, difference, 3 * rounds)


def show(figures: Figures) -> str:
    """Print the table, and return it."""
    rows = [
        [f"`{name}`", f"{seconds * 1e3:.0f}", f"{LIMIT * 1e3:.0f}" if name == "neuronix.autograd" else ""]
        for name, seconds in figures.imports.items()
    ]
    text = (
        f"{pages.table(['import', 'adds, ms', 'limit, ms'], rows)}\n\n"
        f"Whole processes differ by {figures.whole_difference * 1e3:.0f} ms, with `neuronix.autograd` and without it "
        f"(medians; {figures.processes} processes)."
    )
    print(text)
    return text


def main() -> None:
    """Print the table, and check the limit if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the limit is missed")
    parser.add_argument("--rounds", type=int, default=7, help="processes of each kind (default: 7)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, torch {version('torch')}")
    figures = measure(options.rounds)
    text = show(figures)
    if options.write:
        pages.write("import", text)
    if options.check and figures.added > LIMIT:
        print("Over the limit: measured once more, in case the machine was busy.")
        figures = measure(2 * options.rounds)
        show(figures)
        if figures.added > LIMIT:
            raise SystemExit(f"limit missed: import neuronix.autograd adds {figures.added * 1e3:.0f} ms > 100 ms")


if __name__ == "__main__":
    main()
