"""Taking elements along one axis by index tensors, and adding or writing them there: gather, scatter and their kin.

Taking and adding are each other's adjoints, and so each other's rules: an element that was taken twice gets both
gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.dispatch.inplace import is_recorded, unwrap
from neuronix.autograd.errors import ArgumentError, AxisError, DtypeError, RankError, ShapeError, UnsupportedError
from neuronix.autograd.ops.indexing import embed, index_, index_put_
from neuronix.autograd.ops.shapes import axis_of, broadcast_shape, expand_, reshape_
from neuronix.autograd.primitive import Shape, composite, primitive
from neuronix.autograd.primitive.runtime import constant_result
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "bincount",
    "gather",
    "index_add",
    "index_copy",
    "index_fill",
    "index_reduce",
    "index_select",
    "put",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "take",
    "take_along_dim",
]


# The same places for all rows


@primitive(names="index_select", aten="index_select.default")
def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of an axis at the places in ``index``."""
    return torch.index_select(x, dim, index)


@index_select.vjp("x")
def index_select_wrt_x(grad: Tensor, x: Shape, dim: int, index: Tensor) -> Tensor:
    return grad.new_zeros(x).index_add(dim, index, grad) if x else grad.sum()


@primitive(names="index_add", aten="index_add.default")
def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """``x`` with the slices of ``source`` added at the places in ``index``."""
    return torch.index_add(x, dim, index, source, alpha=alpha)


@index_add.vjp("x")
def index_add_wrt_x(grad: Tensor) -> Tensor:
    return grad


@index_add.vjp("source")
def index_add_wrt_source(grad: Tensor, source: Shape, dim: int, index: Tensor, alpha: float) -> Tensor:
    taken = grad.index_select(dim, index).reshape(source)
    return taken if alpha == 1 else alpha * taken


@primitive(names="index_copy", aten="index_copy.default")
def index_copy(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """``x`` with the slices of ``source`` in place of those in ``index``."""
    return torch.index_copy(x, dim, index, source)


@index_copy.vjp("x")
def index_copy_wrt_x(grad: Tensor, dim: int, index: Tensor) -> Tensor:
    return grad.index_fill(dim, index, 0)


@index_copy.vjp("source")
def index_copy_wrt_source(grad: Tensor, source: Shape, dim: int, index: Tensor) -> Tensor:
    return grad.index_select(dim, index).reshape(source)


@primitive(names="index_fill", aten="index_fill.int_Scalar index_fill.int_Tensor")
def index_fill(x: Tensor, dim: int, index: Tensor, value: Tensor) -> Tensor:
    """``x`` with one value in the slices at ``index``."""
    return torch.index_fill(x, dim, index, value)


@index_fill.vjp("x")
def index_fill_wrt_x(grad: Tensor, dim: int, index: Tensor) -> Tensor:
    return grad.index_fill(dim, index, 0)


@index_fill.vjp("value")
def index_fill_wrt_value(grad: Tensor, dim: int, index: Tensor) -> Tensor:
    # a place that is named twice is filled once
    return (grad - grad.index_fill(dim, index, 0)).sum()


# For each element its own place


@primitive(names="gather", aten="gather.default")
def gather(x: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """For each element of ``index`` the element of ``x`` at that place of axis ``dim``, in the same row."""
    return torch.gather(x, dim, index)


@gather.vjp("x")
def gather_wrt_x(grad: Tensor, x: Shape, dim: int, index: Tensor, sparse_grad: bool) -> Tensor:
    # an element that was taken several times gets all of their gradients
    if sparse_grad:
        return sparse_scatter(grad, x, dim, index)  # type: ignore[no-any-return]
    return grad.new_zeros(x).scatter_add(dim, index, grad)


@primitive
def sparse_scatter(x: Tensor, shape: torch.Size, dim: int, index: Tensor) -> Tensor:
    """The elements of ``x`` as those of a sparse tensor of ``shape``, at the places from which `gather` took them."""
    if not shape:  # a sparse tensor without axes has one place
        where = x.new_zeros(0, x.numel(), dtype=torch.long)
        return torch.sparse_coo_tensor(where, x.reshape(-1), shape, check_invariants=False)
    own = torch.meshgrid([torch.arange(size, device=index.device) for size in index.shape], indexing="ij")
    places = [index if axis == dim % len(shape) else place for axis, place in enumerate(own)]
    where = torch.stack([place.reshape(-1) for place in places])
    return torch.sparse_coo_tensor(where, x.reshape(-1), shape, check_invariants=False)


@sparse_scatter.vjp("x")
def sparse_scatter_wrt_x(grad: Tensor, dim: int, index: Tensor) -> Tensor:
    return (grad.to_dense() if grad.is_sparse else grad).gather(dim, index)


@primitive(names="scatter_add", aten="scatter_add.default")
def scatter_add(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``x`` with the elements of ``src`` added at the places in ``index``: the adjoint of `gather`."""
    return torch.scatter_add(x, dim, index, src)


@scatter_add.vjp("x")
def scatter_add_wrt_x(grad: Tensor) -> Tensor:
    return grad


@scatter_add.vjp("src")
def scatter_add_wrt_src(grad: Tensor, src: Shape, dim: int, index: Tensor) -> Tensor:
    return _to_larger(grad.gather(dim, index), src)


def _to_larger(grad: Tensor, shape: torch.Size) -> Tensor:
    """``grad`` in the front corner of zeros of ``shape``: scattering leaves the rest of a larger source alone."""
    if grad.shape == shape:
        return grad
    return embed(grad, shape, tuple(slice(size) for size in grad.shape))  # type: ignore[no-any-return]


@primitive(aten="scatter.src")
def scatter_src(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``x`` with the elements of ``src`` at the places in ``index``."""
    return torch.scatter(x, dim, index, src)


@scatter_src.vjp("x")
def scatter_src_wrt_x(grad: Tensor, dim: int, index: Tensor) -> Tensor:
    return grad.scatter(dim, index, 0)


@scatter_src.vjp("src")
def scatter_src_wrt_src(grad: Tensor, src: Shape, dim: int, index: Tensor) -> Tensor:
    return _to_larger(grad.gather(dim, index), src)


@primitive(aten="scatter.value")
def scatter_value(x: Tensor, dim: int, index: Tensor, value: float) -> Tensor:
    """``x`` with a number at the places in ``index``."""
    return torch.scatter(x, dim, index, value)


@scatter_value.vjp("x")
def scatter_value_wrt_x(grad: Tensor, dim: int, index: Tensor) -> Tensor:
    return grad.scatter(dim, index, 0)


@composite(names="scatter")
def scatter(x: Any, dim: int, index: Any, src: Any = None, value: Any = None, *, reduce: str | None = None) -> Any:
    """``x`` with the elements of ``src``, or one number, at the places of axis ``dim`` in ``index``.

    Args:
        x: Tensor.
        dim: The axis.
        index: Places along it; in the other axes an element stays in its row.
        src: What to put there: a tensor at least as large as ``index``, or a number.
        value: The number, by keyword.
        reduce: ``"add"`` to add instead.

    Returns:
        The new tensor.

    Raises:
        UnsupportedError: For ``reduce="multiply"``, which has no derivative in torch either.
        ArgumentError: For any other ``reduce``.
    """
    src = value if src is None else src
    if reduce == "multiply":
        raise UnsupportedError(
            "scatter: reduce='multiply' has no derivative", hint="use scatter_reduce(..., reduce='prod')"
        )
    if not (reduce is None or (isinstance(reduce, str) and reduce == "add")):
        raise ArgumentError(f"scatter: reduce must be 'add' or left out, got {reduce!r}", hint="use scatter_reduce()")
    if not isinstance(src, (CustomTensor, Tensor)):
        if reduce is None:
            return scatter_value(x, dim, index, src)
        src = torch.full(index.shape, src, dtype=x.dtype, device=x.device)
    return scatter_src(x, dim, index, src) if reduce is None else scatter_add(x, dim, index, src)


@primitive
def scatter_extreme(x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool = True) -> Tensor:
    """The largest or smallest (``reduce``: amax, amin) of the elements that are scattered to a place, and of ``x``."""
    return torch.scatter_reduce(x, dim, index, src, reduce, include_self=include_self)


@scatter_extreme.vjp("x", "src")
def scatter_extreme_wrt_x_and_src(
    grad: Tensor, out: Tensor, x: Tensor, dim: int, index: Tensor, src: Tensor, include_self: bool
) -> tuple[Tensor, Tensor]:
    # whatever equals the extreme of its place shares the gradient
    mine = (x == out).to(grad.dtype)
    if not include_self:
        mine = mine.scatter(dim, index, 0)
        untouched = torch.ones_like(mine).scatter(dim, index, 0)
        mine = torch.maximum(mine, untouched)
    theirs = (src == out.gather(dim, index)).to(grad.dtype)
    share = grad / mine.scatter_add(dim, index, theirs)
    return mine * share, theirs * share.gather(dim, index)


@primitive
def scatter_product(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``x`` times all elements of ``src`` that are scattered to the same place."""
    return torch.scatter_reduce(x, dim, index, src, "prod")


@scatter_product.vjp("x")
def scatter_product_wrt_x(grad: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    return grad * scatter_product(torch.ones_like(grad), dim, index, src)  # type: ignore[no-any-return]


@scatter_product.vjp("src")
def scatter_product_wrt_src(grad: Tensor, x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    # the product of all others: of those sent before it times of those sent behind it, which is right at zeros too
    order = torch.argsort(index, dim=dim, stable=True)
    place = index.gather(dim, order)
    sent = src[tuple(slice(size) for size in index.shape)].gather(dim, order)
    others = _product_before(sent, place, dim) * _product_before(sent.flip(dim), place.flip(dim), dim).flip(dim)
    others = others.gather(dim, torch.argsort(order, dim)) * x.gather(dim, index)
    return _to_larger(grad.gather(dim, index) * others, src.shape)


def _product_before(x: Tensor, place: Tensor, dim: int) -> Tensor:
    """For each element the product of those before it with the same place; equal places stand together."""
    size = x.shape[dim]
    if size < 2:
        return torch.ones_like(x)

    def before(x: Tensor, step: int) -> Tensor:
        """The element ``step`` places before, or 1 if it is of another place; for all elements that have one."""
        same = place.narrow(dim, step, size - step) == place.narrow(dim, 0, size - step)
        return torch.where(same, x.narrow(dim, 0, size - step), 1.0)

    step = 1
    while step < size:  # now each element is the product of `step` elements up to it: double that
        x = torch.cat([x.narrow(dim, 0, step), x.narrow(dim, step, size - step) * before(x, step)], dim)
        step *= 2
    return torch.cat([torch.ones_like(x.narrow(dim, 0, 1)), before(x, 1)], dim)


@composite(names="scatter_reduce", aten="scatter_reduce.two")
def scatter_reduce(x: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """Combine ``x`` with all elements of ``src`` that ``index`` sends to the same place of axis ``dim``.

    Args:
        x: Tensor.
        dim: The axis.
        index: For each element of ``src`` the place along the axis.
        src: Tensor of the shape of ``index``.
        reduce: ``"sum"``, ``"prod"``, ``"mean"``, ``"amax"`` or ``"amin"``.
        include_self: Whether the elements of ``x`` are combined too, where something is sent.

    Returns:
        A tensor of the shape of ``x``.

    Raises:
        ArgumentError: For any other ``reduce``.

    Differs from torch:
        With ``include_self=False``, an extreme's gradient goes to the elements of ``src`` alone; torch takes a share of
        it for an equal element of ``x``, which gets nothing.
    """
    _check_reduce("scatter_reduce", reduce, ("sum", "prod", "mean", "amax", "amin"))
    dim = axis_of(dim, x.ndim, "scatter_reduce")
    if reduce in ("amax", "amin"):
        return scatter_extreme(x, dim, index, src, reduce, include_self)
    if not x.ndim:  # torch takes a scalar for a vector with one element
        vectors = (reshape_(x, (1,)), 0, reshape_(index, (-1,)), reshape_(src, (-1,)))
        return reshape_(scatter_reduce(*vectors, reduce, include_self=include_self), ())
    start = x if include_self else scatter_value(x, dim, index, 1.0 if reduce == "prod" else 0.0)
    if reduce == "prod":
        return scatter_product(start, dim, index, src)
    total = scatter_add(start, dim, index, src)
    if reduce == "sum":
        return total
    # Places to which nothing is sent keep their element: a mean of one.
    number = torch.ones_like(unwrap(x))
    number = number if include_self else number.scatter(dim, unwrap(index), 0)
    return total / number.scatter_add(dim, unwrap(index), torch.ones_like(unwrap(src))).clamp(min=1)


def _check_reduce(name: str, reduce: str, known: tuple[str, ...]) -> None:
    if reduce not in known:
        raise ArgumentError(f"{name}: reduce must be one of {', '.join(known)}; got {reduce!r}")


@composite(names="index_reduce", aten="index_reduce.default")
def index_reduce(x: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """`scatter_reduce` with the same places for all rows."""
    _check_reduce("index_reduce", reduce, ("prod", "mean", "amax", "amin"))  # its sum is index_add
    dim = axis_of(dim, x.ndim, "index_reduce")
    _check_slices("index_reduce", x, dim, unwrap(index), source)
    if not source.ndim:
        lifted = index_reduce(reshape_(x, (1,)), 0, index, reshape_(source, (1,)), reduce, include_self=include_self)
        return reshape_(lifted, ())
    shape = [1] * source.ndim
    shape[dim] = -1
    places = torch.broadcast_to(unwrap(index).reshape(shape), source.shape)
    return scatter_reduce(x, dim, places, source, reduce, include_self=include_self)


def _check_slices(name: str, x: Any, dim: int, index: Tensor, source: Any) -> None:
    """Refuse a source whose slices don't fit into ``x``, or aren't one for each place."""
    given = f"input {tuple(x.shape)}, index {tuple(index.shape)} and source {tuple(source.shape)} along axis {dim}"
    if index.ndim > 1:
        raise RankError(f"{name}: the index must be a vector: {given}")
    sizes = [tuple(y.shape[:dim]) + tuple(y.shape[dim + 1 :]) for y in (x, source)]
    if x.ndim != source.ndim or sizes[0] != sizes[1]:
        raise ShapeError(f"{name}: the source must have the input's shape but for the axis: {given}")
    if index.numel() != (source.shape[dim] if source.ndim else 1):
        raise RankError(f"{name}: the source must have a slice for each place: {given}")
    _check_places(name, index, x.shape[dim] if x.ndim else 1)


def _check_places(name: str, index: Tensor, size: int) -> None:
    """Refuse places out of range, where values can be seen at once (not on a GPU, in a trace or under vmap)."""
    if index.device.type != "cpu":
        return
    try:
        wrong = bool(((index < 0) | (index >= size)).any())
    except RuntimeError:
        return
    if wrong:
        raise AxisError(f"{name}: index out of range: there are places 0 to {size - 1}")


@composite(names="take_along_dim")
def take_along_dim(x: Any, indices: Any, dim: int | None = None) -> Any:
    """`gather` whose arguments broadcast in all other axes; without ``dim`` among all elements."""
    if dim is None:
        return gather(reshape_(x, (-1,)), 0, reshape_(indices, (-1,)))
    if x.ndim != indices.ndim:
        raise ShapeError(
            f"take_along_dim: input and indices must have as many axes, got shapes {tuple(x.shape)} and "
            f"{tuple(indices.shape)}"
        )
    dim = axis_of(dim, x.ndim, "take_along_dim")
    indices = unwrap(indices)
    indices = torch.where(indices < 0, indices + x.shape[dim], indices)  # counted from the end
    sizes, places = list(x.shape), list(indices.shape)
    sizes[dim] = places[dim] = 1
    shape = list(broadcast_shape(sizes, places))
    return gather(
        expand_(x, (*shape[:dim], x.shape[dim], *shape[dim + 1 :])),
        dim,
        torch.broadcast_to(indices, (*shape[:dim], indices.shape[dim], *shape[dim + 1 :])),
    )


@composite(names="put", aten="put.default")
def put(x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """``x`` with the elements of ``source`` at places counted through all axes."""
    _check_long("put", index)
    if source.numel() != index.numel():
        raise RankError(
            f"put: expected one element for each index, but source has shape {tuple(source.shape)}, and index "
            f"{tuple(index.shape)}"
        )
    source = reshape_(source, tuple(index.shape))
    return reshape_(index_put_(reshape_(x, (-1,)), [unwrap(index)], source, accumulate), tuple(x.shape))


@composite(names="take", aten="take.default")
def take(x: Any, index: Any) -> Any:
    """The elements at places counted through all axes."""
    _check_long("take", index)
    return index_(reshape_(x, (-1,)), [unwrap(index)])


def _check_long(name: str, index: Any) -> None:
    if index.dtype is not torch.long:
        raise DtypeError(f"{name}: expected a long tensor for index, but got {index.dtype}")


@composite(names="bincount", aten="bincount.default")
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each number occurs, or the sum of the weights that stand beside it.

    Args:
        input: Whole numbers from 0 on, (n,).
        weights: (n,), differentiated; ``None`` counts 1 for each.
        minlength: The least length of the result.

    Returns:
        The counts, as int64; with weights in float32 for float32, else in float64, as in torch.
    """
    numbers = unwrap(input)
    counts = torch.bincount(numbers, unwrap(weights), minlength)
    if not is_recorded(weights):
        return constant_result(counts)
    return index_add(torch.zeros_like(counts), 0, numbers, weights.to(counts.dtype))
