"""Losses of binary classification: of the probability p of yes, where y (0, 1 or between) is the truth.

Both are ``−y log p − (1 − y) log(1 − p)``; one takes p, the other the logit x of which p = σ(x), which never saturates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, composite, primitive
from neuronix.losses.functional import kernels
from neuronix.losses.functional.arguments import (
    MEAN,
    TensorLike,
    check_same_shape,
    legacy_reduction,
    lift,
    reduction_number,
)
from neuronix.losses.functional.reduction import pull_back

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits"]


@composite(names="nn.functional.binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: TensorLike | None = None,
) -> CustomTensor:
    """The binary cross entropy of logits.

    ``l = −weight · (pos_weight · y · log σ(x) + (1 − y) · log(1 − σ(x)))``, computed as
    ``(1 − y) · x + (1 + (pos_weight − 1) · y) · softplus(−x)``, which is finite for logits of any size.

    Args:
        input: Logits x, of any shape.
        target: Probabilities y between 0 and 1, of the same shape.
        weight: A weight for each element; it is broadcast.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        pos_weight: What a positive counts in comparison with a negative; it is broadcast.  More than 1 raises recall.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ShapeError: If the shapes don't fit.
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import binary_cross_entropy_with_logits
        >>> logits = tensor([0.0, 1000.0], requires_grad=True)
        >>> loss = binary_cross_entropy_with_logits(logits, tensor([1.0, 0.0]), reduction="sum")
        >>> loss.backward()
        >>> logits.grad
        tensor([-0.5000,  1.0000])
    """
    input, target = lift(input), lift(target)
    number = reduction_number("binary_cross_entropy_with_logits", legacy_reduction(size_average, reduce, reduction))
    loss: CustomTensor = binary_cross_entropy_with_logits_(input, target, weight, pos_weight, number)
    return loss


@primitive(aten="binary_cross_entropy_with_logits.default")
def binary_cross_entropy_with_logits_(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: int = MEAN,
) -> Tensor:
    """`binary_cross_entropy_with_logits` with ATen's arguments."""
    check_same_shape("binary_cross_entropy_with_logits", "target", target.shape, x)
    return kernels.bce_with_logits(x, target, weight, pos_weight, reduction)


@binary_cross_entropy_with_logits_.vjp("x")
def binary_cross_entropy_with_logits_wrt_x(
    grad: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, reduction: int
) -> Tensor:
    # softplus(−x)′ = σ(x) − 1, so l′ = (1 − y) + c (σ(x) − 1) where c = 1 + (pos_weight − 1) y; c = 1 gives σ(x) − y.
    p = torch.sigmoid(x)
    if pos_weight is None:
        derivative = p - target
    else:
        derivative = 1 - target + (1 + (pos_weight - 1) * target) * (p - 1)
    return pull_back(grad, derivative if weight is None else derivative * weight, reduction)


@binary_cross_entropy_with_logits_.vjp("target")
def binary_cross_entropy_with_logits_wrt_target(
    grad: Tensor, x: Tensor, weight: Tensor | None, pos_weight: Tensor | None, reduction: int
) -> Tensor:
    # l is linear in y: −x + (pos_weight − 1) softplus(−x), where softplus(−x) = −log σ(x).
    derivative = -x if pos_weight is None else (1 - pos_weight) * torch.nn.functional.logsigmoid(x) - x
    return pull_back(grad, derivative if weight is None else derivative * weight, reduction)


@composite(names="nn.functional.binary_cross_entropy")
def binary_cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """The binary cross entropy of probabilities.

    ``l = −weight · (y · log p + (1 − y) · log(1 − p))``, where both logarithms are cut off at −100, so that p = 0 and
    p = 1 give finite values.

    Args:
        input: Probabilities p between 0 and 1, of any shape.
        target: Probabilities y between 0 and 1, of the same shape.
        weight: A weight for each element; it is broadcast.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ShapeError: If the shapes don't fit.
        ArgumentError: If an input isn't between 0 and 1.
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import binary_cross_entropy
        >>> binary_cross_entropy(tensor([0.5, 0.0]), tensor([1.0, 1.0]), reduction="none").data
        tensor([  0.6931, 100.0000])
    """
    input, target = lift(input), lift(target)
    number = reduction_number("binary_cross_entropy", legacy_reduction(size_average, reduce, reduction))
    weight = None if weight is None else lift(weight).expand(target.shape)
    loss: CustomTensor = binary_cross_entropy_(input, target, weight, number)
    return loss


@primitive(aten="binary_cross_entropy.default")
def binary_cross_entropy_(x: Tensor, target: Tensor, weight: Tensor | None = None, reduction: int = MEAN) -> Tensor:
    """`binary_cross_entropy` with ATen's arguments."""
    check_same_shape("binary_cross_entropy", "target", target.shape, x)
    return kernels.bce(x, target, weight, reduction)


@binary_cross_entropy_.vjp("x")
def binary_cross_entropy_wrt_x(
    grad: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, reduction: int
) -> Tensor:
    # −y/p + (1 − y)/(1 − p) = (p − y) / (p (1 − p)); the bound keeps it finite where p is 0 or 1.
    derivative = (x - target) / torch.clamp((1 - x) * x, min=1e-12)
    return pull_back(grad, derivative if weight is None else derivative * weight, reduction)


@binary_cross_entropy_.vjp("target")
def binary_cross_entropy_wrt_target(grad: Tensor, x: Tensor, weight: Tensor | None, reduction: int) -> Tensor:
    # log(1 − p) − log p, cut off as in the loss.
    derivative = torch.clamp(torch.log1p(-x), min=-100.0) - torch.clamp(torch.log(x), min=-100.0)
    return pull_back(grad, derivative if weight is None else derivative * weight, reduction)


@binary_cross_entropy_.fused("x")
def binary_cross_entropy_kernel_wrt_x(
    grad: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, reduction: int
) -> Tensor:
    return kernels.bce_backward(grad, x, target, weight, reduction)
