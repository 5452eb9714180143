"""Joining tensors, splitting them, and moving their elements about: cat, split, flip, roll, diagonals, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neuronix.autograd.dispatch.inplace import unwrap
from neuronix.autograd.dispatch.registry import TORCH_FUNCTIONS
from neuronix.autograd.errors import ArgumentError, ShapeError, UnsupportedShapeError
from neuronix.autograd.ops.conversions import clone
from neuronix.autograd.ops.shapes import atleast_1d, atleast_2d, atleast_3d, axis_of, flattened, reshape_
from neuronix.autograd.primitive import Shape, composite, primitive

__all__ = [
    "cat",
    "chunk",
    "column_stack",
    "diag",
    "diag_embed",
    "diagonal",
    "diagonal_scatter",
    "dstack",
    "flip",
    "fliplr",
    "flipud",
    "hstack",
    "pad",
    "roll",
    "split",
    "split_with_sizes",
    "stack",
    "tensor_split",
    "trace",
    "tril",
    "triu",
    "unbind",
    "vstack",
]


# Joining and splitting


@primitive(names="cat concat concatenate", aten="cat.default")
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an axis."""
    return torch.cat(tensors, dim)  # type: ignore[arg-type]


@cat.vjp("tensors")
def cat_wrt_tensors(grad: Tensor, tensors: Shape, dim: int) -> list[Tensor]:
    shapes: Any = tensors  # one for each tensor
    # torch takes empty 1-d tensors along with others of any number of axes
    sizes = [shape[dim] if len(shape) == grad.ndim else 0 for shape in shapes]
    parts = torch.split_with_sizes(grad, sizes, dim)
    return [p if p.ndim == len(s) else p.new_zeros(s) for p, s in zip(parts, shapes, strict=True)]


@primitive(names="stack", aten="stack.default")
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    return torch.stack(tensors, dim)  # type: ignore[arg-type]


@stack.vjp("tensors")
def stack_wrt_tensors(grad: Tensor, dim: int) -> Any:
    return list(grad.unbind(dim))


@composite(names="hstack")
def hstack(tensors: Sequence[Any]) -> Any:
    """Tensors joined side by side: along the second axis, 1-d ones along the first."""
    tensors = [atleast_1d(x) for x in tensors]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


@composite(names="vstack row_stack")
def vstack(tensors: Sequence[Any]) -> Any:
    """Tensors joined as rows, along the first axis."""
    return cat([atleast_2d(x) for x in tensors], 0)


@composite(names="dstack")
def dstack(tensors: Sequence[Any]) -> Any:
    """Tensors joined along the third axis."""
    return cat([atleast_3d(x) for x in tensors], 2)


@composite(names="column_stack")
def column_stack(tensors: Sequence[Any]) -> Any:
    """Tensors joined as columns: 1-d ones become columns first."""
    return cat([reshape_(x, (-1, 1)) if x.ndim < 2 else x for x in tensors], 1)


@primitive(view=True, aten="split_with_sizes.default unsafe_split_with_sizes.default")
def split_with_sizes_(x: Tensor, split_sizes: tuple[int, ...], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the given sizes along an axis."""
    return tuple(torch.split_with_sizes(x, split_sizes, dim))


@split_with_sizes_.vjp("x")
def split_with_sizes_wrt_x(grad: list[Tensor | None], x: Shape, split_sizes: tuple[int, ...], dim: int) -> Tensor:
    some = next(piece for piece in grad if piece is not None)
    before, after = x[:dim], x[dim:][1:]
    return torch.cat(
        [
            some.new_zeros((*before, size, *after)) if piece is None else piece
            for piece, size in zip(grad, split_sizes, strict=True)
        ],
        dim,
    )


@composite(names="split unsafe_split", aten="split.Tensor unsafe_split.Tensor")
def split(x: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces along an axis: of the given size (the last may be smaller), or of the given sizes.

    Args:
        x: Tensor.
        split_size_or_sections: One size, or a list of sizes that add up to the axis.
        dim: The axis.

    Returns:
        The pieces, as views.

    Raises:
        ShapeError: If a size is negative, or the sizes don't add up.
    """
    if not isinstance(split_size_or_sections, int):
        return tuple(split_with_sizes_(x, tuple(split_size_or_sections), dim))
    size, length = split_size_or_sections, x.shape[axis_of(dim, x.ndim, "split")] if x.ndim else 1
    if size < 0 or (size == 0 and length):
        raise ShapeError(f"split: expects split_size to be positive, but got {size} for an axis of size {length}")
    sections = [min(size, length - start) for start in range(0, length, size)] if length else [0]
    return tuple(split_with_sizes_(x, tuple(sections), dim))


@composite(names="split_with_sizes unsafe_split_with_sizes")
def split_with_sizes(x: Any, split_sizes: Sequence[int], dim: int = 0) -> tuple[Any, ...]:
    """Pieces of the given sizes along an axis."""
    return tuple(split_with_sizes_(x, tuple(split_sizes), dim))


@composite(names="chunk unsafe_chunk")
def chunk(x: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most ``chunks`` pieces of equal size along an axis; the last may be smaller."""
    if not x.ndim:
        raise ShapeError("chunk: expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise ShapeError(f"chunk: expects `chunks` to be greater than 0, got: {chunks}")
    length = x.shape[axis_of(dim, x.ndim, "chunk")]
    size = -(-length // chunks)
    return split(x, size, dim) if size else split_with_sizes(x, [0] * chunks, dim)


@composite(names="tensor_split")
def tensor_split(x: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces along an axis: so many (sizes differ by one at most), or cut at the given places."""
    length = x.shape[axis_of(dim, x.ndim, "tensor_split")]
    places = unwrap(indices_or_sections)
    places = places.tolist() if isinstance(places, Tensor) else places
    if isinstance(places, int):
        if places < 1:
            raise ArgumentError(f"tensor_split: the number of sections must be larger than 0, got {places}")
        size, larger = divmod(length, places)
        return split_with_sizes(x, [size + (i < larger) for i in range(places)], dim)
    index = [slice(None)] * (dim % x.ndim)
    return tuple(x[(*index, slice(start, end))] for start, end in zip([0, *places], [*places, None], strict=True))


@primitive(view=True, names="unbind", aten="unbind.int")
def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, without that axis."""
    return x.unbind(dim)


@unbind.vjp("x")
def unbind_wrt_x(grad: list[Tensor | None], dim: int) -> Tensor:
    some = next(piece for piece in grad if piece is not None)
    return torch.stack([some.new_zeros(some.shape) if piece is None else piece for piece in grad], dim)


# Order along axes


@primitive(aten="flip.default")
def flip_(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The elements along axes in reverse order."""
    return torch.flip(x, dims)


@flip_.vjp("x")
def flip_wrt_x(grad: Tensor, dims: tuple[int, ...]) -> Tensor:
    return grad.flip(dims)


@composite(names="flip")
def flip(x: Any, *axes: Any, dims: Any = None) -> Any:
    """The elements along axes in reverse order: ``x.flip(0)`` or ``x.flip((0, 1))``."""
    return flip_(x, flattened(axes, dims))


@composite(names="fliplr")
def fliplr(x: Any) -> Any:
    """The columns in reverse order."""
    if x.ndim < 2:
        raise ShapeError(f"fliplr: the tensor must have two axes or more, not {x.ndim}")
    return flip_(x, (1,))


@composite(names="flipud")
def flipud(x: Any) -> Any:
    """The rows in reverse order."""
    if x.ndim < 1:
        raise ShapeError("flipud: a 0-dim tensor has no rows")
    return flip_(x, (0,))


@primitive(names="roll", aten="roll.default")
def roll(x: Tensor, shifts: int | tuple[int, ...], dims: int | tuple[int, ...] | None = None) -> Tensor:
    """The elements moved along axes (without ``dims`` as one row); what leaves at the end comes back in front."""
    return torch.roll(x, shifts, () if dims is None else dims)


@roll.vjp("x")
def roll_wrt_x(grad: Tensor, shifts: Any, dims: Any) -> Tensor:
    return torch.roll(grad, -shifts if isinstance(shifts, int) else [-shift for shift in shifts], dims)


# Diagonals and triangles


@primitive(view=True, names="diagonal", aten="diagonal.default")
def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonals of the matrices in two axes, as the last axis."""
    return torch.diagonal(x, offset, dim1, dim2)


@diagonal.vjp("x")
def diagonal_wrt_x(grad: Tensor, x: Shape, offset: int, dim1: int, dim2: int) -> Tensor:
    return torch.diagonal_scatter(grad.new_zeros(x), grad, offset, dim1, dim2)


def _diagonal_of_last_axes(x: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """``torch.linalg.diagonal``, whose defaults are others."""
    return diagonal(x, offset, dim1, dim2)


TORCH_FUNCTIONS[torch.linalg.diagonal] = _diagonal_of_last_axes


@primitive(names="diagonal_scatter", aten="diagonal_scatter.default")
def diagonal_scatter(x: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """``x`` with ``src`` on the diagonals."""
    return torch.diagonal_scatter(x, src, offset, dim1, dim2)


@diagonal_scatter.vjp("x")
def diagonal_scatter_wrt_x(grad: Tensor, src: Shape, offset: int, dim1: int, dim2: int) -> Tensor:
    return torch.diagonal_scatter(grad, grad.new_zeros(src), offset, dim1, dim2)


@diagonal_scatter.vjp("src")
def diagonal_scatter_wrt_src(grad: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    return torch.diagonal(grad, offset, dim1, dim2)


@primitive(names="diag_embed", aten="diag_embed.default")
def diag_embed(x: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices of zeros in two new axes, with the last axis of ``x`` on their diagonals."""
    return torch.diag_embed(x, offset, dim1, dim2)


@diag_embed.vjp("x")
def diag_embed_wrt_x(grad: Tensor, offset: int, dim1: int, dim2: int) -> Tensor:
    return torch.diagonal(grad, offset, dim1, dim2)


@composite(names="diag")
def diag(x: Any, diagonal: int = 0) -> Any:
    """The diagonal of a matrix, or the matrix with a vector on its diagonal."""
    if x.ndim not in (1, 2):
        raise ShapeError(f"diag: expects a 1-d or 2-d tensor, not one of shape {tuple(x.shape)}")
    return diag_embed(x, diagonal) if x.ndim == 1 else clone(torch.diagonal(x, diagonal))


@composite(names="trace", aten="trace.default")
def trace(x: Any) -> Any:
    """The sum of the diagonal of a matrix."""
    if x.ndim != 2:
        raise ShapeError(f"trace: expected a matrix, not a tensor of shape {tuple(x.shape)}")
    return torch.sum(diagonal(x))


@primitive(names="tril", aten="tril.default")
def tril(x: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices, zeros above it."""
    return torch.tril(x, diagonal)


@tril.vjp("x")
def tril_wrt_x(grad: Tensor, diagonal: int) -> Tensor:
    return grad.tril(diagonal)


@primitive(names="triu", aten="triu.default")
def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices, zeros below it."""
    return torch.triu(x, diagonal)


@triu.vjp("x")
def triu_wrt_x(grad: Tensor, diagonal: int) -> Tensor:
    return grad.triu(diagonal)


# Padding


@primitive(names="constant_pad_nd", aten="constant_pad_nd.default")
def constant_pad(x: Tensor, pad: tuple[int, ...], value: float = 0) -> Tensor:
    """``x`` with ``value`` around it: ``pad`` holds (before, after) from the last axis on; negative numbers crop."""
    return torch.constant_pad_nd(x, pad, value)


@constant_pad.vjp("x")
def constant_pad_wrt_x(grad: Tensor, pad: tuple[int, ...]) -> Tensor:
    # what was added is cropped, what was cropped gets zeros
    return torch.constant_pad_nd(grad, [-n for n in pad], 0)


def _source_of(place: int, size: int, mode: str) -> int:
    """Which element of an axis of ``size`` stands at a ``place`` outside it."""
    if mode == "circular":
        return place % size
    if mode == "replicate":
        return min(max(place, 0), size - 1)
    return abs(place) if place < size else 2 * (size - 1) - place  # reflect


@composite(names="pad", aten="pad.default")
def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """``x`` with more elements around it (``torch.nn.functional.pad``).

    Args:
        x: Tensor.
        pad: (before, after) for the last axis, then for the one before it, …
        mode: What to put there: ``"constant"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        value: The constant; 0 by default.

    Returns:
        The padded tensor.

    Raises:
        ShapeError: If the mode can't pad so much, or (UnsupportedShapeError) not so many axes.
    """
    if mode == "constant":
        return constant_pad(x, tuple(pad), 0 if value is None else value)
    try:
        expected = F.pad(torch.empty(x.shape, device="meta"), tuple(pad), mode).shape  # torch's checks of the arguments
    except (RuntimeError, ValueError) as error:
        kind = UnsupportedShapeError if isinstance(error, NotImplementedError) else ShapeError  # for a number of axes
        raise kind(f"pad: {error}\n  given: shape {tuple(x.shape)}, pad={tuple(pad)}, mode={mode!r}") from error
    if mode == "circular":  # torch crops before it goes round
        x = constant_pad(x, tuple(min(size, 0) for size in pad))
        pad = [max(size, 0) for size in pad]
    for axis, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True), 1):
        size = x.shape[-axis]
        if before or after:
            places = [_source_of(place, size, mode) for place in range(-before, size + after)]
            x = torch.index_select(x, x.ndim - axis, torch.tensor(places, device=x.device))
    if x.shape != expected:
        raise ShapeError(f"pad: made shape {tuple(x.shape)} where torch makes {tuple(expected)}")
    return x
