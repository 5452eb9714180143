"""Pooling layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from neuronix.autograd import CustomTensor
from neuronix.nn import functional
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import Size, TensorLike

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]


class _MaxPoolNd(Module):
    """Maxima of windows."""

    _function: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: TensorLike) -> Any:
        """Apply the layer; with ``return_indices`` the positions of the maxima are the second result."""
        return type(self)._function(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPoolNd):
    """The largest value of each window: (N, C, L) to (N, C, L'); see [`MaxPool2d`][neuronix.nn.MaxPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.MaxPool1d(2)(torch.tensor([[1.0, 4.0, 2.0, 3.0]])).tolist()
        [[4.0, 3.0]]
    """

    _function = staticmethod(functional.max_pool1d)


class MaxPool2d(_MaxPoolNd):
    """The largest value of each window: (N, C, H, W) to (N, C, H', W').

    See [`functional.max_pool2d`][neuronix.nn.functional.max_pool2d].

    Args:
        kernel_size: The window's size; one number, or one for each axis.
        stride: The step between windows; by default the window's size.
        padding: How far windows reach over the margin.
        dilation: The distance between the pixels of a window.
        return_indices: Whether to return also where the largest values are.
        ceil_mode: Whether a last window that is only partly inside counts.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.MaxPool2d(2)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 4, 4])
    """

    _function = staticmethod(functional.max_pool2d)


class MaxPool3d(_MaxPoolNd):
    """The largest value of each window of a volume (N, C, D, H, W); see [`MaxPool2d`][neuronix.nn.MaxPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.MaxPool3d(2)(torch.zeros(1, 3, 8, 8, 8)).shape
        torch.Size([1, 3, 4, 4, 4])
    """

    _function = staticmethod(functional.max_pool3d)


class AvgPool1d(Module):
    """The mean of each window: (N, C, L) to (N, C, L'); see [`AvgPool2d`][neuronix.nn.AvgPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AvgPool1d(2)(torch.tensor([[1.0, 4.0, 2.0, 3.0]])).tolist()
        [[2.5, 2.5]]
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _single(kernel_size)
        self.stride = _single(kernel_size if stride is None else stride)
        self.padding = _single(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer."""
        return functional.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def _single(size: Size) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)


class _AvgPoolNd(Module):
    """Means of windows of two or three axes."""

    _function: ClassVar[Callable[..., CustomTensor]]

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer."""
        return type(self)._function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPoolNd):
    """The mean of each window: (N, C, H, W) to (N, C, H', W').

    See [`functional.avg_pool2d`][neuronix.nn.functional.avg_pool2d].

    Args:
        kernel_size: The window's size; one number, or one for each axis.
        stride: The step between windows; by default the window's size.
        padding: How far windows reach over the margin, where they find zeros.
        ceil_mode: Whether a last window that is only partly inside counts.
        count_include_pad: Whether the margin's zeros count as elements of the mean.
        divisor_override: What the sum is divided by, instead of the number of elements.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AvgPool2d(2)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 4, 4])
    """

    _function = staticmethod(functional.avg_pool2d)


class AvgPool3d(_AvgPoolNd):
    """The mean of each window: (N, C, D, H, W) to (N, C, D', H', W'); see [`AvgPool2d`][neuronix.nn.AvgPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AvgPool3d(2)(torch.zeros(1, 3, 8, 8, 8)).shape
        torch.Size([1, 3, 4, 4, 4])
    """

    _function = staticmethod(functional.avg_pool3d)


class _AdaptiveAvgPoolNd(Module):
    """Means over a grid of windows that covers the image, whatever its size."""

    _function: ClassVar[Callable[..., CustomTensor]]

    def __init__(self, output_size: int | tuple[int | None, ...] | None) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer."""
        return type(self)._function(input, self.output_size)

    def extra_repr(self) -> str:
        """The constructor's argument."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Means over windows that divide an axis; see [`AdaptiveAvgPool2d`][neuronix.nn.AdaptiveAvgPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AdaptiveAvgPool1d(2)(torch.tensor([[1.0, 4.0, 2.0, 3.0]])).tolist()
        [[2.5, 2.5]]
    """

    _function = staticmethod(functional.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Means over a grid of windows that covers the image: (N, C, H, W) to (N, C, m, m'), for any H and W.

    Args:
        output_size: The grid's size (m, m'), or one number for both; ``None`` keeps the image's.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AdaptiveAvgPool2d(1)(torch.zeros(1, 3, 7, 5)).shape
        torch.Size([1, 3, 1, 1])
    """

    _function = staticmethod(functional.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Means over a grid of windows that covers a volume; see [`AdaptiveAvgPool2d`][neuronix.nn.AdaptiveAvgPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AdaptiveAvgPool3d((None, 1, 2))(torch.zeros(1, 3, 7, 5, 4)).shape
        torch.Size([1, 3, 7, 1, 2])
    """

    _function = staticmethod(functional.adaptive_avg_pool3d)
