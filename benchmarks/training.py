"""How long Neuronix takes, in units of PyTorch's time.

    nox -s bench                # the table
    nox -s bench -- --check     # exits with 1 where a limit is missed

Both sides run the same program in one process, in turn: one run of ours, one of PyTorch's, and again.  Each pair
gives a
ratio, and the median of the ratios is reported, so that a machine that slows down for a while slows both sides down.

* *chain*: 2,000 multiplications and additions on 4x4 matrices, forward and backward: the overhead of an operation.
* *mlp*: a training step of 784-256-256-10 with batches of 64 and AdamW.
* *cnn*: a training step of two blocks of convolution and batch normalisation on 64 images of 28x28, with AdamW.

Optimizers of PyTorch's are the default ones (``foreach``).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from neuronix import losses, nn, optim
from neuronix.autograd import CustomTensor

Program = Callable[[], None]


class Workload(NamedTuple):
    """A pair of programs that do the same, and the ratio of times that is promised."""

    name: str
    ours: Program
    theirs: Program
    limit: float | None


def chain() -> Workload:
    """2,000 operations on values so small that the arithmetic hardly counts."""
    values, factor = torch.randn(4, 4), torch.full((4, 4), 0.999)

    def run(x: Any, factor: Any) -> None:
        for _ in range(1000):
            x = x * factor
            x = x + factor
        x.sum().backward()

    return Workload(
        "chain",
        lambda: run(CustomTensor(values.clone(), requires_grad=True), CustomTensor(factor)),
        lambda: run(values.clone().requires_grad_(), factor),
        1.4,
    )


def training(name: str, build: Callable[[Any], Any], inputs: torch.Tensor, limit: float | None) -> Workload:
    """Full training steps: forward, loss, backward, update, zero_grad."""
    targets = torch.randint(0, 10, (len(inputs),))

    def side(library: Any, criterion: Any, optimizer_class: Any) -> Program:
        torch.manual_seed(0)
        model = build(library)
        optimizer = optimizer_class(model.parameters(), lr=1e-3)

        def step() -> None:
            optimizer.zero_grad()
            criterion(model(inputs), targets).backward()
            optimizer.step()

        return step

    ours = side(nn, losses.CrossEntropyLoss(), optim.AdamW)
    return Workload(name, ours, side(torch.nn, torch.nn.CrossEntropyLoss(), torch.optim.AdamW), limit)


def mlp(nn: Any) -> Any:
    """784-256-256-10."""
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )  # fmt: skip


def cnn(nn: Any) -> Any:
    """Two blocks of convolution, batch normalisation, ReLU and pooling, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip


def measure(workload: Workload, seconds: float) -> tuple[float, float, float, int]:
    """Our median time, PyTorch's, the median of the pairs' ratios, and the number of pairs."""
    for _ in range(3):
        workload.ours()
        workload.theirs()
    ours: list[float] = []
    theirs: list[float] = []
    end = time.perf_counter() + seconds
    while len(ours) < 10 or time.perf_counter() < end:
        for program, times in ((workload.ours, ours), (workload.theirs, theirs)):
            start = time.perf_counter()
            program()
            times.append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios), len(ratios)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is missed")
    parser.add_argument("--only", help="names of workloads, separated by commas")
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each workload (default: 6)")
    options = parser.parse_args()
    torch.manual_seed(0)
    workloads = [
        chain(),
        training("mlp", mlp, torch.randn(64, 784), None),
        training("cnn", cnn, torch.randn(64, 1, 28, 28), None),
    ]
    names = [workload.name for workload in workloads]
    chosen = names if options.only is None else options.only.split(",")
    for name in chosen:
        if name not in names:
            parser.error(f"unknown workload {name!r}; there are {', '.join(names)}")

    print(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    print(f"{'workload':<10}{'Neuronix':>12}{'PyTorch':>12}{'ratio':>8}{'limit':>8}{'pairs':>8}")
    missed = []
    for workload in workloads:
        if workload.name not in chosen:
            continue
        ours, theirs, ratio, pairs = measure(workload, options.seconds)
        limit = "" if workload.limit is None else f"{workload.limit:.2f}"
        print(f"{workload.name:<10}{ours * 1e3:>9.2f} ms{theirs * 1e3:>9.2f} ms{ratio:>8.2f}{limit:>8}{pairs:>8}")
        if workload.limit is not None and ratio > workload.limit:
            missed.append(f"{workload.name}: {ratio:.2f} > {workload.limit:.2f}")
    if options.check and missed:
        raise SystemExit("limit missed: " + ", ".join(missed))


if __name__ == "__main__":
    main()
