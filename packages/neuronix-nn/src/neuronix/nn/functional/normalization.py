"""Normalisation: subtract the mean, divide by the standard deviation, over a batch or over features.

All kinds are one formula over different axes.  With μ and σ² the mean and variance over these axes of n elements,

    x̂ = (x − μ) / σ,    σ = √(σ² + ε),    y = w · x̂ + b

and, for the gradient g of x̂ (that is w times the gradient of y), since ∂μ/∂x = 1/n and ∂σ/∂x = x̂/n,

    ∂L/∂x = (g − mean(g) − x̂ · mean(g · x̂)) / σ

`normalized_wrt_x` is that line.  The rules compute μ and σ again from x: so they hold to any order, and keep x only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, composite, ops, primitive
from neuronix.autograd.errors import ArgumentError, RankError, ShapeError
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import lift, rank
from neuronix.nn.tensor_like import TensorLike

__all__ = ["batch_norm", "layer_norm"]

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def standardized(x: Tensor, dims: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """x̂ and 1/σ, of ``x`` over the axes ``dims``."""
    centred = x - x.mean(dims, keepdim=True)
    inverse_std = torch.rsqrt((centred * centred).mean(dims, keepdim=True) + eps)
    return centred * inverse_std, inverse_std


def normalized_wrt_x(grad: Tensor, x_hat: Tensor, inverse_std: Tensor, dims: tuple[int, ...]) -> Tensor:
    """∂L/∂x from the gradient of x̂; see above."""
    return inverse_std * (grad - grad.mean(dims, keepdim=True) - x_hat * (grad * x_hat).mean(dims, keepdim=True))


# Over a batch


def per_channel(ndim: int) -> tuple[int, ...]:
    """The axes that a channel's statistics go over: all but axis 1."""
    return (0, *range(2, ndim))


def as_channels(value: Tensor, ndim: int) -> Tensor:
    """One number for each channel, (C,), in the shape (C, 1, 1, …) that broadcasts against a batch of ``ndim`` axes."""
    return value.reshape((-1, *(1,) * (ndim - 2)))


def scaled_channels(x: CustomTensor, weight: TensorLike | None, bias: TensorLike | None) -> CustomTensor:
    """X · weight + bias, with a number of each for each channel (axis 1)."""
    shape = (-1, *(1,) * (x.ndim - 2))
    if weight is not None:
        x = x * ops.reshape(lift(weight), shape)
    return x if bias is None else x + ops.reshape(lift(bias), shape)


@primitive
def batch_norm_training(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    statistics: list[Tensor],
) -> Tensor:
    """Normalise with the batch's own statistics, and move the running ones towards them, in place.

    ``statistics`` is an empty list, which receives μ and 1/σ: the forward kernel computes them anyway, and the backward
    kernel takes them.
    """
    out, mean, inverse_std = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
    statistics += (mean, inverse_std)
    return out


@batch_norm_training.vjp("x", "weight", "bias")
def batch_norm_training_wrt(
    grad: Tensor, x: Tensor, weight: Tensor | None, eps: float, needs: tuple[bool, bool, bool]
) -> Gradients:
    dims = per_channel(x.ndim)
    x_hat, inverse_std = standardized(x, dims, eps)
    scaled = grad if weight is None else grad * as_channels(weight, x.ndim)
    return (
        normalized_wrt_x(scaled, x_hat, inverse_std, dims) if needs[0] else None,
        (grad * x_hat).sum(dims) if needs[1] else None,
        grad.sum(dims) if needs[2] else None,
    )


@batch_norm_training.fused("x", "weight", "bias")
def batch_norm_training_kernel(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    statistics: list[Tensor],
    needs: tuple[bool, bool, bool],
) -> Gradients:
    mean, inverse_std = statistics
    grads: Gradients = torch.ops.aten.native_batch_norm_backward(
        grad, x, weight, None, None, mean, inverse_std, True, eps, needs
    )
    return grads


@primitive
def batch_norm_evaluation(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
) -> Tensor:
    """Normalise with the running statistics, which are constants: y is linear in x."""
    return torch.native_batch_norm(x, weight, bias, running_mean, running_var, False, 0.0, eps)[0]


@batch_norm_evaluation.vjp("x")
def batch_norm_evaluation_wrt_x(grad: Tensor, weight: Tensor | None, running_var: Tensor, eps: float) -> Tensor:
    slope = torch.rsqrt(running_var + eps)
    return grad * as_channels(slope if weight is None else slope * weight, grad.ndim)


@batch_norm_evaluation.vjp("weight")
def batch_norm_evaluation_wrt_weight(
    grad: Tensor, x: Tensor, running_mean: Tensor, running_var: Tensor, eps: float
) -> Tensor:
    x_hat = (x - as_channels(running_mean, x.ndim)) * as_channels(torch.rsqrt(running_var + eps), x.ndim)
    return (grad * x_hat).sum(per_channel(x.ndim))


@batch_norm_evaluation.vjp("bias")
def batch_norm_evaluation_wrt_bias(grad: Tensor) -> Tensor:
    return grad.sum(per_channel(grad.ndim))


@composite(names="nn.functional.batch_norm")
def batch_norm(
    input: TensorLike,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> CustomTensor:
    """Normalise each channel over the batch.

        y = weight · (x − μ) / √(σ² + eps) + bias

    In training μ and σ² are the batch's mean and (biased) variance, and the running statistics are moved towards them:
    ``running = (1 − momentum) · running + momentum · batch``, with the unbiased variance.  Otherwise they are the
    running statistics themselves.

    Args:
        input: (N, C) or (N, C, spatial axes …).
        running_mean: (C,), changed in place in training; may be ``None`` then.
        running_var: (C,), likewise.
        weight: (C,), or ``None`` for ones.
        bias: (C,), or ``None`` for zeros.
        training: Which statistics are used.
        momentum: How far the running statistics move.
        eps: Added to the variance.

    Returns:
        The shape of ``input``.

    Raises:
        ShapeError: If the shapes don't fit, or if a channel has a single value in training, whose variance is 0.
        ArgumentError: If the running statistics are needed and missing.
        LayerArgumentError: If ``eps`` isn't positive.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True)
        CustomTensor([[-1.0000],
                      [ 1.0000]])

    References:
        Ioffe & Szegedy 2015, Batch normalization, Algorithm 1.
    """
    if rank(input, "batch_norm") < 2 and input.shape != (0,):  # torch lets an empty vector pass
        raise RankError(f"batch_norm: expected input (N, C, …), got shape {tuple(input.shape)}")
    if eps <= 0.0:
        raise LayerArgumentError(f"batch_norm: eps must be positive, got {eps}")
    count = math.prod(input.shape)
    channels = input.shape[1] if input.ndim > 1 else 0
    for position, value in enumerate((running_mean, running_var, weight, bias)):
        if value is not None and value.shape != (channels,):
            name = ("running_mean", "running_var", "weight", "bias")[position]
            raise ShapeError(
                f"batch_norm: {name} has shape {tuple(value.shape)}, but the input of shape {tuple(input.shape)} has "
                f"{channels} channels (axis 1)"
            )
    if count == 0:
        return _empty_batch(input, weight, bias)
    out: CustomTensor
    if training:
        if count == channels:
            raise ShapeError(
                f"batch_norm: expected more than 1 value per channel when training, got input of shape "
                f"{tuple(input.shape)}",
                hint="use a larger batch, or call eval() on the model",
            )
        out = batch_norm_training(input, weight, bias, running_mean, running_var, momentum, eps, [])
        return out
    if running_mean is None or running_var is None:
        raise ArgumentError("batch_norm: expected running_mean and running_var when training=False, got None")
    out = batch_norm_evaluation(input, weight, bias, running_mean, running_var, eps)
    return out


def _empty_batch(input: TensorLike, weight: TensorLike | None, bias: TensorLike | None) -> CustomTensor:
    """An empty result, of which weight and bias get zeros as gradients: torch's kernels refuse empty batches."""
    return scaled_channels(lift(input), weight, bias)


# Over groups of channels


@primitive
def group_norm_channels(
    x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, statistics: list[Tensor]
) -> Tensor:
    """Normalise over groups of channels and all places; ``statistics`` receives μ and 1/σ for the backward kernel."""
    samples, channels, *places = x.shape
    out, mean, inverse_std = torch.native_group_norm(
        x.contiguous(), weight, bias, samples, channels, math.prod(places), groups, eps
    )
    statistics += (mean, inverse_std)
    return out


@group_norm_channels.vjp("x", "weight", "bias")
def group_norm_channels_wrt(
    grad: Tensor, x: Tensor, groups: int, weight: Tensor | None, eps: float, needs: tuple[bool, bool, bool]
) -> Gradients:
    grouped, dims = (x.shape[0], groups, -1), per_channel(x.ndim)
    x_hat, inverse_std = standardized(x.reshape(grouped), (-1,), eps)
    scaled = grad if weight is None else grad * as_channels(weight, x.ndim)
    return (
        normalized_wrt_x(scaled.reshape(grouped), x_hat, inverse_std, (-1,)).reshape(x.shape) if needs[0] else None,
        (grad * x_hat.reshape(x.shape)).sum(dims) if needs[1] else None,
        grad.sum(dims) if needs[2] else None,
    )


@group_norm_channels.fused("x", "weight", "bias")
def group_norm_channels_kernel(
    grad: Tensor,
    x: Tensor,
    groups: int,
    weight: Tensor | None,
    statistics: list[Tensor],
    needs: tuple[bool, bool, bool],
) -> Gradients:
    sizes = (*x.shape[:2], math.prod(x.shape[2:]))
    mean, inverse_std = statistics
    grads: Gradients = torch.ops.aten.native_group_norm_backward(
        grad.contiguous(), x.contiguous(), mean, inverse_std, weight, *sizes, groups, needs
    )
    return grads


# Over features


@primitive
def layer_norm_features(
    x: Tensor,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    statistics: list[Tensor],
) -> Tensor:
    """Normalise over the last axes; ``statistics`` receives μ and 1/σ for the backward kernel."""
    out, mean, inverse_std = torch.native_layer_norm(x, normalized_shape, weight, bias, eps)
    statistics += (mean, inverse_std)
    return out


@layer_norm_features.vjp("x", "weight", "bias")
def layer_norm_features_wrt(
    grad: Tensor,
    x: Tensor,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None,
    eps: float,
    needs: tuple[bool, bool, bool],
) -> Gradients:
    features = tuple(range(-len(normalized_shape), 0))
    others = tuple(range(x.ndim - len(normalized_shape)))
    x_hat, inverse_std = standardized(x, features, eps)
    scaled = grad if weight is None else grad * weight
    by_weight, by_bias = (grad * x_hat if needs[1] else None), (grad if needs[2] else None)
    if others:  # else there is one sample, and nothing to sum; sum(()) would sum over everything
        by_weight = None if by_weight is None else by_weight.sum(others)
        by_bias = None if by_bias is None else by_bias.sum(others)
    return (normalized_wrt_x(scaled, x_hat, inverse_std, features) if needs[0] else None), by_weight, by_bias


@layer_norm_features.fused("x", "weight", "bias")
def layer_norm_features_kernel(
    grad: Tensor,
    x: Tensor,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None,
    bias: Tensor | None,
    statistics: list[Tensor],
    needs: tuple[bool, bool, bool],
) -> Gradients:
    mean, inverse_std = statistics
    grads: Gradients = torch.ops.aten.native_layer_norm_backward(
        grad, x, normalized_shape, mean, inverse_std, weight, bias, needs
    )
    return grads


@composite(names="layer_norm")
def layer_norm(
    input: TensorLike,
    normalized_shape: tuple[int, ...],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> CustomTensor:
    """Normalise each sample over its last axes.

        y = weight · (x − μ) / √(σ² + eps) + bias

    with μ and σ² the mean and (biased) variance of the sample.

    Args:
        input: (…, normalized_shape).
        normalized_shape: The sizes of the axes to normalise over.
        weight: Of ``normalized_shape``, or ``None`` for ones.
        bias: Of ``normalized_shape``, or ``None`` for zeros.
        eps: Added to the variance.

    Returns:
        The shape of ``input``.

    Raises:
        ShapeError: If the shapes don't fit.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.layer_norm(torch.tensor([[1.0, 3.0], [5.0, 9.0]]), (2,), eps=0.0).tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]

    References:
        Ba, Kiros & Hinton 2016, Layer normalization.
    """
    out: CustomTensor = layer_norm_features(input, tuple(normalized_shape), weight, bias, eps, [])
    return out


@composite(names="", aten="native_layer_norm.default")
def native_layer_norm(
    input: Any, normalized_shape: Sequence[int], weight: Any, bias: Any, eps: float
) -> tuple[CustomTensor, CustomTensor, CustomTensor]:
    """ATen's spelling, which returns the statistics too, as constants."""
    statistics: list[Tensor] = []
    out = layer_norm_features(input, tuple(normalized_shape), weight, bias, eps, statistics)
    return out, CustomTensor(statistics[0]), CustomTensor(statistics[1])


def _native_batch_norm(
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[CustomTensor, CustomTensor, CustomTensor]:
    """ATen's spelling, which returns the statistics too, as constants."""
    if not training:
        empty = CustomTensor(torch.empty(0))
        return batch_norm_evaluation(input, weight, bias, running_mean, running_var, eps), empty, empty
    statistics: list[Tensor] = []
    out = batch_norm_training(input, weight, bias, running_mean, running_var, momentum, eps, statistics)
    return out, CustomTensor(statistics[0]), CustomTensor(statistics[1])


@composite(names="", aten="native_batch_norm.default _native_batch_norm_legit.default")
def native_batch_norm(
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[CustomTensor, CustomTensor, CustomTensor]:
    """ATen's spelling of [`batch_norm`][neuronix.nn.functional.batch_norm]."""
    return _native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)


@composite(names="", aten="_native_batch_norm_legit.no_stats")
def native_batch_norm_without_statistics(
    input: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> tuple[CustomTensor, CustomTensor, CustomTensor]:
    """ATen's spelling of [`batch_norm`][neuronix.nn.functional.batch_norm] without running statistics."""
    return _native_batch_norm(input, weight, bias, None, None, training, momentum, eps)
