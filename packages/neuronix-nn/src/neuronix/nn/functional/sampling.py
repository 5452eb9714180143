"""Sampling an image at the places of a grid: `grid_sample`.

A sample is a weighted mean of the pixels around its place.  Which pixels these are is constant between the pixels'
centres; how they are weighted depends on the place, by operations that differentiate themselves.  The mean itself,
bilinear in pixels and weights, has rules of its own (at the end), for the pixels of all samples are many numbers.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

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
    image, places = (x if isinstance(x, CustomTensor) else CustomTensor(x) for x in (input, grid))
    padding = PADDINGS[padding_mode]
    taps: list[list[tuple[Any, Any]]] = []  # for each axis: pixels along it and their weights, each (N, H', W')
    for axis, size in enumerate(image.shape[2:]):
        place = places[..., -1 - axis]  # a grid's last axis says x first, which is the image's last axis
        centred = (place + 1) / 2 * (size - 1) if align_corners else ((place + 1) * size - 1) / 2
        taps.append(_taps(centred, size, MODES[interpolation_mode], padding, align_corners))
    chosen = list(itertools.product(*taps))
    positions = _positions([[pixel for pixel, _ in each] for each in chosen], image.shape[2:])
    weights = torch.stack([math.prod(weight for _, weight in each) for each in chosen], 1)  # (N, pixels, H', W')
    # one more pixel, zero, stands for all that are outside
    pixels = torch.cat([image.flatten(2), image.new_zeros(*image.shape[:2], 1)], -1)
    samples = weighted_pixels(pixels, weights.flatten(2), positions)
    return samples.reshape(*image.shape[:2], *places.shape[1:-1])  # type: ignore[no-any-return]


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


def _taps(place: Any, size: int, mode: str, padding: str, align_corners: bool) -> list[tuple[Any, Any]]:
    """The pixels along an axis that enter a sample, and their weights."""
    if mode != "bicubic":
        place = _padded(place, size, padding, align_corners)
    first = torch.round(place) if mode == "nearest" else torch.floor(place)
    beyond = place - first
    if mode == "nearest":
        # a weight of one, which still comes from the grid: as in torch, its gradient is zeros
        return [(first, torch.where(torch.ones_like(first, dtype=torch.bool), 1.0, place))]
    if mode == "bilinear":
        return [(first, 1 - beyond), (first + 1, beyond)]
    return [
        (_padded(first + step, size, padding, align_corners), _cubic(beyond - step, outer=step in (-1, 2)))
        for step in (-1, 0, 1, 2)
    ]


def _cubic(distance: Any, outer: bool) -> Any:
    """The kernel of Keys with a = −¾, between 1 and 2 pixels away (``outer``) or nearer."""
    a, t = -0.75, torch.abs(distance)
    if outer:
        return a * (((t - 5) * t + 8) * t - 4)
    return ((a + 2) * t - (a + 3)) * t * t + 1


def _padded(place: Any, size: int, padding: str, align_corners: bool) -> Any:
    """A place, brought into the image; one on its edge or beyond doesn't move, so its derivative is zero."""
    if padding == "zeros":
        return place
    if padding == "reflection":
        place = _reflected(place, *((0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)))
    return torch.where(place <= 0, 0.0, torch.where(place >= size - 1, size - 1.0, place))


def _reflected(place: Any, low: float, high: float) -> Any:
    """A place, mirrored at ``low`` and at ``high`` until it lies between them."""
    span = high - low
    if span == 0:
        return torch.zeros_like(place)
    way = place - low
    way = torch.where(way < 0, -way, way)
    turns = torch.floor(way / span)
    rest = way - turns * span
    return torch.where(turns % 2 == 0, rest, span - rest) + low


def _positions(chosen: list[list[Any]], sizes: torch.Size) -> Tensor:
    """Where in a flat image whole places are (for each axis (N, H', W')), its end if outside: (N, places, H' · W')."""
    positions = []
    for places in chosen:
        flat: Any = 0
        inside: Any = True
        for place, size in zip(places, sizes, strict=True):
            place = place.data
            inside = inside & (place >= 0) & (place <= size - 1)
            flat = flat * size + torch.clamp(place, 0, size - 1).to(torch.int64)
        positions.append(torch.where(inside, flat, math.prod(sizes)))
    return torch.stack(positions, 1).flatten(2)


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
