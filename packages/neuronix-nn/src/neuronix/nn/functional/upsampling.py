"""Images in another size, by the nearest pixel or by interpolation between pixels.

Each mode is linear in the image, so its derivative is its adjoint: two operations whose rules are each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, Shape, composite, primitive
from neuronix.autograd.errors import UnsupportedError, UnsupportedShapeError
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.adaptive_pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from neuronix.nn.functional.arguments import lift, whole
from neuronix.nn.tensor_like import TensorLike

__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]

Factors = float | Iterable[float]

# (mode, number of spatial axes, whether with antialiasing) -> the name of ATen's kernel
_KERNELS = {
    **{("nearest", axes, False): f"upsample_nearest{axes}d" for axes in (1, 2, 3)},
    **{("nearest-exact", axes, False): f"_upsample_nearest_exact{axes}d" for axes in (1, 2, 3)},
    ("linear", 1, False): "upsample_linear1d",
    ("bilinear", 2, False): "upsample_bilinear2d",
    ("trilinear", 3, False): "upsample_trilinear3d",
    ("bicubic", 2, False): "upsample_bicubic2d",
    ("bilinear", 2, True): "_upsample_bilinear2d_aa",
    ("bicubic", 2, True): "_upsample_bicubic2d_aa",
    ("lanczos", 2, True): "_upsample_lanczos2d_aa",
}
_CORNERED = ("linear", "bilinear", "trilinear", "bicubic", "lanczos")
_AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


class Grid(NamedTuple):
    """How an image is resized: all that a kernel asks beside the image."""

    kernel: str
    size: tuple[int, ...]  # of the result
    options: tuple[Any, ...]  # align_corners, where the mode knows corners, and the scale factors or None


@primitive
def resize(x: Tensor, grid: Grid) -> Tensor:
    """(batch, channels, spatial axes …) in another size."""
    return _kernel(grid.kernel)(x, grid.size, *grid.options)


@resize.vjp("x")
def resize_wrt_x(grad: Tensor, x: Shape, grid: Grid) -> Tensor:
    result: Tensor = resize_adjoint(grad, x, grid)
    return result


@primitive
def resize_adjoint(g: Tensor, shape: torch.Size, grid: Grid) -> Tensor:
    """``shape``, where each pixel receives from the pixels of ``g`` what it gave them."""
    return _kernel(f"{grid.kernel}_backward")(g, grid.size, shape, *grid.options)


@resize_adjoint.vjp("g")
def resize_adjoint_wrt_g(grad: Tensor, grid: Grid) -> Tensor:
    result: Tensor = resize(grad, grid)
    return result


def _kernel(name: str) -> Callable[..., Tensor]:
    kernel: Callable[..., Tensor] = getattr(torch.ops.aten, name).default
    return kernel


@composite(names="nn.functional.interpolate")
def interpolate(
    input: TensorLike,
    size: int | Iterable[int] | None = None,
    scale_factor: Factors | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> CustomTensor:
    """An image in another size.

    Args:
        input: (N, C, spatial axes …), one to three of them.
        size: The new size; one number, or one for each axis.
        scale_factor: Instead of it, new size / old size.
        mode: ``"nearest"``, ``"nearest-exact"``, ``"area"`` (means, see `adaptive_avg_pool2d`), or by the number of
            spatial axes ``"linear"`` (1), ``"bilinear"``, ``"bicubic"`` (2), ``"trilinear"`` (3).
        align_corners: For the last four: whether the corners' pixels keep their centres, instead of the image its edge.
        recompute_scale_factor: Whether distances are taken from the two sizes, instead of from ``scale_factor``.
        antialias: Whether to smooth when the image gets smaller; for ``"bilinear"`` and ``"bicubic"``.

    Returns:
        (N, C, new size …).

    Raises:
        LayerArgumentError: If the arguments contradict each other.
        DtypeError: If the size isn't made of integers.
        UnsupportedShapeError: If the number of axes isn't 3, 4 or 5.
        UnsupportedError: If the mode doesn't exist for that number of axes.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.interpolate(torch.tensor([[[1.0, 3.0]]]), size=3, mode="linear", align_corners=True).tolist()
        [[[1.0, 2.0, 3.0]]]
    """
    x = lift(input)
    axes = x.ndim - 2
    if axes not in (1, 2, 3):
        raise UnsupportedShapeError(
            f"interpolate: expected input (N, C, 1 to 3 spatial axes), got shape {tuple(x.shape)}"
        )
    _check_mode(mode, align_corners, antialias)
    new, factors = _sizes(x.shape[2:], size, scale_factor, recompute_scale_factor)
    if mode == "area":
        area: CustomTensor = _AREA[axes](x, new)
        return area
    kernel = _KERNELS.get((mode, axes, antialias))
    if kernel is None or not hasattr(torch.ops.aten, kernel):
        raise UnsupportedError(
            f"interpolate: mode {mode!r}{' with antialias' if antialias else ''} isn't offered for input of shape "
            f"{tuple(x.shape)}",
            hint=f"for {axes} spatial axes: {', '.join(sorted({m for m, a, _ in _KERNELS if a == axes}))} or area",
        )
    options = (bool(align_corners), *factors) if mode in _CORNERED else factors
    out: CustomTensor = resize(x, Grid(kernel, new, options))
    return out


def _check_mode(mode: str, align_corners: bool | None, antialias: bool) -> None:
    known = {known for known, _, _ in _KERNELS} | {"area"}
    if mode not in known:
        raise UnsupportedError(f"interpolate: unknown mode {mode!r}", hint=f"it is one of {', '.join(sorted(known))}")
    if align_corners is not None and mode not in _CORNERED:
        raise LayerArgumentError(
            f"interpolate: align_corners option can only be set with the interpolating modes, got mode {mode!r}",
            hint=f"leave it out, or use one of {', '.join(_CORNERED)}",
        )
    if antialias and mode not in ("bilinear", "bicubic", "lanczos"):
        raise LayerArgumentError(
            f"interpolate: antialias option is restricted to bilinear and bicubic modes, got {mode!r}"
        )


def _sizes(
    old: Iterable[int], size: int | Iterable[int] | None, scale_factor: Factors | None, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The new sizes, and the factors from which kernels take distances (``None``: from the sizes)."""
    old = tuple(old)
    if (size is None) == (scale_factor is None):
        given = "only one of size or scale_factor" if size is not None else "either size or scale_factor"
        raise LayerArgumentError(f"interpolate: {given} should be defined, got {size} and {scale_factor}")
    if size is not None:
        if recompute:
            raise LayerArgumentError("interpolate: recompute_scale_factor is not meaningful with an explicit size")
        return whole(_each("size", size, len(old)), "interpolate: size"), (None,) * len(old)
    factors = _each("scale_factor", scale_factor, len(old))
    new = tuple(math.floor(float(length * factor)) for length, factor in zip(old, factors, strict=True))
    return new, (None,) * len(old) if recompute else tuple(map(float, factors))


def _each(name: str, value: Any, axes: int) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, Iterable) else (value,) * axes
    if len(values) != axes:
        raise LayerArgumentError(f"interpolate: {name} must have one number for each of {axes} axes, got {values}")
    return values


@composite(names="nn.functional.upsample")
def upsample(
    input: TensorLike,
    size: int | Iterable[int] | None = None,
    scale_factor: Factors | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> CustomTensor:
    """The older name of [`interpolate`][neuronix.nn.functional.interpolate]."""
    return interpolate(input, size, scale_factor, mode, align_corners)


@composite(names="nn.functional.upsample_nearest")
def upsample_nearest(
    input: TensorLike, size: int | Iterable[int] | None = None, scale_factor: Factors | None = None
) -> CustomTensor:
    """[`interpolate`][neuronix.nn.functional.interpolate] with ``mode="nearest"``."""
    return interpolate(input, size, scale_factor, "nearest")


@composite(names="nn.functional.upsample_bilinear")
def upsample_bilinear(
    input: TensorLike, size: int | Iterable[int] | None = None, scale_factor: Factors | None = None
) -> CustomTensor:
    """[`interpolate`][neuronix.nn.functional.interpolate] with ``mode="bilinear"`` and ``align_corners=True``."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)
