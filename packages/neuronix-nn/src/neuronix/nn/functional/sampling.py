"""Sampling an image at the places of a grid: `grid_sample`.

A sample is a weighted mean of the pixels around its place.  Which pixels these are is constant between the pixels'
centres; how they are weighted depends on the place.  ATen's kernel finds the samples; the rule is made of the weights,
their slopes, and three operations that are each other's derivatives (at the end).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, Shape, composite, primitive
from neuronix.autograd.errors import ShapeError
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import rank
from neuronix.nn.tensor_like import TensorLike

__all__ = ["grid_sample"]

# In the order of ATen's numbers.
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


@composite(names="nn.functional.grid_sample")
def grid_sample(
    input: TensorLike,
    grid: TensorLike,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> CustomTensor:
    """The values of an image at the places of a grid.

        out[n, c, i, j] = Σ_p w(p, grid[n, i, j]) · input[n, c, p]

    with weights w of the pixels p around the place.

    Args:
        input: (N, C, H, W), or (N, C, D, H, W).
        grid: (N, H', W', 2) with x and y of each place, or (N, D', H', W', 3) with x, y and z; −1 and 1 are the
            image's edges.
        mode: ``"bilinear"`` (over three axes as well), ``"nearest"``, or over two axes ``"bicubic"`` (the convolution
            of Keys with a = −¾).
        padding_mode: What is beyond the edges: ``"zeros"``, the ``"border"``'s pixels, or the image's ``"reflection"``.
        align_corners: Whether −1 and 1 are the centres of the outermost pixels, not their outer edges.

    Returns:
        (N, C, H', W'), or (N, C, D', H', W').

    Raises:
        ShapeError: If the shapes don't fit.
        LayerArgumentError: If a mode is unknown.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> image = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
        >>> functional.grid_sample(image, torch.zeros(1, 1, 1, 2))
        CustomTensor([[[[1.5000]]]])

    References:
        R. Keys (1981), Cubic convolution interpolation for digital image processing.
    """
    for value, known, what in ((mode, MODES, "mode"), (padding_mode, PADDINGS, "padding_mode")):
        if value not in known:
            raise LayerArgumentError(f"grid_sample: {what} must be one of {', '.join(known)}, got {value!r}")
    return grid_sampler(input, grid, MODES.index(mode), PADDINGS.index(padding_mode), bool(align_corners))


@composite(
    names="torch.grid_sampler torch.grid_sampler_2d torch.grid_sampler_3d",
    aten="grid_sampler_2d.default grid_sampler_3d.default",
)
def grid_sampler(
    input: TensorLike, grid: TensorLike, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> CustomTensor:
    """`grid_sample` with ATen's numbers for its modes."""
    _check(input, grid, MODES[interpolation_mode])
    samples: CustomTensor = grid_sampler_(input, grid, interpolation_mode, padding_mode, align_corners)
    return samples


def _check(input: TensorLike, grid: TensorLike, mode: str) -> None:
    dimensions = rank(input, "grid_sample") - 2
    if dimensions not in (2, 3) or grid.ndim != dimensions + 2 or grid.shape[-1] != dimensions:
        raise ShapeError(
            f"grid_sample: an image (N, C, H, W) needs a grid (N, H', W', 2), and (N, C, D, H, W) needs "
            f"(N, D', H', W', 3); got shapes {tuple(input.shape)} and {tuple(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise ShapeError(f"grid_sample: {input.shape[0]} images, but {grid.shape[0]} grids")
    if 0 in input.shape[2:]:
        raise ShapeError(f"grid_sample: the image has no pixels, its shape is {tuple(input.shape)}")
    if mode == "bicubic" and dimensions == 3:
        raise LayerArgumentError("grid_sample: mode='bicubic' is for images with two axes")


@primitive
def grid_sampler_(image: Tensor, grid: Tensor, mode: int, padding: int, align_corners: bool) -> Tensor:
    """The samples (N, C, H', W') or (N, C, D', H', W')."""
    return torch.grid_sampler(image, grid, mode, padding, align_corners)


@grid_sampler_.vjp("image", "grid")
def grid_sampler_wrt(
    grad: Tensor, image: Tensor, grid: Tensor, mode: int, padding: int, align_corners: bool, needs: tuple[bool, bool]
) -> tuple[Any, Any]:
    sizes, samples = image.shape[2:], grad.flatten(2)
    axes = [
        # a grid's last axis says x first, which is the image's last axis
        _taps(grid[..., -1 - axis].flatten(1), size, MODES[mode], PADDINGS[padding], align_corners)
        for axis, size in enumerate(sizes)
    ]
    positions = _positions([taps.pixels for taps in axes], sizes)
    for_image = for_grid = None
    if needs[0]:
        weights = _crossed(operator.mul, [taps.weights for taps in axes])
        for_image = spread_samples(samples, weights, positions, math.prod(sizes) + 1)[..., :-1].reshape(image.shape)
    if needs[1]:
        # one more pixel, zero, stands for all that are outside
        pixels = torch.cat([image.flatten(2), image.new_zeros(*image.shape[:2], 1)], -1)
        for_weights = matched_pixels(pixels, samples, positions)
        slopes = [
            _crossed(operator.mul, [taps.slopes if taps is moved else taps.weights for taps in axes])
            for moved in reversed(axes)
        ]
        for_grid = torch.stack([(for_weights * slope).sum(1) for slope in slopes], -1).reshape(grid.shape)
    return for_image, for_grid


@grid_sampler_.fused("image", "grid")
def grid_sampler_kernel(
    grad: Tensor, image: Tensor, grid: Tensor, mode: int, padding: int, align_corners: bool, needs: tuple[bool, bool]
) -> Any:
    backward = torch.ops.aten.grid_sampler_2d_backward if image.ndim == 4 else torch.ops.aten.grid_sampler_3d_backward
    return backward(grad, image, grid, mode, padding, align_corners, needs)


class Taps(NamedTuple):
    """The K pixels along an axis that enter each of L samples, each (N, K, L)."""

    pixels: Any  # whole numbers, beyond the image for those that count as zeros
    weights: Any
    slopes: Any  # of the weights, by the grid's coordinate


def _taps(coordinate: Any, size: int, mode: str, padding: str, align_corners: bool) -> Taps:
    """The pixels along an axis for coordinates (N, L) from −1 to 1."""
    scale = (size - 1) / 2 if align_corners else size / 2
    place = (coordinate + 1) / 2 * (size - 1) if align_corners else ((coordinate + 1) * size - 1) / 2
    if mode == "bicubic":
        first = torch.floor(place)
        beyond = place - first
        pixels = [_padded(first + step, size, padding, align_corners)[0] for step in (-1, 0, 1, 2)]
        kernel = [_cubic(beyond + 1, outer=True), _cubic(beyond, outer=False)]
        kernel += [_cubic(1 - beyond, outer=False), _cubic(2 - beyond, outer=True)]
        weights, slopes = zip(*kernel, strict=True)
        ways = (scale, scale, -scale, -scale)  # moving on, a sample comes away from the two pixels behind it
        slopes = tuple(way * slope for way, slope in zip(ways, slopes, strict=True))
    else:
        place, turn = _padded(place, size, padding, align_corners)
        if mode == "nearest":
            nearest = torch.round(place)
            pixels, weights, slopes = [nearest], (torch.ones_like(nearest),), (torch.zeros_like(nearest),)
        else:
            first = torch.floor(place)
            beyond = place - first
            pixels, weights, slopes = [first, first + 1], (1 - beyond, beyond), (-scale * turn, scale * turn)
    return Taps(torch.stack(pixels, 1), torch.stack(weights, 1), torch.stack(slopes, 1))


def _cubic(t: Any, outer: bool) -> tuple[Any, Any]:
    """The kernel of Keys with a = −¾ and its slope, at a distance of 1 to 2 pixels (``outer``) or less."""
    a = -0.75
    if outer:
        return a * (((t - 5) * t + 8) * t - 4), a * ((3 * t - 10) * t + 8)
    return ((a + 2) * t - (a + 3)) * t * t + 1, (3 * (a + 2) * t - 2 * (a + 3)) * t


def _padded(place: Any, size: int, padding: str, align_corners: bool) -> tuple[Any, Any]:
    """A place, brought into the image, and how it moves there: on, back (−1), or not (0; so on the edge itself)."""
    turn = torch.ones_like(place)
    if padding == "zeros":
        return place, turn
    if padding == "reflection":
        place, turn = _reflected(place, *((0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)))
    inside = (place > 0) & (place < size - 1)
    return torch.clamp(place, 0, size - 1), torch.where(inside, turn, 0.0)


def _reflected(place: Any, low: float, high: float) -> tuple[Any, Any]:
    """A place, mirrored at ``low`` and at ``high`` until it lies between them, and which way it moves there."""
    span = high - low
    if span == 0:
        return torch.zeros_like(place), torch.zeros_like(place)
    way = place - low
    turn = torch.where(way < 0, -1.0, torch.ones_like(place))
    way = turn * way
    turns = torch.floor(way / span)
    rest = way - turns * span
    forward = turns % 2 == 0
    return torch.where(forward, rest, span - rest) + low, torch.where(forward, turn, -turn)


def _crossed(combine: Callable[[Any, Any], Any], axes: Iterable[Any]) -> Any:
    """What is combined of each choice of one pixel along every axis: of (N, K, L) each, (N, K · … · K, L)."""
    return functools.reduce(lambda all, each: combine(all.unsqueeze(2), each.unsqueeze(1)).flatten(1, 2), axes)


def _positions(axes: Iterable[Any], sizes: torch.Size) -> Any:
    """Where the pixels that are named along each axis (N, K, L) are in a flat image, its end if outside."""
    parts, within = [], []
    for axis, (pixels, size) in enumerate(zip(axes, sizes, strict=True)):
        parts.append(torch.clamp(pixels, 0, size - 1).to(torch.int64) * math.prod(sizes[axis + 1 :]))
        within.append((pixels >= 0) & (pixels <= size - 1))
    return torch.where(_crossed(operator.and_, within), _crossed(operator.add, parts), math.prod(sizes))


# Samples s, pixels x and weights w meet in one sum, ⟨s, x, w⟩ = Σ s[n, c, l] · x[n, c, position[n, p, l]] · w[n, p, l].
# It is linear in each of the three, so its derivatives with respect to one are made of the other two, and the
# derivatives of these three are these three.  None holds more than one pixel of each sample at a time.


@primitive
def weighted_pixels(pixels: Tensor, weights: Tensor, positions: Tensor) -> Tensor:
    """The sums of pixels (N, C, size), each with its weight (N, P, L): samples (N, C, L)."""
    total = torch.zeros_like(pixels[:, :, :1]).expand(*pixels.shape[:2], positions.shape[-1])
    for place, weight in zip(positions.unbind(1), weights.unbind(1), strict=True):
        total = torch.addcmul(total, _picked(pixels, place), weight.unsqueeze(1))
    return total


@primitive
def spread_samples(samples: Tensor, weights: Tensor, positions: Tensor, size: int) -> Tensor:
    """Each sample (N, C, L), brought with its weights to the pixels that it is made of: (N, C, size)."""
    total = samples.new_zeros(*samples.shape[:2], size)
    for place, weight in zip(positions.unbind(1), weights.unbind(1), strict=True):
        total = total.scatter_add(-1, _of_each_channel(place, samples), samples * weight.unsqueeze(1))
    return total


@primitive
def matched_pixels(pixels: Tensor, samples: Tensor, positions: Tensor) -> Tensor:
    """The products of samples and of the pixels that they are made of, summed over channels: (N, P, L)."""
    return torch.stack([(_picked(pixels, place) * samples).sum(1) for place in positions.unbind(1)], 1)


@weighted_pixels.vjp("pixels")
def weighted_pixels_wrt_pixels(grad: Tensor, pixels: Shape, weights: Tensor, positions: Tensor) -> Any:
    return spread_samples(grad, weights, positions, pixels[-1])


@weighted_pixels.vjp("weights")
def weighted_pixels_wrt_weights(grad: Tensor, pixels: Tensor, positions: Tensor) -> Any:
    return matched_pixels(pixels, grad, positions)


@spread_samples.vjp("samples")
def spread_samples_wrt_samples(grad: Tensor, weights: Tensor, positions: Tensor) -> Any:
    return weighted_pixels(grad, weights, positions)


@spread_samples.vjp("weights")
def spread_samples_wrt_weights(grad: Tensor, samples: Tensor, positions: Tensor) -> Any:
    return matched_pixels(grad, samples, positions)


@matched_pixels.vjp("pixels")
def matched_pixels_wrt_pixels(grad: Tensor, pixels: Shape, samples: Tensor, positions: Tensor) -> Any:
    return spread_samples(samples, grad, positions, pixels[-1])


@matched_pixels.vjp("samples")
def matched_pixels_wrt_samples(grad: Tensor, pixels: Tensor, positions: Tensor) -> Any:
    return weighted_pixels(pixels, grad, positions)


def _of_each_channel(place: Tensor, like: Tensor) -> Tensor:
    return place.unsqueeze(1).expand(-1, like.shape[1], -1)


def _picked(pixels: Tensor, place: Tensor) -> Tensor:
    return pixels.gather(-1, _of_each_channel(place, pixels))
