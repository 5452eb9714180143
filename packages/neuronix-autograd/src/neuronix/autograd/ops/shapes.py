"""Operations that move elements about without computing: shapes, axes, joining and splitting, copies and conversions.

A name with an underscore at its end (``reshape_``) is the primitive behind the function without it, which only brings
torch's many spellings (``x.reshape(2, 3)``, ``x.reshape((2, 3))``) into one form; in errors and pictures both are
called ``reshape``.  The forwards of most return views: no element is copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neuronix.autograd.errors import AxisError, ShapeError
from neuronix.autograd.inplace import unwrap
from neuronix.autograd.primitive import Shape, composite, primitive
from neuronix.autograd.recording import constant_result
from neuronix.autograd.registry import TORCH_FUNCTIONS
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_tensors",
    "broadcast_to",
    "cat",
    "chunk",
    "clone",
    "column_stack",
    "contiguous",
    "detach",
    "diag",
    "diag_embed",
    "diagonal",
    "dstack",
    "expand",
    "expand_as",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "hstack",
    "movedim",
    "pad",
    "permute",
    "ravel",
    "repeat",
    "repeat_interleave",
    "reshape",
    "reshape_as",
    "roll",
    "split",
    "squeeze",
    "stack",
    "sum_to_size",
    "t",
    "tensor_split",
    "tile",
    "to",
    "trace",
    "transpose",
    "tril",
    "triu",
    "type_as",
    "unbind",
    "unflatten",
    "unsqueeze",
    "view",
    "view_as",
    "vstack",
]


def _flattened(values: tuple[Any, ...], keyword: Any = None) -> tuple[int, ...]:
    """The integers of ``f(1, 2)``, ``f((1, 2))`` or ``f(name=(1, 2))``."""
    if not values:
        values = (keyword,)
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        return tuple(values[0])
    return values


def _axis(dim: int, ndim: int, name: str) -> int:
    """``dim`` counted from the front."""
    bound = ndim if ndim > 1 else 1  # a 0-d tensor counts as having one axis
    if not -bound <= dim < bound:
        raise AxisError(
            f"{name}: dimension out of range: {dim} for a tensor with {ndim} axes",
            hint=f"expected to be in range of [{-bound}, {bound - 1}]",
        )
    return dim % bound


# Reshaping


@primitive(view=True, aten="view.default _unsafe_view.default _reshape_alias.default")
def reshape_(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same elements in another shape; a view where the memory's layout allows one."""
    return x.reshape(shape)


@reshape_.vjp("x")
def reshape_wrt_x(grad: Tensor, x: Shape) -> Tensor:
    return grad.reshape(x)


@primitive(view=True)
def view_(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """The same memory in another shape."""
    return x.view(size)


@view_.vjp("x")
def view_wrt_x(grad: Tensor, x: Shape) -> Tensor:
    return grad.reshape(x)


@composite(names="reshape", aten="reshape.default")
def reshape(x: Any, *sizes: Any, shape: Any = None) -> Any:
    """The same elements in another shape: ``x.reshape(2, 3)`` or ``x.reshape((2, 3))``; one size may be -1."""
    return reshape_(x, _flattened(sizes, shape))


@composite(names="view")
def view(x: Any, *sizes: Any, size: Any = None, dtype: torch.dtype | None = None) -> Any:
    """`reshape` that never copies: an error where the memory's layout doesn't allow a view.

    ``view(dtype)``, which reads the bits as another type, has no derivative: it gives a constant, as in torch.
    """
    dtype = sizes[0] if sizes and isinstance(sizes[0], torch.dtype) else dtype
    if dtype is not None:
        return constant_result(unwrap(x).view(dtype))
    return view_(x, _flattened(sizes, size))


@composite(names="reshape_as")
def reshape_as(x: Any, other: Any) -> Any:
    """`reshape` to the shape of ``other``."""
    return reshape_(x, tuple(other.shape))


@composite(names="view_as")
def view_as(x: Any, other: Any) -> Any:
    """`view` in the shape of ``other``."""
    return view_(x, tuple(other.shape))


@composite(names="flatten")
def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """One axis for those from ``start_dim`` to ``end_dim``; a 0-d tensor becomes 1-d.

    Args:
        x: Tensor.
        start_dim: First axis to flatten.
        end_dim: Last axis to flatten.

    Returns:
        The tensor with fewer axes.

    Raises:
        ShapeError: If ``start_dim`` comes after ``end_dim``.
    """
    shape = tuple(x.shape)
    start, end = _axis(start_dim, len(shape), "flatten"), _axis(end_dim, len(shape), "flatten")
    if start > end:
        raise ShapeError(
            f"flatten: flatten() has invalid args: start_dim ({start_dim}) cannot come after end_dim ({end_dim})",
            hint="exchange them",
        )
    return reshape_(x, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@composite(names="ravel")
def ravel(x: Any) -> Any:
    """All elements along one axis."""
    return reshape_(x, (-1,))


@composite(names="unflatten")
def unflatten(x: Any, dim: int, sizes: Any) -> Any:
    """Several axes of ``sizes`` for axis ``dim``; one of them may be -1."""
    shape = tuple(x.shape)
    axis = _axis(dim, len(shape), "unflatten")
    sizes = list(sizes)
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and known:
        sizes[sizes.index(-1)] = shape[axis] // known
    if math.prod(sizes) != shape[axis] or not sizes:
        raise ShapeError(
            f"unflatten: provided sizes {sizes} don't multiply up to the size of dim {dim} ({shape[axis]}) in shape {shape}",
            hint="their product must be the size of the axis",
        )
    return reshape_(x, (*shape[:axis], *sizes, *shape[axis + 1 :]))


# Axes


@primitive(view=True, names="transpose swapaxes swapdims", aten="transpose.int")
def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    return x.transpose(dim0, dim1)


@transpose.vjp("x")
def transpose_wrt_x(grad: Tensor, dim0: int, dim1: int) -> Tensor:
    return grad.transpose(dim0, dim1)


@primitive(view=True, aten="permute.default")
def permute_(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The axes in another order."""
    return x.permute(dims)


@permute_.vjp("x")
def permute_wrt_x(grad: Tensor, dims: tuple[int, ...]) -> Tensor:
    # result axis i is axis dims[i] of the argument; the way back sorts them
    axes = [dim % len(dims) for dim in dims]
    return grad.permute(sorted(range(len(axes)), key=axes.__getitem__))


@composite(names="permute")
def permute(x: Any, *axes: Any, dims: Any = None) -> Any:
    """The axes in another order: ``x.permute(1, 0)`` or ``x.permute((1, 0))``."""
    return permute_(x, _flattened(axes, dims))


@composite(names="t", aten="t.default")
def t(x: Any) -> Any:
    """The transpose of a matrix; a vector or scalar stays as it is."""
    if x.ndim > 2:
        raise ShapeError(f"t: expects a tensor with <= 2 dimensions, not {x.ndim}", hint="use .mT or .transpose()")
    return transpose(x, 0, x.ndim - 1) if x.ndim else view_(x, ())


@composite(names="movedim moveaxis")
def movedim(x: Any, source: Any, destination: Any) -> Any:
    """Axes ``source`` moved to the places ``destination``; the others keep their order."""
    ndim = x.ndim
    sources = [_axis(dim, ndim, "movedim") for dim in _flattened((source,))]
    targets = [_axis(dim, ndim, "movedim") for dim in _flattened((destination,))]
    if len(set(sources)) != len(set(targets)) or len(sources) != len(targets) or len(set(sources)) != len(sources):
        raise ShapeError(
            f"movedim: invalid source {source} or destination {destination} dims: they must be unique and equally many",
            hint="name for each axis that is to be moved one place",
        )
    if not ndim:
        return view_(x, ())
    rest = iter(dim for dim in range(ndim) if dim not in sources)
    moved = dict(zip(targets, sources, strict=True))
    return permute_(x, tuple(moved[place] if place in moved else next(rest) for place in range(ndim)))


def _reversed_axes(x: Any) -> Any:
    """The tensor with its axes in reverse order: for a matrix the transpose."""
    return transpose(x, 0, 1) if x.ndim == 2 else permute_(x, tuple(reversed(range(x.ndim))))


def _matrix_transposed(x: Any) -> Any:
    """The tensor with its last two axes exchanged."""
    if x.ndim < 2:
        raise ShapeError(f"mT: only supported on matrices or batches of matrices, not on {x.ndim}-d tensors")
    return transpose(x, -2, -1)


def _conjugate_transposed(x: Any) -> Any:
    """The last two axes exchanged, and the numbers conjugated."""
    return torch.conj(_matrix_transposed(x)) if x.is_complex() else _matrix_transposed(x)


def _hermitian(x: Any) -> Any:
    """The conjugate transpose of a matrix; a scalar's is its conjugate."""
    if x.ndim not in (0, 2):
        raise ShapeError(f"H: only supported on matrices (2-d tensors), not on {x.ndim}-d tensors", hint="use .mH for batches")
    if x.ndim == 0:
        return torch.conj(x) if x.is_complex() else view_(x, ())
    return _conjugate_transposed(x)


def _register_property(name: str, function: Callable[[Any], Any]) -> None:
    setattr(CustomTensor, name, property(function))
    TORCH_FUNCTIONS[getattr(torch.Tensor, name).__get__] = function


_register_property("T", _reversed_axes)
_register_property("mT", _matrix_transposed)
_register_property("H", _hermitian)
_register_property("mH", _conjugate_transposed)
composite(names="adjoint")(_conjugate_transposed)


@primitive(view=True, aten="squeeze.default squeeze.dim squeeze.dims")
def squeeze_(x: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Axes of size one taken away: all, or those in ``dim``."""
    return x.squeeze() if dim is None else x.squeeze(dim)


@squeeze_.vjp("x")
def squeeze_wrt_x(grad: Tensor, x: Shape) -> Tensor:
    return grad.reshape(x)


@composite(names="squeeze")
def squeeze(x: Any, *dims: Any, dim: Any = None) -> Any:
    """Axes of size one taken away: all, or those named in ``dim``; an axis of another size stays."""
    if not dims:
        return squeeze_(x, tuple(dim) if isinstance(dim, list) else dim)
    return squeeze_(x, dims[0] if len(dims) == 1 and isinstance(dims[0], int) else _flattened(dims))


@primitive(view=True, names="unsqueeze", aten="unsqueeze.default")
def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """A new axis of size one at ``dim``."""
    return x.unsqueeze(dim)


@unsqueeze.vjp("x")
def unsqueeze_wrt_x(grad: Tensor, dim: int) -> Tensor:
    return grad.squeeze(dim)


def _at_least(ndim: int, lifted: Callable[[Any], Any]) -> Callable[..., Any]:
    def atleast(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
            return tuple(lifted(x) for x in tensors[0])
        return lifted(tensors[0]) if len(tensors) == 1 else tuple(lifted(x) for x in tensors)

    atleast.__name__ = atleast.__qualname__ = f"atleast_{ndim}d"
    atleast.__doc__ = f"Tensors with new axes of size one, where they have fewer than {ndim}."
    return composite(names=atleast.__name__)(atleast)


def _lifted_to_3d(x: Any) -> Any:
    return reshape_(x, (1, *x.shape, 1) if x.ndim == 1 else (1, 1, 1)) if x.ndim < 2 else x if x.ndim > 2 else unsqueeze(x, -1)


atleast_1d = _at_least(1, lambda x: x if x.ndim else reshape_(x, (1,)))
atleast_2d = _at_least(2, lambda x: x if x.ndim > 1 else reshape_(x, (1, -1)))
atleast_3d = _at_least(3, _lifted_to_3d)


# Repeating


@primitive(view=True)
def expand_(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """``x`` repeated along axes of size one, and along new ones in front, without copying."""
    return x.expand(size)


@expand_.vjp("x")
def expand_wrt_x(grad: Tensor, x: Shape) -> Tensor:
    # each repetition adds its gradient
    return grad.sum_to_size(x)


@composite(names="expand", aten="expand.default")
def expand(x: Any, *sizes: Any, size: Any = None, implicit: bool = False) -> Any:
    """``x`` repeated along axes of size one, and along new ones in front, without copying; -1 keeps a size."""
    del implicit  # says in ATen whether a user wrote it
    return expand_(x, _flattened(sizes, size))


@composite(names="expand_as")
def expand_as(x: Any, other: Any) -> Any:
    """`expand` to the shape of ``other``."""
    return expand_(x, tuple(other.shape))


@composite(names="broadcast_to")
def broadcast_to(x: Any, size: Any) -> Any:
    """`expand` under numpy's name."""
    return expand_(x, tuple(size))


@composite(names="broadcast_tensors")
def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """Each tensor expanded to the shape to which all broadcast."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    shape = tuple(torch.broadcast_shapes(*(x.shape for x in tensors)))
    return tuple(expand_(x, shape) for x in tensors)


@composite(names="sum_to_size")
def sum_to_size(x: Any, *sizes: Any, size: Any = None) -> Any:
    """The sum over what broadcasting ``size`` to ``x`` repeats: the adjoint of `expand`."""
    size, shape = _flattened(sizes, size), x.shape
    if tuple(shape) == size:
        return x
    added = len(shape) - len(size)
    axes = (*range(added), *(i + added for i, n in enumerate(size) if n == 1 and shape[i + added] != 1))
    if added < 0 or any(n not in (1, shape[i + added]) for i, n in enumerate(size)):
        raise ShapeError(f"sum_to_size: size {size} is not expandable to size {tuple(shape)}")
    if axes:
        x = torch.sum(x, axes, True)
    return torch.reshape(x, size) if added else x


@primitive(aten="repeat.default")
def repeat_(x: Tensor, repeats: tuple[int, ...]) -> Tensor:
    """``x`` laid side by side ``repeats[i]`` times along axis i."""
    return x.repeat(repeats)


@repeat_.vjp("x")
def repeat_wrt_x(grad: Tensor, x: Shape, repeats: tuple[int, ...]) -> Tensor:
    # axis i of the result runs over (repetition, element): summed over the repetitions
    sizes = (*(1 for _ in range(len(repeats) - len(x))), *x)
    pairs = [size for pair in zip(repeats, sizes, strict=True) for size in pair]
    return grad.reshape(pairs).sum(tuple(range(0, len(pairs), 2))).reshape(x) if pairs else grad


@composite(names="repeat")
def repeat(x: Any, *sizes: Any, repeats: Any = None) -> Any:
    """``x`` laid side by side: ``x.repeat(2, 3)`` twice along the first axis and three times along the second."""
    return repeat_(x, _flattened(sizes, repeats))


@composite(names="tile")
def tile(x: Any, *sizes: Any, dims: Any = None) -> Any:
    """`repeat`, where axes that aren't named are taken once."""
    repeats = _flattened(sizes, dims)
    return repeat_(x, (1,) * (x.ndim - len(repeats)) + repeats)


@composite(names="repeat_interleave")
def repeat_interleave(x: Any, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Any:
    """Each element along ``dim`` (of all elements, if it is ``None``) repeated in place."""
    if dim is None:
        x, dim = reshape_(x, (-1,)), 0
    if x.ndim == 0:
        x = reshape_(x, (1,))
    values = unwrap(x)
    index = torch.repeat_interleave(
        torch.arange(values.shape[dim], device=values.device), unwrap(repeats), output_size=output_size
    )
    return torch.index_select(x, dim, index)


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
    parts = grad.split(sizes, dim)
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
    return tuple(torch.split_with_sizes(x, split_sizes, dim))  # type: ignore[arg-type]


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
    size, length = split_size_or_sections, x.shape[_axis(dim, x.ndim, "split")] if x.ndim else 1
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
    if chunks <= 0:
        raise ShapeError(f"chunk: expects `chunks` to be greater than 0, got: {chunks}")
    length = x.shape[_axis(dim, x.ndim, "chunk")]
    size = -(-length // chunks)
    return split(x, size, dim) if size else split_with_sizes(x, [0] * chunks, dim)


@composite(names="tensor_split")
def tensor_split(x: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces along an axis: so many (sizes differ by one at most), or cut at the given places."""
    length = x.shape[_axis(dim, x.ndim, "tensor_split")]
    places = unwrap(indices_or_sections)
    places = places.tolist() if isinstance(places, Tensor) else places
    if isinstance(places, int):
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
    return flip_(x, _flattened(axes, dims))


@composite(names="fliplr")
def fliplr(x: Any) -> Any:
    """The columns in reverse order."""
    return flip_(x, (1,))


@composite(names="flipud")
def flipud(x: Any) -> Any:
    """The rows in reverse order."""
    return flip_(x, (0,))


@primitive(names="roll", aten="roll.default")
def roll(x: Tensor, shifts: int | tuple[int, ...], dims: int | tuple[int, ...] | None = None) -> Tensor:
    """The elements moved along axes (all elements, as one row, without ``dims``); what leaves at the end comes back in front."""
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
    return torch.constant_pad_nd(x, pad, value)  # type: ignore[arg-type]


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
    """
    if mode == "constant":
        return constant_pad(x, tuple(pad), 0 if value is None else value)
    expected = F.pad(torch.empty(x.shape, device="meta"), tuple(pad), mode).shape  # torch's checks of the arguments
    for axis, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True), 1):
        size = x.shape[-axis]
        if before or after:
            places = [_source_of(place, size, mode) for place in range(-before, size + after)]
            x = torch.index_select(x, x.ndim - axis, torch.tensor(places, device=x.device))
    if x.shape != expected:
        raise ShapeError(f"pad: made shape {tuple(x.shape)} where torch makes {tuple(expected)}")
    return x


# Copies and conversions


@primitive(names="clone", aten="clone.default lift_fresh_copy.default")
def clone(x: Tensor, *, memory_format: torch.memory_format | None = None) -> Tensor:
    """A copy."""
    return torch.clone(x, memory_format=torch.preserve_format if memory_format is None else memory_format)


@clone.vjp("x")
def clone_wrt_x(grad: Tensor) -> Tensor:
    return grad


@primitive(view=True, names="contiguous")
def contiguous(x: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    """The same elements, in order in memory; copied only if they aren't."""
    return x.contiguous(memory_format=memory_format)


@contiguous.vjp("x")
def contiguous_wrt_x(grad: Tensor) -> Tensor:
    return grad


@composite(names="positive __pos__", aten="alias.default")
def alias(x: Any) -> Any:
    """The tensor itself, as a view."""
    return view_(x, tuple(x.shape)) if x.is_contiguous() else expand_(x, tuple(x.shape))


@composite(names="detach", aten="detach.default lift_fresh.default")
def detach(x: Any) -> Any:
    """A constant that shares the values."""
    return constant_result(unwrap(x).detach())


@primitive(view=True)
def to_(
    x: Tensor,
    device: torch.device | None,
    dtype: torch.dtype | None,
    source: torch.device,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: torch.memory_format | None = None,
) -> Tensor:
    """The values on another device or in another element type; ``source`` is the device they come from."""
    return x.to(device=device, dtype=dtype, non_blocking=non_blocking, copy=copy, memory_format=memory_format)


@to_.vjp("x")
def to_wrt_x(grad: Tensor, source: torch.device) -> Tensor:
    # the engine itself brings a gradient back to its argument's element type
    return grad.to(source)


@composite(names="to")
def to(
    x: Any,
    *place: Any,
    device: Any = None,
    dtype: torch.dtype | None = None,
    other: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: torch.memory_format | None = None,
) -> Any:
    """The tensor on another device, in another element type, or both.

    In all of torch's spellings: ``x.to(dtype)``, ``x.to(device)``, ``x.to(device, dtype)``, ``x.to(other)``, and by keyword.  Where
    nothing changes the tensor itself is returned.  An integer or boolean result is a constant.

    Args:
        x: Tensor.
        place: A device, an element type or another tensor; after it torch's ``non_blocking`` and ``copy``.
        device: By keyword.
        dtype: By keyword.
        other: A tensor whose device and element type are taken.
        non_blocking: Let a copy between devices run on its own, where that is possible.
        copy: Copy even if nothing changes.
        memory_format: Layout of the result.

    Returns:
        The tensor, or a converted copy.
    """
    flags = []
    for value in place:
        if isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, bool):
            flags.append(value)
        elif isinstance(value, (Tensor, CustomTensor)):
            other = value
        elif value is not None:
            device = value
    non_blocking, copy = (*flags, *(non_blocking, copy)[len(flags) :])
    if other is not None:
        device, dtype = other.device, other.dtype
    source = x.device
    device = source if device is None else torch.device(device)
    dtype = x.dtype if dtype is None else dtype
    if device == source and dtype is x.dtype and not copy and memory_format is None and isinstance(x, CustomTensor):
        return x
    return to_(x, device, dtype, source, non_blocking, copy, memory_format)


@composite(names="", aten="_to_copy.default")
def to_copy(
    x: Any,
    *,
    dtype: torch.dtype | None = None,
    layout: torch.layout | None = None,
    device: Any = None,
    pin_memory: bool | None = None,
    non_blocking: bool = False,
    memory_format: torch.memory_format | None = None,
) -> Any:
    """`to` as ATen spells it: always a copy."""
    del layout, pin_memory  # strided and unpinned, as everything here
    return to(x, device=device, dtype=dtype, non_blocking=non_blocking, copy=True, memory_format=memory_format)


@composite(names="type_as")
def type_as(x: Any, other: Any) -> Any:
    """`to` the element type of ``other``."""
    return to(x, other.dtype)


def _bind_conversion(name: str, dtype: torch.dtype) -> None:
    def convert(x: Any, memory_format: torch.memory_format | None = None) -> Any:
        return to(x, dtype, memory_format=memory_format)

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"``x.to({dtype})``."
    composite(names=name)(convert)


for _name, _dtype in {
    "float": torch.float32,
    "double": torch.float64,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "int": torch.int32,
    "long": torch.int64,
    "short": torch.int16,
    "char": torch.int8,
    "byte": torch.uint8,
    "bool": torch.bool,
    "cfloat": torch.complex64,
    "cdouble": torch.complex128,
}.items():
    _bind_conversion(_name, _dtype)


@composite(names="type")
def type_(x: Any, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor in another element type."""
    if dtype is None:
        return unwrap(x).type()
    if isinstance(dtype, torch.dtype):
        return to(x, dtype, non_blocking=non_blocking)
    return to(x, torch.empty(0).type(dtype).dtype, non_blocking=non_blocking)


@composite(names="cpu")
def cpu(x: Any, memory_format: torch.memory_format | None = None) -> Any:
    """The tensor in the CPU's memory."""
    return to(x, "cpu", memory_format=memory_format)


@composite(names="cuda")
def cuda(
    x: Any, device: Any = None, non_blocking: bool = False, memory_format: torch.memory_format | None = None
) -> Any:
    """The tensor in a CUDA device's memory."""
    return to(x, "cuda" if device is None else device, non_blocking=non_blocking, memory_format=memory_format)


# New tensors like another one: constants


def _bind_constant(name: str, function: Callable[..., Any]) -> None:
    """``name`` for tensors of which only shape, type and place count."""

    def like(
        x: Any,
        *args: Any,
        size: Any = None,
        fill_value: Any = None,
        dtype: torch.dtype | None = None,
        layout: torch.layout | None = None,
        device: Any = None,
        pin_memory: bool | None = None,
        requires_grad: bool = False,
        memory_format: torch.memory_format | None = None,
    ) -> Any:
        options = {
            "size": size,
            "fill_value": fill_value,
            "dtype": dtype,
            "layout": layout,
            "device": device,
            "pin_memory": pin_memory,
            "memory_format": memory_format,
        }
        made = function(unwrap(x), *unwrap(args), **{key: unwrap(v) for key, v in options.items() if v is not None})
        result = constant_result(made)
        if requires_grad:
            result.requires_grad = True
        return result

    like.__name__ = like.__qualname__ = name
    like.__doc__ = f"As torch's ``{name}``; the result is a constant."
    composite(names=name, aten=f"{name}.default")(like)


for _name in ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"):
    _bind_constant(_name, getattr(torch, _name))
for _name in ("new_zeros", "new_ones", "new_empty", "new_full"):
    _bind_constant(_name, getattr(torch.Tensor, _name))
