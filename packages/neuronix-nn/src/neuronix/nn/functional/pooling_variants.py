"""Further pools: power means, windows at random places, and the way back from maxima."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, Shape, composite, primitive
from neuronix.autograd.errors import ShapeError
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import batched, lift, sizes, whole
from neuronix.nn.functional.pooling import avg_pool1d, avg_pool2d, avg_pool3d, scatter_planes
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]

Sizes = int | Iterable[int]

# Power means

_AVG_POOLS = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}


def _lp_pool(
    dimensions: int,
    input: TensorLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None,
    ceil_mode: bool,
) -> CustomTensor:
    window = sizes(kernel_size, dimensions, "kernel_size")
    means: CustomTensor = _AVG_POOLS[dimensions](lift(input) ** norm_type, window, stride, 0, ceil_mode)
    # An odd power can make a negative sum; torch takes the root of relu(|sum|) with the sum's sign, and so does this.
    out: CustomTensor = (means.sign() * means.abs().relu() * math.prod(window)) ** (1.0 / norm_type)
    return out


@composite(names="nn.functional.lp_pool1d")
def lp_pool1d(
    input: TensorLike, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> CustomTensor:
    """As [`lp_pool2d`][neuronix.nn.functional.lp_pool2d], over one axis."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


@composite(names="nn.functional.lp_pool2d")
def lp_pool2d(
    input: TensorLike, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> CustomTensor:
    """The p-norm of each window, (Σ xᵖ)^(1/p): for p = 1 the sum, for large p near the maximum.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch axis.
        norm_type: p.
        kernel_size: The window's size; one number, or one for each axis.
        stride: The step between windows; by default the window's size.
        ceil_mode: Whether a last window that is only partly inside counts.

    Returns:
        (N, C, H', W').

    Raises:
        ShapeError: If the shapes don't fit.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.lp_pool2d(torch.tensor([[[3.0, 4.0]]]), 2, (1, 2)).tolist()
        [[[5.0]]]
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


@composite(names="nn.functional.lp_pool3d")
def lp_pool3d(
    input: TensorLike, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> CustomTensor:
    """As [`lp_pool2d`][neuronix.nn.functional.lp_pool2d], over three axes."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


# Back from maxima


def _max_unpool(
    dimensions: int,
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sequence[int] | None,
) -> CustomTensor:
    name = f"max_unpool{dimensions}d"
    x, unbatched = batched(lift(input), dimensions, "max_unpool")
    places = lift(indices)
    if places.dtype != torch.int64:
        raise ShapeError(f"{name}: elements in indices should be type int64 but got {places.dtype}")
    if places.shape != input.shape:
        raise ShapeError(
            f"{name}: expected indices of the input's shape {tuple(input.shape)}, but got {tuple(places.shape)}"
        )
    window = sizes(kernel_size, dimensions, "kernel_size")
    steps = window if stride is None else sizes(stride, dimensions, "stride")
    size = _unpooled_size(name, x.shape[2:], window, steps, sizes(padding, dimensions, "padding"), output_size)
    flat = x.reshape(*x.shape[:2], -1)
    # Two maxima of overlapping windows may name one place: one of the two is put there, none is added.
    spread = x.new_zeros(*x.shape[:2], math.prod(size)).scatter(-1, places.reshape(flat.shape), flat)
    out: CustomTensor = spread.reshape(*x.shape[:2], *size)
    return out.squeeze(0) if unbatched else out


def _unpooled_size(
    name: str,
    pooled: Sequence[int],
    window: tuple[int, ...],
    steps: tuple[int, ...],
    margins: tuple[int, ...],
    wanted: Sequence[int] | None,
) -> tuple[int, ...]:
    """The size of the image: several have the same pooled one, and ``wanted`` says which."""
    usual = tuple(
        (length - 1) * step + size - 2 * margin
        for length, step, size, margin in zip(pooled, steps, window, margins, strict=True)
    )
    if wanted is None:
        return usual
    sized = tuple(wanted)
    if len(sized) == len(usual) + 2:
        sized = sized[2:]
    if len(sized) != len(usual):
        raise LayerArgumentError(
            f"{name}: output_size should be a sequence of {len(usual)} or {len(usual) + 2} numbers, got {sized}"
        )
    for given, default, step in zip(sized, usual, steps, strict=True):
        if not default - step < given < default + step:
            raise LayerArgumentError(
                f"{name}: invalid output_size {sized}: each must be within a stride {steps} of the usual {usual}"
            )
    return sized


@composite(names="nn.functional.max_unpool1d")
def max_unpool1d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> CustomTensor:
    """As [`max_unpool2d`][neuronix.nn.functional.max_unpool2d], over one axis."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


@composite(names="nn.functional.max_unpool2d")
def max_unpool2d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> CustomTensor:
    """Put maxima back where they came from, and zeros elsewhere.

    Args:
        input: (N, C, H', W') or (C, H', W'): values as `max_pool2d` returns them.
        indices: Of the same shape: what it returns beside them with ``return_indices=True``.
        kernel_size: The window's size, as in pooling.
        stride: The step between windows, as in pooling.
        padding: The margin, as in pooling.
        output_size: The size of the image, where that isn't (H' − 1)·stride − 2·padding + kernel_size.

    Returns:
        (N, C, H, W).

    Raises:
        ShapeError: If the shapes don't fit.
        LayerArgumentError: If no image of ``output_size`` is pooled to that of ``input``.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> values, places = functional.max_pool2d(torch.tensor([[[1.0, 5.0], [2.0, 3.0]]]), 2, return_indices=True)
        >>> functional.max_unpool2d(values, places, 2).tolist()
        [[[0.0, 5.0], [0.0, 0.0]]]

    References:
        Zeiler & Fergus 2014, Visualizing and understanding convolutional networks.
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


@composite(names="nn.functional.max_unpool3d")
def max_unpool3d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> CustomTensor:
    """As [`max_unpool2d`][neuronix.nn.functional.max_unpool2d], over three axes."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


# Windows at random places

_FRACTIONAL = {2: torch.ops.aten.fractional_max_pool2d.default, 3: torch.ops.aten.fractional_max_pool3d.default}


@primitive
def fractional_max_pool(
    x: Tensor, kernel_size: tuple[int, ...], output_size: tuple[int, ...], samples: Tensor, winners: list[Tensor]
) -> Tensor:
    """Maxima of windows that begin where ``samples`` say; ``winners`` receives their places, as in `max_pool`."""
    values, places = _FRACTIONAL[len(kernel_size)](x, kernel_size, output_size, samples)
    winners.append(places)
    result: Tensor = values
    return result


@fractional_max_pool.vjp("x")
def fractional_max_pool_wrt_x(grad: Tensor, x: Shape, kernel_size: tuple[int, ...], winners: list[Tensor]) -> Tensor:
    result: Tensor = scatter_planes(grad, winners[0], x, len(kernel_size))
    return result


def _fractional_max_pool(
    dimensions: int,
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None,
    output_ratio: float | Sequence[float] | None,
    samples: Tensor | CustomTensor | None,
) -> tuple[CustomTensor, CustomTensor]:
    name = f"fractional_max_pool{dimensions}d"
    x, unbatched = batched(lift(input), dimensions, "fractional_max_pool")
    if (output_size is None) == (output_ratio is None):
        raise LayerArgumentError(
            f"{name} requires specifying either an output_size or an output_ratio, got {output_size} and {output_ratio}"
        )
    if output_ratio is not None:
        ratios = tuple(output_ratio) if isinstance(output_ratio, Sequence) else (output_ratio,) * dimensions
        size = tuple(int(length * ratio) for length, ratio in zip(x.shape[2:], ratios, strict=True))
    else:
        size = sizes(output_size, dimensions, "output_size")
    if samples is None:
        samples = torch.rand(*x.shape[:2], dimensions, dtype=x.dtype, device=x.device)
    winners: list[Tensor] = []
    window = whole(sizes(kernel_size, dimensions, "kernel_size"), f"{name}: kernel_size")
    out = fractional_max_pool(x, window, whole(size, f"{name}: output_size"), samples, winners)
    places = CustomTensor(winners[0])
    return (out.squeeze(0), places.squeeze(0)) if unbatched else (out, places)


@composite(names="nn.functional.fractional_max_pool2d_with_indices")
def fractional_max_pool2d_with_indices(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | CustomTensor | None = None,
) -> tuple[CustomTensor, CustomTensor]:
    """As [`fractional_max_pool2d`][neuronix.nn.functional.fractional_max_pool2d], with the indices in any case."""
    del return_indices  # torch hands it on and returns them in any case
    return _fractional_max_pool(2, input, kernel_size, output_size, output_ratio, _random_samples)


@composite(names="nn.functional.fractional_max_pool2d")
def fractional_max_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | CustomTensor | None = None,
) -> Any:
    """The largest value of windows at random steps, so that the image may shrink by a factor that isn't an integer.

    Args:
        input: (N, C, H, W), or (C, H, W) without a batch axis.
        kernel_size: The window's size; one number, or one for each axis.
        output_size: The new size.
        output_ratio: Instead of it, new size / old size, between 0 and 1.
        return_indices: Whether to return also where the largest values are.
        _random_samples: (N, C, 2) between 0 and 1: where windows begin.

    Returns:
        (N, C, *output_size), and with ``return_indices`` the positions in the flattened image, of the same shape.

    Raises:
        LayerArgumentError: If not exactly one of ``output_size`` and ``output_ratio`` is given.
        ShapeError: If the shapes don't fit.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.fractional_max_pool2d(torch.zeros(1, 1, 5, 5), 2, output_ratio=0.6).shape
        torch.Size([1, 1, 3, 3])

    References:
        Graham 2014, Fractional max-pooling.
    """
    both = _fractional_max_pool(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return both if return_indices else both[0]


@composite(names="nn.functional.fractional_max_pool3d_with_indices")
def fractional_max_pool3d_with_indices(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | CustomTensor | None = None,
) -> tuple[CustomTensor, CustomTensor]:
    """As [`fractional_max_pool3d`][neuronix.nn.functional.fractional_max_pool3d], with the indices in any case."""
    del return_indices  # as above
    return _fractional_max_pool(3, input, kernel_size, output_size, output_ratio, _random_samples)


@composite(names="nn.functional.fractional_max_pool3d")
def fractional_max_pool3d(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | CustomTensor | None = None,
) -> Any:
    """As [`fractional_max_pool2d`][neuronix.nn.functional.fractional_max_pool2d], over three axes."""
    both = _fractional_max_pool(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return both if return_indices else both[0]
