"""Arithmetic: + - * / and powers, comparisons, and choosing between values."""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd.primitive import primitive

__all__ = ["add", "mul"]


@primitive(broadcasts=True, names="mul multiply __mul__ __rmul__", aten="mul.Tensor mul.Scalar")
def mul(x: Tensor, y: Tensor) -> Tensor:
    """Elementwise product, x · y."""
    return torch.mul(x, y)


@mul.vjp("x")
def mul_wrt_x(grad: Tensor, y: Tensor) -> Tensor:
    return grad * y


@mul.vjp("y")
def mul_wrt_y(grad: Tensor, x: Tensor) -> Tensor:
    return grad * x


@primitive(broadcasts=True, names="__add__ __radd__")
def add(x: Tensor, y: Tensor) -> Tensor:
    """Elementwise sum, x + y."""
    return torch.add(x, y)


@add.vjp("x")
def add_wrt_x(grad: Tensor) -> Tensor:
    return grad


@add.vjp("y")
def add_wrt_y(grad: Tensor) -> Tensor:
    return grad
