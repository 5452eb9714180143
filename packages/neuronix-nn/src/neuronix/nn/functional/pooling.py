"""Pooling: windows of an image are replaced by their largest or mean value.

With the winners known, taking the maximum is a gather, so its derivative is the scatter that goes back to the winners.
Averaging is linear, so its derivative is its adjoint, which spreads each value over its window.  Both are pairs of
operations whose rules are each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from neuronix.autograd import CustomTensor, Shape, composite, ops, primitive
from neuronix.nn.functional.arguments import batched, of_shape, sizes
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

Sizes = int | Iterable[int]


# The maximum

_MAX_POOLS = {1: F.max_pool1d_with_indices, 2: F.max_pool2d_with_indices, 3: F.max_pool3d_with_indices}
_MAX_POOL_KERNELS: dict[int, Callable[..., Tensor]] = {
    2: torch.ops.aten.max_pool2d_with_indices_backward.default,
    3: torch.ops.aten.max_pool3d_with_indices_backward.default,
}


class Windows(NamedTuple):
    """How windows are laid over an image: ATen's arguments in ATen's order, one number for each spatial axis."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool


@primitive
def max_pool(x: Tensor, windows: Windows, winners: list[Tensor]) -> Tensor:
    """Maxima of the windows of (batch, channels, spatial axes …).

    ``winners`` is an empty list, which receives the positions of the maxima, counted through the spatial axes: the
    kernel finds them anyway, and the rule needs them and nothing else.
    """
    values, positions = _MAX_POOLS[len(windows.kernel_size)](x, *windows)
    winners.append(positions)
    return values


@max_pool.vjp("x")
def max_pool_wrt_x(grad: Tensor, x: Shape, windows: Windows, winners: list[Tensor]) -> Tensor:
    # the maximum follows its winner and nothing else; a pixel may win several windows
    result: Tensor = scatter_planes(grad, winners[0], x, len(windows.kernel_size))
    return result


@max_pool.fused("x")
def max_pool_kernel(grad: Tensor, x: Shape, windows: Windows, winners: list[Tensor]) -> Tensor:
    kernel = _MAX_POOL_KERNELS.get(len(windows.kernel_size))
    if kernel is None:
        return max_pool_wrt_x(grad, x, windows, winners)
    return kernel(grad, of_shape(grad, x), *windows, winners[0])


@primitive
def gather_planes(x: Tensor, positions: Tensor, axes: int) -> Tensor:
    """The elements at ``positions``, counted through the last ``axes`` axes."""
    return x.flatten(-axes).gather(-1, positions.flatten(-axes)).reshape(positions.shape)


@gather_planes.vjp("x")
def gather_planes_wrt_x(grad: Tensor, x: Shape, positions: Tensor, axes: int) -> Tensor:
    result: Tensor = scatter_planes(grad, positions, x, axes)
    return result


@primitive
def scatter_planes(values: Tensor, positions: Tensor, shape: torch.Size, axes: int) -> Tensor:
    """Zeros of ``shape`` to which ``values`` are added at ``positions``: the adjoint of `gather_planes`."""
    flat = values.new_zeros(shape).flatten(-axes)
    return flat.scatter_add(-1, positions.flatten(-axes), values.flatten(-axes)).reshape(shape)


@scatter_planes.vjp("values")
def scatter_planes_wrt_values(grad: Tensor, positions: Tensor, axes: int) -> Tensor:
    result: Tensor = gather_planes(grad, positions, axes)
    return result


def _max_pool(
    dimensions: int,
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    x, unbatched = batched(input, dimensions, "max_pool")
    window = sizes(kernel_size, dimensions, "kernel_size")
    windows = Windows(
        window,
        _steps(stride, window),
        sizes(padding, dimensions, "padding"),
        sizes(dilation, dimensions, "dilation"),
        ceil_mode,
    )
    winners: list[Tensor] = []
    out = max_pool(x, windows, winners)
    if unbatched:
        out = out.squeeze(0)
    if not return_indices:
        return out
    return out, CustomTensor(winners[0].squeeze(0) if unbatched else winners[0])


def _steps(stride: Sizes | None, window: tuple[int, ...]) -> tuple[int, ...]:
    """The strides; by default (``None``, and ``[]`` in ATen) windows don't overlap."""
    if stride is None or (not isinstance(stride, int) and not tuple(stride)):
        return window
    return sizes(stride, len(window), "stride")


@composite(names="max_pool1d")
def max_pool1d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window along one axis; see [`max_pool2d`][neuronix.nn.functional.max_pool2d]."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@composite(names="max_pool2d")
def max_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch axis.
        kernel_size: The window's size; one number, or one for each axis.
        stride: The step between windows; by default the window's size, so that they don't overlap.
        padding: How far windows reach over the margin, where they find −∞; at most half of the window.
        dilation: The distance between the pixels of a window.
        ceil_mode: Whether a last window that is only partly inside counts.
        return_indices: Whether to return also where the largest values are.

    Returns:
        (N, C, H', W'), and with ``return_indices`` the positions in the flattened image, of the same shape.

    Raises:
        ShapeError: If the shapes don't fit.
        ArgumentError: If the padding is larger than half of the window.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.max_pool2d(torch.arange(16.0).reshape(1, 4, 4), 2)
        CustomTensor([[[ 5.,  7.],
                       [13., 15.]]])
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@composite(names="max_pool3d")
def max_pool3d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window over three axes; see [`max_pool2d`][neuronix.nn.functional.max_pool2d]."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _with_indices(dimensions: int) -> Any:
    """The function that torch calls for ``return_indices=True``; ATen's overload has the same order."""

    def with_indices(
        input: TensorLike,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = True,
    ) -> Any:
        del return_indices  # torch hands it on and returns them in any case
        return _max_pool(dimensions, input, kernel_size, stride, padding, dilation, ceil_mode, True)

    with_indices.__name__ = f"max_pool{dimensions}d_with_indices"
    return with_indices


composite(names="nn.functional.max_pool1d_with_indices")(_with_indices(1))
composite(names="nn.functional.max_pool2d_with_indices", aten="max_pool2d_with_indices.default")(_with_indices(2))
composite(names="nn.functional.max_pool3d_with_indices", aten="max_pool3d_with_indices.default")(_with_indices(3))


# The mean

_AVG_POOLS = {2: F.avg_pool2d, 3: F.avg_pool3d}
_AVG_POOL_ADJOINTS: dict[int, Callable[..., Tensor]] = {
    2: torch.ops.aten.avg_pool2d_backward.default,
    3: torch.ops.aten.avg_pool3d_backward.default,
}


class Means(NamedTuple):
    """Windows whose mean is taken, and what counts as an element: ATen's arguments in ATen's order."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None


@primitive
def avg_pool(x: Tensor, means: Means) -> Tensor:
    """Means of the windows of (batch, channels, two or three spatial axes)."""
    return _AVG_POOLS[len(means.kernel_size)](x, *means)


@avg_pool.vjp("x")
def avg_pool_wrt_x(grad: Tensor, x: Shape, means: Means) -> Tensor:
    result: Tensor = avg_pool_adjoint(grad, x, means)
    return result


@primitive
def avg_pool_adjoint(g: Tensor, shape: torch.Size, means: Means) -> Tensor:
    """``shape``, with each element of ``g`` spread evenly over its window."""
    return _AVG_POOL_ADJOINTS[len(means.kernel_size)](g, of_shape(g, shape), *means)


@avg_pool_adjoint.vjp("g")
def avg_pool_adjoint_wrt_g(grad: Tensor, means: Means) -> Tensor:
    result: Tensor = avg_pool(grad, means)
    return result


def _avg_pool(
    dimensions: int,
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> CustomTensor:
    x, unbatched = batched(input, dimensions, "avg_pool")
    window = sizes(kernel_size, dimensions, "kernel_size")
    steps, margin = _steps(stride, window), sizes(padding, dimensions, "padding")
    if dimensions == 1:  # ATen's kernels begin at two axes: one of size one is put in front
        x, window, steps, margin = ops.unsqueeze(x, -2), (1, *window), (1, *steps), (0, *margin)
    means = Means(window, steps, margin, ceil_mode, count_include_pad, divisor_override)
    out: CustomTensor = avg_pool(x, means)
    if dimensions == 1:
        out = out.squeeze(-2)
    return out.squeeze(0) if unbatched else out


@composite(names="avg_pool1d")
def avg_pool1d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> CustomTensor:
    """The mean of each window along one axis; see [`avg_pool2d`][neuronix.nn.functional.avg_pool2d]."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@composite(names="avg_pool2d", aten="avg_pool2d.default")
def avg_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> CustomTensor:
    """The mean of each window.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch axis.
        kernel_size: The window's size; one number, or one for each axis.
        stride: The step between windows; by default the window's size, so that they don't overlap.
        padding: How far windows reach over the margin, where they find zeros; at most half of the window.
        ceil_mode: Whether a last window that is only partly inside counts.
        count_include_pad: Whether the margin's zeros count as elements of the mean.
        divisor_override: What the sum is divided by, instead of the number of elements.

    Returns:
        (N, C, H', W').

    Raises:
        ShapeError: If the shapes don't fit.
        ArgumentError: If the padding is larger than half of the window.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.avg_pool2d(torch.arange(16.0).reshape(1, 4, 4), 2)
        CustomTensor([[[ 2.5000,  4.5000],
                       [10.5000, 12.5000]]])
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@composite(names="avg_pool3d", aten="avg_pool3d.default")
def avg_pool3d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> CustomTensor:
    """The mean of each window over three axes; see [`avg_pool2d`][neuronix.nn.functional.avg_pool2d]."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
