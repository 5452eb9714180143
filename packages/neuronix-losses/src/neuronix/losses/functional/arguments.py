"""What all loss functions do with their arguments before they compute: lift, read the reduction, compare the shapes."""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, ops
from neuronix.autograd.errors import ShapeError
from neuronix.losses.errors import LossArgumentError

__all__ = [
    "MEAN",
    "NONE",
    "SUM",
    "TensorLike",
    "any_of",
    "choose",
    "check_same_shape",
    "legacy_reduction",
    "lift",
    "reduction_number",
    "broadcast",
]

TensorLike: TypeAlias = CustomTensor | Tensor
"""What a loss accepts as a tensor; whatever ``CustomTensor(...)`` takes will do, as a constant."""

# ATen's numbers for the reductions.
NONE, MEAN, SUM = 0, 1, 2
_NUMBERS = {"none": NONE, "mean": MEAN, "sum": SUM}


def lift(value: TensorLike) -> CustomTensor:
    """A tensor of ours, also of what was given as a torch tensor, an array or a number: a constant then."""
    return value if isinstance(value, CustomTensor) else CustomTensor(value)


def choose(condition: Any, x: Any, y: Any) -> CustomTensor:
    """Elementwise ``x`` where the condition holds, elsewhere ``y``."""
    chosen: CustomTensor = ops.where(condition, x, y)
    return chosen


def any_of(wrong: CustomTensor) -> bool:
    """Whether a check of values finds something.  Where values can't be seen (a trace, vmap), it finds nothing."""
    try:
        return bool(wrong.any())
    except RuntimeError:
        return False


def reduction_number(name: str, reduction: str) -> int:
    """ATen's number for a reduction.

    Args:
        name: The loss, for the error.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        0, 1 or 2.

    Raises:
        LossArgumentError: For anything else.
    """
    number = _NUMBERS.get(reduction)
    if number is None:
        raise LossArgumentError(
            f"{name}: {reduction!r} is not a valid value for reduction", hint="use 'none', 'mean' or 'sum'"
        )
    return number


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that is meant, if it was spelled by the two arguments that ``reduction`` replaced."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        reduction = "none"
    else:
        reduction = "sum" if size_average is False else "mean"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.", stacklevel=3
    )
    return reduction


def broadcast(name: str, input: CustomTensor, target: CustomTensor) -> tuple[CustomTensor, CustomTensor]:
    """Bring input and target to one shape.

    Returns:
        The two, expanded.

    Raises:
        ShapeError: If the shapes don't fit together.

    Warns:
        UserWarning: If they differ, as in PyTorch: (N,) against (N, 1) gives N × N errors, which is hardly meant.
    """
    if target.shape == input.shape:
        return input, target
    warnings.warn(
        f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely "
        "lead to incorrect results due to broadcasting. Please ensure they have the same size.",
        stacklevel=3,
    )
    try:
        x, y = ops.broadcast_tensors(input, target)
    except RuntimeError as error:
        raise ShapeError(
            f"{name}: target size {tuple(target.shape)} can't be broadcast with input size {tuple(input.shape)}",
            hint="give them the same shape",
        ) from error
    return x, y


def check_same_shape(name: str, what: str, shape: torch.Size, input: TensorLike) -> None:
    """Refuse a target or weight whose shape isn't the input's.

    Raises:
        ShapeError: If it isn't.
    """
    if shape != input.shape:
        raise ShapeError(
            f"{name}: {what} size {tuple(shape)} must be the same as input size {tuple(input.shape)}",
            hint=f"reshape or expand the {what}",
        )
