"""Reductions: operations that take axes away by summing, averaging or multiplying.

Most rules share one step: the gradient lacks the axes that were reduced, and gets them back with size one
(`restore_axes`), so that it broadcasts against the argument.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.dispatch.inplace import unwrap
from neuronix.autograd.dispatch.registry import TORCH_FUNCTIONS
from neuronix.autograd.errors import ArgumentError, DtypeError
from neuronix.autograd.ops.running import product_before
from neuronix.autograd.ops.shapes import reshape_
from neuronix.autograd.primitive import Shape, composite, primitive

__all__ = [
    "all",
    "any",
    "count_nonzero",
    "logsumexp",
    "mean",
    "nanmean",
    "nansum",
    "norm",
    "prod",
    "renorm",
    "std",
    "std_mean",
    "sum",
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
    """``dim`` and ``correction`` of ``var(dim, unbiased)``, ``var(unbiased)`` and ``var(dim, correction=)``."""
    if isinstance(dim, bool):  # var(unbiased), without an axis
        dim, unbiased = None, dim
    if unbiased is not None and not isinstance(unbiased, bool):
        raise DtypeError(f"unbiased must be True or False, got {unbiased!r}", hint="another divisor: correction=")
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


# Products


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
    others = product_before(x, dim) * product_before(x.flip(dim), dim).flip(dim)
    return restore_axes(grad, x.shape, dim, keepdim) * others


@composite(names="prod", aten="prod.default")
def prod(x: Any, dim: int | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Any:
    """The product of the elements, over all axes or over ``dim``."""
    if dim is None:
        x, dim = reshape_(x, (-1,)), 0
    return prod_dim(x, dim, keepdim, dtype=dtype)


# Logarithms of sums


@primitive(names="logsumexp", aten="logsumexp.default")
def logsumexp(x: Tensor, dim: int | tuple[int, ...], keepdim: bool = False) -> Tensor:
    """Log Σ exp(x) over the axes in ``dim``, computed without overflow."""
    return torch.logsumexp(x, dim, keepdim)


@logsumexp.vjp("x")
def logsumexp_wrt_x(grad: Tensor, out: Tensor, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    # exp(x) / Σ exp(x): the softmax
    return restore_axes(grad, x.shape, dim, keepdim) * torch.exp(x - restore_axes(out, x.shape, dim, keepdim))


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
    value: Tensor = torch.linalg.vector_norm(x, ord, dim, keepdim, dtype=dtype)
    return value


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
        return torch.sgn(x) * (grad / ties.sum(dim, True)).masked_fill(~ties, 0)  # no ties: the norm is NaN
    if ord < 1:
        return torch.sgn(x) * (size ** (ord - 1)).masked_fill(x == 0, 0) * grad * out ** (1 - ord)
    direction = torch.sgn(x) * size ** (ord - 1) if ord < 2 else x * size ** (ord - 2)
    return direction * (grad / (out ** (ord - 1)).masked_fill(out == 0, math.inf))


# In what torch adds up squares on a CPU, so that they don't overflow.
_ACCUMULATED = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float32: torch.float64}


@primitive(holomorphic=False, names="renorm", aten="renorm.default")
def renorm(x: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Shorten each slice along ``dim`` whose p-norm N is larger than ``maxnorm``: y = maxnorm · x / (N + 1e-7)."""
    return torch.renorm(x, p, dim, maxnorm)


@renorm.vjp("x")
def renorm_wrt_x(grad: Tensor, x: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    given, x, grad = grad, x.to(_ACCUMULATED.get(x.dtype, x.dtype)), grad.to(_ACCUMULATED.get(x.dtype, x.dtype))
    axes = tuple(axis for axis in range(x.ndim) if axis != dim % x.ndim)
    length = torch.linalg.vector_norm(x, p, axes, True)
    inverse = torch.reciprocal(length + 1e-7)
    along = torch.real(torch.conj(x) * grad).sum(axes, True)
    moved = maxnorm * inverse * (grad - inverse * vector_norm_wrt_x(along, length, x, p, axes, True))
    return torch.where(length > maxnorm, moved.to(given.dtype), given)


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
        p: The order; ``"fro"`` and ``None`` mean 2, ``"nuc"`` the sum of a matrix's singular values.
        dim: Axis or axes to reduce; all by default.
        keepdim: Keep the reduced axes, with size one.
        dtype: Element type in which it is computed.

    Returns:
        The norm.

    Raises:
        ArgumentError: For ``"nuc"`` without ``dim``, if there are more than two axes.
    """
    if p == "nuc":
        if dim is None and x.ndim != 2:
            raise ArgumentError(
                f"norm: p='nuc' is for matrices, but the input has shape {tuple(x.shape)}",
                hint="name the two axes of the matrices, as in dim=(-2, -1)",
            )
        return torch.linalg.matrix_norm(x, p, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(x, 2 if p is None or p == "fro" else p, dim, keepdim, dtype=dtype)


# torch.linalg.norm is another function of the same name, which takes the norms of operators for matrices; taken apart,
# it ends in `vector_norm` or in singular values.
del TORCH_FUNCTIONS[torch.linalg.norm]


# Constants: whether there is something


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
