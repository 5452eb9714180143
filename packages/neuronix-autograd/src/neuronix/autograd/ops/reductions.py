"""Reductions."""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd.primitive import Shape, primitive

__all__ = ["sum"]


@primitive(names="sum")
def sum(x: Tensor) -> Tensor:
    """The sum of all elements."""
    return torch.sum(x)


@sum.vjp("x")
def sum_wrt_x(grad: Tensor, x: Shape) -> Tensor:
    return grad.expand(x)
