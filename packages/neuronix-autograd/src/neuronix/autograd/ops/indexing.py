"""Taking elements out of a tensor by their places, and putting them in.

Every index falls into two parts.  The *basic* part (integers, slices, ``None``, ``...``) names a regular block of
memory: `getitem` gives a view of it, and its adjoint `embed` writes a block into zeros.  The rest (masks, lists, index
tensors) is `index_` on that view, whose adjoint is `index_put` with accumulation: an element that is taken twice
gets both gradients.  Assignment is the same two steps the other way round.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from neuronix.autograd.dispatch import inplace
from neuronix.autograd.dispatch.inplace import unwrap
from neuronix.autograd.dispatch.registry import TORCH_FUNCTIONS
from neuronix.autograd.errors import ArgumentError, AxisError, DtypeError, ShapeError
from neuronix.autograd.ops.conversions import clone
from neuronix.autograd.ops.shapes import broadcast_shape, expand_, reshape_, squeeze_
from neuronix.autograd.primitive import Shape, composite, primitive
from neuronix.autograd.primitive.runtime import constant, constant_result
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "argwhere",
    "getitem",
    "index_put",
    "masked_fill",
    "masked_scatter",
    "masked_select",
    "narrow",
    "narrow_copy",
    "select",
    "select_scatter",
    "set_item",
    "slice_scatter",
]


# What torch's indexing takes without an index tensor.
Basic: TypeAlias = "int | tuple[int, ...]"


# Basic indices: a block of memory


@primitive(view=True)
def getitem_(x: Tensor, index: Basic) -> Tensor:
    """The block at a basic index, as a view."""
    return x[index]


@getitem_.vjp("x")
def getitem_wrt_x(grad: Tensor, x: Shape, index: Basic) -> Tensor:
    return embed(grad, x, index)  # type: ignore[no-any-return]


@primitive
def embed(x: Tensor, shape: torch.Size, index: Basic) -> Tensor:
    """Zeros of ``shape`` with ``x`` at a basic index: the adjoint of indexing."""
    out = x.new_zeros(shape)
    out[index] = x
    return out


@embed.vjp("x")
def embed_wrt_x(grad: Tensor, index: Basic) -> Tensor:
    return grad[index]


@primitive
def setitem_(x: Tensor, index: Basic, value: Tensor) -> Tensor:
    """``x`` with ``value`` at a basic index."""
    out = x.clone()
    out[index] = value
    return out


@setitem_.vjp("x")
def setitem_wrt_x(grad: Tensor, index: Basic) -> Tensor:
    # what was overwritten has no influence any more
    return setitem_(grad, index, 0)  # type: ignore[no-any-return]


@setitem_.vjp("value")
def setitem_wrt_value(grad: Tensor, index: Basic, value: Shape) -> Tensor:
    return grad[index].sum_to_size(value)


# Index tensors


@primitive(aten="index.Tensor _unsafe_index.Tensor")
def index_(x: Tensor, indices: Sequence[Any]) -> Tensor:
    """The elements at places given by index tensors or masks, one for each axis; ``None`` takes all of an axis."""
    return torch.ops.aten.index(x, list(indices))  # type: ignore[no-any-return]


@index_.vjp("x")
def index_wrt_x(grad: Tensor, x: Shape, indices: Sequence[Any]) -> Tensor:
    return torch.ops.aten.index_put(grad.new_zeros(x), indices, grad, True)  # type: ignore[no-any-return]


@primitive(aten="index_put.default _unsafe_index_put.default")
def index_put_(x: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False) -> Tensor:
    """``x`` with ``values`` at places given by index tensors or masks, or with ``values`` added there."""
    return torch.ops.aten.index_put(x, list(indices), values, accumulate)  # type: ignore[no-any-return]


@index_put_.vjp("x")
def index_put_wrt_x(grad: Tensor, indices: Sequence[Any], accumulate: bool) -> Tensor:
    return grad if accumulate else torch.ops.aten.index_put(grad, indices, grad.new_zeros(()))


@index_put_.vjp("values")
def index_put_wrt_values(grad: Tensor, indices: Sequence[Any], values: Shape) -> Tensor:
    # where a place is named twice without accumulation, only one value stands there; both get its gradient, as in torch
    taken: Tensor = torch.ops.aten.index(grad, indices)
    return taken.sum_to_size(values)


TORCH_FUNCTIONS[torch.ops.aten.index] = index_
TORCH_FUNCTIONS[torch.ops.aten.index_put] = index_put_


@composite(names="index_put")
def index_put(x: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """``x`` with ``values`` at places given by index tensors or masks, one for each axis.

    Args:
        x: Tensor.
        indices: Index tensors or masks that broadcast against each other.
        values: Broadcast to the shape of the indexed elements.
        accumulate: Add ``values`` to what is there, also where a place is named several times.

    Returns:
        The new tensor.
    """
    return index_put_(x, [unwrap(i) for i in indices], values, accumulate)


# x[index]


# By their exact types: a boolean is a mask, although Python counts it among the integers.
_BASIC = frozenset({int, slice, type(None), type(Ellipsis)})
_INDEX_TYPES = frozenset({torch.long, torch.bool, torch.int})


def _is_basic(index: Any) -> bool:
    """Whether an index names a regular block."""
    return _BASIC.issuperset(map(type, index)) if type(index) is tuple else type(index) in _BASIC


def _split_index(index: Any, ndim: int, device: torch.device) -> tuple[tuple[Any, ...], list[Any]]:
    """An index as a basic one, and index tensors for the axes of the view that it gives.

    As torch does: integers are taken first, also between index tensors; a boolean adds an axis of size one, and masks
    it.
    """
    items = list(index) if isinstance(index, tuple) or _is_list_of_indices(index) else [index]
    items = [_as_index(item, device) for item in items]
    used = sum(0 if item is None or item is Ellipsis or isinstance(item, bool) else _axes_of(item) for item in items)
    if used > ndim:
        raise AxisError(f"getitem: too many indices for a tensor of dimension {ndim}: {used} were given")
    if Ellipsis not in [item for item in items if not isinstance(item, Tensor)]:
        items.append(Ellipsis)
    basic: list[Any] = []
    tensors: list[Any] = []
    for item in items:
        if item is Ellipsis:
            basic += [slice(None)] * (ndim - used)
            tensors += [None] * (ndim - used)
            used = ndim  # a second `...` stands for no axis
        elif isinstance(item, bool):
            basic.append(None)
            tensors.append(torch.tensor([0] if item else [], dtype=torch.long, device=device))
        elif isinstance(item, Tensor):
            basic += [slice(None)] * _axes_of(item)
            tensors.append(item)
        else:
            basic.append(item)
            if not isinstance(item, int):
                tensors.append(None)
    return tuple(basic), tensors


def _is_list_of_indices(index: Any) -> bool:
    """Whether a list is torch's older spelling of a tuple: if it holds lists, tensors, slices, ``None`` or ``...``."""
    inner = (list, tuple, Tensor, CustomTensor, np.ndarray, slice, type(None), type(Ellipsis))
    return isinstance(index, list) and len(index) < 32 and any(isinstance(item, inner) for item in index)


def _axes_of(item: Any) -> int:
    """How many axes of the tensor an item takes up; a mask covers several."""
    return item.ndim if isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8) else 1


def _as_index(item: Any, device: torch.device) -> Any:
    """An item of an index as an integer, a boolean, a slice, ``None``, ``...`` or an index tensor."""
    item = unwrap(item)
    if isinstance(item, slice):
        return slice(*(None if end is None else end.__index__() for end in (item.start, item.stop, item.step)))
    if isinstance(item, (list, tuple, range, np.ndarray, np.generic)):
        try:
            item = torch.as_tensor(np.asarray(item) if len(np.shape(item)) else item)  # nested tensors become arrays
        except ValueError as ragged:  # a ValueError for lists whose lengths differ, as in PyTorch, else a TypeError
            kind = ShapeError if all(isinstance(inner, (list, tuple)) for inner in item) else DtypeError
            raise kind(f"getitem: a list that is an index must be a row of numbers or a table, got {item}") from ragged
        item = item.long() if item.numel() == 0 and item.dtype is not torch.bool else item
    if isinstance(item, Tensor):
        if item.is_floating_point() or item.is_complex():
            raise AxisError(
                f"getitem: tensors used as indices must be long, int, byte or bool tensors, not {item.dtype}",
                hint="convert it with .long()",
            )
        if item.ndim == 0:
            return bool(item) if item.dtype in (torch.bool, torch.uint8) else int(item)
        return item if item.device == device or item.device.type == "cpu" else item.to(device)
    if item is None or item is Ellipsis or isinstance(item, bool):
        return item
    try:
        return item.__index__()
    except AttributeError:
        error = DtypeError if isinstance(item, str) else AxisError  # a TypeError, as in PyTorch, and an IndexError
        raise error(
            "getitem: only integers, slices (`:`), ellipsis (`...`), None and long or bool tensors are valid indices, "
            f"not {type(item).__name__}"
        ) from None


@composite(names="__getitem__")
def getitem(x: Any, index: Any) -> Any:
    """The elements at an index: ``x[index]``.

    Args:
        x: Tensor.
        index: What torch takes: integers, slices, ``None``, ``...``, booleans, masks, lists, index tensors, and tuples
            of them.

    Returns:
        A view for integers, slices, ``None`` and ``...``; else a new tensor.

    Raises:
        AxisError: If an index is out of range, or there are more indices than axes.
    """
    if _is_basic(index):
        return getitem_(x, index)
    if isinstance(index, (Tensor, CustomTensor)) and index.ndim and index.dtype in _INDEX_TYPES:
        return index_(x, [unwrap(index)])
    basic, tensors = _split_index(index, x.ndim, x.device)
    block = x if all(item == slice(None) for item in basic) else getitem_(x, basic)
    return index_(block, tensors) if any(item is not None for item in tensors) else block


@composite(names="")
def set_item(x: Any, index: Any, value: Any) -> Any:
    """``x`` with ``value`` at an index: what ``x[index] = value`` assigns.

    Args:
        x: Tensor.
        index: As in `getitem`.
        value: A number or tensor that broadcasts to ``x[index]``.

    Returns:
        The new tensor; ``x`` itself isn't changed.

    Raises:
        ShapeError: If ``value`` doesn't broadcast to the indexed shape.
    """
    value = _stripped(value, x, index)
    if _is_basic(index):
        return setitem_(x, index, value)
    basic, tensors = _split_index(index, x.ndim, x.device)
    if all(item is None for item in tensors):
        return setitem_(x, basic, value)
    if not isinstance(value, (CustomTensor, Tensor)):
        value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    if all(item == slice(None) for item in basic):
        return index_put_(x, tensors, value)
    return setitem_(x, basic, index_put_(getitem_(x, basic), tensors, value))


def _stripped(value: Any, x: Any, index: Any) -> Any:
    """``value`` without axes of size one in front that ``x[index]`` doesn't have: assignment overlooks them."""
    value = constant(value)
    if getattr(value, "ndim", 0) and value.shape[0] == 1:
        ndim = getitem(x.detach(), index).ndim
        while value.ndim > ndim and value.shape[0] == 1:
            value = squeeze_(value, 0)
    return value


_assign = inplace.method(set_item, "__setitem__")


def _setitem(x: CustomTensor, index: Any, value: Any) -> None:
    """``x[index] = value``: differentiated, and refused where that is impossible."""
    if not _is_there_already(x, index, value):
        _assign(x, index, constant(value))


def _is_there_already(x: CustomTensor, index: Any, value: Any) -> bool:
    """Whether ``value`` is the very part of ``x``: the end of ``x[0] *= 2``, which has changed ``x`` by then."""
    if not isinstance(value, CustomTensor) or value._base is None or value._base not in {x, x._base}:
        return False
    there, part = x._data[unwrap(index)], value._data
    return there.data_ptr() == part.data_ptr() and there.shape == part.shape and there.stride() == part.stride()


TORCH_FUNCTIONS[torch.Tensor.__setitem__] = _setitem
setattr(CustomTensor, "__setitem__", _setitem)  # noqa: B010  (a plain assignment to a method is an error to mypy)


# One axis at a time: spellings of basic indices


def _along(x: Any, dim: int, item: Any) -> Any:
    """A basic index that is ``item`` on axis ``dim``."""
    dim = operator.index(dim)
    if not -x.ndim <= dim < x.ndim:
        raise AxisError(f"dimension out of range: {dim} for a tensor with {x.ndim} axes")
    return (*(slice(None),) * (dim % x.ndim), item)


@composite(names="select", aten="select.int")
def select(x: Any, dim: int, index: Any) -> Any:
    """The elements at one place of an axis, without that axis."""
    return getitem_(x, _along(x, dim, operator.index(index)))


@composite(names="narrow", aten="narrow.default")
def narrow(x: Any, dim: int, start: Any, length: int) -> Any:
    """``length`` places of an axis, from ``start`` on."""
    if x.ndim == 0:
        raise ArgumentError("narrow: a 0-dim tensor has no axis to take places of")
    if hasattr(start, "ndim") and (start.ndim or start.dtype.is_floating_point or start.dtype is torch.bool):
        raise ArgumentError(f"narrow: start must be a 0-dim integral tensor, got {start.dtype}{tuple(start.shape)}")
    index = _along(x, dim, None)[:-1]
    size, start = x.shape[dim], int(start) if hasattr(start, "ndim") else operator.index(start)
    if not -size <= start <= size:
        raise AxisError(f"narrow: start ({start}) must be within [{-size}, {size}]")
    start = start + size if start < 0 else start
    if length < 0 or start + length > size:
        raise ArgumentError(f"narrow: start ({start}) + length ({length}) exceeds dimension size ({size})")
    return getitem_(x, (*index, slice(start, start + length)))


@composite(names="narrow_copy", aten="narrow_copy.default")
def narrow_copy(x: Any, dim: int, start: int, length: int) -> Any:
    """As `narrow`, in memory of its own."""
    if dim >= x.ndim:
        raise ArgumentError(f"narrow_copy: dim ({dim}) must be less than the number of axes ({x.ndim})")
    return clone(narrow(x, dim, start, length))


@composite(names="", aten="slice.Tensor")
def slice_along(x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """A slice of one axis, as ATen spells it."""
    return getitem_(x, _along(x, dim, slice(start, end, step)))


@composite(names="select_scatter", aten="select_scatter.default")
def select_scatter(x: Any, src: Any, dim: int, index: int) -> Any:
    """``x`` with ``src`` at one place of an axis."""
    return _scattered("select_scatter", x, _along(x, dim, operator.index(index)), src)


@composite(names="slice_scatter", aten="slice_scatter.default")
def slice_scatter(
    x: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    """``x`` with ``src`` at a slice of an axis."""
    return _scattered("slice_scatter", x, _along(x, dim, slice(start, end, step)), src)


def _scattered(name: str, x: Any, index: Any, src: Any) -> Any:
    """``x`` with ``src`` at a basic index, whose shape it must have: it isn't expanded, as by an assignment."""
    shape = getitem_(x.detach(), index).shape
    if src.shape != shape:
        raise ShapeError(
            f"{name}: src of shape {tuple(src.shape)} must have the shape {tuple(shape)} of what it replaces",
            hint="use .expand()",
        )
    return setitem_(x, index, src)


# Masks


@primitive(broadcasts=True, names="masked_fill", aten="masked_fill.Scalar masked_fill.Tensor")
def masked_fill(x: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """``x`` with ``value`` wherever ``mask`` is true."""
    if isinstance(value, float) and value in _EXTREMES and mask.dtype is torch.bool and x.is_floating_point():
        return torch.where(mask, value, x)  # as an attention is masked: two thirds of masked_fill's time
    return torch.masked_fill(x, mask, value)


_EXTREMES = (-math.inf, math.inf, 0.0)  # which no floating-point type rounds


@masked_fill.vjp("x")
def masked_fill_wrt_x(grad: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, 0, grad)


@masked_fill.vjp("value")
def masked_fill_wrt_value(grad: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, grad, 0)


@composite(names="masked_select", aten="masked_select.default")
def masked_select(x: Any, mask: Any) -> Any:
    """The elements where ``mask`` is true, along one axis; both broadcast."""
    if mask.dtype not in (torch.bool, torch.uint8):
        raise DtypeError(f"masked_select: the mask must be of dtype bool, got {mask.dtype}")
    shape = broadcast_shape(x.shape, mask.shape) or (1,)  # the result has one axis, also for scalars
    return index_(expand_(x, shape), [torch.broadcast_to(unwrap(mask), shape)])


@composite(names="masked_scatter", aten="masked_scatter.default")
def masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    """``x`` with the elements of ``source``, in order, where ``mask`` is true."""
    mask = unwrap(mask)
    if mask.dtype is not torch.bool:
        raise DtypeError(f"masked_scatter: the mask must be of dtype bool, got {mask.dtype}")
    shape = broadcast_shape(x.shape, mask.shape)
    mask = torch.broadcast_to(mask, shape)
    number = int(mask.sum())
    if source.numel() < number:
        raise ShapeError(f"masked_scatter: {number} places are true, but source has only {source.numel()} elements")
    values = getitem_(reshape_(source, (-1,)), slice(number))
    return index_put_(expand_(x, shape), [mask], values)


@composite(names="argwhere")
def argwhere(x: Any) -> Any:
    """The places of the elements that aren't zero; constants."""
    return constant_result(torch.argwhere(unwrap(x)))
