"""How long Neuronix takes for a training step, in units of PyTorch's time.

    nox -s bench                                        # after other programs
    python benchmarks/training.py                       # the table alone
    python benchmarks/training.py --check               # exits with 1 where a limit is missed
    python benchmarks/training.py --only mlp,gpt --phases
    python benchmarks/training.py --write               # puts the tables into docs/performance.md
    python benchmarks/training.py --only gpt --alone 30 # Neuronix's steps for so many seconds, for a profiler to watch

Both sides run the same program (``workloads.py``) in one process and in turn (``timing.py``):

* *chain*: 2,000 multiplications and additions on 4x4 matrices, forward and backward: the overhead of an operation.
* *chain beside a graph*: the same while an unrelated history of 100,000 operations is alive.
* *mlp*: 784-256-256-10, batches of 64, AdamW.
* *cnn*: two blocks of convolution, batch normalisation, ReLU and pooling on 64 images of 28x28, AdamW.
* *resnet*: ResNet-18 on 16 images of 32x32, SGD with momentum.
* *gpt*: a transformer of two layers of width 128 with four heads, 8 sequences of 64 tokens, AdamW.

A *step* is forward, loss, backward, update and zero_grad, with each library's default optimizer; *passes* are forward,
loss and backward alone, so that a quicker optimizer doesn't pay for a slower engine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from timing import Comparison, Program, Row, measure, report
from tqdm import tqdm
from workloads import NEURONIX, PYTORCH, WORKLOADS, Training, chain, live_graph

# For a full step, and for forward and backward alone.
LIMITS: dict[str, tuple[float, float]] = {
    "mlp": (1.15, 1.30),
    "cnn": (1.05, 1.08),
    "resnet": (1.05, 1.08),
    "gpt": (1.05, 1.08),
}
CHAIN_LIMIT = 1.15


def chain_rows(name: str) -> Iterator[Row]:
    """The chain; the graph beside it lives until the next row is asked for."""
    beside = [live_graph(side) for side in (NEURONIX, PYTORCH)] if name == "chain beside a graph" else []
    yield Row(name, "passes", CHAIN_LIMIT, Program(chain(NEURONIX)), Program(chain(PYTORCH)))
    beside.clear()


def training_rows(name: str) -> Iterator[Row]:
    """A full step, and its first two thirds."""
    ours, theirs = WORKLOADS[name].on(NEURONIX), WORKLOADS[name].on(PYTORCH)
    step, passes = LIMITS[name]
    yield Row(name, "step", step, Program(ours.step), Program(theirs.step))
    yield Row(name, "passes", passes, *(Program(side.passes, side.zero_grad) for side in (ours, theirs)))


def phase_rows(name: str) -> Iterator[Row]:
    """Each part of a step by itself."""
    sides = [WORKLOADS[name].on(library) for library in (NEURONIX, PYTORCH)]
    phases: dict[str, Callable[[Training], Program]] = {
        "forward": lambda side: Program(side.forward),
        "backward": backward,
        "update": lambda side: Program(side.optimizer.step, lambda: fill_gradients(side)),
        "zero_grad": lambda side: Program(side.zero_grad, lambda: fill_gradients(side)),
    }
    for phase, program in phases.items():
        yield Row(name, phase, None, *(program(side) for side in sides))


def backward(side: Training) -> Program:
    """The backward pass of a loss that is computed before the clock starts."""
    held: list[Any] = []

    def prepare() -> None:
        side.zero_grad()
        held[:] = [side.forward()]

    return Program(lambda: held[0].backward(), prepare)


def fill_gradients(side: Training) -> None:
    """See to it that there are gradients."""
    if any(parameter.grad is None for parameter in side.model.parameters()):
        side.passes()


def run_alone(name: str, seconds: float) -> None:
    """Take Neuronix's steps (of the chain its passes) again and again."""
    run = chain(NEURONIX) if name.startswith("chain") else WORKLOADS[name].on(NEURONIX).step
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run()


ROWS: dict[str, Callable[[str], Iterator[Row]]] = {
    "chain": chain_rows,
    "chain beside a graph": chain_rows,
    **dict.fromkeys(LIMITS, training_rows),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is missed")
    parser.add_argument("--only", help="names of workloads, separated by commas")
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each line (default: 6)")
    parser.add_argument("--phases", action="store_true", help="time each part of a step by itself instead")
    parser.add_argument("--alone", type=float, help="seconds to run Neuronix's side, timing nothing, for a profiler")
    parser.add_argument("--json", type=Path, help="write the measurements into this file, too")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    names = list(LIMITS if options.phases else ROWS)
    chosen = names if options.only is None else options.only.split(",")
    for name in chosen:
        if name not in names:
            parser.error(f"unknown workload {name!r}; there are {', '.join(names)}")

    if options.alone:
        for name in chosen:
            run_alone(name, options.alone)
        return
    measured: list[tuple[Row, Comparison]] = []
    for name in tqdm(chosen, desc="training", leave=False, disable=not sys.stderr.isatty()):
        rows = phase_rows(name) if options.phases else ROWS[name](name)
        measured += [(row, measure(row, options.seconds, options.check)) for row in rows]
    report("phases" if options.phases else "training", ["workload", "part"], measured, options)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
