"""Pixels and channels in another order: transposed views, copied, so nothing here needs a rule of its own."""

from __future__ import annotations

import torch

from neuronix.autograd import CustomTensor, composite
from neuronix.autograd.errors import ArgumentError, ShapeError
from neuronix.nn.functional.arguments import lift
from neuronix.nn.tensor_like import TensorLike

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


@composite(names="pixel_shuffle", aten="pixel_shuffle.default")
def pixel_shuffle(input: TensorLike, upscale_factor: int) -> CustomTensor:
    """Channels become pixels: (…, C · r², H, W) to (…, C, H · r, W · r).

    Each pixel becomes a square of r × r, filled row by row from r² channels.

    Args:
        input: (…, C · r², H, W).
        upscale_factor: r.

    Returns:
        (…, C, H · r, W · r).

    Raises:
        ArgumentError: If r isn't positive.
        ShapeError: If r² doesn't divide the number of channels.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.pixel_shuffle(torch.arange(4.0).reshape(4, 1, 1), 2).tolist()
        [[[0.0, 1.0], [2.0, 3.0]]]

    References:
        Shi et al. 2016, Real-time single image and video super-resolution using an efficient sub-pixel convolutional
        neural network.
    """
    x, r = _image("pixel_shuffle", input), upscale_factor
    if r <= 0:
        raise ArgumentError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, channels, height, width = x.shape
    if channels % (r * r):
        raise ShapeError(
            f"pixel_shuffle expects its input's channels to be divisible by the square of upscale_factor {r}, but got "
            f"shape {tuple(x.shape)} with {channels} channels"
        )
    n = len(lead)
    split = x.reshape(*lead, channels // (r * r), r, r, height, width)
    moved = split.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)  # (…, C, H, r, W, r)
    return _copied(moved, *lead, channels // (r * r), height * r, width * r)


@composite(names="pixel_unshuffle", aten="pixel_unshuffle.default")
def pixel_unshuffle(input: TensorLike, downscale_factor: int) -> CustomTensor:
    """Pixels become channels: (…, C, H · r, W · r) to (…, C · r², H, W), the inverse of `pixel_shuffle`.

    Args:
        input: (…, C, H · r, W · r).
        downscale_factor: r.

    Returns:
        (…, C · r², H, W).

    Raises:
        ArgumentError: If r isn't positive.
        ShapeError: If r doesn't divide height and width.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.pixel_unshuffle(torch.arange(4.0).reshape(1, 2, 2), 2).flatten().tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    x, r = _image("pixel_unshuffle", input), downscale_factor
    if r <= 0:
        raise ArgumentError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, channels, height, width = x.shape
    if height % r or width % r:
        raise ShapeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor {r}, but got shape "
            f"{tuple(x.shape)}"
        )
    n = len(lead)
    split = x.reshape(*lead, channels, height // r, r, width // r, r)
    moved = split.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)  # (…, C, r, r, H, W)
    return _copied(moved, *lead, channels * r * r, height // r, width // r)


@composite(
    names="channel_shuffle native_channel_shuffle", aten="channel_shuffle.default native_channel_shuffle.default"
)
def channel_shuffle(input: TensorLike, groups: int) -> CustomTensor:
    """The channels of all groups in turn: of (N, g · c, …), channel j of group i goes to position j · g + i.

    Args:
        input: (N, C, …).
        groups: g, which divides C.

    Returns:
        The shape of ``input``.

    Raises:
        ArgumentError: If ``groups`` isn't positive.
        ShapeError: If it doesn't divide the number of channels, or there are fewer than three axes.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.channel_shuffle(torch.arange(6.0).reshape(1, 6, 1), 2).flatten().tolist()
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]

    References:
        Zhang et al. 2018, ShuffleNet.
    """
    x = lift(input)
    if groups <= 0:
        raise ArgumentError(f"channel_shuffle: the number of groups must be positive, but got {groups}")
    if x.ndim < 3:
        raise ShapeError(f"channel_shuffle expects input with more than 2 dims, but got shape {tuple(x.shape)}")
    batch, channels, *spatial = x.shape
    if channels % groups:
        raise ShapeError(f"channel_shuffle: the number of channels {channels} must be divisible by groups {groups}")
    return _copied(x.reshape(batch, groups, channels // groups, *spatial).transpose(1, 2), *x.shape)


def _copied(x: CustomTensor, *shape: int) -> CustomTensor:
    """``x`` in another shape, and in memory of its own also where a view would do (as for squares of one pixel)."""
    out: CustomTensor = x.clone(memory_format=torch.contiguous_format).reshape(shape)
    return out


def _image(name: str, input: TensorLike) -> CustomTensor:
    x = lift(input)
    if x.ndim < 3:
        raise ShapeError(f"{name} expects input (…, C, H, W), but got shape {tuple(x.shape)}")
    return x
