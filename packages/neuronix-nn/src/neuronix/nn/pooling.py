"""Pooling layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from neuronix.autograd import CustomTensor
from neuronix.nn import functional
from neuronix.nn.applied import Applied
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import sizes
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import Size, TensorLike

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]

# Maxima


class _MaxPool(Applied):
    """Maxima of windows; with ``return_indices`` their positions are the second result."""

    _arguments = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    _unshown = ("return_indices",)

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


class MaxPool1d(_MaxPool):
    """The largest value of each window: (N, C, L) to (N, C, L'); see [`MaxPool2d`][neuronix.nn.MaxPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.MaxPool1d(2)(torch.tensor([[1.0, 4.0, 2.0, 3.0]])).tolist()
        [[4.0, 3.0]]
    """

    _function = staticmethod(functional.max_pool1d)


class MaxPool2d(_MaxPool):
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


class MaxPool3d(_MaxPool):
    """The largest value of each window of a volume (N, C, D, H, W); see [`MaxPool2d`][neuronix.nn.MaxPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.MaxPool3d(2)(torch.zeros(1, 3, 8, 8, 8)).shape
        torch.Size([1, 3, 4, 4, 4])
    """

    _function = staticmethod(functional.max_pool3d)


class _MaxUnpool(Module):
    """Puts maxima back where they came from."""

    _dimensions: int

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size = sizes(kernel_size, self._dimensions, "kernel_size")
        self.stride = sizes(kernel_size if stride is None else stride, self._dimensions, "stride")
        self.padding = sizes(padding, self._dimensions, "padding")

    def forward(self, input: TensorLike, indices: TensorLike, output_size: Sequence[int] | None = None) -> CustomTensor:
        """Apply the layer to maxima and their positions; ``output_size`` says which image, where several have them."""
        return _UNPOOL[self._dimensions](input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


_UNPOOL = {1: functional.max_unpool1d, 2: functional.max_unpool2d, 3: functional.max_unpool3d}


class MaxUnpool1d(_MaxUnpool):
    """The way back from [`MaxPool1d`][neuronix.nn.MaxPool1d]; see [`MaxUnpool2d`][neuronix.nn.MaxUnpool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> values, places = nn.MaxPool1d(2, return_indices=True)(torch.tensor([[1.0, 4.0, 3.0, 2.0]]))
        >>> nn.MaxUnpool1d(2)(values, places).tolist()
        [[0.0, 4.0, 3.0, 0.0]]
    """

    _dimensions = 1


class MaxUnpool2d(_MaxUnpool):
    """The way back from [`MaxPool2d`][neuronix.nn.MaxPool2d]: maxima where they were, zeros elsewhere.

    See [`functional.max_unpool2d`][neuronix.nn.functional.max_unpool2d].

    Args:
        kernel_size: The window's size; one number, or one for each axis.
        stride: The step between windows; by default the window's size.
        padding: How far windows reach over the margin.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> values, places = nn.MaxPool2d(2, return_indices=True)(torch.tensor([[[1.0, 4.0], [3.0, 2.0]]]))
        >>> nn.MaxUnpool2d(2)(values, places).tolist()
        [[[0.0, 4.0], [0.0, 0.0]]]
    """

    _dimensions = 2


class MaxUnpool3d(_MaxUnpool):
    """The way back from [`MaxPool3d`][neuronix.nn.MaxPool3d]; see [`MaxUnpool2d`][neuronix.nn.MaxUnpool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> values, places = nn.MaxPool3d(2, return_indices=True)(torch.rand(1, 4, 4, 4))
        >>> nn.MaxUnpool3d(2)(values, places).shape
        torch.Size([1, 4, 4, 4])
    """

    _dimensions = 3


class _AdaptiveMaxPool(Applied):
    """Maxima over a grid of windows that covers the image; with ``return_indices`` their positions are returned too."""

    _arguments = ("output_size", "return_indices")
    _unshown = ("return_indices",)

    def __init__(self, output_size: int | tuple[int | None, ...] | None, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima over windows that divide an axis; see [`AdaptiveMaxPool2d`][neuronix.nn.AdaptiveMaxPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AdaptiveMaxPool1d(2)(torch.tensor([[1.0, 4.0, 2.0, 3.0]])).tolist()
        [[4.0, 3.0]]
    """

    _function = staticmethod(functional.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima over a grid of windows that covers the image: (N, C, H, W) to (N, C, m, m'), for any H and W.

    Args:
        output_size: The grid's size (m, m'), or one number for both; ``None`` keeps the image's.
        return_indices: Whether to return also where the largest values are.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AdaptiveMaxPool2d((1, None))(torch.zeros(1, 3, 7, 5)).shape
        torch.Size([1, 3, 1, 5])
    """

    _function = staticmethod(functional.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima over a grid of windows that covers a volume; see [`AdaptiveMaxPool2d`][neuronix.nn.AdaptiveMaxPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AdaptiveMaxPool3d(1)(torch.zeros(1, 3, 7, 5, 4)).shape
        torch.Size([1, 3, 1, 1, 1])
    """

    _function = staticmethod(functional.adaptive_max_pool3d)


class _FractionalMaxPool(Applied):
    """Maxima of windows at random steps."""

    _dimensions: int
    _random_samples: torch.Tensor | None
    _arguments = ("kernel_size", "output_size", "output_ratio", "return_indices", "_random_samples")
    _unshown = _arguments  # torch shows none of them

    def __init__(
        self,
        kernel_size: Size,
        output_size: Size | None = None,
        output_ratio: float | tuple[float, ...] | None = None,
        return_indices: bool = False,
        _random_samples: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise LayerArgumentError(
                f"{name} requires specifying either an output size, or a pooling ratio, got output_size={output_size} "
                f"and output_ratio={output_ratio}"
            )
        self.kernel_size = sizes(kernel_size, self._dimensions, "kernel_size")
        self.output_size = None if output_size is None else sizes(output_size, self._dimensions, "output_size")
        self.output_ratio: tuple[float, ...] | None = None
        if output_ratio is not None:
            ratios = output_ratio if isinstance(output_ratio, tuple) else (output_ratio,) * self._dimensions
            if not all(0 < ratio < 1 for ratio in ratios):
                raise LayerArgumentError(f"{name}: output_ratio must be between 0 and 1 (got {output_ratio})")
            self.output_ratio = ratios
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """Maxima of windows at random steps, so that an image may shrink by a factor that isn't an integer.

    See [`functional.fractional_max_pool2d`][neuronix.nn.functional.fractional_max_pool2d].

    Args:
        kernel_size: The window's size; one number, or one for each axis.
        output_size: The new size.
        output_ratio: Instead of it, new size / old size, between 0 and 1.
        return_indices: Whether to return also where the largest values are.
        _random_samples: (N, C, 2) between 0 and 1: where windows begin, instead of random draws.

    Raises:
        LayerArgumentError: If not exactly one of size and ratio is given, or a ratio isn't between 0 and 1.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.FractionalMaxPool2d(2, output_ratio=0.75)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 6, 6])

    References:
        Graham 2014, Fractional max-pooling.
    """

    _dimensions = 2
    _function = staticmethod(functional.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPool):
    """As [`FractionalMaxPool2d`][neuronix.nn.FractionalMaxPool2d], of volumes.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.FractionalMaxPool3d(2, output_size=3)(torch.zeros(1, 3, 8, 8, 8)).shape
        torch.Size([1, 3, 3, 3, 3])
    """

    _dimensions = 3
    _function = staticmethod(functional.fractional_max_pool3d)


# Means


class _AvgPool(Applied):
    """Means of windows of two or three axes."""

    _arguments: ClassVar[tuple[str, ...]] = (
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    )
    _unshown = ("ceil_mode", "count_include_pad", "divisor_override")

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


class AvgPool1d(_AvgPool):
    """The mean of each window: (N, C, L) to (N, C, L'); see [`AvgPool2d`][neuronix.nn.AvgPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AvgPool1d(2)(torch.tensor([[1.0, 4.0, 2.0, 3.0]])).tolist()
        [[2.5, 2.5]]
    """

    _function = staticmethod(functional.avg_pool1d)
    _arguments = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        one = (sizes(kernel_size, 1, "kernel_size"), sizes(kernel_size if stride is None else stride, 1, "stride"))
        super().__init__(*one, sizes(padding, 1, "padding"), ceil_mode, count_include_pad)


class AvgPool2d(_AvgPool):
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


class AvgPool3d(_AvgPool):
    """The mean of each window: (N, C, D, H, W) to (N, C, D', H', W'); see [`AvgPool2d`][neuronix.nn.AvgPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AvgPool3d(2)(torch.zeros(1, 3, 8, 8, 8)).shape
        torch.Size([1, 3, 4, 4, 4])
    """

    _function = staticmethod(functional.avg_pool3d)


class _AdaptiveAvgPool(Applied):
    """Means over a grid of windows that covers the image, whatever its size."""

    _arguments = ("output_size",)

    def __init__(self, output_size: int | tuple[int | None, ...] | None) -> None:
        super().__init__()
        self.output_size = output_size


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means over windows that divide an axis; see [`AdaptiveAvgPool2d`][neuronix.nn.AdaptiveAvgPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AdaptiveAvgPool1d(2)(torch.tensor([[1.0, 4.0, 2.0, 3.0]])).tolist()
        [[2.5, 2.5]]
    """

    _function = staticmethod(functional.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
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


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means over a grid of windows that covers a volume; see [`AdaptiveAvgPool2d`][neuronix.nn.AdaptiveAvgPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.AdaptiveAvgPool3d((None, 1, 2))(torch.zeros(1, 3, 7, 5, 4)).shape
        torch.Size([1, 3, 7, 1, 2])
    """

    _function = staticmethod(functional.adaptive_avg_pool3d)


class _LPPool(Applied):
    """The p-norms of windows."""

    _arguments = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(
        self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode


class LPPool1d(_LPPool):
    """The p-norm of each window: (N, C, L) to (N, C, L'); see [`LPPool2d`][neuronix.nn.LPPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.LPPool1d(2, 2)(torch.tensor([[3.0, 4.0]])).tolist()
        [[5.0]]
    """

    _function = staticmethod(functional.lp_pool1d)


class LPPool2d(_LPPool):
    """The p-norm of each window, (Σ xᵖ)^(1/p): (N, C, H, W) to (N, C, H', W').

    See [`functional.lp_pool2d`][neuronix.nn.functional.lp_pool2d].

    Args:
        norm_type: p.
        kernel_size: The window's size; one number, or one for each axis.
        stride: The step between windows; by default the window's size.
        ceil_mode: Whether a last window that is only partly inside counts.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.LPPool2d(2, (1, 2))(torch.tensor([[[3.0, 4.0]]])).tolist()
        [[[5.0]]]
    """

    _function = staticmethod(functional.lp_pool2d)


class LPPool3d(_LPPool):
    """The p-norm of each window of a volume; see [`LPPool2d`][neuronix.nn.LPPool2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.LPPool3d(1, 2)(torch.ones(1, 2, 2, 2)).tolist()
        [[[[8.0]]]]
    """

    _function = staticmethod(functional.lp_pool3d)
