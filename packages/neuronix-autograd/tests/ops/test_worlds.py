"""One rule, every world: the same rules batched by torch.vmap and traced by make_fx, on real and on fake tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from neuronix.autograd import CustomTensor, grad

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mul": lambda x: x * x * 2,
    "div": lambda x: x / (x * x + 1),
    "pow of tensors": lambda x: x.abs() ** x,
    "pow of a number": lambda x: 2**x,
    "pow of zero": lambda x: 0 ** x.abs(),
    "where": lambda x: torch.where(x > 0, x, 0) * x,
    "clamp": lambda x: x.clamp(-0.5, 0.5) * x,
    "maximum": lambda x: torch.maximum(x, x * x),
    "atan2": lambda x: torch.atan2(x, x * x),
    "hypot": lambda x: torch.hypot(x, x + 1),
    "abs": lambda x: x.abs() * x,
    "sinc": torch.sinc,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "glu": F.glu,
    "prelu": lambda x: F.prelu(x, torch.tensor(0.2, dtype=torch.float64)),
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
}


def first_order(function: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    def gradient(values: Tensor) -> Tensor:
        x = CustomTensor(values, requires_grad=True)
        (first,) = grad((function(x) * function(x)).sum(), x)
        assert first is not None
        return first.data

    return gradient


def second_order(function: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    def gradient(values: Tensor) -> Tensor:
        x = CustomTensor(values, requires_grad=True)
        (first,) = grad((function(x) * function(x)).sum(), x, create_graph=True)
        assert first is not None
        (second,) = grad((first * first).sum(), x, materialize_grads=True)
        assert second is not None
        return second.data

    return gradient


@pytest.mark.parametrize("order", [first_order, second_order])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap_and_make_fx(name: str, order: Callable[..., Callable[[Tensor], Tensor]]) -> None:
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradient = order(FUNCTIONS[name])
    expected = torch.stack([gradient(row) for row in x])
    torch.testing.assert_close(torch.vmap(gradient)(x), expected, rtol=1e-12, atol=1e-12)
    for mode in ("real", "fake"):
        traced = make_fx(gradient, tracing_mode=mode)(x[0])
        torch.testing.assert_close(traced(x[1]), expected[1], rtol=1e-12, atol=1e-12)
