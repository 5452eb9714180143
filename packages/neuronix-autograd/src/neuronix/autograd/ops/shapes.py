"""Shapes, axes and repetition: operations that look at the same elements in another way.

A name with an underscore at its end (``reshape_``) is the primitive behind the function without it, which only brings
torch's many spellings (``x.reshape(2, 3)``, ``x.reshape((2, 3))``) into one form; in errors and pictures both are
called ``reshape``.  The forwards of most return views: no element is copied.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.dispatch.inplace import unwrap
from neuronix.autograd.dispatch.registry import TORCH_FUNCTIONS
from neuronix.autograd.errors import AxisError, ShapeError
from neuronix.autograd.primitive import Shape, composite, primitive
from neuronix.autograd.primitive.runtime import constant_result
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "as_strided",
    "as_strided_scatter",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_tensors",
    "broadcast_to",
    "expand",
    "expand_as",
    "flatten",
    "movedim",
    "permute",
    "ravel",
    "repeat",
    "repeat_interleave",
    "reshape",
    "reshape_as",
    "squeeze",
    "sum_to_size",
    "t",
    "tile",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view",
    "view_as",
]


def flattened(values: tuple[Any, ...], keyword: Any = None) -> tuple[int, ...]:
    """The integers of ``f(1, 2)``, ``f((1, 2))`` or ``f(name=(1, 2))``."""
    if not values:
        values = (keyword,)
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        return tuple(values[0])
    return values


def axis_of(dim: int, ndim: int, name: str) -> int:
    """``dim`` counted from the front."""
    dim = operator.index(dim)
    bound = max(1, ndim)  # a 0-d tensor counts as having one axis
    if not -bound <= dim < bound:
        raise AxisError(
            f"{name}: dimension out of range: {dim} for a tensor with {ndim} axes",
            hint=f"expected to be in range of [{-bound}, {bound - 1}]",
        )
    return dim % bound


def broadcast_shape(*shapes: Any) -> tuple[int, ...]:
    """The shape to which tensors of these shapes broadcast."""
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


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
    return reshape_(x, flattened(sizes, shape))


@composite(names="view")
def view(x: Any, *sizes: Any, size: Any = None, dtype: torch.dtype | None = None) -> Any:
    """`reshape` that never copies: an error where the memory's layout doesn't allow a view.

    ``view(dtype)``, which reads the bits as another type, has no derivative: it gives a constant, as in torch.
    """
    dtype = sizes[0] if sizes and isinstance(sizes[0], torch.dtype) else dtype
    if dtype is not None:
        return constant_result(unwrap(x).view(dtype))
    return view_(x, flattened(sizes, size))


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
    start, end = axis_of(start_dim, len(shape), "flatten"), axis_of(end_dim, len(shape), "flatten")
    if start > end:
        raise ShapeError(
            f"flatten: flatten() has invalid args: start_dim ({start_dim}) cannot come after end_dim ({end_dim})",
            hint="exchange them",
        )
    if start == end and shape and isinstance(x, CustomTensor):
        return x  # as in torch the very tensor, which in-place changes of its shape show
    return reshape_(x, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@composite(names="ravel")
def ravel(x: Any) -> Any:
    """All elements along one axis."""
    return reshape_(x, (-1,))


@composite(names="unflatten")
def unflatten(x: Any, dim: int, sizes: Any) -> Any:
    """Several axes of ``sizes`` for axis ``dim``; one of them may be -1."""
    shape = tuple(x.shape)
    axis = axis_of(dim, len(shape), "unflatten")
    if not shape:
        raise ShapeError("unflatten: a 0-dim tensor has no axis to take apart", hint="use reshape()")
    sizes = list(map(operator.index, sizes))
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and known:
        sizes[sizes.index(-1)] = shape[axis] // known
    if math.prod(sizes) != shape[axis] or not sizes:
        raise ShapeError(
            f"unflatten: sizes {sizes} don't multiply up to the size of dim {dim} ({shape[axis]}) in shape {shape}",
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
    return permute_(x, flattened(axes, dims))


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
    sources = [axis_of(dim, ndim, "movedim") for dim in flattened((source,))]
    targets = [axis_of(dim, ndim, "movedim") for dim in flattened((destination,))]
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
        raise ShapeError(f"H: only supported on matrices, not on {x.ndim}-d tensors", hint="use .mH for batches")
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
    return squeeze_(x, dims[0] if len(dims) == 1 and isinstance(dims[0], int) else flattened(dims))


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
    if x.ndim > 1:
        return x if x.ndim > 2 else unsqueeze(x, -1)
    return reshape_(x, (1, *x.shape, 1) if x.ndim else (1, 1, 1))


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
    return expand_(x, flattened(sizes, size))


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
    shape = broadcast_shape(*(x.shape for x in tensors))
    return tuple(expand_(x, shape) for x in tensors)


@composite(names="sum_to_size")
def sum_to_size(x: Any, *sizes: Any, size: Any = None) -> Any:
    """The sum over what broadcasting ``size`` to ``x`` repeats: the adjoint of `expand`."""
    size, shape = tuple(map(operator.index, flattened(sizes, size))), x.shape
    if not size:
        return torch.sum(x)  # as in torch a copy, also of a number
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
    return repeat_(x, flattened(sizes, repeats))


@composite(names="tile")
def tile(x: Any, *sizes: Any, dims: Any = None) -> Any:
    """`repeat`, where axes that aren't named are taken once."""
    repeats = flattened(sizes, dims)
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


# Windows


@primitive(view=True)
def as_strided_(
    x: Tensor, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int, source: tuple[Any, ...]
) -> Tensor:
    """A view of the memory behind ``x`` by steps; ``source`` holds the shape, steps and beginning of ``x`` itself."""
    return x.as_strided(size, stride, storage_offset)


@as_strided_.vjp("x")
def as_strided_wrt_x(
    grad: Tensor, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int, source: tuple[Any, ...]
) -> Tensor:
    # each element of the result adds its gradient to its place in memory, and x looks up its own places
    taken, own = _places(size, stride, storage_offset), _places(*source)
    extent = max(_extent(size, stride, storage_offset), _extent(*source))
    memory = grad.new_zeros((extent,)).index_add(0, taken.reshape(-1).to(grad.device), grad.reshape(-1))
    return memory.index_select(0, own.reshape(-1).to(grad.device)).reshape(source[0])


@primitive
def as_strided_scatter_(
    x: Tensor,
    src: Tensor,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    storage_offset: int,
    source: tuple[Any, ...],
) -> Tensor:
    """``x`` with the elements of ``src`` in the places that such a view of it has."""
    return torch.as_strided_scatter(x, src, size, stride, storage_offset)


@as_strided_scatter_.vjp("x")
def as_strided_scatter_wrt_x(
    grad: Tensor, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int, source: tuple[Any, ...]
) -> Tensor:
    # what was written over has no influence
    taken, own = _places(size, stride, storage_offset), _places(*source)
    extent = max(_extent(size, stride, storage_offset), _extent(*source))
    written = torch.zeros(extent, dtype=torch.bool).index_fill(0, taken.reshape(-1), True)
    return grad.masked_fill(written[own].to(grad.device), 0)


@as_strided_scatter_.vjp("src")
def as_strided_scatter_wrt_src(
    grad: Tensor, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int, source: tuple[Any, ...]
) -> Tensor:
    # grad lies in memory as x did, and the view is taken of that
    taken, own = _places(size, stride, storage_offset), _places(*source)
    extent = max(_extent(size, stride, storage_offset), _extent(*source))
    memory = grad.new_zeros((extent,)).index_copy(0, own.reshape(-1).to(grad.device), grad.reshape(-1))
    return memory.index_select(0, taken.reshape(-1).to(grad.device)).reshape(size)


def _places(size: Sequence[int], stride: Sequence[int], offset: int) -> Tensor:
    """Where in memory the elements of a tensor with these steps are."""
    places = torch.full((), offset, dtype=torch.long)
    for n, step in zip(size, stride, strict=True):
        places = places.unsqueeze(-1) + step * torch.arange(n)
    return places


def _extent(size: Sequence[int], stride: Sequence[int], offset: int) -> int:
    """How much memory a tensor with these steps reaches over."""
    return offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if math.prod(size) else 0


@composite(names="as_strided", aten="as_strided.default")
def as_strided(x: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Any:
    """A view of the memory behind ``x`` with any shape and steps; for experts.

    Args:
        x: Tensor whose own elements don't overlap.
        size: The shape of the result.
        stride: For each axis the step in memory.
        storage_offset: Where in memory it begins; by default where ``x`` does.

    Returns:
        The view.
    """
    return as_strided_(x, *_steps(unwrap(x), size, stride, storage_offset))


def _steps(x: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None) -> tuple[Any, ...]:
    """How a view lies in memory, and how ``x`` itself does."""
    offset = x.storage_offset() if storage_offset is None else storage_offset
    return tuple(size), tuple(stride), offset, (tuple(x.shape), x.stride(), x.storage_offset())


@composite(names="as_strided_scatter", aten="as_strided_scatter.default")
def as_strided_scatter(
    x: Any, src: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Any:
    """``x`` with ``src`` in the places of a view: what `as_strided` takes from there is ``src``.

    Args:
        x: Tensor whose own elements don't overlap.
        src: The elements to write, of the shape ``size``.
        size: The shape of the view.
        stride: For each axis the step in memory.
        storage_offset: Where in memory it begins; by default where ``x`` does.

    Returns:
        A tensor of the shape of ``x``.

    Differs from torch:
        The gradient with respect to ``x`` is zero where ``src`` was written; in torch 2.13 it is zero everywhere else.
    """
    return as_strided_scatter_(x, src, *_steps(unwrap(x), size, stride, storage_offset))


@primitive(view=True, aten="unfold.default")
def windows(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of ``size`` along an axis, ``step`` apart, with their elements as last axis (``torch.Tensor.unfold``)."""
    return x.unfold(dimension, size, step)


@windows.vjp("x")
def windows_wrt_x(grad: Tensor, x: Shape, dimension: int, size: int, step: int) -> Tensor:
    if not x:  # of a number
        return grad.sum()
    axis = dimension % len(x)
    places = torch.arange(x[axis], device=grad.device).unfold(0, size, step)  # (windows, size)
    # the elements of all windows in a row along the axis, each to be added at its place
    in_a_row = grad.movedim(-1, axis + 1).reshape((*x[:axis], places.numel(), *x[axis + 1 :]))
    return grad.new_zeros(x).index_add(axis, places.reshape(-1), in_a_row)


@composite(names="", aten="unfold_backward.default")
def windows_added(grad_in: Any, input_sizes: Sequence[int], dim: int, size: int, step: int) -> Any:
    """The adjoint of `windows`, which torch uses by itself to add windows up (in ``istft``)."""
    return windows_wrt_x(grad_in, torch.Size(input_sizes), dim, size, step)


# Not by name: torch.nn.functional.unfold is another function, which belongs to neuronix-nn.
setattr(CustomTensor, "unfold", windows)  # noqa: B010
TORCH_FUNCTIONS[torch.Tensor.unfold] = windows
