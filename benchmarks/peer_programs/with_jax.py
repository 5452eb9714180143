"""JAX's side, operation by operation and jitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import worker
from jax import lax

Transform = Callable[[Any], Any]


def chain(jit: Transform) -> worker.Step:
    """Multiplications and additions on 4x4 matrices, forward and backward."""
    start = jnp.array(worker.numbers(0, 4, 4), jnp.float32).reshape(4, 4)
    factor = jnp.full((4, 4), worker.FACTOR, jnp.float32)

    def total(x: Any, factor: Any) -> Any:
        for _ in range(worker.CHAIN_STEPS):
            x = x * factor
            x = x + factor
        return x.sum()

    both = jit(jax.value_and_grad(total))

    def step() -> float:
        value, gradient = both(start, factor)
        return float(value + gradient.sum())

    return step


def scalars(jit: Transform) -> worker.Step:
    """An expression of single numbers, forward and backward."""

    def expression(x: Any, w: Any, b: Any) -> Any:
        y = x
        for _ in range(worker.SCALAR_STEPS):
            y = jax.nn.relu(y * w + b) + x
        return y

    both = jit(jax.value_and_grad(expression, (0, 1, 2)))
    arguments = [jnp.float32(value) for value in (0.5, 0.9, 0.1)]

    def step() -> float:
        value, (x, w, b) = both(*arguments)
        return float(value + x + w + b)

    return step


def layer(seed: int, *shape: int) -> list[Any]:
    """A layer's weight and bias."""
    return [jnp.array(worker.weights(seed, *shape), jnp.float32).reshape(shape), jnp.zeros(shape[0], jnp.float32)]


def cross_entropy(logits: Any, targets: Any) -> Any:
    """The mean over the batch."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], 1).mean()


def adamw(p: Any, grad: Any, m: Any, v: Any, steps: Any) -> tuple[Any, Any, Any]:
    """Loshchilov & Hutter 2019, with PyTorch's defaults."""
    m = m + (1 - worker.BETA1) * (grad - m)
    v = worker.BETA2 * v + (1 - worker.BETA2) * grad * grad
    rate = worker.LEARNING_RATE / (1 - worker.BETA1**steps)
    p = p * (1 - worker.LEARNING_RATE * worker.DECAY)
    return p - rate * m / (jnp.sqrt(v / (1 - worker.BETA2**steps)) + worker.EPSILON), m, v


def training(jit: Transform, parameters: list[Any], buffers: Any, inputs: Any, forward: Any) -> worker.Step:
    """A full training step; ``forward`` returns the logits and the new buffers."""
    targets = jnp.array(worker.labels())

    def loss(parameters: list[Any], buffers: Any, inputs: Any) -> tuple[Any, Any]:
        logits, buffers = forward(parameters, buffers, inputs)
        return cross_entropy(logits, targets), buffers

    def update(state: Any, inputs: Any) -> Any:
        parameters, buffers, first, second, steps = state
        (value, buffers), grads = jax.value_and_grad(loss, has_aux=True)(parameters, buffers, inputs)
        steps = steps + 1
        moved = [adamw(*one, steps) for one in zip(parameters, grads, first, second, strict=True)]
        parameters, first, second = (list(part) for part in zip(*moved, strict=True))
        return value, (parameters, buffers, first, second, steps)

    update = jit(update)
    zeros = [jnp.zeros_like(p) for p in parameters]
    state = (parameters, buffers, zeros, zeros, jnp.float32(0))

    def step() -> float:
        nonlocal state
        value, state = update(state, inputs)
        jax.block_until_ready(state)
        return float(value)

    return step


def mlp(jit: Transform) -> worker.Step:
    """A training step of linear layers with ReLU between them."""
    widths = worker.MLP_WIDTHS
    inputs = jnp.array(worker.numbers(10, worker.BATCH, widths[0]), jnp.float32).reshape(worker.BATCH, widths[0])
    parameters = [p for seed in range(3) for p in layer(seed, widths[seed + 1], widths[seed])]

    def forward(parameters: list[Any], buffers: Any, x: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = parameters
        x = jax.nn.relu(x @ w1.T + b1)
        x = jax.nn.relu(x @ w2.T + b2)
        return x @ w3.T + b3, buffers

    return training(jit, parameters, (), inputs, forward)


def cnn(jit: Transform) -> worker.Step:
    """A training step of two blocks of convolution, batch normalisation, ReLU and pooling, and a linear layer."""
    channels = worker.CNN_CHANNELS
    shape = (worker.BATCH, channels[0], worker.PIXELS, worker.PIXELS)
    inputs = jnp.array(worker.numbers(10, *shape), jnp.float32).reshape(shape)
    parameters, buffers = [], []
    for seed in range(2):
        width = channels[seed + 1]
        parameters += [*layer(seed, width, channels[seed], 3, 3), jnp.ones(width), jnp.zeros(width)]
        buffers.append((jnp.zeros(width), jnp.ones(width)))
    parameters += layer(2, worker.CLASSES, channels[2] * (worker.PIXELS // 4) ** 2)

    def forward(parameters: list[Any], buffers: Any, x: Any) -> Any:
        running = []
        for block, statistics in zip((parameters[0:4], parameters[4:8]), buffers, strict=True):
            weight, bias, gamma, beta = (p if p.ndim > 1 else p.reshape(1, -1, 1, 1) for p in block)
            x = lax.conv_general_dilated(x, weight, (1, 1), "SAME") + bias
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
            count = x.size / x.shape[1]
            unbiased = lax.stop_gradient(variance) * count / (count - 1)
            running.append((
                0.9 * statistics[0] + 0.1 * lax.stop_gradient(mean),
                0.9 * statistics[1] + 0.1 * unbiased,
            ))  # fmt: skip
            x = (x - mean.reshape(1, -1, 1, 1)) * lax.rsqrt(variance + 1e-5).reshape(1, -1, 1, 1) * gamma + beta
            x = lax.reduce_window(jax.nn.relu(x), -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        weight, bias = parameters[8:]
        return x.reshape(worker.BATCH, -1) @ weight.T + bias, running

    return training(jit, parameters, buffers, inputs, forward)


def workloads(jit: Transform) -> dict[str, Callable[[], worker.Step]]:
    """All of them."""
    return {
        "chain": lambda: chain(jit),
        "scalars": lambda: scalars(jit),
        "mlp": lambda: mlp(jit),
        "cnn": lambda: cnn(jit),
    }


def in_place() -> object:
    """A new array under the old name."""

    def function(x: Any) -> Any:
        y = x * 3
        y *= 5
        return y

    return float(jax.grad(function)(1.0))


def part() -> object:
    """An entry is changed."""

    def function(x: Any) -> Any:
        y = x * 3
        y[0] *= 5
        return y.sum()

    gradient: object = jax.grad(function)(jnp.ones(2)).tolist()
    return gradient


def changed() -> object:
    """A constant gets another value after it was used."""

    def function(x: Any) -> Any:
        w = jnp.array(2.0)
        y = x * w
        w *= 5
        return y

    return float(jax.grad(function)(3.0))


def deep() -> object:
    """A long chain."""

    def function(x: Any) -> Any:
        for _ in range(worker.DEPTH):
            x = x * 1.0
        return x

    return float(jax.grad(function)(1.0))


VARIANTS = {"eager": workloads(lambda function: function), "compiled": workloads(jax.jit)}
QUESTIONS: worker.Questions = {
    "second": lambda: float(jax.grad(jax.grad(lambda x: x**3))(2.0)),
    "in_place": in_place,
    "part": part,
    "changed": changed,
    "deep": deep,
}

if __name__ == "__main__":
    files = ("core.py", "linear_util.py", "interpreters/ad.py", "interpreters/partial_eval.py", "api.py")
    engine = tuple(f"_src/{file}" for file in files)
    worker.serve("jax", "jax", engine, VARIANTS, QUESTIONS)
