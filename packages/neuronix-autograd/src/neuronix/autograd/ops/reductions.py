"""Reductions: operations that take axes away.

Most rules share one step: the gradient lacks the axes that were reduced, and gets them back with size one
(`restore_axes`), so that it broadcasts against the argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.errors import UnsupportedError
from neuronix.autograd.inplace import unwrap
from neuronix.autograd.primitive import Shape, composite, primitive

__all__ = [
    "all",
    "amax",
    "amin",
    "aminmax",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "kthvalue",
    "logcumsumexp",
    "logsumexp",
    "max",
    "mean",
    "median",
    "min",
    "mode",
    "nanmean",
    "nansum",
    "norm",
    "prod",
    "sort",
    "std",
    "std_mean",
    "sum",
    "topk",
    "var",
    "var_mean",
    "vector_norm",
]

Dims = int | tuple[int, ...] | None


# What rules share


def restore_axes(grad: Tensor, shape: torch.Size, dim: Dims, keepdim: bool) -> Tensor:
    """``grad`` with the reduced axes of an argument of ``shape`` again, of size one."""
    if keepdim or dim is None or dim == () or not shape:
        return grad
    if isinstance(dim, int):
        return grad.unsqueeze(dim)
    for axis in sorted(axis % len(shape) for axis in dim):
        grad = grad.unsqueeze(axis)
    return grad


def count(shape: torch.Size, dim: Dims) -> int:
    """How many elements of an argument of ``shape`` go into one of the result."""
    if dim is None or dim == () or not shape:
        return shape.numel()
    if isinstance(dim, int):
        return shape[dim]
    return math.prod(shape[axis] for axis in dim)


def scatter_back(grad: Tensor, shape: torch.Size, dim: int, index: Tensor, keepdim: bool = True) -> Tensor:
    """Zeros of ``shape`` with ``grad`` where along ``dim`` the values were taken from: selection's adjoint."""
    if not shape:
        return grad
    if not keepdim:
        grad, index = grad.unsqueeze(dim), index.unsqueeze(dim)
    return grad.new_zeros(shape).scatter_add(dim, index, grad)


# Sums and means


@primitive(names="sum", aten="sum.default sum.dim_IntList")
def sum(
    x: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor:
    """The sum of the elements, over all axes or over those in ``dim``."""
    return torch.sum(x, dim, keepdim, dtype=dtype)


@sum.vjp("x")
def sum_wrt_x(grad: Tensor, x: Shape, dim: Dims, keepdim: bool) -> Tensor:
    # each element enters its sum with factor 1
    return restore_axes(grad, x, dim, keepdim).expand(x)


@primitive(names="mean", aten="mean.default mean.dim")
def mean(
    x: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor:
    """The mean of the elements, over all axes or over those in ``dim``."""
    return torch.mean(x, dim, keepdim, dtype=dtype)


@mean.vjp("x")
def mean_wrt_x(grad: Tensor, x: Shape, dim: Dims, keepdim: bool) -> Tensor:
    # each element enters its mean with factor 1 / n; where n is 0 there is no element
    n = count(x, dim)
    return restore_axes(grad / n if n else grad, x, dim, keepdim).expand(x)


@primitive(names="nansum", aten="nansum.default")
def nansum(
    x: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Tensor:
    """The sum of the elements that aren't NaN."""
    return torch.nansum(x, dim, keepdim, dtype=dtype)


@nansum.vjp("x")
def nansum_wrt_x(grad: Tensor, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    return restore_axes(grad, x.shape, dim, keepdim).expand(x.shape) * torch.logical_not(torch.isnan(x))


@composite(names="nanmean")
def nanmean(
    x: Any, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Any:
    """The mean of the elements that aren't NaN."""
    numbers = torch.logical_not(torch.isnan(unwrap(x))).sum(dim, keepdim)
    return nansum(x, dim, keepdim, dtype=dtype) / numbers


# Variances


@primitive(aten="var.correction")
def var_(
    x: Tensor, dim: int | tuple[int, ...] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """The variance of the elements, Σ (x - mean)² / (n - correction)."""
    return torch.var(x, dim, correction=correction, keepdim=keepdim)


@var_.vjp("x")
def var_wrt_x(grad: Tensor, x: Tensor, dim: Dims, correction: float | None, keepdim: bool) -> Tensor:
    # d/dx Σ (x - m)² = 2 (x - m); that m moves with x adds nothing, because Σ (x - m) = 0
    n = count(x.shape, dim) - (1 if correction is None else correction)
    centred = x - x.mean(dim, True)
    if n <= 0:  # the variance is 0/0 or x/0, and so is its slope: NaN or infinity, which depends on nothing further
        return restore_axes(grad, x.shape, dim, keepdim) * (torch.abs(centred.detach()) * math.inf)
    return restore_axes(2 / n * grad, x.shape, dim, keepdim) * centred


@primitive(aten="std.correction")
def std_(
    x: Tensor, dim: int | tuple[int, ...] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """The standard deviation of the elements, the square root of the variance."""
    return torch.std(x, dim, correction=correction, keepdim=keepdim)


@std_.vjp("x")
def std_wrt_x(grad: Tensor, out: Tensor, x: Tensor, dim: Dims, correction: float | None, keepdim: bool) -> Tensor:
    # d√v = dv / 2√v; at v = 0, where the slope is infinite, the gradient is taken to be 0, as in torch
    return var_wrt_x((grad / (2 * out)).masked_fill(out == 0, 0), x, dim, correction, keepdim)


def _corrected(dim: Any, unbiased: bool | None, correction: float | None) -> tuple[Any, float | None]:
    """``dim`` and ``correction`` for torch's spellings ``var(dim, unbiased)``, ``var(unbiased)`` and ``var(dim, correction=)``."""
    if isinstance(dim, bool):  # var(unbiased), without an axis
        dim, unbiased = None, dim
    return dim, correction if unbiased is None else int(unbiased)


@composite(names="var")
def var(
    x: Any,
    dim: int | tuple[int, ...] | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    """The variance, over all axes or over those in ``dim``: Σ (x - mean)² / (n - correction).

    Args:
        x: Floating-point tensor.
        dim: Axis or axes to reduce; all by default.
        unbiased: The older spelling of ``correction=1`` (true) and ``correction=0`` (false).
        keepdim: Keep the reduced axes, with size one.
        correction: What is taken off the number of elements; 1 by default (Bessel's correction).

    Returns:
        The variance.
    """
    dim, correction = _corrected(dim, unbiased, correction)
    return var_(x, dim, correction=correction, keepdim=keepdim)


@composite(names="std")
def std(
    x: Any,
    dim: int | tuple[int, ...] | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    """The standard deviation: the square root of `var`, with its arguments."""
    dim, correction = _corrected(dim, unbiased, correction)
    return std_(x, dim, correction=correction, keepdim=keepdim)


@composite(names="var_mean", aten="var_mean.correction")
def var_mean(
    x: Any,
    dim: int | tuple[int, ...] | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Any, Any]:
    """`var` and `mean` of the same axes."""
    dim, correction = _corrected(dim, unbiased, correction)
    return var_(x, dim, correction=correction, keepdim=keepdim), mean(x, dim, keepdim)


@composite(names="std_mean", aten="std_mean.correction")
def std_mean(
    x: Any,
    dim: int | tuple[int, ...] | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Any, Any]:
    """`std` and `mean` of the same axes."""
    dim, correction = _corrected(dim, unbiased, correction)
    return std_(x, dim, correction=correction, keepdim=keepdim), mean(x, dim, keepdim)


# Extremes


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
    axes = () if dim is None else dim
    return torch.return_types.aminmax((amin(x, axes, keepdim), amax(x, axes, keepdim)))  # type: ignore[call-overload]


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


@primitive(aten="max.dim")
def max_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The largest elements along an axis and their positions; of ties, the one at the position gets the gradient."""
    return torch.max(x, dim, keepdim)


@max_dim.vjp("x")
def max_dim_wrt_x(grad: list[Tensor], out: tuple[Tensor, Tensor], x: Shape, dim: int, keepdim: bool) -> Tensor:
    return scatter_back(grad[0], x, dim, out[1], keepdim)


@primitive(aten="min.dim")
def min_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The smallest elements along an axis and their positions; of ties, the one at the position gets the gradient."""
    return torch.min(x, dim, keepdim)


@min_dim.vjp("x")
def min_dim_wrt_x(grad: list[Tensor], out: tuple[Tensor, Tensor], x: Shape, dim: int, keepdim: bool) -> Tensor:
    return scatter_back(grad[0], x, dim, out[1], keepdim)


def _three_forms(of_all: Callable[..., Any], along: Callable[..., Any], of_two: Callable[..., Any]) -> Callable[..., Any]:
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

    ``max(x)`` is the largest of all (ties share the gradient), ``max(x, dim)`` gives ``(values, indices)`` along an axis
    (the gradient goes to the index), ``max(x, other)`` is the elementwise maximum.

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


# Selections along an axis: the gradient goes back to where the values came from


@primitive(aten="median.default")
def median_(x: Tensor) -> Tensor:
    """The median of all elements, the lower of the two where their number is even."""
    return torch.median(x)


median_.vjp("x")(_extreme_of_all_wrt_x)


@primitive(aten="median.dim")
def median_dim(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The medians along an axis and their positions."""
    return torch.median(x, dim, keepdim)


@median_dim.vjp("x")
def median_dim_wrt_x(grad: list[Tensor], out: tuple[Tensor, Tensor], x: Shape, dim: int, keepdim: bool) -> Tensor:
    return scatter_back(grad[0], x, dim, out[1], keepdim)


@composite(names="median")
def median(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of all elements, or with their positions those along ``dim``."""
    return median_(x) if dim is None else median_dim(x, dim, keepdim)


@primitive(names="kthvalue", aten="kthvalue.default")
def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The ``k``-th smallest elements along an axis and their positions."""
    return torch.kthvalue(x, k, dim, keepdim)


@kthvalue.vjp("x")
def kthvalue_wrt_x(grad: list[Tensor], out: tuple[Tensor, Tensor], x: Shape, dim: int, keepdim: bool) -> Tensor:
    return scatter_back(grad[0], x, dim, out[1], keepdim)


@primitive(names="mode", aten="mode.default")
def mode(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The most frequent elements along an axis and their positions."""
    return torch.mode(x, dim, keepdim)


@mode.vjp("x")
def mode_wrt_x(grad: list[Tensor], out: tuple[Tensor, Tensor], x: Shape, dim: int, keepdim: bool) -> Tensor:
    return scatter_back(grad[0], x, dim, out[1], keepdim)


@primitive(aten="sort.default sort.stable")
def sort_(
    x: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> tuple[Tensor, Tensor]:
    """The elements along an axis in order, and where each was."""
    return torch.sort(x, dim=dim, descending=descending, stable=bool(stable))


@sort_.vjp("x")
def sort_wrt_x(grad: list[Tensor], out: tuple[Tensor, Tensor], x: Shape, dim: int) -> Tensor:
    return scatter_back(grad[0], x, dim, out[1])


@composite(names="sort")
def sort(x: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    """The elements along an axis in order, and where each was."""
    return sort_(x, dim, descending, stable=stable)


@primitive(names="topk", aten="topk.default")
def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """The ``k`` largest (or smallest) elements along an axis, and where each was."""
    return torch.topk(x, k, dim, largest, sorted)


@topk.vjp("x")
def topk_wrt_x(grad: list[Tensor], out: tuple[Tensor, Tensor], x: Shape, dim: int) -> Tensor:
    return scatter_back(grad[0], x, dim, out[1])


@primitive(names="cummax", aten="cummax.default")
def cummax(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The largest elements so far along an axis, and where each was."""
    return torch.cummax(x, dim)


@cummax.vjp("x")
def cummax_wrt_x(grad: list[Tensor], out: tuple[Tensor, Tensor], x: Shape, dim: int) -> Tensor:
    return scatter_back(grad[0], x, dim, out[1])


@primitive(names="cummin", aten="cummin.default")
def cummin(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The smallest elements so far along an axis, and where each was."""
    return torch.cummin(x, dim)


@cummin.vjp("x")
def cummin_wrt_x(grad: list[Tensor], out: tuple[Tensor, Tensor], x: Shape, dim: int) -> Tensor:
    return scatter_back(grad[0], x, dim, out[1])


# Products and running sums


@primitive(names="cumsum", aten="cumsum.default")
def cumsum(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """The running sum along an axis."""
    return torch.cumsum(x, dim, dtype=dtype)


@cumsum.vjp("x")
def cumsum_wrt_x(grad: Tensor, dim: int) -> Tensor:
    # element k is in every sum from k on: the running sum from the other end
    return _from_the_end(grad, dim)


def _from_the_end(x: Tensor, dim: int) -> Tensor:
    return x.flip(dim).cumsum(dim).flip(dim) if x.ndim else x


@primitive(names="cumprod", aten="cumprod.default")
def cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """The running product along an axis."""
    return torch.cumprod(x, dim, dtype=dtype)


@cumprod.vjp("x")
def cumprod_wrt_x(grad: Tensor, x: Tensor, dim: int) -> Tensor:
    # Product i contains element k if i ≥ k, so the gradient is (Π before k) · S_k, where
    # S_k = Σ_{i≥k} grad_i · Π_{k<j≤i} x_j = grad_k + x_{k+1} · S_{k+1}.  Nothing is divided: it is right at zeros too.
    if not x.numel() or not x.ndim:
        return grad
    x = x.to(grad.dtype)
    return _product_before(x, dim) * _recurrence(grad, _shifted(x, dim, -1, 0), dim)


def _recurrence(terms: Tensor, factors: Tensor, dim: int) -> Tensor:
    """The solution of S_k = terms_k + factors_k · S_{k+1} along an axis.

    Substituting the recurrence into itself doubles its reach, S_k = sums_k + factors_k · S_{k+reach}; so log₂ n steps
    on whole tensors solve it, each of which can be differentiated.
    """
    sums, reach = terms, 1
    while reach < terms.shape[dim]:
        sums = sums + factors * _shifted(sums, dim, -reach, 0)
        factors = factors * _shifted(factors, dim, -reach, 0)
        reach *= 2
    return sums


def _shifted(x: Tensor, dim: int, by: int, fill: int) -> Tensor:
    """``x`` moved along ``dim`` by ``by`` places, to its end or (negative) to its beginning."""
    size = x.shape[dim]
    filling = x.new_full((*x.shape[:dim], abs(by), *x.shape[dim:][1:]), fill)
    kept = x.narrow(dim, 0, size - by) if by > 0 else x.narrow(dim, -by, size + by)
    return torch.cat([filling, kept] if by > 0 else [kept, filling], dim)


def _product_before(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, dim, 1, 1).cumprod(dim) if x.shape[dim] else x


@primitive(aten="prod.dim_int")
def prod_dim(x: Tensor, dim: int, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    """The product of the elements along an axis."""
    return torch.prod(x, dim, keepdim, dtype=dtype)


@prod_dim.vjp("x")
def prod_dim_wrt_x(grad: Tensor, x: Tensor, dim: int, keepdim: bool) -> Tensor:
    # the product of all other elements: of those before times of those behind, which is right at zeros too
    if not x.ndim:
        return grad
    x = x.to(grad.dtype)
    others = _product_before(x, dim) * _product_before(x.flip(dim), dim).flip(dim)
    return restore_axes(grad, x.shape, dim, keepdim) * others


@composite(names="prod", aten="prod.default")
def prod(x: Any, dim: int | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    """The product of the elements, over all axes or over ``dim``."""
    if dim is None:
        x, dim = torch.reshape(x, (-1,)), 0
    return prod_dim(x, dim, keepdim, dtype=dtype)


# Logarithms of sums


@primitive(names="logsumexp", aten="logsumexp.default")
def logsumexp(x: Tensor, dim: int | tuple[int, ...], keepdim: bool = False) -> Tensor:
    """log Σ exp(x) over the axes in ``dim``, computed without overflow."""
    return torch.logsumexp(x, dim, keepdim)


@logsumexp.vjp("x")
def logsumexp_wrt_x(grad: Tensor, out: Tensor, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    # exp(x) / Σ exp(x): the softmax
    return restore_axes(grad, x.shape, dim, keepdim) * torch.exp(x - restore_axes(out, x.shape, dim, keepdim))


@primitive(names="logcumsumexp", aten="logcumsumexp.default")
def logcumsumexp(x: Tensor, dim: int) -> Tensor:
    """The running log Σ exp(x) along an axis."""
    return torch.logcumsumexp(x, dim)


@logcumsumexp.vjp("x")
def logcumsumexp_wrt_x(grad: Tensor, out: Tensor, x: Tensor, dim: int) -> Tensor:
    # Σ_{i≥k} grad_i · exp(x_k - out_i) = exp(x_k - out_k) · S_k with S_k = grad_k + exp(out_k - out_{k+1}) · S_{k+1}; no
    # exponent is positive, because out grows along the axis
    if not x.numel() or not x.ndim:
        return grad
    return torch.exp(x - out) * _recurrence(grad, torch.exp(out - _shifted(out, dim, -1, 0)), dim)


# Norms


@primitive(names="vector_norm", aten="linalg_vector_norm.default")
def vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: int | tuple[int, ...] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The norm (Σ |x|^ord)^(1/ord) over all axes or over those in ``dim``; for infinity the largest |x|."""
    return torch.linalg.vector_norm(x, ord, dim, keepdim, dtype=dtype)


@vector_norm.vjp("x")
def vector_norm_wrt_x(grad: Tensor, out: Tensor, x: Tensor, ord: float, dim: Dims, keepdim: bool) -> Tensor:
    # dN/dx = sign(x) · (|x| / N)^(ord-1); at N = 0 the subgradient 0 is taken, as in torch
    grad, out = restore_axes(grad, x.shape, dim, keepdim), restore_axes(out, x.shape, dim, keepdim)
    if ord == 0:
        return torch.zeros_like(x)
    if ord == 1:
        return torch.sgn(x) * grad
    if ord == 2:
        return grad * (x / out).masked_fill(out == 0, 0)
    size = torch.abs(x)
    if math.isinf(ord):
        ties = size == out
        return torch.sgn(x) * (grad / ties.sum(dim, True) * ties)
    if ord < 1:
        return torch.sgn(x) * (size ** (ord - 1)).masked_fill(x == 0, 0) * grad * out ** (1 - ord)
    direction = torch.sgn(x) * size ** (ord - 1) if ord < 2 else x * size ** (ord - 2)
    return direction * (grad / out ** (ord - 1)).masked_fill(out == 0, 0)


@composite(names="norm", aten="norm.Scalar norm.ScalarOpt_dim norm.ScalarOpt_dtype norm.ScalarOpt_dim_dtype")
def norm(
    x: Any,
    p: float | str | None = "fro",
    dim: int | tuple[int, ...] | None = None,
    keepdim: bool = False,
    dtype: torch.dtype | None = None,
) -> Any:
    """The norm of the elements, taken as one vector for each place in the result.

    Args:
        x: Tensor.
        p: The order; ``"fro"`` and ``None`` mean 2.
        dim: Axis or axes to reduce; all by default.
        keepdim: Keep the reduced axes, with size one.
        dtype: Element type in which it is computed.

    Returns:
        The norm.

    Raises:
        UnsupportedError: For ``"nuc"``, the nuclear norm.
    """
    if p == "nuc":
        raise UnsupportedError("norm: the nuclear norm has no rule", hint='use the Frobenius norm, p="fro"')
    return vector_norm(x, 2 if p is None or p == "fro" else p, dim, keepdim, dtype=dtype)


# Constants: results that are integers or booleans


@primitive(constant=True, names="argmax", aten="argmax.default")
def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the largest element, among all or along ``dim``."""
    return torch.argmax(x, dim, keepdim)


@primitive(constant=True, names="argmin", aten="argmin.default")
def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the smallest element, among all or along ``dim``."""
    return torch.argmin(x, dim, keepdim)


@primitive(constant=True, names="any", aten="any.default any.dim any.dims")
def any(x: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Tensor:
    """Whether an element isn't zero, among all or along ``dim``."""
    return torch.any(x) if dim is None else torch.any(x, dim, keepdim)


@primitive(constant=True, names="all", aten="all.default all.dim all.dims")
def all(x: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Tensor:
    """Whether no element is zero, among all or along ``dim``."""
    return torch.all(x) if dim is None else torch.all(x, dim, keepdim)


@primitive(constant=True, names="count_nonzero", aten="count_nonzero.default count_nonzero.dim_IntList")
def count_nonzero(x: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """How many elements aren't zero, among all or along ``dim``."""
    return torch.count_nonzero(x, dim)
