"""What the functions of this folder share: sizes for each axis, and checks of arguments."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, ops
from neuronix.autograd.errors import ArgumentError, DtypeError, ShapeError
from neuronix.nn.tensor_like import TensorLike

__all__ = ["batched", "lift", "number", "of_shape", "rank", "sizes", "tensors", "whole"]


def lift(value: TensorLike) -> CustomTensor:
    """A tensor of ours, also of what was given as a torch tensor or an array: a constant then."""
    return value if isinstance(value, CustomTensor) else CustomTensor(value)


def sizes(value: Any, dimensions: int, name: str) -> tuple[int, ...]:
    """One number for each spatial axis.

    Args:
        value: One for all, or one for each; a tuple or list.
        dimensions: The number of spatial axes.
        name: What it is, for the error.

    Returns:
        The numbers.

    Raises:
        ArgumentError: If there is another number of them.
    """
    if isinstance(value, int):
        return (value,) * dimensions
    if type(value) is tuple and len(value) == dimensions:  # what layers pass
        return value
    values: tuple[Any, ...] = tuple(size if size is None else operator.index(size) for size in value)
    if len(values) == 1:
        return values * dimensions
    if len(values) != dimensions:
        raise ArgumentError(f"{name} must be one number, or {dimensions} of them, got {values}")
    return values


def whole(values: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Sizes that are integers, for a kernel which itself would speak of tuples.

    Args:
        values: One for each spatial axis.
        name: What they are, for the error.

    Returns:
        The same.

    Raises:
        DtypeError: If one isn't an integer.
    """
    if not all(hasattr(size, "__index__") for size in values):
        raise DtypeError(f"{name} must be one integer, or one for each axis, got {values}")
    return values


def number(value: Any, name: str) -> Any:
    """An argument that is a number, also as a tensor that holds one.

    Args:
        value: The argument.
        name: What it is, for the error.

    Returns:
        The number.

    Raises:
        DtypeError: For a tensor that requires grad: its gradient would be lost.
    """
    if not isinstance(value, CustomTensor):
        return value
    if value.requires_grad:
        raise DtypeError(
            f"{name} must be a number, but a tensor that requires grad was given",
            hint="give .item() if its value alone is meant",
        )
    return value.item()


def rank(value: TensorLike, name: str) -> int:
    """The number of axes of an operation's input.

    Args:
        value: The input.
        name: The operation's name.

    Returns:
        The number.

    Raises:
        DtypeError: If it isn't a tensor.
    """
    ndim = getattr(value, "ndim", None)
    if not isinstance(ndim, int):
        raise DtypeError(f"{name}: the input must be a tensor, got {type(value).__name__}")
    return ndim


def tensors(*values: Any) -> list[Any]:
    """The values with torch tensors in the place of numpy's arrays."""
    return [torch.as_tensor(value) if isinstance(value, np.ndarray) else value for value in values]


def batched(input: TensorLike, dimensions: int, name: str) -> tuple[Any, bool]:
    """The input with a batch axis, and whether it had none.

    Args:
        input: (batch, channels, spatial axes …) or (channels, spatial axes …).
        dimensions: The number of spatial axes.
        name: The operation's name without its ``"2d"``.

    Returns:
        The input (batch, channels, spatial axes …), and whether the batch axis is new.

    Raises:
        ShapeError: If it has neither number of axes.
    """
    ndim = rank(input, name)
    if ndim == dimensions + 2:
        return input, False
    if ndim == dimensions + 1:
        return ops.unsqueeze(input, 0), True
    raise ShapeError(
        f"{name}{dimensions}d: expected {dimensions + 1}D (unbatched) or {dimensions + 2}D (batched) input, got shape "
        f"{tuple(input.shape)}",
        hint="the axes are (batch, channels, spatial axes …)",
    )


def of_shape(like: Tensor, shape: torch.Size) -> Tensor:
    """A tensor of which a kernel reads the shape alone, so that one element in memory will do.

    Args:
        like: Says the type and the device.
        shape: Its shape.

    Returns:
        The tensor, whose values mean nothing.
    """
    return like.new_empty(()).expand(shape)
