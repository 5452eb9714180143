"""Normalisation over channels and places of each sample, composed of batch and layer normalisation and of means."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, composite, ops
from neuronix.autograd.errors import ShapeError, UnsupportedError
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import lift, rank
from neuronix.nn.functional.normalization import batch_norm, group_norm_channels, scaled_channels
from neuronix.nn.functional.pooling import avg_pool2d
from neuronix.nn.tensor_like import TensorLike

__all__ = ["group_norm", "instance_norm", "local_response_norm", "rms_norm"]


@composite(names="group_norm")
def group_norm(
    input: TensorLike,
    num_groups: int,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> CustomTensor:
    """Normalise each sample over groups of its channels.

        y = weight · (x − μ) / √(σ² + eps) + bias

    with μ and σ² the mean and (biased) variance of a group.

    Args:
        input: (N, C, …).
        num_groups: The number of groups; it divides C.
        weight: (C,), or ``None`` for ones.
        bias: (C,), or ``None`` for zeros.
        eps: Added to the variance.

    Returns:
        The shape of ``input``.

    Raises:
        ShapeError: If the shapes don't fit, or if a group has a single value, whose variance is 0.
        LayerArgumentError: If ``num_groups`` doesn't divide the number of channels.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.group_norm(torch.tensor([[1.0, 3.0, 5.0, 9.0]]), 2, eps=0.0).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    References:
        Wu & He 2018, Group normalization.
    """
    if rank(input, "group_norm") < 2:
        raise ShapeError(f"group_norm: expected at least 2 dimensions (N, C, …), got shape {tuple(input.shape)}")
    samples, channels = input.shape[:2]
    _check_affine("group_norm", channels, weight, bias)
    if num_groups <= 0 or channels % num_groups:
        raise LayerArgumentError(
            f"group_norm: num_groups ({num_groups}) must divide the number of channels ({channels}) of the input of "
            f"shape {tuple(input.shape)}"
        )
    features = math.prod(input.shape[1:]) // num_groups
    if samples * features == 1:
        raise ShapeError(
            f"group_norm: expected more than 1 value per channel when training, got input of shape {tuple(input.shape)}"
        )
    if not samples * features:
        return scaled_channels(lift(input), weight, bias)  # nothing; torch's kernels refuse that
    out: CustomTensor = group_norm_channels(input, num_groups, weight, bias, eps, [])
    return out


def _check_affine(name: str, channels: int, weight: TensorLike | None, bias: TensorLike | None) -> None:
    for what, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != (channels,):
            raise ShapeError(f"{name}: expected {what} to be of shape ({channels},), got {tuple(value.shape)}")


@composite(names="nn.functional.instance_norm")
def instance_norm(
    input: TensorLike,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> CustomTensor:
    """Normalise each channel of each sample.

        y = weight · (x − μ) / √(σ² + eps) + bias

    It is batch normalisation that takes each sample's channel for a channel of its own: of (1, N · C, …).

    Args:
        input: (N, C, spatial axes …).
        running_mean: (C,), moved in place towards the mean over the samples of their means; may be ``None``.
        running_var: (C,), likewise.
        weight: (C,), or ``None`` for ones.
        bias: (C,), or ``None`` for zeros.
        use_input_stats: Whether μ and σ² are the input's; otherwise they are the running ones.
        momentum: How far the running statistics move.
        eps: Added to the variance.

    Returns:
        The shape of ``input``.

    Raises:
        ShapeError: If the shapes don't fit, or if a channel has a single value, whose variance is 0.
        ArgumentError: If the running statistics are needed and missing.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.instance_norm(torch.tensor([[[1.0, 3.0], [5.0, 9.0]]]), eps=1e-12).tolist()
        [[[-1.0, 1.0], [-1.0, 1.0]]]

    References:
        Ulyanov, Vedaldi & Lempitsky 2016, Instance normalization.
    """
    if rank(input, "instance_norm") < 2:
        raise ShapeError(f"instance_norm: expected input (N, C, …), got shape {tuple(input.shape)}")
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    samples, channels, *spatial = input.shape
    _check_affine("instance_norm", channels, weight, bias)
    if math.prod(spatial) == 1:
        raise ShapeError(
            f"instance_norm: expected more than 1 spatial element when training, got input of shape "
            f"{tuple(input.shape)}"
        )
    moved = [None if value is None else value.repeat(samples) for value in (running_mean, running_var)]
    scale, shift = (None if value is None else ops.repeat(value, samples) for value in (weight, bias))
    x = lift(input)
    as_one = x.reshape(1, samples * channels, *spatial)
    normalized = batch_norm(as_one, moved[0], moved[1], scale, shift, True, momentum, eps)
    for running, each in zip((running_mean, running_var), moved, strict=True):
        if running is not None and each is not None:
            running.copy_(each.reshape(samples, channels).mean(0))
    out: CustomTensor = normalized.reshape(x.shape)
    return out


@composite(names="rms_norm", aten="rms_norm.default")
def rms_norm(
    input: TensorLike,
    normalized_shape: Sequence[int],
    weight: TensorLike | None = None,
    eps: float | None = None,
) -> CustomTensor:
    """Divide each sample by its root mean square over its last axes.

        y = weight · x / √(mean(x²) + eps)

    Args:
        input: (…, normalized_shape).
        normalized_shape: The sizes of the axes to normalise over.
        weight: Of ``normalized_shape``, or ``None`` for ones.
        eps: Added to the mean of squares; by default the dtype's machine epsilon.

    Returns:
        The shape of ``input``.

    Raises:
        ShapeError: If the shapes don't fit.
        UnsupportedError: For integers.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.rms_norm(torch.tensor([[3.0, 4.0]]), (2,))
        CustomTensor([[0.8485, 1.1314]])

    References:
        Zhang & Sennrich 2019, Root mean square layer normalization.
    """
    shape = tuple(map(operator.index, normalized_shape))
    x = lift(input)
    if not shape or tuple(x.shape[-len(shape) :]) != shape or x.ndim < len(shape):
        raise ShapeError(
            f"rms_norm: given normalized_shape={shape}, expected input with shape (*, {', '.join(map(str, shape))}), "
            f"but got input of size {tuple(x.shape)}"
        )
    if weight is not None and tuple(weight.shape) != shape:
        raise ShapeError(f"rms_norm: expected weight to be of shape {shape}, got {tuple(weight.shape)}")
    if not (x.is_floating_point() or x.is_complex()):
        raise UnsupportedError(f"rms_norm: not offered for {x.dtype}", hint="convert the input to a floating type")
    axes = tuple(range(-len(shape), 0))
    # x² overflows in half precision beyond 255
    single = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    eps = torch.finfo(single.dtype).eps if eps is None else eps
    out: CustomTensor = single * ((single * single).mean(axes, keepdim=True) + eps).rsqrt()
    out = out if weight is None else out * weight
    return out if x is single else out.to(x.dtype)


@composite(names="nn.functional.local_response_norm")
def local_response_norm(
    input: TensorLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> CustomTensor:
    """Divide by the activity of neighbouring channels at the same place.

        y_c = x_c / (k + alpha · m_c)^beta,    m_c = (1 / size) · Σ x_j² over the ``size`` channels j around c

    Channels beyond the first and the last count as zeros.

    Args:
        input: (N, C, spatial axes …).
        size: The number of channels.
        alpha: See above.
        beta: See above.
        k: See above.

    Returns:
        The shape of ``input``.

    Raises:
        ShapeError: If there is no spatial axis.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.local_response_norm(torch.ones(1, 3, 1), 3, alpha=3.0, beta=1.0).flatten()
        CustomTensor([0.3333, 0.2500, 0.3333])

    References:
        Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep convolutional neural networks, 3.3.
    """
    if rank(input, "local_response_norm") < 3:
        raise ShapeError(
            f"local_response_norm: expected 3D or higher dimensionality input (N, C, …), got shape {tuple(input.shape)}"
        )
    x = lift(input)
    if x.numel() == 0:
        return x
    squares = (x * x).reshape(x.shape[0], 1, x.shape[1], -1)  # an image of channels × places
    margins = (0, 0, size // 2, (size - 1) // 2)
    means = avg_pool2d(ops.pad(squares, margins), (size, 1), 1).reshape(x.shape)
    out: CustomTensor = x / (means * alpha + k) ** beta
    return out
