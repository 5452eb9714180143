"""Losses of regression: of the difference d between a prediction and its target.

| loss | l(d) | l′(d) |
|---|---|---|
| `mse_loss` | d² | 2 d |
| `l1_loss` | abs d | sign d |
| `smooth_l1_loss` | d² / 2β, from abs d = β on abs d − β/2 | d/β, from there on sign d |
| `huber_loss` | β times that | β times that |

All are symmetric, so the target's gradient is the input's with its sign changed.
"""

from __future__ import annotations

import inspect
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, composite, primitive
from neuronix.autograd.disguise import reveal
from neuronix.autograd.errors import ArgumentError
from neuronix.losses.functional import kernels
from neuronix.losses.functional.arguments import (
    MEAN,
    TensorLike,
    broadcast,
    check_same_shape,
    legacy_reduction,
    lift,
    reduction_number,
)
from neuronix.losses.functional.reduction import pull_back, reduce

__all__ = ["huber_loss", "l1_loss", "mse_loss", "smooth_l1_loss"]


@composite(names="nn.functional.mse_loss")
def mse_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> CustomTensor:
    """The squared error.

    ``l = (input − target)²``; with a weight ``l = weight · (input − target)²``, whose mean is ``Σ l / Σ weight``.

    Args:
        input: Predictions, of any shape.
        target: What they should be, of the same shape.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        weight: A weight for each element, in the shape of the input.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ShapeError: If the shapes can't be broadcast, or the weight isn't of the input's shape.
        LossArgumentError: If the reduction is unknown.

    Warns:
        UserWarning: If target and input differ in shape and are broadcast.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import mse_loss
        >>> prediction = tensor([1.0, 2.0, 4.0], requires_grad=True)
        >>> loss = mse_loss(prediction, tensor([1.0, 2.0, 1.0]))
        >>> loss.item()
        3.0
        >>> loss.backward()
        >>> prediction.grad
        tensor([0., 0., 2.])
    """
    input, target = lift(input), lift(target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    number = reduction_number("mse_loss", reduction)
    x, y = broadcast("mse_loss", input, target)
    if weight is None:
        squared: CustomTensor = mse_loss_(x, y, number)
        return squared
    return _weighted("mse_loss", mse_loss_(x, y, 0), input, weight, reduction)


@primitive(aten="mse_loss.default")
def mse_loss_(x: Tensor, target: Tensor, reduction: int = MEAN) -> Tensor:
    """`mse_loss` with ATen's arguments."""
    check_same_shape("mse_loss", "target", target.shape, x)
    return kernels.mse(x, target, reduction)


@mse_loss_.vjp("x")
def mse_loss_wrt_x(grad: Tensor, x: Tensor, target: Tensor, reduction: int) -> Tensor:
    return pull_back(2 * grad, x - target, reduction)


@mse_loss_.vjp("target")
def mse_loss_wrt_target(grad: Tensor, x: Tensor, target: Tensor, reduction: int) -> Tensor:
    return pull_back(2 * grad, target - x, reduction)


@mse_loss_.fused("x")
def mse_loss_kernel_wrt_x(grad: Tensor, x: Tensor, target: Tensor, reduction: int) -> Tensor:
    return kernels.mse_backward(grad, x, target, reduction)


@mse_loss_.fused("target")
def mse_loss_kernel_wrt_target(grad: Tensor, x: Tensor, target: Tensor, reduction: int) -> Tensor:
    return kernels.mse_backward(grad, target, x, reduction)


def l1_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> CustomTensor:
    """The absolute error.

    ``l = |input − target|``; with a weight ``l = weight · |input − target|``, whose mean is ``Σ l / Σ weight``.

    Args:
        input: Predictions, of any shape.
        target: What they should be, of the same shape.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        weight: A weight for each element, in the shape of the input.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ShapeError: If the shapes can't be broadcast, or the weight isn't of the input's shape.
        LossArgumentError: If the reduction is unknown.

    Warns:
        UserWarning: If target and input differ in shape and are broadcast.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import l1_loss
        >>> l1_loss(tensor([1.0, 2.0, 4.0]), tensor([1.0, 2.0, 1.0])).item()
        1.0
    """
    input, target = lift(input), lift(target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    x, y = broadcast("l1_loss", input, target)
    errors = (x - y).abs()
    if weight is None:
        return _reduce("l1_loss", errors, reduction)
    return _weighted("l1_loss", errors, input, weight, reduction)


@composite(names="nn.functional.l1_loss")
@wraps(l1_loss)
def _l1_loss_of_torch(*args: Any, **kwargs: Any) -> CustomTensor:
    """As `l1_loss`, where ``torch.nn.functional.l1_loss`` was called: it hands on all its arguments but ``weight``."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not torch.nn.functional.l1_loss.__code__:
        frame = frame.f_back
    weight = None if frame is None else reveal(frame.f_locals["weight"])
    return l1_loss(*args, **{"weight": weight, **kwargs})


@composite(names="nn.functional.smooth_l1_loss")
def smooth_l1_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> CustomTensor:
    """The absolute error, rounded off to a parabola where it is smaller than ``beta``.

    With d = input − target: ``l = d² / (2 β)`` where ``|d| < β``, and ``l = |d| − β / 2`` elsewhere.

    Args:
        input: Predictions, of any shape.
        target: What they should be, of the same shape.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        beta: Where the parabola ends; 0 makes it `l1_loss`.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ArgumentError: If ``beta`` is negative.
        ShapeError: If the shapes can't be broadcast.
        LossArgumentError: If the reduction is unknown.

    Warns:
        UserWarning: If target and input differ in shape and are broadcast.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import smooth_l1_loss
        >>> smooth_l1_loss(tensor([0.5, 3.0]), tensor([0.0, 0.0]), reduction="none").data
        tensor([0.1250, 2.5000])

    References:
        R. Girshick, *Fast R-CNN*, 2015, equation 3.
    """
    input, target = lift(input), lift(target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    number = reduction_number("smooth_l1_loss", reduction)
    x, y = broadcast("smooth_l1_loss", input, target)
    if beta == 0:
        return _reduce("smooth_l1_loss", (x - y).abs(), reduction)
    if beta < 0:
        raise ArgumentError(f"smooth_l1_loss: beta is {beta}; it must not be negative")
    smooth: CustomTensor = smooth_l1_loss_(x, y, number, beta)
    return smooth


@primitive(aten="smooth_l1_loss.default")
def smooth_l1_loss_(x: Tensor, target: Tensor, reduction: int = MEAN, beta: float = 1.0) -> Tensor:
    """`smooth_l1_loss` with ATen's arguments."""
    check_same_shape("smooth_l1_loss", "target", target.shape, x)
    return kernels.smooth_l1(x, target, reduction, beta)


@smooth_l1_loss_.vjp("x")
def smooth_l1_loss_wrt_x(grad: Tensor, x: Tensor, target: Tensor, reduction: int, beta: float) -> Tensor:
    return pull_back(grad, _smooth_sign(x - target, beta), reduction)


@smooth_l1_loss_.vjp("target")
def smooth_l1_loss_wrt_target(grad: Tensor, x: Tensor, target: Tensor, reduction: int, beta: float) -> Tensor:
    return pull_back(grad, _smooth_sign(target - x, beta), reduction)


@smooth_l1_loss_.fused("x")
def smooth_l1_loss_kernel_wrt_x(grad: Tensor, x: Tensor, target: Tensor, reduction: int, beta: float) -> Tensor:
    return kernels.smooth_l1_backward(grad, x, target, reduction, beta)


@smooth_l1_loss_.fused("target")
def smooth_l1_loss_kernel_wrt_target(grad: Tensor, x: Tensor, target: Tensor, reduction: int, beta: float) -> Tensor:
    return kernels.smooth_l1_backward(grad, target, x, reduction, beta)


@composite(names="nn.functional.huber_loss")
def huber_loss(
    input: TensorLike,
    target: TensorLike,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: TensorLike | None = None,
) -> CustomTensor:
    """The squared error, continued as a straight line where it is larger than ``delta``.

    With d = input − target: ``l = d² / 2`` where ``|d| < δ``, and ``l = δ (|d| − δ / 2)`` elsewhere.
    A weight multiplies each l.

    Args:
        input: Predictions, of any shape.
        target: What they should be, of the same shape.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        delta: Where the parabola ends.
        weight: A weight for each element, in the shape of the input.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ArgumentError: If ``delta`` isn't positive.
        ShapeError: If the shapes can't be broadcast, or the weight isn't of the input's shape.
        LossArgumentError: If the reduction is unknown.

    Warns:
        UserWarning: If target and input differ in shape and are broadcast.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import huber_loss
        >>> huber_loss(tensor([1.0, 3.0]), tensor([0.0, 0.0]), delta=2.0, reduction="none").data
        tensor([0.5000, 4.0000])

    References:
        P. J. Huber, *Robust Estimation of a Location Parameter*, 1964.
    """
    input, target = lift(input), lift(target)
    number = reduction_number("huber_loss", reduction)
    x, y = broadcast("huber_loss", input, target)
    if delta <= 0:
        raise ArgumentError(f"huber_loss: delta is {delta}; it must be positive")
    if weight is None:
        loss: CustomTensor = huber_loss_(x, y, number, delta)
        return loss
    weight = lift(weight)
    check_same_shape("huber_loss", "weight", weight.shape, input)
    return _reduce("huber_loss", huber_loss_(x, y, 0, delta) * weight, reduction)


@primitive(aten="huber_loss.default")
def huber_loss_(x: Tensor, target: Tensor, reduction: int = MEAN, delta: float = 1.0) -> Tensor:
    """`huber_loss` with ATen's arguments."""
    check_same_shape("huber_loss", "target", target.shape, x)
    return kernels.huber(x, target, reduction, delta)


@huber_loss_.vjp("x")
def huber_loss_wrt_x(grad: Tensor, x: Tensor, target: Tensor, reduction: int, delta: float) -> Tensor:
    return pull_back(grad, delta * _smooth_sign(x - target, delta), reduction)


@huber_loss_.vjp("target")
def huber_loss_wrt_target(grad: Tensor, x: Tensor, target: Tensor, reduction: int, delta: float) -> Tensor:
    return pull_back(grad, delta * _smooth_sign(target - x, delta), reduction)


@huber_loss_.fused("x")
def huber_loss_kernel_wrt_x(grad: Tensor, x: Tensor, target: Tensor, reduction: int, delta: float) -> Tensor:
    return kernels.huber_backward(grad, x.to(grad.dtype), target.to(grad.dtype), reduction, delta)


@huber_loss_.fused("target")
def huber_loss_kernel_wrt_target(grad: Tensor, x: Tensor, target: Tensor, reduction: int, delta: float) -> Tensor:
    return kernels.huber_backward(grad, target.to(grad.dtype), x.to(grad.dtype), reduction, delta)


def _smooth_sign(difference: Tensor, width: float) -> Tensor:
    """The sign, with a straight line instead of the jump where |difference| < width.

    At ±width itself it counts as constant, as in PyTorch, which the second order shows; NaN stays NaN.
    """
    return torch.where(difference.abs() >= width, torch.sign(difference), difference / width)


def _weighted(name: str, errors: CustomTensor, input: CustomTensor, weight: TensorLike, reduction: str) -> CustomTensor:
    """Errors with a weight each; their mean is the weighted one, Σ w l / Σ w."""
    weight = lift(weight)
    check_same_shape(name, "weight", weight.shape, input)
    weighted = errors * weight
    return weighted.sum() / weight.sum() if reduction == "mean" else _reduce(name, weighted, reduction)


# Under a name that the functions' own deprecated argument `reduce` doesn't hide.
_reduce = reduce
