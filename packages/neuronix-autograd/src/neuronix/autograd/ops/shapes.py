"""Shapes."""

from __future__ import annotations

from torch import Tensor

from neuronix.autograd.primitive import Shape, primitive

__all__ = ["expand"]


@primitive(names="expand", view=True)
def expand(x: Tensor, shape: Shape) -> Tensor:
    """``x`` repeated along axes of size one, without copying."""
    return x.expand(shape)
