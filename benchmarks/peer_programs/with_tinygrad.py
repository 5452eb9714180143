"""tinygrad's side: kernels compiled as they are asked for, and the whole step recorded by its jit.

tinygrad's CPU device calls ``clang``; ``peers.py`` puts the one that the package ``ziglang`` ships on the path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import worker
from tinygrad import Context, Tensor, TinyJit, nn

Transform = Callable[[Any], Any]


def array(values: list[float], *shape: int) -> Tensor:
    """Numbers as a tensor that is in memory and isn't a parameter."""
    return Tensor(values).reshape(shape).contiguous().realize().is_param_(False)


def chain(jit: Transform) -> worker.Step:
    """Multiplications and additions on 4x4 matrices, forward and backward."""
    leaf = array(worker.numbers(0, 4, 4), 4, 4)
    factor = array([worker.FACTOR] * 16, 4, 4)

    def result() -> Tensor:
        x = leaf
        for _ in range(worker.CHAIN_STEPS):
            x = x * factor
            x = x + factor
        total = x.sum()
        (gradient,) = total.gradient(leaf)
        return (total + gradient.sum()).realize()

    run = jit(result)
    return lambda: float(run().item())


def scalars(jit: Transform) -> worker.Step:
    """An expression of single numbers, forward and backward."""
    x, w, b = (array([value], 1) for value in (0.5, 0.9, 0.1))

    def result() -> Tensor:
        y = x
        for _ in range(worker.SCALAR_STEPS):
            y = (y * w + b).relu() + x
        y = y.sum()
        gradients = y.gradient(x, w, b)
        return (y + gradients[0].sum() + gradients[1].sum() + gradients[2].sum()).realize()

    run = jit(result)
    return lambda: float(run().item())


def training(jit: Transform, layers: list[Any], model: Any, inputs: Tensor) -> worker.Step:
    """A full training step of a model whose layers with weights are ``layers``."""
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    targets = Tensor(worker.labels()).realize().is_param_(False)
    for seed, layer in enumerate(layer for layer in layers if layer.weight.ndim > 1):
        layer.weight.assign(array(worker.weights(seed, *layer.weight.shape), *layer.weight.shape)).realize()
        layer.bias.assign(layer.bias.zeros_like()).realize()
    optimizer = nn.optim.AdamW(parameters, worker.LEARNING_RATE, weight_decay=worker.DECAY)

    def result() -> Tensor:
        loss = model(inputs).sparse_categorical_crossentropy(targets)
        for p, gradient in zip(parameters, loss.gradient(*parameters), strict=True):
            p.grad = gradient
        loss.realize(*optimizer.schedule_step())
        optimizer.zero_grad()
        return loss

    run = jit(result)

    def step() -> float:
        with Context(TRAINING=1):
            return float(run().item())

    return step


def mlp(jit: Transform) -> worker.Step:
    """A training step of linear layers with ReLU between them."""
    widths = worker.MLP_WIDTHS
    layers = [nn.Linear(widths[i], widths[i + 1]) for i in range(3)]

    def model(x: Tensor) -> Tensor:
        return layers[2](layers[1](layers[0](x).relu()).relu())

    return training(jit, layers, model, array(worker.numbers(10, worker.BATCH, widths[0]), worker.BATCH, widths[0]))


def cnn(jit: Transform) -> worker.Step:
    """A training step of two blocks of convolution, batch normalisation, ReLU and pooling, and a linear layer."""
    colours, first, second = worker.CNN_CHANNELS
    layers = [
        nn.Conv2d(colours, first, 3, padding=1), nn.BatchNorm(first), nn.Conv2d(first, second, 3, padding=1),
        nn.BatchNorm(second), nn.Linear(second * (worker.PIXELS // 4) ** 2, worker.CLASSES),
    ]  # fmt: skip

    def model(x: Tensor) -> Tensor:
        x = layers[1](layers[0](x)).relu().max_pool2d(2)
        x = layers[3](layers[2](x)).relu().max_pool2d(2)
        return layers[4](x.flatten(1))

    shape = (worker.BATCH, colours, worker.PIXELS, worker.PIXELS)
    return training(jit, layers, model, array(worker.numbers(10, *shape), *shape))


def workloads(jit: Transform) -> dict[str, Callable[[], worker.Step]]:
    """All of them."""
    return {
        "chain": lambda: chain(jit),
        "scalars": lambda: scalars(jit),
        "mlp": lambda: mlp(jit),
        "cnn": lambda: cnn(jit),
    }


def second() -> object:
    """A gradient is a tensor like others."""
    x = Tensor([2.0])
    (first,) = (x**3).sum().gradient(x)
    return float(first.sum().gradient(x)[0].item())


def in_place() -> object:
    """An operator that is in place."""
    x = Tensor([1.0])
    y = x * 3
    y *= 5
    return float(y.sum().gradient(x)[0].item())


def part() -> object:
    """An entry is changed."""
    x = Tensor([1.0, 1.0])
    y = x * 3
    y[0] *= 5
    gradient: object = y.sum().gradient(x)[0].tolist()
    return gradient


def changed() -> object:
    """A constant is assigned to after it was used."""
    x, w = Tensor([3.0]), Tensor([2.0]).contiguous().realize()
    y = (x * w).sum()
    w.assign(w * 5).realize()
    return float(y.gradient(x)[0].item())


def deep() -> object:
    """A long chain; the factor is in memory, so that it can't be left out."""
    x, one = Tensor([1.0]), Tensor([1.0]).contiguous().realize()
    y = x
    for _ in range(worker.DEPTH):
        y = y * one
    return float(y.sum().gradient(x)[0].item())


VARIANTS = {"eager": workloads(lambda function: function), "compiled": workloads(TinyJit)}
QUESTIONS: worker.Questions = {
    "second": second,
    "in_place": in_place,
    "part": part,
    "changed": changed,
    "deep": deep,
}

if __name__ == "__main__":
    files = ("tensor.py", "uop/ops.py", "function.py", "mixin/gradient.py")
    worker.serve("tinygrad", "tinygrad", files, VARIANTS, QUESTIONS)
