"""How long a compiled training step takes, in units of PyTorch's time for a compiled one.

    nox -s bench                           # after other programs
    python benchmarks/compiled.py          # the table alone
    python benchmarks/compiled.py --check  # exits with 1 where a limit is missed
    python benchmarks/compiled.py --write  # puts the table into docs/performance.md

The models are those of ``training.py``.  Neuronix compiles the whole step: forward, backward and update.  PyTorch's
``torch.compile`` compiles model and loss together, and with them their backward pass; the update is that of its fused
optimizer.  For comparison the same compiled step is also timed against PyTorch without any compiling.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from timing import Program, Row, measure, report
from tqdm import tqdm
from workloads import NEURONIX, PYTORCH, SMALL, WORKLOADS, Training, Workload

from neuronix.autograd import compile

# Against `torch.compile`; ResNet-18 is reported.
LIMITS: dict[str, float | None] = {"mlp": 1.0, "cnn": 1.0, "gpt": 1.0, "resnet": None}


def ours_compiled(side: Training, backend: str = "inductor") -> Callable[[], Any]:
    """The whole step as one graph."""

    def step(inputs: Any, targets: Any) -> Any:
        loss = side.criterion(side.model(inputs), targets)
        loss.backward()
        side.optimizer.step()
        side.optimizer.zero_grad()
        return loss

    run = compile(step, state=(side.model, side.optimizer), backend=backend)
    return lambda: run(side.inputs, side.targets)


def theirs_compiled(side: Training, backend: str = "inductor") -> Callable[[], Any]:
    """Model and loss compiled, their backward pass with them, and a fused optimizer."""
    forward = torch.compile(lambda inputs, targets: side.criterion(side.model(inputs), targets), backend=backend)

    def step() -> Any:
        loss = forward(side.inputs, side.targets)
        loss.backward()
        side.optimizer.step()
        side.optimizer.zero_grad()
        return loss

    return step


def first_call(step: Callable[[], Any]) -> float:
    """Seconds of the call that compiles."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def rows(name: str, workload: Workload, backend: str = "inductor") -> Iterator[Row]:
    """A compiled step against PyTorch's compiled one, and against PyTorch's without compiling."""
    ours = ours_compiled(workload.on(NEURONIX), backend)
    theirs = theirs_compiled(workload.on(PYTORCH, fused=True), backend)
    seconds = [first_call(step) for step in (ours, theirs)]
    print(f"{name}: the first call took {seconds[0]:.1f} s, PyTorch's {seconds[1]:.1f} s", file=sys.stderr)
    yield Row(name, "torch.compile", LIMITS[name], Program(ours), Program(theirs))
    yield Row(name, "eager", None, Program(ours), Program(workload.on(PYTORCH).step))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is missed")
    parser.add_argument("--only", help="names of workloads, separated by commas")
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each line (default: 6)")
    parser.add_argument("--small", action="store_true", help="models small enough for a test")
    parser.add_argument("--backend", default="inductor", help="what compiles (default: inductor)")
    parser.add_argument("--json", type=Path, help="write the measurements into this file, too")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    chosen = list(LIMITS) if options.only is None else options.only.split(",")
    for name in chosen:
        if name not in LIMITS:
            parser.error(f"unknown workload {name!r}; there are {', '.join(LIMITS)}")
    workloads = SMALL if options.small else WORKLOADS
    measured = []
    for name in tqdm(chosen, desc="compiled", leave=False, disable=not sys.stderr.isatty()):
        found = rows(name, workloads[name], options.backend)
        measured += [(row, measure(row, options.seconds, options.check)) for row in found]
    report("compiled", ["workload", "PyTorch's side"], measured, options)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
