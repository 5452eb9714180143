"""Running sums and products along an axis.

The gradient of a running product, and that of a running log Σ exp, is a linear recurrence from the far end of the axis;
`_recurrence` solves it with whole-tensor steps that can be differentiated themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd.primitive import primitive

__all__ = [
    "cumprod",
    "cumsum",
    "logcumsumexp",
]


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
    return product_before(x, dim) * _recurrence(grad, _shifted(x, dim, -1, 0), dim)


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


def product_before(x: Tensor, dim: int) -> Tensor:
    return _shifted(x, dim, 1, 1).cumprod(dim) if x.shape[dim] else x


@primitive(names="logcumsumexp", aten="logcumsumexp.default")
def logcumsumexp(x: Tensor, dim: int) -> Tensor:
    """The running log Σ exp(x) along an axis."""
    return torch.logcumsumexp(x, dim)


@logcumsumexp.vjp("x")
def logcumsumexp_wrt_x(grad: Tensor, out: Tensor, x: Tensor, dim: int) -> Tensor:
    # Σ_{i≥k} grad_i · exp(x_k - out_i) = exp(x_k - out_k) · S_k, where S_k = grad_k + exp(out_k - out_{k+1}) · S_{k+1};
    # no exponent is positive, because out grows along the axis
    if not x.numel() or not x.ndim:
        return grad
    n = x.shape[dim]
    factors = torch.exp(out.narrow(dim, 0, n - 1) - out.narrow(dim, 1, n - 1))
    factors = torch.cat([factors, torch.zeros_like(out.narrow(dim, 0, 1))], dim)
    return torch.exp(x - out) * _recurrence(grad, factors, dim)
