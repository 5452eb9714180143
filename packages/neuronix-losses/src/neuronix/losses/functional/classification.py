"""Losses of classification: one class out of C, given as an index or as a probability of each."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, composite, primitive
from neuronix.autograd.errors import ArgumentError, DtypeError, ShapeError
from neuronix.losses.errors import ClassIndexError, LossTypeError
from neuronix.losses.functional import kernels
from neuronix.losses.functional.arguments import MEAN, TensorLike, legacy_reduction, lift, reduction_number

__all__ = ["cross_entropy", "nll_loss"]


@composite(names="nn.functional.cross_entropy")
def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> CustomTensor:
    """The cross entropy between a target and the softmax of logits.

    With p = softmax(input) over the classes: ``l = −weight[target] · log p[target]`` for a class index, and
    ``l = −Σ weight[c] · target[c] · log p[c]`` for class probabilities.  Label smoothing ε first moves the target
    towards the uniform distribution, to ``(1 − ε) · target + ε / C``.  The gradient with respect to the logits is
    ``p − target``.

    It is `nll_loss` after ``log_softmax``, so logits of any size give finite values: 1000 and −1000 too.

    Args:
        input: Logits, (C,), (N, C) or (N, C, d1, …, dK).
        target: Class indices (), (N,) or (N, d1, …, dK), or class probabilities in the shape of the input.
        weight: A weight for each class, (C,).
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        ignore_index: A class index that counts for nothing; for class indices only.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.  The mean is Σ l divided by the targets' weights for class
            indices, and by their number for class probabilities.  The mean of nothing is NaN.
        label_smoothing: ε, between 0 and 1.

    Returns:
        A scalar, or for ``"none"`` the shape of the input without its class axis.

    Raises:
        ShapeError: If the shapes don't fit.
        DtypeError: If the target is neither of indices nor of probabilities.
        ClassIndexError: If a class index is out of range.
        ArgumentError: If ``label_smoothing`` is out of range, or ``ignore_index`` is given for probabilities.
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import cross_entropy
        >>> logits = tensor([[0.0, 0.0], [1000.0, -1000.0]], requires_grad=True)
        >>> loss = cross_entropy(logits, tensor([1, 0]), reduction="sum")
        >>> loss.backward()
        >>> logits.grad
        tensor([[ 0.5000, -0.5000],
                [ 0.0000,  0.0000]])

    References:
        C. Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, 2016, section 7.
    """
    input, target = lift(input), lift(target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    number = reduction_number("cross_entropy", reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(f"cross_entropy: label_smoothing must be between 0.0 and 1.0, got {label_smoothing}")
    if target.shape == input.shape and input.ndim > 0:
        return _of_probabilities(input, target, weight, ignore_index, reduction, label_smoothing)
    axis = _class_axis("cross_entropy", input)
    _check_indices("cross_entropy", input, target, weight, axis)
    _check_ignored("cross_entropy", ignore_index)
    log_p = input.log_softmax(axis)
    loss: CustomTensor = nll_loss_(log_p, target, weight, number, ignore_index, [])
    if label_smoothing == 0.0:
        return loss
    # The uniform part of the target: Σ over all classes of −w log p / C, averaged over the same weights as the rest.
    classes = max(input.shape[axis], 1)  # without any, nothing is divided among them
    per_class = log_p if weight is None else log_p * _along(weight, axis, input.ndim)
    ignored = target == ignore_index
    smooth = -per_class.sum(axis).masked_fill(ignored, 0.0)
    if reduction == "mean":
        smooth = smooth.sum() / _total_weight(target.data, _plain(weight), ignore_index, log_p.data)
    elif reduction == "sum":
        smooth = smooth.sum()
    smoothed: CustomTensor = loss * (1 - label_smoothing) + smooth * (label_smoothing / classes)
    return smoothed


def _of_probabilities(
    input: CustomTensor,
    target: CustomTensor,
    weight: TensorLike | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> CustomTensor:
    """Cross entropy with a probability for each class."""
    if not target.dtype.is_floating_point:
        raise DtypeError(
            f"cross_entropy: a target in the shape of the input, {tuple(input.shape)}, holds class probabilities, "
            f"which are floating-point numbers, not {target.dtype}",
            hint="class indices have no class axis: (N,) or (N, d1, …) for logits (N, C) or (N, C, d1, …)",
        )
    if ignore_index >= 0:
        raise ArgumentError(
            f"cross_entropy: ignore_index is {ignore_index}, but it is not supported for class probabilities",
            hint="set the probabilities of what isn't to count to 0",
        )
    axis = _class_axis("cross_entropy", input)
    _check_class_weight("cross_entropy", input, weight, axis)
    classes = max(input.shape[axis], 1)  # without any, nothing is divided among them
    if label_smoothing > 0.0:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    terms = input.log_softmax(axis) * target
    if weight is not None:
        terms = terms * _along(weight, axis, input.ndim)
    if reduction == "none":
        result: CustomTensor = -terms.sum(axis)
        return result
    total: CustomTensor = -terms.sum()
    # As in PyTorch the mean divides by the number of targets here, not by their weights; without classes there is none.
    return total / (input.numel() // classes) if reduction == "mean" else total


@composite(names="nn.functional.nll_loss")
def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """The negative log likelihood: minus the log-probability of the target's class.

    ``l = −weight[target] · input[target]``

    Args:
        input: Log-probabilities, (C,), (N, C) or (N, C, d1, …, dK).
        target: Class indices, (), (N,) or (N, d1, …, dK).
        weight: A weight for each class, (C,).
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        ignore_index: A class index that counts for nothing.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` (Σ l divided by the targets' weights) or ``"sum"``.

    Returns:
        A scalar, or for ``"none"`` the shape of the target.

    Raises:
        ShapeError: If the shapes don't fit.
        DtypeError: If the target doesn't hold indices.
        ClassIndexError: If a class index is out of range.
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import nll_loss
        >>> log_p = tensor([[-0.5, -1.0], [-2.0, -0.25]], requires_grad=True)
        >>> loss = nll_loss(log_p, tensor([0, 1]))
        >>> loss.item()
        0.375
        >>> loss.backward()
        >>> log_p.grad
        tensor([[-0.5000,  0.0000],
                [ 0.0000, -0.5000]])
    """
    input, target = lift(input), lift(target)
    number = reduction_number("nll_loss", legacy_reduction(size_average, reduce, reduction))
    _check_indices("nll_loss", input, target, weight, _class_axis("nll_loss", input))
    _check_ignored("nll_loss", ignore_index)
    loss: CustomTensor = nll_loss_(input, target, weight, number, ignore_index, [])
    return loss


@primitive
def nll_loss_(
    x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int, totals: list[Tensor]
) -> Tensor:
    """`nll_loss` with ATen's arguments.

    ``totals`` is an empty list, which receives the sum of the targets' weights: the forward kernel computes it anyway,
    and the backward kernel takes it.
    """
    shape = target.shape
    try:
        if x.ndim < 3:
            loss, total = kernels.nll(x, target, weight, reduction, ignore_index)
        else:
            x, target = _as_images(x, target)
            loss, total = kernels.nll_images(x, target, weight, reduction, ignore_index)
    except IndexError as error:
        raise ClassIndexError(
            f"nll_loss: {error} The input of shape {tuple(x.shape)} has classes 0 to {x.shape[_axis(x.shape)] - 1}, "
            f"and ignore_index is {ignore_index}",
            hint="count classes from 0",
        ) from error
    totals.append(total)
    return loss.reshape(shape) if loss.ndim > 0 else loss


def _as_images(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Any number of further axes, as one image of a single row: what the kernels take."""
    pixels = math.prod(x.shape[2:])
    return x.reshape(x.shape[0], x.shape[1], 1, pixels), target.reshape(x.shape[0], 1, pixels)


@nll_loss_.vjp("x")
def nll_loss_wrt_x(
    grad: Tensor, x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> Tensor:
    # l = −w[t] x[t] is linear in x; among the classes only the target's has a derivative: −w[t].
    axis = _axis(x.shape)
    weights = _target_weights(target, weight, ignore_index, grad)
    if reduction == MEAN:
        grad = grad / weights.sum()
    ignored = target == ignore_index
    values = torch.where(ignored, grad.new_zeros(()), -grad * weights)
    classes = target.long().masked_fill(ignored, 0)
    return grad.new_zeros(x.shape).scatter(axis, classes.unsqueeze(axis), values.unsqueeze(axis))


@nll_loss_.fused("x")
def nll_loss_kernel_wrt_x(
    grad: Tensor,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore_index: int,
    totals: list[Tensor],
) -> Tensor:
    # The kernel looks at the shape of x only, but asks for a tensor; log_softmax keeps this one anyway.
    if x.ndim < 3:
        return kernels.nll_backward(grad, x, target, weight, reduction, ignore_index, totals[0])
    images, targets = _as_images(x, target)
    grad = grad.reshape(targets.shape) if grad.ndim > 0 else grad
    flat = kernels.nll_images_backward(grad, images, targets, weight, reduction, ignore_index, totals[0])
    return flat.reshape(x.shape)


@composite(names="", aten="nll_loss_forward.default nll_loss2d_forward.default")
def nll_loss_forward(
    x: CustomTensor, target: CustomTensor, weight: CustomTensor | None, reduction: int, ignore_index: int
) -> tuple[CustomTensor, CustomTensor]:
    """`nll_loss` as ATen has it: with the sum of the targets' weights as a second result."""
    totals: list[Tensor] = []
    loss: CustomTensor = nll_loss_(x, target, weight, reduction, ignore_index, totals)
    return loss, lift(totals[0])


# Weights and shapes


def _target_weights(target: Tensor, weight: Tensor | None, ignore_index: int, like: Tensor) -> Tensor:
    """The weight of each target's class in the dtype of ``like``, 0 where it is ignored; a constant."""
    ignored = target == ignore_index
    if weight is None:
        return torch.logical_not(ignored).to(like.dtype)
    return weight[target.long().masked_fill(ignored, 0)].masked_fill(ignored, 0.0)


def _total_weight(target: Tensor, weight: Tensor | None, ignore_index: int, like: Tensor) -> Tensor:
    """By what the sum of the losses is divided for their mean."""
    if weight is None:
        return (target != ignore_index).sum(dtype=like.dtype)
    return _target_weights(target, weight, ignore_index, like).sum()


def _plain(weight: TensorLike | None) -> Tensor | None:
    return weight.data if isinstance(weight, CustomTensor) else weight


def _along(weight: TensorLike, axis: int, ndim: int) -> Any:
    """Class weights shaped so that they multiply along the class axis."""
    return lift(weight).reshape([-1 if i == axis else 1 for i in range(ndim)])


def _axis(shape: torch.Size) -> int:
    return 0 if len(shape) == 1 else 1


def _class_axis(name: str, input: CustomTensor) -> int:
    """Which axis the classes are on: the second, or the only one where there is no batch."""
    if input.ndim == 0:
        raise ShapeError(
            f"{name}: the input is a scalar, without an axis of classes", hint="(C,), (N, C) or (N, C, d1, …)"
        )
    return _axis(input.shape)


def _check_indices(name: str, input: CustomTensor, target: CustomTensor, weight: TensorLike | None, axis: int) -> None:
    """Check shapes and dtype of a target of class indices; whether they are in range is seen while computing."""
    expected = input.shape[:axis] + input.shape[axis + 1 :]
    if target.shape != expected:
        raise ShapeError(
            f"{name}: for an input of shape {tuple(input.shape)} expected class indices of shape {tuple(expected)}, "
            f"got {tuple(target.shape)}",
            hint="the classes are on the input's second axis: transpose the input if they are elsewhere",
        )
    if target.dtype not in (torch.int64, torch.uint8):
        raise DtypeError(
            f"{name}: expected class indices of dtype torch.int64 or torch.uint8, got {target.dtype}",
            hint="use target.long()",
        )
    _check_class_weight(name, input, weight, axis)


def _check_ignored(name: str, ignore_index: int) -> None:
    if not hasattr(ignore_index, "__index__"):
        raise LossTypeError(f"{name}: ignore_index must be an integer, got {ignore_index!r}")


def _check_class_weight(name: str, input: CustomTensor, weight: TensorLike | None, axis: int) -> None:
    if weight is not None and tuple(weight.shape) != (input.shape[axis],):
        raise ShapeError(
            f"{name}: the weight tensor should be defined for all {input.shape[axis]} classes, but has shape "
            f"{tuple(weight.shape)}"
        )
