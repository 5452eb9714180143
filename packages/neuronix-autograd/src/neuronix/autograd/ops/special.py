"""Special functions: gamma and its logarithmic derivatives, Bessel functions, the scaled error function."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.errors import ArgumentError
from neuronix.autograd.primitive import composite, primitive

__all__ = ["digamma", "erfcx", "i0", "i0e", "i1", "i1e", "lgamma", "log_ndtr", "ndtri", "polygamma"]


@primitive(names="lgamma gammaln", aten="lgamma.default special_gammaln.default")
def lgamma(x: Tensor) -> Tensor:
    """Elementwise log |Γ(x)|."""
    return torch.lgamma(x)


@lgamma.vjp("x")
def lgamma_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.digamma(x)


@composite(names="", aten="mvlgamma.default special_multigammaln.default")
def _mvlgamma(x: Any, p: int) -> Any:
    """The logarithm of the gamma function of ``p`` dimensions, Σⱼ log Γ(x − j / 2) and a constant."""
    if p < 1:
        raise ArgumentError(f"mvlgamma: p has to be greater than or equal to 1, got {p}")
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    shifts = torch.arange(1 - p, 1, dtype=dtype, device=x.device) / 2
    return torch.lgamma(x.unsqueeze(-1) + shifts).sum(-1) + p * (p - 1) / 4 * math.log(math.pi)


@primitive(names="digamma psi", aten="digamma.default special_digamma.default special_psi.default")
def digamma(x: Tensor) -> Tensor:
    """Elementwise derivative of `lgamma`, Γ′(x) / Γ(x)."""
    return torch.digamma(x)


@digamma.vjp("x")
def digamma_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.polygamma(1, x)


@primitive(names="torch.polygamma special.polygamma", aten="polygamma.default special_polygamma.default")
def polygamma(n: int, x: Tensor) -> Tensor:
    """Elementwise n-th derivative of `digamma`.

    Args:
        n: The order, 0 or more.
        x: Any shape.

    Returns:
        The same shape.
    """
    return torch.polygamma(n, x)


@polygamma.vjp("x")
def polygamma_wrt_x(grad: Tensor, n: int, x: Tensor) -> Tensor:
    return grad * torch.polygamma(n + 1, x)


@composite(names="Tensor.polygamma")
def _polygamma_method(x: Tensor, n: int) -> Any:
    """The n-th derivative of `digamma`."""
    return polygamma(n, x)


@primitive(names="erfcx", aten="special_erfcx.default")
def erfcx(x: Tensor) -> Any:
    """Elementwise exp(x²) · erfc(x), which doesn't vanish for large `x`."""
    return torch.special.erfcx(x)


@erfcx.vjp("x")
def erfcx_wrt_x(grad: Tensor, x: Tensor, out: Tensor) -> Tensor:
    return grad * (2 * x * out - 2 / math.sqrt(math.pi))


@primitive(names="log_ndtr", aten="special_log_ndtr.default")
def log_ndtr(x: Tensor) -> Any:
    """Elementwise logarithm of the normal distribution function."""
    return torch.special.log_ndtr(x)


@log_ndtr.vjp("x")
def log_ndtr_wrt_x(grad: Tensor, x: Tensor, out: Tensor) -> Any:
    # φ(x)/Φ(x).  Below 0 both without their factor e^(−x²/2), which vanishes; above, where that quotient would be
    # one over something that overflows, as an exponential.
    low, high = torch.clamp(x, max=0), torch.where(x > 0, x, 0)
    below = math.sqrt(2 / math.pi) / torch.special.erfcx(-low * math.sqrt(0.5))
    above = math.sqrt(0.5 / math.pi) * torch.exp(-0.5 * high * high - torch.where(x > 0, out, 0))
    return grad * torch.where(x > 0, above, below)


@primitive(names="ndtri", aten="special_ndtri.default")
def ndtri(x: Tensor) -> Any:
    """Elementwise inverse of the normal distribution function, on (0, 1)."""
    return torch.special.ndtri(x)


@ndtri.vjp("x")
def ndtri_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return grad * (math.sqrt(2 * math.pi) * torch.exp(out * out / 2))  # one over the density at the result


# Modified Bessel functions: I₀′ = I₁ and I₁′ = I₀ − I₁/x; those with an e are scaled by e^−|x|


def _near_zero(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where x is so small that I₁/x loses digits, the series of that there, and x elsewhere.

    With z = x²/4 it is ½ · (1 + z/2 + z²/12 + z³/144 + …).
    """
    near = torch.abs(x) < torch.finfo(x.dtype).eps ** (1 / 6)
    z = 0.25 * torch.where(near, x, 0) ** 2
    return near, 0.5 + z / 4 * (1 + z / 6 * (1 + z / 12)), torch.where(near, 1, x)


@primitive(names="i0", aten="i0.default special_i0.default")
def i0(x: Tensor) -> Any:
    """Elementwise modified Bessel function of the first kind, of order 0."""
    return torch.special.i0(x)


@i0.vjp("x")
def i0_wrt_x(grad: Tensor, x: Tensor) -> Any:
    return grad * torch.special.i1(x)


@primitive(names="i0e", aten="special_i0e.default")
def i0e(x: Tensor) -> Any:
    """Elementwise e^−|x| · i0(x)."""
    return torch.special.i0e(x)


@i0e.vjp("x")
def i0e_wrt_x(grad: Tensor, x: Tensor, out: Tensor) -> Any:
    return grad * (torch.special.i1e(x) - torch.sgn(x) * out)


@primitive(names="i1", aten="special_i1.default")
def i1(x: Tensor) -> Any:
    """Elementwise modified Bessel function of the first kind, of order 1."""
    return torch.special.i1(x)


@i1.vjp("x")
def i1_wrt_x(grad: Tensor, x: Tensor, out: Tensor) -> Any:
    near, series, large = _near_zero(x)
    return grad * (torch.special.i0(x) - torch.where(near, series, out / large))


@primitive(names="i1e", aten="special_i1e.default")
def i1e(x: Tensor) -> Any:
    """Elementwise e^−|x| · i1(x)."""
    return torch.special.i1e(x)


@i1e.vjp("x")
def i1e_wrt_x(grad: Tensor, x: Tensor, out: Tensor) -> Any:
    near, series, large = _near_zero(x)
    over_x = torch.where(near, series * torch.exp(-torch.abs(x)), 0)
    rest = out * (torch.sgn(x) + torch.where(near, 0, torch.reciprocal(large)))
    return grad * (torch.special.i0e(x) - rest - over_x)
