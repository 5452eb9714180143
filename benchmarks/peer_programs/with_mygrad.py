"""MyGrad's side: tensors on NumPy arrays."""

from __future__ import annotations

from typing import Any

import mygrad as mg
import numpy as np
import worker
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import batchnorm, conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy
from numpy_adamw import AdamW


def chain() -> worker.Step:
    """Multiplications and additions on 4x4 matrices, forward and backward."""
    start = np.array(worker.numbers(0, 4, 4), np.float32).reshape(4, 4)
    factor = np.full((4, 4), worker.FACTOR, np.float32)

    def step() -> float:
        leaf = mg.tensor(start)
        x = leaf
        for _ in range(worker.CHAIN_STEPS):
            x = x * factor
            x = x + factor
        total = x.sum()
        total.backward()
        return float(total.data + leaf.grad.sum())

    return step


def scalars() -> worker.Step:
    """An expression of single numbers, forward and backward."""

    def step() -> float:
        x, w, b = mg.tensor(0.5), mg.tensor(0.9), mg.tensor(0.1)
        y = x
        for _ in range(worker.SCALAR_STEPS):
            y = relu(y * w + b) + x
        y.backward()
        return float(y.data + x.grad + w.grad + b.grad)

    return step


def layer(seed: int, *shape: int) -> list[Any]:
    """A layer's weight and bias."""
    weight = np.array(worker.weights(seed, *shape), np.float32).reshape(shape)
    return [mg.tensor(weight), mg.tensor(np.zeros(shape[0], np.float32))]


def training(parameters: list[Any], forward: Any) -> worker.Step:
    """A full training step."""
    targets = np.array(worker.labels())
    optimizer = AdamW([p.data for p in parameters])

    def step() -> float:
        loss = softmax_crossentropy(forward(), targets)
        loss.backward()
        optimizer.update([p.grad for p in parameters])
        for p in parameters:
            p.null_grad()
        return float(loss)

    return step


def mlp() -> worker.Step:
    """A training step of linear layers with ReLU between them."""
    widths = worker.MLP_WIDTHS
    inputs = np.array(worker.numbers(10, worker.BATCH, widths[0]), np.float32).reshape(worker.BATCH, widths[0])
    w1, b1, w2, b2, w3, b3 = (p for seed in range(3) for p in layer(seed, widths[seed + 1], widths[seed]))

    def forward() -> Any:
        x = relu(mg.matmul(inputs, w1.T) + b1)
        x = relu(mg.matmul(x, w2.T) + b2)
        return mg.matmul(x, w3.T) + b3

    return training([w1, b1, w2, b2, w3, b3], forward)


def cnn() -> worker.Step:
    """A training step of two blocks of convolution, batch normalisation, ReLU and pooling, and a linear layer."""
    channels = worker.CNN_CHANNELS
    shape = (worker.BATCH, channels[0], worker.PIXELS, worker.PIXELS)
    inputs = np.array(worker.numbers(10, *shape), np.float32).reshape(shape)
    parameters: list[Any] = []
    for seed in range(2):
        parameters += layer(seed, channels[seed + 1], channels[seed], 3, 3)
        parameters += [mg.tensor(np.full(channels[seed + 1], start, np.float32)) for start in (1.0, 0.0)]
    parameters += layer(2, worker.CLASSES, channels[2] * (worker.PIXELS // 4) ** 2)

    def forward() -> Any:
        x: Any = inputs
        for block in (parameters[0:4], parameters[4:8]):
            weight, bias, gamma, beta = block
            x = conv_nd(x, weight, stride=1, padding=1) + bias.reshape(1, -1, 1, 1)
            x = max_pool(relu(batchnorm(x, gamma=gamma, beta=beta, eps=1e-5)), (2, 2), 2)
        weight, bias = parameters[8:]
        return mg.matmul(x.reshape(worker.BATCH, -1), weight.T) + bias

    return training(parameters, forward)


def second() -> object:
    """A gradient is an array here."""
    x = mg.tensor(2.0)
    (x**3).backward()
    first: Any = x.grad
    first.backward()
    return float(x.grad)


def in_place() -> object:
    """An operator that is in place on arrays."""
    x = mg.tensor(1.0)
    y = x * 3
    y *= 5
    y.backward()
    return float(x.grad)


def part() -> object:
    """An entry is changed."""
    x = mg.tensor(np.ones(2))
    y = x * 3
    y[0] *= 5
    y.sum().backward()
    gradient: object = x.grad.tolist()
    return gradient


def changed() -> object:
    """A constant is changed after it was used."""
    x, w = mg.tensor(3.0), np.array(2.0)
    y = x * w
    w *= 5
    y.backward()
    return float(x.grad)


def deep() -> object:
    """A long chain."""
    x = mg.tensor(1.0)
    y = x
    for _ in range(worker.DEPTH):
        y = y * 1.0
    y.backward()
    return float(x.grad)


QUESTIONS: worker.Questions = {
    "second": second,
    "in_place": in_place,
    "part": part,
    "changed": changed,
    "deep": deep,
}

if __name__ == "__main__":
    files = ("tensor_base.py", "operation_base.py", "computational_graph.py", "_utils/*.py")
    workloads = {"chain": chain, "scalars": scalars, "mlp": mlp, "cnn": cnn}
    worker.serve("mygrad", "mygrad", files, {"eager": workloads}, QUESTIONS)
