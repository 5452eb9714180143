"""Sampling an image at the places of a grid: `grid_sample`.

A sample is a weighted mean of the pixels around its place.  Which pixels these are is constant between the pixels'
centres; how they are weighted depends on the place, and the sample is linear in the image.  So both derivatives, of any
order, are those of the operations that it is composed of: a gather and a product.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch

from neuronix.autograd import CustomTensor, composite
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
    positions = [[pixel for pixel, _ in each] for each in chosen]
    weights = torch.stack([math.prod(weight for _, weight in each) for each in chosen], 1)  # (N, pixels, H', W')
    return (_pixels(image, positions) * weights.unsqueeze(1)).sum(2)  # type: ignore[no-any-return]


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
        return [(first, torch.ones_like(first))]
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


def _pixels(image: Any, chosen: list[list[Any]]) -> Any:
    """The pixels at whole places (for each axis (N, H', W')), zeros where these are outside: (N, C, places, H', W').

    All are gathered at once, so that the gradient is one image, not one for each place.
    """
    flats, insides = [], []
    for places in chosen:
        flat: Any = 0
        inside: Any = True
        for place, size in zip(places, image.shape[2:], strict=True):
            place = place.detach()
            inside = inside & (place >= 0) & (place <= size - 1)
            flat = flat * size + torch.clamp(place, 0, size - 1).to(torch.int64)
        flats.append(flat)
        insides.append(inside)
    positions = torch.stack(flats, 1)  # (N, places, H', W')
    count, channels = image.shape[:2]
    rows = positions.flatten(1).unsqueeze(1).expand(count, channels, -1)
    found = image.flatten(2).gather(-1, rows).reshape(count, channels, *positions.shape[1:])
    return torch.where(torch.stack(insides, 1).unsqueeze(1), found, 0.0)
