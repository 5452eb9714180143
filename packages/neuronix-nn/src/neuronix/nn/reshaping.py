"""Layers that put elements elsewhere: pixels, channels, windows, and images in another size."""

from __future__ import annotations

from typing import Any

from neuronix.autograd import ops
from neuronix.nn import functional
from neuronix.nn.applied import Applied
from neuronix.nn.errors import ModuleTypeError
from neuronix.nn.tensor_like import Size

__all__ = [
    "ChannelShuffle",
    "Fold",
    "PixelShuffle",
    "PixelUnshuffle",
    "Unflatten",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
]

Factor = float | tuple[float, ...]


class PixelShuffle(Applied):
    """Channels become pixels: (…, C · r², H, W) to (…, C, H · r, W · r).

    See [`functional.pixel_shuffle`][neuronix.nn.functional.pixel_shuffle].

    Args:
        upscale_factor: r.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.PixelShuffle(3)(torch.zeros(1, 9, 4, 4)).shape
        torch.Size([1, 1, 12, 12])

    References:
        Shi et al. 2016, Real-time single image and video super-resolution using an efficient sub-pixel convolutional
        neural network.
    """

    _function = staticmethod(functional.pixel_shuffle)
    _arguments = ("upscale_factor",)

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor


class PixelUnshuffle(Applied):
    """Pixels become channels: (…, C, H · r, W · r) to (…, C · r², H, W).

    Args:
        downscale_factor: r.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.PixelUnshuffle(3)(torch.zeros(1, 1, 12, 12)).shape
        torch.Size([1, 9, 4, 4])
    """

    _function = staticmethod(functional.pixel_unshuffle)
    _arguments = ("downscale_factor",)

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor


class ChannelShuffle(Applied):
    """The channels of all groups in turn, of (N, C, …).

    See [`functional.channel_shuffle`][neuronix.nn.functional.channel_shuffle].

    Args:
        groups: The number of groups.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ChannelShuffle(2)(torch.arange(4.0).reshape(1, 4, 1)).flatten().tolist()
        [0.0, 2.0, 1.0, 3.0]

    References:
        Zhang et al. 2018, ShuffleNet.
    """

    _function = staticmethod(functional.channel_shuffle)
    _arguments = ("groups",)

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups


class Unflatten(Applied):
    """Makes several axes of one, the opposite of [`Flatten`][neuronix.nn.Flatten].

    Args:
        dim: The axis.
        unflattened_size: The sizes of the new axes.

    Raises:
        ModuleTypeError: If ``unflattened_size`` isn't a tuple or list of integers.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Unflatten(1, (3, 4))(torch.zeros(2, 12)).shape
        torch.Size([2, 3, 4])

    Differs from torch:
        Axes without names only.
    """

    _function = staticmethod(ops.unflatten)
    _arguments = ("dim", "unflattened_size")

    def __init__(self, dim: int, unflattened_size: tuple[int, ...] | list[int]) -> None:
        super().__init__()
        if not isinstance(unflattened_size, (tuple, list)) or not all(isinstance(n, int) for n in unflattened_size):
            raise ModuleTypeError(f"Unflatten: unflattened_size must be a tuple of ints, got {unflattened_size!r}")
        self.dim = dim
        self.unflattened_size = unflattened_size


class Unfold(Applied):
    """The windows of images as columns: (N, C, H, W) to (N, C · window's pixels, number of windows).

    See [`functional.unfold`][neuronix.nn.functional.unfold].

    Args:
        kernel_size: The window's size; one number, or one for each axis.
        dilation: The distance between the pixels of a window.
        padding: Zeros put around the image.
        stride: The step between windows.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Unfold(3, padding=1)(torch.zeros(1, 2, 4, 4)).shape
        torch.Size([1, 18, 16])
    """

    _function = staticmethod(functional.unfold)
    _arguments = ("kernel_size", "dilation", "padding", "stride")

    def __init__(self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride


class Fold(Applied):
    """Adds columns up to images: (N, C · window's pixels, number of windows) to (N, C, H, W).

    See [`functional.fold`][neuronix.nn.functional.fold].

    Args:
        output_size: (H, W), or one number for both.
        kernel_size: The window's size; one number, or one for each axis.
        dilation: The distance between the pixels of a window.
        padding: How far windows reach over the margin.
        stride: The step between windows.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Fold(4, 3, padding=1)(torch.zeros(1, 18, 16)).shape
        torch.Size([1, 2, 4, 4])
    """

    _function = staticmethod(functional.fold)
    _arguments = ("output_size", "kernel_size", "dilation", "padding", "stride")

    def __init__(
        self, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride


class Upsample(Applied):
    """Images in another size; see [`functional.interpolate`][neuronix.nn.functional.interpolate].

    Args:
        size: The new size; one number, or one for each spatial axis.
        scale_factor: Instead of it, new size / old size.
        mode: ``"nearest"``, ``"nearest-exact"``, ``"linear"``, ``"bilinear"``, ``"bicubic"``, ``"trilinear"`` or
            ``"area"``.
        align_corners: Whether the corners' pixels keep their centres, in the modes that interpolate.
        recompute_scale_factor: Whether distances are taken from the two sizes, instead of from ``scale_factor``.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Upsample(scale_factor=2)(torch.tensor([[[1.0, 3.0]]])).tolist()
        [[[1.0, 1.0, 3.0, 3.0]]]
    """

    _function = staticmethod(functional.interpolate)
    _arguments = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: Factor | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.name = type(self).__name__
        self.size = size
        self.scale_factor: Any = None
        if isinstance(scale_factor, tuple):
            self.scale_factor = tuple(map(float, scale_factor))
        elif scale_factor:
            self.scale_factor = float(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def extra_repr(self) -> str:
        """The size or the factor, and the mode."""
        which = "size" if self.scale_factor is None else "scale_factor"
        return f"{which}={getattr(self, which)!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """[`Upsample`][neuronix.nn.Upsample] images by the nearest pixel.

    Args:
        size: The new size.
        scale_factor: Instead of it, new size / old size.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.UpsamplingNearest2d(scale_factor=2)(torch.zeros(1, 1, 2, 3)).shape
        torch.Size([1, 1, 4, 6])
    """

    def __init__(self, size: Size | None = None, scale_factor: Factor | None = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """[`Upsample`][neuronix.nn.Upsample] images by bilinear interpolation, with ``align_corners=True``.

    Args:
        size: The new size.
        scale_factor: Instead of it, new size / old size.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.UpsamplingBilinear2d(size=3)(torch.tensor([[[[0.0, 2.0]]]])).tolist()
        [[[[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]]]
    """

    def __init__(self, size: Size | None = None, scale_factor: Factor | None = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
