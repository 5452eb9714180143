"""Taking elements along one axis by index tensors, and adding or writing them there: gather, scatter and their kin.

Taking and adding are each other's adjoints, and so each other's rules: an element that was taken twice gets both
gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.errors import UnsupportedError
from neuronix.autograd.inplace import unwrap
from neuronix.autograd.ops.indexing import embed, index_
from neuronix.autograd.ops.shapes import expand_, reshape_
from neuronix.autograd.primitive import Shape, composite, primitive
from neuronix.autograd.tensor import CustomTensor

__all__ = [
    "gather",
    "index_add",
    "index_copy",
    "index_fill",
    "index_select",
    "scatter",
    "scatter_add",
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
    return torch.index_fill(x, dim, index, value)  # type: ignore[call-overload,no-any-return]


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
def gather_wrt_x(grad: Tensor, x: Shape, dim: int, index: Tensor) -> Tensor:
    # an element that was taken several times gets all of their gradients
    return grad.new_zeros(x).scatter_add(dim, index, grad)


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
    """
    src = value if src is None else src
    if reduce == "multiply":
        raise UnsupportedError(
            "scatter: reduce='multiply' has no derivative", hint="use scatter_reduce(..., reduce='prod')"
        )
    if not isinstance(src, (CustomTensor, Tensor)):
        if reduce is None:
            return scatter_value(x, dim, index, src)
        src = torch.full(index.shape, src, dtype=x.dtype, device=x.device)
    return scatter_src(x, dim, index, src) if reduce is None else scatter_add(x, dim, index, src)


@composite(names="take_along_dim")
def take_along_dim(x: Any, indices: Any, dim: int | None = None) -> Any:
    """`gather` whose arguments broadcast in all other axes; without ``dim`` among all elements."""
    if dim is None:
        return gather(reshape_(x, (-1,)), 0, reshape_(indices, (-1,)))
    dim = dim % x.ndim
    indices = unwrap(indices)
    indices = torch.where(indices < 0, indices + x.shape[dim], indices)  # counted from the end
    sizes, places = list(x.shape), list(indices.shape)
    sizes[dim] = places[dim] = 1
    shape = list(torch.broadcast_shapes(sizes, places))
    return gather(
        expand_(x, (*shape[:dim], x.shape[dim], *shape[dim + 1 :])),
        dim,
        torch.broadcast_to(indices, (*shape[:dim], indices.shape[dim], *shape[dim + 1 :])),
    )


@composite(names="take", aten="take.default")
def take(x: Any, index: Any) -> Any:
    """The elements at places counted through all axes."""
    return index_(reshape_(x, (-1,)), [unwrap(index)])
