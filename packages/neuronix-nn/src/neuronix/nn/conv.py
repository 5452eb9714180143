"""Convolutional layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """A convolution over `_dimensions` spatial axes."""

    _dimensions: ClassVar[int]

    transposed: ClassVar[bool] = False

    padding: str | tuple[int, ...]
    output_padding: tuple[int, ...]
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
        for what, number in (("in_channels", in_channels), ("out_channels", out_channels)):
            if number % groups:
                raise LayerArgumentError(f"{name}: {what} ({number}) must be divisible by groups ({groups})")
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
        self.output_padding = (0,) * self._dimensions
        channels = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(torch.empty(*channels, *self.kernel_size, device=device, dtype=dtype))
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
            f"output_padding={self.output_padding}" if any(self.output_padding) else "",
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


class _ConvTransposeNd(_ConvNd):
    """A transposed convolution over `_dimensions` spatial axes."""

    transposed = True

    padding: tuple[int, ...]
    weight: Parameter  # (in_channels, out_channels / groups, kernel axes …)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        name = type(self).__name__
        if padding_mode != "zeros":
            raise LayerArgumentError(f'{name}: only "zeros" padding mode is supported, got {padding_mode!r}')
        if isinstance(padding, str):
            raise LayerArgumentError(f"{name}: padding must be one number, or one for each axis, got {padding!r}")
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
        try:
            self.output_padding = sizes(output_padding, self._dimensions, "output_padding")
        except RuntimeError as error:
            raise LayerArgumentError(f"{name}: {error}") from error
        check_sizes(self, output_padding=self.output_padding)

    def forward(self, input: TensorLike, output_size: Sequence[int] | None = None) -> CustomTensor:
        """Apply the layer to (N, in_channels, spatial axes …) or (in_channels, spatial axes …).

        Args:
            input: Images.
            output_size: The result's size, where several have the same convolution, instead of ``output_padding``.

        Raises:
            LayerArgumentError: If no image of that size has the input for its convolution.
        """
        surplus = self.output_padding if output_size is None else self._surplus(input, output_size)
        transpose = _TRANSPOSED[self._dimensions]
        return transpose(input, self.weight, self.bias, self.stride, self.padding, surplus, self.groups, self.dilation)

    def _surplus(self, input: TensorLike, output_size: Sequence[int]) -> tuple[int, ...]:
        """By how much the wanted size exceeds the least one."""
        spatial = tuple(input.shape[-self._dimensions :])
        wanted = tuple(output_size)
        if len(wanted) == input.ndim:
            wanted = wanted[-self._dimensions :]
        least = tuple(
            (size - 1) * step - 2 * margin + spread * (kernel - 1) + 1
            for size, step, margin, spread, kernel in zip(
                spatial, self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        )
        most = tuple(size + step - 1 for size, step in zip(least, self.stride, strict=True))
        fits = len(wanted) == len(least) and all(a <= b <= c for a, b, c in zip(least, wanted, most, strict=True))
        if not fits:
            raise LayerArgumentError(
                f"{type(self).__name__}: requested an output size of {tuple(output_size)}, but valid sizes range from "
                f"{least} to {most} (for an input of {spatial})"
            )
        return tuple(b - a for a, b in zip(least, wanted, strict=True))


_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution: (N, C, L) to (N, K, L'); see [`ConvTranspose2d`][neuronix.nn.ConvTranspose2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ConvTranspose1d(2, 4, kernel_size=3)(torch.zeros(1, 2, 8)).shape
        torch.Size([1, 4, 10])
    """

    _dimensions = 1


class ConvTranspose2d(_ConvTransposeNd):
    """The adjoint of a convolution, used forward: (N, C, H, W) to (N, K, H', W'), usually larger.

    See [`functional.conv_transpose2d`][neuronix.nn.functional.conv_transpose2d].

    Args:
        in_channels: C.
        out_channels: K.
        kernel_size: The kernel's size; one number, or one for each axis.
        stride: The step between the places where kernels are added.
        padding: How much of the result's margin is cut off.
        output_padding: How much the result is larger at its end: several sizes have the same convolution.
        groups: Into how many groups the channels are divided.
        bias: Whether there is a bias.
        dilation: The distance between the pixels that a kernel reaches.
        padding_mode: ``"zeros"``.
        device: Where the parameters live.
        dtype: Their element type.

    Raises:
        LayerArgumentError: If the arguments make no layer.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.ConvTranspose2d(8, 3, kernel_size=3, stride=2, padding=1)
        >>> layer(torch.zeros(1, 8, 16, 16), output_size=(32, 32)).shape
        torch.Size([1, 3, 32, 32])
    """

    _dimensions = 2


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution of volumes; see [`ConvTranspose2d`][neuronix.nn.ConvTranspose2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.ConvTranspose3d(1, 2, kernel_size=3)(torch.zeros(1, 1, 2, 2, 2)).shape
        torch.Size([1, 2, 4, 4, 4])
    """

    _dimensions = 3
