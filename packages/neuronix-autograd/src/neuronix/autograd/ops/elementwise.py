"""Functions of one number, applied to every element, such as exp, sqrt, sin, sigmoid, abs and floor.

Where a derivative is a simple function of the result the rule names ``out`` instead of ``x``, so that the argument
needn't be kept.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.primitive import primitive

__all__ = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "frac",
    "frexp",
    "log",
    "log10",
    "log1p",
    "log2",
    "logit",
    "round",
    "rsqrt",
    "sgn",
    "sigmoid",
    "sign",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
    "xlog1py",
    "xlogy",
]


# Exponentials and logarithms


@primitive(names="exp", aten="exp.default")
def exp(x: Tensor) -> Tensor:
    """Elementwise eˣ."""
    return torch.exp(x)


@exp.vjp("x")
def exp_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return grad * out


@primitive(names="exp2", aten="exp2.default")
def exp2(x: Tensor) -> Tensor:
    """Elementwise 2ˣ."""
    return torch.exp2(x)


@exp2.vjp("x")
def exp2_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return grad * out * math.log(2)


@primitive(names="expm1", aten="expm1.default")
def expm1(x: Tensor) -> Tensor:
    """Elementwise eˣ − 1, exact for small x."""
    return torch.expm1(x)


@expm1.vjp("x")
def expm1_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return grad * (out + 1)


@primitive(names="log", aten="log.default")
def log(x: Tensor) -> Tensor:
    """Elementwise natural logarithm; −∞ at 0 and NaN below."""
    return torch.log(x)


@log.vjp("x")
def log_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad / x


@primitive(names="log2", aten="log2.default")
def log2(x: Tensor) -> Tensor:
    """Elementwise logarithm to base 2."""
    return torch.log2(x)


@log2.vjp("x")
def log2_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad / (x * math.log(2))


@primitive(names="log10", aten="log10.default")
def log10(x: Tensor) -> Tensor:
    """Elementwise logarithm to base 10."""
    return torch.log10(x)


@log10.vjp("x")
def log10_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad / (x * math.log(10))


@primitive(names="log1p", aten="log1p.default")
def log1p(x: Tensor) -> Tensor:
    """Elementwise log(1 + x), exact for small x."""
    return torch.log1p(x)


@log1p.vjp("x")
def log1p_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad / (x + 1)


@primitive(
    broadcasts=True, names="xlogy", aten="xlogy.Tensor xlogy.Scalar_Other xlogy.Scalar_Self special_xlogy.default"
)
def xlogy(x: Tensor, other: Tensor) -> Tensor:
    """Elementwise x · log(other), and 0 where `x` is 0."""
    return torch.xlogy(x, other)


@xlogy.vjp("x")
def xlogy_wrt_x(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    # At x = 0 = other the product was taken to be 0, and so is its derivative.
    return grad * torch.where((x == 0) & (other <= 0), 0, torch.xlogy(torch.ones_like(grad), other))


@xlogy.vjp("other")
def xlogy_wrt_other(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return grad * x / other


@primitive(
    broadcasts=True,
    names="special.xlog1py",
    aten="special_xlog1py.default special_xlog1py.other_scalar special_xlog1py.self_scalar",
)
def xlog1py(x: Tensor, other: Tensor) -> Any:
    """Elementwise x · log(1 + other), and 0 where `x` is 0."""
    return torch.special.xlog1py(x, other)


@xlog1py.vjp("x")
def xlog1py_wrt_x(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    # As of xlogy.  The factor 1 gives the logarithm the type of the result, where `other` is an integer or a number.
    return grad * torch.where((x == 0) & (other <= -1), 0, torch.special.xlog1py(torch.ones_like(grad), other))


@xlog1py.vjp("other")
def xlog1py_wrt_other(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return grad * x / (other + 1)


@primitive(names="special.entr", aten="special_entr.default")
def entr(x: Tensor) -> Any:
    """Elementwise −x · log x, the share of a probability in an entropy; 0 at 0, and −∞ below."""
    return torch.special.entr(x)


@entr.vjp("x")
def entr_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return -grad * (1 + torch.log(x))


# Roots


@primitive(names="sqrt", aten="sqrt.default")
def sqrt(x: Tensor) -> Tensor:
    """Elementwise square root; its derivative at 0 is ∞."""
    return torch.sqrt(x)


@sqrt.vjp("x")
def sqrt_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return grad / (2 * out)


@primitive(names="rsqrt", aten="rsqrt.default")
def rsqrt(x: Tensor) -> Tensor:
    """Elementwise 1 / √x."""
    return torch.rsqrt(x)


@rsqrt.vjp("x")
def rsqrt_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return -0.5 * grad * (out * out * out)


# Circular functions


@primitive(names="sin", aten="sin.default")
def sin(x: Tensor) -> Tensor:
    """Elementwise sine of radians."""
    return torch.sin(x)


@sin.vjp("x")
def sin_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.cos(x)


@primitive(names="cos", aten="cos.default")
def cos(x: Tensor) -> Tensor:
    """Elementwise cosine of radians."""
    return torch.cos(x)


@cos.vjp("x")
def cos_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * -torch.sin(x)


@primitive(names="tan", aten="tan.default")
def tan(x: Tensor) -> Tensor:
    """Elementwise tangent of radians."""
    return torch.tan(x)


@tan.vjp("x")
def tan_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return grad * (1 + out * out)


@primitive(names="asin arcsin", aten="asin.default")
def asin(x: Tensor) -> Tensor:
    """Elementwise arcsine, in radians."""
    return torch.asin(x)


@asin.vjp("x")
def asin_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.rsqrt(1 - x * x)


@primitive(names="acos arccos", aten="acos.default")
def acos(x: Tensor) -> Tensor:
    """Elementwise arccosine, in radians."""
    return torch.acos(x)


@acos.vjp("x")
def acos_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * -torch.rsqrt(1 - x * x)


@primitive(names="atan arctan", aten="atan.default")
def atan(x: Tensor) -> Tensor:
    """Elementwise arctangent, in radians."""
    return torch.atan(x)


@atan.vjp("x")
def atan_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad / (x * x + 1)


@primitive(names="sinc", aten="sinc.default special_sinc.default")
def sinc(x: Tensor) -> Tensor:
    """Elementwise sin(πx) / (πx), and 1 at 0."""
    return torch.sinc(x)


@sinc.vjp("x")
def sinc_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    # d/dx sin(πx)/(πx) = (πx·cos πx − sin πx) / (πx²).  Near the maximum, where a small difference would be divided by
    # something smaller, it is the series −π²x/3 · (1 − z²/10 + z⁴/280 − z⁶/15120 + …) with z = πx.
    near = torch.abs(x) < torch.finfo(x.dtype).eps ** (1 / 6)
    small, large = torch.where(near, x, 0), torch.where(near, 1, x)
    square, z = (math.pi * small) ** 2, math.pi * large
    series = -(math.pi**2) / 3 * small * (1 - square / 10 * (1 - square / 28 * (1 - square / 54)))
    return grad * torch.where(near, series, (z * torch.cos(z) - torch.sin(z)) / (z * large))


# Hyperbolic functions


@primitive(names="sinh", aten="sinh.default")
def sinh(x: Tensor) -> Tensor:
    """Elementwise hyperbolic sine."""
    return torch.sinh(x)


@sinh.vjp("x")
def sinh_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.cosh(x)


@primitive(names="cosh", aten="cosh.default")
def cosh(x: Tensor) -> Tensor:
    """Elementwise hyperbolic cosine."""
    return torch.cosh(x)


@cosh.vjp("x")
def cosh_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.sinh(x)


@primitive(names="tanh", aten="tanh.default")
def tanh(x: Tensor) -> Tensor:
    """Elementwise hyperbolic tangent.

    Its derivative is 1 − tanh²(x).
    """
    return torch.tanh(x)


@tanh.vjp("x")
def tanh_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return grad * (1 - out * out)


@tanh.fused("x")
def tanh_wrt_x_kernel(grad: Tensor, out: Tensor) -> Any:
    return torch.ops.aten.tanh_backward(grad, out)


@primitive(names="asinh arcsinh", aten="asinh.default")
def asinh(x: Tensor) -> Tensor:
    """Elementwise inverse hyperbolic sine."""
    return torch.asinh(x)


@asinh.vjp("x")
def asinh_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.rsqrt(x * x + 1)


@primitive(names="acosh arccosh", aten="acosh.default")
def acosh(x: Tensor) -> Tensor:
    """Elementwise inverse hyperbolic cosine; NaN below 1."""
    return torch.acosh(x)


@acosh.vjp("x")
def acosh_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    # √(x−1)·√(x+1), not √(x²−1): the two differ for complex x in the left half of the plane
    return grad * (torch.rsqrt(x - 1) * torch.rsqrt(x + 1))


@primitive(names="atanh arctanh", aten="atanh.default")
def atanh(x: Tensor) -> Tensor:
    """Elementwise inverse hyperbolic tangent."""
    return torch.atanh(x)


@atanh.vjp("x")
def atanh_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad / (1 - x * x)


# The logistic function


@primitive(names="sigmoid expit", aten="sigmoid.default special_expit.default")
def sigmoid(x: Tensor) -> Tensor:
    """Elementwise logistic function, σ(x) = 1 / (1 + e⁻ˣ).

    Its derivative is σ(x) · (1 − σ(x)).
    """
    return torch.sigmoid(x)


@sigmoid.vjp("x")
def sigmoid_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return grad * ((1 - out) * out)


@sigmoid.fused("x")
def sigmoid_wrt_x_kernel(grad: Tensor, out: Tensor) -> Any:
    return torch.ops.aten.sigmoid_backward(grad, out)


@primitive(names="logit", aten="logit.default special_logit.default")
def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """Elementwise log(x / (1 − x)), the inverse of `sigmoid`.

    Args:
        x: Numbers from 0 to 1; NaN elsewhere.
        eps: If given, `x` is clamped to [eps, 1 − eps] first.

    Returns:
        The logits.
    """
    return torch.logit(x, eps)


@logit.vjp("x")
def logit_wrt_x(grad: Tensor, x: Tensor, eps: float | None) -> Tensor:
    slope = grad / (x * (1 - x))
    if eps is None:
        return torch.where((x < 0) | (x > 1), math.nan, slope)
    return torch.where((x < eps) | (x > 1 - eps), 0, slope)


# The error function


@primitive(names="erf", aten="erf.default special_erf.default")
def erf(x: Tensor) -> Tensor:
    """Elementwise error function, 2/√π · ∫ e^(−t²) dt from 0 to x."""
    return torch.erf(x)


@erf.vjp("x")
def erf_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * (2 / math.sqrt(math.pi) * torch.exp(-x * x))


@primitive(names="erfc", aten="erfc.default special_erfc.default")
def erfc(x: Tensor) -> Tensor:
    """Elementwise 1 − erf(x), exact for large x."""
    return torch.erfc(x)


@erfc.vjp("x")
def erfc_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * (-2 / math.sqrt(math.pi) * torch.exp(-x * x))


@primitive(names="erfinv", aten="erfinv.default special_erfinv.default")
def erfinv(x: Tensor) -> Tensor:
    """Elementwise inverse of the error function, on (−1, 1)."""
    return torch.erfinv(x)


@erfinv.vjp("x")
def erfinv_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return grad * (math.sqrt(math.pi) / 2 * torch.exp(out * out))


# Size and direction


@primitive(holomorphic=False, names="abs absolute __abs__", aten="abs.default")
def abs(x: Tensor) -> Tensor:
    """Elementwise absolute value; its derivative at 0 is taken to be 0."""
    return torch.abs(x)


@abs.vjp("x")
def abs_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * torch.sgn(x)


@primitive(holomorphic=False, names="sgn", aten="sgn.default")
def sgn(x: Tensor) -> Tensor:
    """Elementwise x / |x|, and 0 at 0: −1, 0 or 1 for real numbers, a direction for complex ones."""
    return torch.sgn(x)


@sgn.vjp("x")
def sgn_wrt_x(grad: Tensor, x: Tensor, out: Tensor) -> Tensor:
    if not x.is_complex():
        return torch.zeros_like(grad)
    # s = x/|x| moves by ds = (dx − s·Re(s̄ dx))/|x|, which is its own adjoint
    size = torch.abs(x)
    turned = (grad - out * torch.real(torch.conj(out) * grad)) / size
    return torch.where(size == 0, 0, turned)


# Rounding: constant between the jumps, so the derivative is zero


@primitive(names="sign", aten="sign.default")
def sign(x: Tensor) -> Tensor:
    """Elementwise −1, 0 or 1; its gradient is zero."""
    return torch.sign(x)


@sign.vjp("x")
def sign_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@primitive(names="floor", aten="floor.default")
def floor(x: Tensor) -> Tensor:
    """Elementwise largest whole number ≤ x; its gradient is zero."""
    return torch.floor(x)


@floor.vjp("x")
def floor_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@primitive(names="ceil", aten="ceil.default")
def ceil(x: Tensor) -> Tensor:
    """Elementwise smallest whole number ≥ x; its gradient is zero."""
    return torch.ceil(x)


@ceil.vjp("x")
def ceil_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@primitive(names="trunc fix", aten="trunc.default fix.default")
def trunc(x: Tensor) -> Tensor:
    """Elementwise whole part, rounded towards zero; its gradient is zero."""
    return torch.trunc(x)


@trunc.vjp("x")
def trunc_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@primitive(names="round", aten="round.default round.decimals special_round.default")
def round(x: Tensor, *, decimals: int = 0) -> Tensor:
    """Elementwise nearest number with so many decimals, halves to even; its gradient is zero."""
    return torch.round(x) if decimals == 0 else torch.round(x, decimals=decimals)


@round.vjp("x")
def round_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@primitive(names="frac", aten="frac.default")
def frac(x: Tensor) -> Tensor:
    """Elementwise x − trunc(x)."""
    return torch.frac(x)


@frac.vjp("x")
def frac_wrt_x(grad: Tensor) -> Tensor:
    return grad


@primitive(names="frexp", aten="frexp.Tensor", results="mantissa exponent")
def frexp(x: Tensor) -> Any:
    """The mantissa m and the exponent e of x = m · 2ᵉ, with ½ ≤ |m| < 1."""
    return torch.frexp(x)


@frexp.vjp("x")
def frexp_wrt_x(grad: list[Tensor], exponent: Tensor) -> Tensor:
    return grad[0] / torch.exp2(exponent.to(grad[0].dtype))  # the exponent is constant but for its jumps
