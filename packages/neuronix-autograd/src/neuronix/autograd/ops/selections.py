"""Selections: reductions whose result is one of the elements, as the largest, the median or the k-th.

A selected element's gradient goes back to where it came from (`scatter_back`).  Where several elements are equal torch
has two conventions, and so have we: without positions they share the gradient, with positions the named one gets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.errors import UnsupportedError
from neuronix.autograd.ops.reductions import Dims, restore_axes
from neuronix.autograd.primitive import Shape, composite, primitive

__all__ = [
    "amax",
    "amin",
    "aminmax",
    "argmax",
    "argmin",
    "cummax",
    "cummin",
    "kthvalue",
    "max",
    "median",
    "min",
    "mode",
    "nanmedian",
    "sort",
    "topk",
]


# Extremes


def scatter_back(grad: Tensor, shape: torch.Size, dim: int, index: Tensor, keepdim: bool = True) -> Tensor:
    """Zeros of ``shape`` with ``grad`` where along ``dim`` the values were taken from: selection's adjoint."""
    if not shape:
        return grad
    if not keepdim:
        grad, index = grad.unsqueeze(dim), index.unsqueeze(dim)
    return grad.new_zeros(shape).scatter_add(dim, index, grad)


def _of_one_place_wrt_x(grad: list[Tensor], indices: Tensor, x: Shape, dim: int, keepdim: bool) -> Tensor:
    return scatter_back(grad[0], x, dim, indices, keepdim)


def _of_places_wrt_x(grad: list[Tensor], indices: Tensor, x: Shape, dim: int) -> Tensor:
    return scatter_back(grad[0], x, dim, indices)


def _shared_among_ties(grad: Tensor, x: Tensor, out: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """Each of the equal extremes gets the same part of the gradient: the mean of all choices of one of them."""
    ties = restore_axes(out, x.shape, dim, keepdim) == x
    return restore_axes(grad, x.shape, dim, keepdim) * ties / ties.sum(dim, True)


@primitive(names="amax", aten="amax.default")
def amax(x: Tensor, dim: int | tuple[int, ...] = (), keepdim: bool = False) -> Tensor:
    """The largest element, over all axes or over those in ``dim``; ties share the gradient."""
    return torch.amax(x, dim, keepdim)


@amax.vjp("x")
def amax_wrt_x(grad: Tensor, out: Tensor, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    return _shared_among_ties(grad, x, out, dim, keepdim)


@primitive(names="amin", aten="amin.default")
def amin(x: Tensor, dim: int | tuple[int, ...] = (), keepdim: bool = False) -> Tensor:
    """The smallest element, over all axes or over those in ``dim``; ties share the gradient."""
    return torch.amin(x, dim, keepdim)


@amin.vjp("x")
def amin_wrt_x(grad: Tensor, out: Tensor, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    return _shared_among_ties(grad, x, out, dim, keepdim)


@composite(names="aminmax", aten="aminmax.default")
def aminmax(x: Any, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """`amin` and `amax` of the same axis."""
    if x.is_complex():
        raise UnsupportedError(f"aminmax: complex numbers have no order ({x.dtype})", hint="compare x.abs()")
    axes = () if dim is None else dim
    return torch.return_types.aminmax((amin(x, axes, keepdim), amax(x, axes, keepdim)))


def _extreme_of_all_wrt_x(grad: Tensor, out: Tensor, x: Tensor) -> Tensor:
    # A NaN is the extreme of its tensor, although it doesn't equal itself.
    ties = (x == out) | (torch.isnan(x) & torch.isnan(out))
    return ties * (grad / ties.sum())


@primitive(aten="max.default")
def max_(x: Tensor) -> Tensor:
    """The largest element; ties share the gradient."""
    return torch.max(x)


max_.vjp("x")(_extreme_of_all_wrt_x)


@primitive(aten="min.default")
def min_(x: Tensor) -> Tensor:
    """The smallest element; ties share the gradient."""
    return torch.min(x)


min_.vjp("x")(_extreme_of_all_wrt_x)


@primitive(aten="max.dim", results="values indices")
def max_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The largest elements along an axis and their positions; of ties, the one at the position gets the gradient."""
    return torch.max(x, dim, keepdim)


max_dim.vjp("x")(_of_one_place_wrt_x)


@primitive(aten="min.dim", results="values indices")
def min_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The smallest elements along an axis and their positions; of ties, the one at the position gets the gradient."""
    return torch.min(x, dim, keepdim)


min_dim.vjp("x")(_of_one_place_wrt_x)


def _three_forms(
    of_all: Callable[..., Any], along: Callable[..., Any], of_two: Callable[..., Any]
) -> Callable[..., Any]:
    """``max`` or ``min`` in torch's three forms: of all elements, along an axis, of two tensors."""

    def extreme(x: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if dim is None and other is None:
            return of_all(x)
        if isinstance(dim, int):
            return along(x, dim, keepdim)
        return of_two(x, dim if other is None else other)

    return extreme


def _maximum(x: Any, other: Any) -> Any:
    return torch.maximum(x, other)


def _minimum(x: Any, other: Any) -> Any:
    return torch.minimum(x, other)


@composite(names="max")
def max(x: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest element, in torch's three forms.

    ``max(x)`` is the largest of all (ties share the gradient), ``max(x, dim)`` gives ``(values, indices)`` along an
    axis (the gradient goes to the index), ``max(x, other)`` is the elementwise maximum.

    Args:
        x: Tensor.
        dim: Axis to reduce, or the other tensor.
        keepdim: Keep the reduced axis, with size one.
        other: The other tensor.

    Returns:
        A tensor, or along an axis a ``torch.return_types.max`` of two.

    Example:
        >>> from neuronix.autograd import tensor
        >>> x = tensor([[1.0, 5.0], [7.0, 2.0]], requires_grad=True)
        >>> x.max(dim=1).values.sum().backward()
        >>> x.grad
        tensor([[0., 1.],
                [1., 0.]])
    """
    return _largest(x, dim, keepdim, other=other)


@composite(names="min")
def min(x: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element, in the three forms of `max`."""
    return _smallest(x, dim, keepdim, other=other)


_largest = _three_forms(max_, max_dim, _maximum)
_smallest = _three_forms(min_, min_dim, _minimum)


# Other places in the order


@primitive(aten="median.default")
def median_(x: Tensor) -> Tensor:
    """The median of all elements, the lower of the two where their number is even."""
    return torch.median(x)


median_.vjp("x")(_extreme_of_all_wrt_x)


@primitive(aten="median.dim", results="values indices")
def median_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The medians along an axis and their positions."""
    return torch.median(x, dim, keepdim)


median_dim.vjp("x")(_of_one_place_wrt_x)


@composite(names="median")
def median(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of all elements, or with their positions those along ``dim``."""
    return median_(x) if dim is None else median_dim(x, dim, keepdim)


@primitive(aten="nanmedian.default")
def nanmedian_(x: Tensor) -> Tensor:
    """The median of all elements that aren't NaN."""
    return torch.nanmedian(x)


nanmedian_.vjp("x")(_extreme_of_all_wrt_x)


@primitive(aten="nanmedian.dim", results="values indices")
def nanmedian_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The medians along an axis without NaN, and their positions."""
    return torch.nanmedian(x, dim, keepdim)


nanmedian_dim.vjp("x")(_of_one_place_wrt_x)


@composite(names="nanmedian")
def nanmedian(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """`median` of the elements that aren't NaN."""
    return nanmedian_(x) if dim is None else nanmedian_dim(x, dim, keepdim)


@primitive(names="kthvalue", aten="kthvalue.default", results="values indices")
def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The ``k``-th smallest elements along an axis and their positions."""
    return torch.kthvalue(x, k, dim, keepdim)


kthvalue.vjp("x")(_of_one_place_wrt_x)


@primitive(names="mode", aten="mode.default", results="values indices")
def mode(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The most frequent elements along an axis and their positions."""
    return torch.mode(x, dim, keepdim)


mode.vjp("x")(_of_one_place_wrt_x)


@primitive(aten="sort.default sort.stable", results="values indices")
def sort_(x: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None) -> tuple[Tensor, Tensor]:
    """The elements along an axis in order, and where each was."""
    return torch.sort(x, dim=dim, descending=descending, stable=bool(stable))


sort_.vjp("x")(_of_places_wrt_x)


@composite(names="sort")
def sort(x: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    """The elements along an axis in order, and where each was."""
    return sort_(x, dim, descending, stable=stable)


@primitive(names="topk", aten="topk.default", results="values indices")
def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """The ``k`` largest (or smallest) elements along an axis, and where each was."""
    return torch.topk(x, k, dim, largest, sorted)


topk.vjp("x")(_of_places_wrt_x)


@primitive(names="cummax", aten="cummax.default", results="values indices")
def cummax(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The largest elements so far along an axis, and where each was."""
    return torch.cummax(x, dim)


cummax.vjp("x")(_of_places_wrt_x)


@primitive(names="cummin", aten="cummin.default", results="values indices")
def cummin(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The smallest elements so far along an axis, and where each was."""
    return torch.cummin(x, dim)


cummin.vjp("x")(_of_places_wrt_x)


# Positions: constants


@primitive(constant=True, names="argmax", aten="argmax.default")
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the largest element, among all or along ``dim``."""
    return torch.argmax(x, dim, keepdim)


@primitive(constant=True, names="argmin", aten="argmin.default")
def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the smallest element, among all or along ``dim``."""
    return torch.argmin(x, dim, keepdim)
