"""Adaptive pooling: windows that divide an image into a grid of a given size, whatever the image's size.

Along an axis of size n, window i of m goes from ⌊i·n / m⌋ to ⌈(i + 1)·n / m⌉.  As for the pooling of fixed windows, the
maximum is a gather at the winners, and the mean is linear.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, Shape, composite, ops, primitive
from neuronix.nn.functional.arguments import batched, of_shape, sizes
from neuronix.nn.functional.pooling import scatter_planes
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
]

Sizes = int | Iterable[int | None] | None


def _prepared(dimensions: int, input: TensorLike, output_size: Any, name: str) -> tuple[Any, tuple[int, ...], bool]:
    """The input (batch, channels, two or three spatial axes), the grid's size, and whether the batch axis is new.

    torch's kernels begin at two axes: to a single one, an axis of size one is put in front.
    """
    x, unbatched = batched(input, dimensions, name)
    wanted = sizes((None,) if output_size is None else output_size, dimensions, "output_size")
    given = (size if want is None else want for want, size in zip(wanted, x.shape[2:], strict=True))
    grid = tuple(map(operator.index, given))
    return (ops.unsqueeze(x, -2), (1, *grid), unbatched) if dimensions == 1 else (x, grid, unbatched)


def _restored(out: Any, dimensions: int, unbatched: bool) -> Any:
    """The result without the axes that were put in."""
    if dimensions == 1:
        out = out.squeeze(-2)
    return out.squeeze(0) if unbatched else out


# The maximum

_MAX_POOLS: dict[int, Callable[..., tuple[Tensor, Tensor]]] = {
    2: torch.ops.aten.adaptive_max_pool2d.default,
    3: torch.ops.aten.adaptive_max_pool3d.default,
}


@primitive
def adaptive_max_pool(x: Tensor, output_size: tuple[int, ...], winners: list[Tensor]) -> Tensor:
    """Maxima of ``output_size`` windows that cover (batch, channels, two or three spatial axes).

    ``winners`` is an empty list, which receives the positions of the maxima, as for `max_pool`.
    """
    values, positions = _MAX_POOLS[len(output_size)](x, output_size)
    winners.append(positions)
    return values


@adaptive_max_pool.vjp("x")
def adaptive_max_pool_wrt_x(grad: Tensor, x: Shape, output_size: tuple[int, ...], winners: list[Tensor]) -> Tensor:
    # the maximum follows its winner and nothing else; windows may share a pixel that wins in both
    result: Tensor = scatter_planes(grad, winners[0], x, len(output_size))
    return result


def _adaptive_max_pool(dimensions: int, input: TensorLike, output_size: Any, return_indices: bool) -> Any:
    x, grid, unbatched = _prepared(dimensions, input, output_size, "adaptive_max_pool")
    winners: list[Tensor] = []
    out = _restored(adaptive_max_pool(x, grid, winners), dimensions, unbatched)
    if not return_indices:
        return out
    return out, CustomTensor(_restored(winners[0], dimensions, unbatched))


@composite(names="nn.functional.adaptive_max_pool1d")
def adaptive_max_pool1d(input: TensorLike, output_size: Sizes, return_indices: bool = False) -> Any:
    """As [`adaptive_max_pool2d`][neuronix.nn.functional.adaptive_max_pool2d], over one axis."""
    return _adaptive_max_pool(1, input, output_size, return_indices)


@composite(names="nn.functional.adaptive_max_pool2d")
def adaptive_max_pool2d(input: TensorLike, output_size: Sizes, return_indices: bool = False) -> Any:
    """The largest values of windows that divide the image into a grid, whatever its size.

    Along an axis of size n, window i of m goes from ⌊i·n / m⌋ to ⌈(i + 1)·n / m⌉.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch axis.
        output_size: The grid's size (m, m'), or one number for both; ``None`` keeps the image's.
        return_indices: Whether to return also where the largest values are.

    Returns:
        (N, C, m, m'), and with ``return_indices`` the positions in the flattened image, of the same shape.

    Raises:
        ShapeError: If the shapes don't fit.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.adaptive_max_pool2d(torch.arange(12.0).reshape(1, 3, 4), (1, 2))
        CustomTensor([[[ 9., 11.]]])
    """
    return _adaptive_max_pool(2, input, output_size, return_indices)


@composite(names="nn.functional.adaptive_max_pool3d")
def adaptive_max_pool3d(input: TensorLike, output_size: Sizes, return_indices: bool = False) -> Any:
    """As [`adaptive_max_pool2d`][neuronix.nn.functional.adaptive_max_pool2d], over three axes."""
    return _adaptive_max_pool(3, input, output_size, return_indices)


def _with_indices(dimensions: int) -> Any:
    """The function that torch calls for ``return_indices=True``; ATen's overload has the same order."""

    def with_indices(input: TensorLike, output_size: Sizes, return_indices: bool = True) -> Any:
        del return_indices  # torch hands it on and returns them in any case
        return _adaptive_max_pool(dimensions, input, output_size, True)

    with_indices.__name__ = f"adaptive_max_pool{dimensions}d_with_indices"
    return with_indices


composite(names="nn.functional.adaptive_max_pool1d_with_indices torch.adaptive_max_pool1d")(_with_indices(1))
composite(names="nn.functional.adaptive_max_pool2d_with_indices", aten="adaptive_max_pool2d.default")(_with_indices(2))
composite(names="nn.functional.adaptive_max_pool3d_with_indices", aten="adaptive_max_pool3d.default")(_with_indices(3))


# The mean

_AVG_POOLS: dict[int, Callable[..., Tensor]] = {
    2: torch.ops.aten.adaptive_avg_pool2d.default,
    3: torch.ops.aten.adaptive_avg_pool3d.default,
}
_AVG_POOL_ADJOINTS: dict[int, Callable[..., Tensor]] = {
    2: torch.ops.aten._adaptive_avg_pool2d_backward.default,
    3: torch.ops.aten._adaptive_avg_pool3d_backward.default,
}


@primitive
def adaptive_avg_pool(x: Tensor, output_size: tuple[int, ...]) -> Tensor:
    """Means of ``output_size`` windows that cover (batch, channels, two or three spatial axes)."""
    return _AVG_POOLS[len(output_size)](x, output_size)


@adaptive_avg_pool.vjp("x")
def adaptive_avg_pool_wrt_x(grad: Tensor, x: Shape, output_size: tuple[int, ...]) -> Tensor:
    result: Tensor = adaptive_avg_pool_adjoint(grad, x, output_size)
    return result


@primitive
def adaptive_avg_pool_adjoint(g: Tensor, shape: torch.Size, output_size: tuple[int, ...]) -> Tensor:
    """``shape``, with each element of ``g`` spread evenly over its window."""
    return _AVG_POOL_ADJOINTS[len(output_size)](g, of_shape(g, shape))


@adaptive_avg_pool_adjoint.vjp("g")
def adaptive_avg_pool_adjoint_wrt_g(grad: Tensor, output_size: tuple[int, ...]) -> Tensor:
    result: Tensor = adaptive_avg_pool(grad, output_size)
    return result


def _adaptive_avg_pool(dimensions: int, input: TensorLike, output_size: Any) -> CustomTensor:
    x, grid, unbatched = _prepared(dimensions, input, output_size, "adaptive_avg_pool")
    out: CustomTensor = _restored(adaptive_avg_pool(x, grid), dimensions, unbatched)
    return out


@composite(names="adaptive_avg_pool1d")
def adaptive_avg_pool1d(input: TensorLike, output_size: Sizes) -> CustomTensor:
    """As [`adaptive_avg_pool2d`][neuronix.nn.functional.adaptive_avg_pool2d], over one axis."""
    return _adaptive_avg_pool(1, input, output_size)


@composite(names="adaptive_avg_pool2d", aten="_adaptive_avg_pool2d.default")
def adaptive_avg_pool2d(input: TensorLike, output_size: Sizes) -> CustomTensor:
    """The means of windows that divide the image into a grid, whatever its size.

    Along an axis of size n, window i of m goes from ⌊i·n / m⌋ to ⌈(i + 1)·n / m⌉.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch axis.
        output_size: The grid's size (m, m'), or one number for both; ``None`` keeps the image's.

    Returns:
        (N, C, m, m').

    Raises:
        ShapeError: If the shapes don't fit.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.adaptive_avg_pool2d(torch.arange(6.0).reshape(1, 2, 3), 1)
        CustomTensor([[[2.5000]]])
    """
    return _adaptive_avg_pool(2, input, output_size)


@composite(names="adaptive_avg_pool3d", aten="_adaptive_avg_pool3d.default")
def adaptive_avg_pool3d(input: TensorLike, output_size: Sizes) -> CustomTensor:
    """As [`adaptive_avg_pool2d`][neuronix.nn.functional.adaptive_avg_pool2d], over three axes."""
    return _adaptive_avg_pool(3, input, output_size)
