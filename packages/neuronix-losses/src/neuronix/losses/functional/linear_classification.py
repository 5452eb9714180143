"""A linear map and the cross entropy of what it gives."""

from __future__ import annotations

import math
from typing import Any

from neuronix.autograd import CustomTensor, composite, ops
from neuronix.autograd.errors import ArgumentError, ShapeError
from neuronix.losses.errors import LossArgumentError
from neuronix.losses.functional.arguments import TensorLike, lift
from neuronix.losses.functional.classification import cross_entropy

__all__ = ["linear_cross_entropy"]


@composite(names="nn.functional.linear_cross_entropy")
def linear_cross_entropy(
    input: TensorLike,
    linear_weight: TensorLike,
    target: TensorLike,
    *,
    linear_bias: TensorLike | None = None,
    weight: TensorLike | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> CustomTensor:
    """The cross entropy of the logits ``input · linear_weightᵀ + linear_bias``.

    See [`cross_entropy`][neuronix.losses.functional.cross_entropy].

    Args:
        input: (N, in_features) or (in_features,).
        linear_weight: (C, d1, …, dK, in_features); the logits are (N, C, d1, …, dK).
        target: As for `cross_entropy`.
        linear_bias: (C, d1, …, dK), or ``None``.
        weight: A weight for each class, (C,).
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        ignore_index: A class index that counts for nothing.
        label_smoothing: Which part of the target is spread evenly over all classes.
        options: How torch saves memory; without effect here.

    Returns:
        A scalar, or for ``"none"`` the shape of the target.

    Raises:
        ShapeError: If the shapes don't fit.
        ArgumentError: If ``ignore_index`` is given for class probabilities.
        LossArgumentError: If the input isn't of a floating type.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import linear_cross_entropy
        >>> linear_cross_entropy(tensor([[1.0]]), tensor([[0.0], [0.0]]), tensor([1]))
        CustomTensor(0.6931)

    Differs from torch:
        The logits are always made whole: ``options``, which make torch compute them in pieces, change nothing.
    """
    del options
    x, w, y = lift(input), lift(linear_weight), lift(target)
    if not x.is_floating_point():
        raise LossArgumentError(f"linear_cross_entropy: the input must be of a floating type, not {x.dtype}")
    if x.ndim not in (1, 2) or w.ndim < 2 or x.shape[-1] != w.shape[-1] or (w.ndim > 2 and x.ndim == 1):
        raise ShapeError(
            f"linear_cross_entropy: expected input (N, in_features) and linear_weight (C, …, in_features), got "
            f"{tuple(x.shape)} and {tuple(w.shape)}"
        )
    classes = tuple(w.shape[:-1])
    if linear_bias is not None and tuple(linear_bias.shape) != classes:
        raise ShapeError(
            f"linear_cross_entropy: expected linear_bias of shape {classes}, got {tuple(linear_bias.shape)}"
        )
    shape = (*x.shape[:-1], *classes)
    if tuple(y.shape) == shape and ignore_index is not None:
        raise ArgumentError(
            f"linear_cross_entropy: ignore_index ({ignore_index}) can't be given when the target has probabilities"
        )
    bias = None if linear_bias is None else lift(linear_bias).reshape(-1)
    logits = ops.linear(x, w.reshape(math.prod(classes), w.shape[-1]), bias).reshape(shape)
    return cross_entropy(
        logits,
        y,
        weight=weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
