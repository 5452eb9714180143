"""HIPS autograd's side: functions of NumPy arrays."""

from __future__ import annotations

from typing import Any

import autograd.numpy as np
import worker
from autograd import grad, value_and_grad
from numpy_adamw import AdamW


def chain() -> worker.Step:
    """Multiplications and additions on 4x4 matrices, forward and backward."""
    start = np.array(worker.numbers(0, 4, 4), np.float32).reshape(4, 4)
    factor = np.full((4, 4), worker.FACTOR, np.float32)

    def total(x: Any) -> Any:
        for _ in range(worker.CHAIN_STEPS):
            x = x * factor
            x = x + factor
        return np.sum(x)

    both = value_and_grad(total)

    def step() -> float:
        value, gradient = both(start)
        return float(value + gradient.sum())

    return step


def scalars() -> worker.Step:
    """An expression of single numbers, forward and backward."""

    def expression(x: Any, w: Any, b: Any) -> Any:
        y = x
        for _ in range(worker.SCALAR_STEPS):
            y = np.maximum(y * w + b, 0.0) + x
        return y

    both = value_and_grad(expression, (0, 1, 2))

    def step() -> float:
        value, gradients = both(0.5, 0.9, 0.1)
        return float(value + sum(gradients))

    return step


def mlp() -> worker.Step:
    """A training step of linear layers with ReLU between them."""
    widths = worker.MLP_WIDTHS
    parameters = []
    for seed in range(3):
        shape = (widths[seed + 1], widths[seed])
        parameters += [
            np.array(worker.weights(seed, *shape), np.float32).reshape(shape),
            np.zeros(shape[0], np.float32),
        ]
    inputs = np.array(worker.numbers(10, worker.BATCH, widths[0]), np.float32).reshape(worker.BATCH, widths[0])
    rows, targets = np.arange(worker.BATCH), np.array(worker.labels())
    optimizer = AdamW(parameters)

    def loss(parameters: list[Any]) -> Any:
        w1, b1, w2, b2, w3, b3 = parameters
        x = np.maximum(np.dot(inputs, w1.T) + b1, 0)
        x = np.maximum(np.dot(x, w2.T) + b2, 0)
        x = np.dot(x, w3.T) + b3
        x = x - np.max(x, axis=1, keepdims=True)
        return np.mean(np.log(np.sum(np.exp(x), axis=1)) - x[rows, targets])

    both = value_and_grad(loss)

    def step() -> float:
        value, grads = both(parameters)
        optimizer.update(grads)
        return float(value)

    return step


def in_place() -> object:
    """An operator that is in place on arrays."""

    def function(x: Any) -> Any:
        y = x * 3
        y *= 5
        return y

    return float(grad(function)(1.0))


def part() -> object:
    """An entry is changed."""

    def function(x: Any) -> Any:
        y = x * 3
        y[0] *= 5
        return np.sum(y)

    gradient: object = grad(function)(np.ones(2)).tolist()
    return gradient


def changed() -> object:
    """A constant is changed while the function runs."""

    def function(x: Any) -> Any:
        w = np.array(2.0)
        y = x * w
        w *= 5
        return y

    return float(grad(function)(3.0))


def deep() -> object:
    """A long chain."""

    def function(x: Any) -> Any:
        for _ in range(worker.DEPTH):
            x = x * 1.0
        return x

    return float(grad(function)(1.0))


QUESTIONS: worker.Questions = {
    "second": lambda: float(grad(grad(lambda x: x**3))(2.0)),
    "in_place": in_place,
    "part": part,
    "changed": changed,
    "deep": deep,
}

if __name__ == "__main__":
    files = ("core.py", "tracer.py", "util.py", "wrap_util.py", "extend.py", "differential_operators.py")
    worker.serve("autograd", "autograd", files, {"eager": {"chain": chain, "scalars": scalars, "mlp": mlp}}, QUESTIONS)
