"""The workloads for PyTorch and for Neuronix: one source, for their interfaces are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import worker

Compile = Callable[[Callable[[], Any], Any, Any], Callable[[], Any]]


class Library(NamedTuple):
    """What differs between the two.

    Attributes:
        nn: Layers.
        losses: Loss functions.
        optim: Optimizers.
        leaf: Makes a tensor that requires grad.
        constant: Makes one that doesn't.
        grad: Its ``grad(outputs, inputs, create_graph=...)``.
        compile: Takes a training step, the model and the optimizer, and returns a faster step.
    """

    nn: Any
    losses: Any
    optim: Any
    leaf: Callable[[torch.Tensor], Any]
    constant: Callable[[torch.Tensor], Any]
    grad: Callable[..., tuple[Any, ...]]
    compile: Compile | None = None


def array(values: list[float], *shape: int) -> torch.Tensor:
    """Numbers as a tensor."""
    return torch.tensor(values).view(shape)


def chain(library: Library) -> worker.Step:
    """Multiplications and additions on 4x4 matrices, forward and backward."""
    start = array(worker.numbers(0, 4, 4), 4, 4)
    factor = library.constant(torch.full((4, 4), worker.FACTOR))

    def step() -> float:
        leaf = library.leaf(start)
        x = leaf
        for _ in range(worker.CHAIN_STEPS):
            x = x * factor
            x = x + factor
        total = x.sum()
        total.backward()
        return float(total) + float(leaf.grad.sum())

    return step


def scalars(library: Library) -> worker.Step:
    """An expression of single numbers, forward and backward."""

    def step() -> float:
        x, w, b = (library.leaf(torch.tensor(value)) for value in (0.5, 0.9, 0.1))
        y = x
        for _ in range(worker.SCALAR_STEPS):
            y = (y * w + b).relu() + x
        y.backward()
        return float(y) + float(x.grad + w.grad + b.grad)

    return step


def mlp(library: Library) -> worker.Step:
    """A training step of linear layers with ReLU between them."""
    nn = library.nn
    widths = worker.MLP_WIDTHS
    model = nn.Sequential(
        nn.Linear(widths[0], widths[1]), nn.ReLU(), nn.Linear(widths[1], widths[2]), nn.ReLU(),
        nn.Linear(widths[2], widths[3]),
    )  # fmt: skip
    for seed, layer in enumerate([model[0], model[2], model[4]]):
        layer.weight.data.copy_(array(worker.weights(seed, *layer.weight.shape), *layer.weight.shape))
        layer.bias.data.zero_()
    return training(library, model, array(worker.numbers(10, worker.BATCH, widths[0]), worker.BATCH, widths[0]))


def cnn(library: Library) -> worker.Step:
    """A training step of two blocks of convolution, batch normalisation, ReLU and pooling, and a linear layer."""
    nn = library.nn
    colours, first, second = worker.CNN_CHANNELS
    features = second * (worker.PIXELS // 4) ** 2
    model = nn.Sequential(
        nn.Conv2d(colours, first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1), nn.BatchNorm2d(second), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(features, worker.CLASSES),
    )  # fmt: skip
    for seed, layer in enumerate([model[0], model[4], model[9]]):
        layer.weight.data.copy_(array(worker.weights(seed, *layer.weight.shape), *layer.weight.shape))
        layer.bias.data.zero_()
    shape = (worker.BATCH, colours, worker.PIXELS, worker.PIXELS)
    return training(library, model, array(worker.numbers(10, *shape), *shape))


def training(library: Library, model: Any, inputs: torch.Tensor) -> worker.Step:
    """A full training step: forward, loss, backward, update, zero_grad."""
    targets = torch.tensor(worker.labels())
    criterion = library.losses.CrossEntropyLoss()
    optimizer = library.optim.AdamW(model.parameters(), lr=worker.LEARNING_RATE)

    def step() -> Any:
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    run = step if library.compile is None else library.compile(step, model, optimizer)
    return lambda: float(run())


def workloads(library: Library) -> dict[str, Callable[[], worker.Step]]:
    """All of them."""
    return {
        "chain": lambda: chain(library),
        "scalars": lambda: scalars(library),
        "mlp": lambda: mlp(library),
        "cnn": lambda: cnn(library),
    }


def questions(library: Library) -> worker.Questions:
    """The answers of a library whose interface is PyTorch's."""

    def second() -> object:
        x = library.leaf(torch.tensor(2.0))
        (first,) = library.grad(x**3, x, create_graph=True)
        return float(library.grad(first, x)[0])

    def in_place() -> object:
        x = library.leaf(torch.tensor(1.0))
        y = x * 3
        y *= 5
        y.backward()
        return float(x.grad)

    def part() -> object:
        x = library.leaf(torch.ones(2))
        y = x * 3
        y[0] *= 5
        y.sum().backward()
        return x.grad.tolist()

    def changed() -> object:
        x, w = library.leaf(torch.tensor(3.0)), torch.tensor(2.0)
        y = x * w
        w *= 5
        y.backward()
        return float(x.grad)

    def deep() -> object:
        x = library.leaf(torch.tensor(1.0))
        y = x
        for _ in range(worker.DEPTH):
            y = y * 1.0
        y.backward()
        return float(x.grad)

    return {"second": second, "in_place": in_place, "part": part, "changed": changed, "deep": deep}
