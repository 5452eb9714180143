"""Convolutional layers."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from neuronix.autograd import CustomTensor, ops
from neuronix.nn import functional, init
from neuronix.nn.checks import check_sizes
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import sizes
from neuronix.nn.functional.convolution import named_padding
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import Size, TensorLike

__all__ = ["Conv1d", "Conv2d", "Conv3d"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """A convolution over `_dimensions` spatial axes."""

    _dimensions: ClassVar[int]

    padding: str | tuple[int, ...]
    weight: Parameter  # (out_channels, in_channels / groups, kernel axes …)
    bias: Parameter | None  # (out_channels,)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: str | Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(self, in_channels=in_channels, out_channels=out_channels, groups=groups)
        name = type(self).__name__
        if groups <= 0:
            raise LayerArgumentError(f"{name}: groups must be a positive integer, got {groups}")
        for what, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise LayerArgumentError(f"{name}: {what} ({channels}) must be divisible by groups ({groups})")
        if padding_mode not in PADDING_MODES:
            raise LayerArgumentError(f"{name}: padding_mode must be one of {PADDING_MODES}, got {padding_mode!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.groups = groups
        self.padding_mode = padding_mode
        try:
            self.kernel_size = sizes(kernel_size, self._dimensions, "kernel_size")
            self.stride = sizes(stride, self._dimensions, "stride")
            self.dilation = sizes(dilation, self._dimensions, "dilation")
            if isinstance(padding, str):
                named_padding(padding, self.kernel_size, self.stride, self.dilation)  # refuses what can't be
                self.padding = padding
            else:
                self.padding = sizes(padding, self._dimensions, "padding")
        except RuntimeError as error:
            raise LayerArgumentError(f"{name}: {error}") from error
        check_sizes(self, kernel_size=self.kernel_size, stride=self.stride, dilation=self.dilation)
        self.weight = Parameter(
            torch.empty(out_channels, in_channels // groups, *self.kernel_size, device=device, dtype=dtype)
        )
        self.register_parameter(
            "bias", Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew: uniform on ±1/√(in_channels / groups · kernel elements)."""
        if self.weight.numel() == 0:
            return
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init.fans(self.weight)
            bound = 1 / math.sqrt(fan_in)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer to (N, in_channels, spatial axes …) or (in_channels, spatial axes …)."""
        convolve = _FUNCTIONS[self._dimensions]
        if self.padding_mode == "zeros":
            return convolve(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        x = input if isinstance(input, CustomTensor) else CustomTensor(input)
        padded = ops.pad(x, self._margins(), self.padding_mode)
        return convolve(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _margins(self) -> tuple[int, ...]:
        """(before, after) for each spatial axis, the last axis first."""
        if isinstance(self.padding, tuple):
            return tuple(margin for margin in reversed(self.padding) for _ in range(2))
        spread = zip(reversed(self.dilation), reversed(self.kernel_size), strict=True)
        totals = [dilation * (size - 1) if self.padding == "same" else 0 for dilation, size in spread]
        return tuple(margin for total in totals for margin in (total // 2, total - total // 2))

    def extra_repr(self) -> str:
        """The constructor's arguments, those of them that aren't the default."""
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}",
            f"padding={self.padding}" if self.padding != (0,) * self._dimensions else "",
            f"dilation={self.dilation}" if self.dilation != (1,) * self._dimensions else "",
            f"groups={self.groups}" if self.groups != 1 else "",
            "bias=False" if self.bias is None else "",
            f"padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "",
        ]
        return ", ".join(filter(None, parts))


_FUNCTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class Conv1d(_ConvNd):
    """Convolution over one axis: (N, C, L) to (N, K, L'); see [`Conv2d`][neuronix.nn.Conv2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Conv1d(2, 4, kernel_size=3)(torch.zeros(1, 2, 10)).shape
        torch.Size([1, 4, 8])
    """

    _dimensions = 1


class Conv2d(_ConvNd):
    """Convolution over images: (N, C, H, W) to (N, K, H', W').

    See [`functional.conv2d`][neuronix.nn.functional.conv2d].

    Args:
        in_channels: C.
        out_channels: K.
        kernel_size: The kernel's size; one number, or one for each axis.
        stride: The step between positions.
        padding: The margin around the image, ``"valid"`` for none, or ``"same"`` for one that keeps the size.
        dilation: The distance between the pixels that a kernel covers.
        groups: Into how many groups the channels are divided.
        bias: Whether there is a bias.
        padding_mode: What the margin holds: ``"zeros"``, or the image continued by ``"reflect"``, ``"replicate"``
            or ``"circular"``.
        device: Where the parameters live.
        dtype: Their element type.

    Raises:
        LayerArgumentError: If the arguments make no layer.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
        >>> layer(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 8, 16, 16])
        >>> layer
        Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
    """

    _dimensions = 2


class Conv3d(_ConvNd):
    """Convolution over volumes: (N, C, D, H, W) to (N, K, D', H', W'); see [`Conv2d`][neuronix.nn.Conv2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Conv3d(1, 2, kernel_size=3)(torch.zeros(1, 1, 4, 4, 4)).shape
        torch.Size([1, 2, 2, 2, 2])
    """

    _dimensions = 3
