"""Arithmetic: + - * / // % and powers, the larger and the smaller of two, and choosing between values.

Every operation takes a number in place of either tensor, and arguments of different dtypes and shapes: the engine sums
a gradient back to its argument's shape and casts it to its dtype, so the rules are those of single numbers.
"""

from __future__ import annotations

import cmath
import math
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.primitive import composite, primitive

__all__ = [
    "add",
    "addcdiv",
    "addcmul",
    "atan2",
    "clamp",
    "clamp_max",
    "clamp_min",
    "copysign",
    "div",
    "float_power",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "heaviside",
    "hypot",
    "lerp",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pow",
    "reciprocal",
    "remainder",
    "rsub",
    "square",
    "sub",
    "true_divide",
    "where",
]

_NUMBERS = (int, float, complex)


# Sums and differences


@primitive(broadcasts=True, names="add __add__ __radd__", aten="add.Tensor")
def add(x: Tensor, other: Tensor, *, alpha: float = 1) -> Tensor:
    """Elementwise sum, x + alpha · other.

    Args:
        x: A tensor or a number.
        other: A tensor or a number; its shape and that of `x` broadcast.
        alpha: What `other` is multiplied by.

    Returns:
        The sum, in the dtype to which torch promotes both.

    Example:
        >>> from neuronix.autograd import tensor
        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> y = x.add(10, alpha=3)
        >>> y
        CustomTensor([31., 32.], grad_fn=<add>)
    """
    return x + other if alpha == 1 else torch.add(x, other, alpha=alpha)


@add.vjp("x")
def add_wrt_x(grad: Tensor) -> Tensor:
    return grad


@add.vjp("other")
def add_wrt_other(grad: Tensor, alpha: float) -> Tensor:
    return grad if alpha == 1 else grad * alpha


@primitive(broadcasts=True, names="sub subtract __sub__", aten="sub.Tensor")
def sub(x: Tensor, other: Tensor, *, alpha: float = 1) -> Tensor:
    """Elementwise difference, x − alpha · other.

    Args:
        x: A tensor or a number.
        other: A tensor or a number; its shape and that of `x` broadcast.
        alpha: What `other` is multiplied by.

    Returns:
        The difference.

    Raises:
        ArgumentError: For booleans, as in torch.
    """
    return x - other if alpha == 1 else torch.sub(x, other, alpha=alpha)


@sub.vjp("x")
def sub_wrt_x(grad: Tensor) -> Tensor:
    return grad


@sub.vjp("other")
def sub_wrt_other(grad: Tensor, alpha: float) -> Tensor:
    return -grad if alpha == 1 else grad * -alpha


@composite(names="rsub __rsub__", aten="rsub.Tensor rsub.Scalar")
def rsub(x: Tensor, other: Tensor, alpha: float = 1) -> Any:
    """Elementwise difference the other way round, other − alpha · x."""
    return sub(other, x, alpha=alpha)


@composite(names="", aten="add.Scalar")
def _add_scalar(x: Tensor, other: float, alpha: float = 1) -> Any:
    return add(x, other, alpha=alpha)


@composite(names="", aten="sub.Scalar")
def _sub_scalar(x: Tensor, other: float, alpha: float = 1) -> Any:
    return sub(x, other, alpha=alpha)


@primitive(names="neg negative __neg__", aten="neg.default")
def neg(x: Tensor) -> Tensor:
    """Elementwise negation, −x."""
    return torch.neg(x)


@neg.vjp("x")
def neg_wrt_x(grad: Tensor) -> Tensor:
    return -grad


# Products and quotients


@primitive(broadcasts=True, names="mul multiply __mul__ __rmul__", aten="mul.Tensor mul.Scalar")
def mul(x: Tensor, other: Tensor) -> Tensor:
    """Elementwise product, x · other.

    Args:
        x: A tensor or a number.
        other: A tensor or a number; its shape and that of `x` broadcast.

    Returns:
        The product.

    Example:
        >>> from neuronix.autograd import tensor
        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
    """
    return x * other


@mul.vjp("x")
def mul_wrt_x(grad: Tensor, other: Tensor) -> Tensor:
    return grad * other


@mul.vjp("other")
def mul_wrt_other(grad: Tensor, x: Tensor) -> Tensor:
    return grad * x


@primitive(
    broadcasts=True,
    names="div divide __truediv__ __div__",
    aten="div.Tensor div.Scalar div.Tensor_mode div.Scalar_mode",
)
def div(x: Tensor, other: Tensor, *, rounding_mode: str | None = None) -> Tensor:
    """Elementwise quotient, x / other.

    Args:
        x: A tensor or a number.
        other: A tensor or a number; its shape and that of `x` broadcast.
        rounding_mode: ``None`` for the quotient itself; ``"trunc"`` or ``"floor"`` round it towards zero or −∞, and its
            gradient is zero then.

    Returns:
        The quotient.

    Example:
        >>> from neuronix.autograd import tensor
        >>> x = tensor([2.0, 4.0], requires_grad=True)
        >>> (1 / x).sum().backward()
        >>> x.grad
        tensor([-0.2500, -0.0625])
    """
    return x / other if rounding_mode is None else torch.div(x, other, rounding_mode=rounding_mode)


@div.vjp("x")
def div_wrt_x(grad: Tensor, other: Tensor, rounding_mode: str | None) -> Tensor:
    return grad / other if rounding_mode is None else torch.zeros_like(grad)


@div.vjp("other")
def div_wrt_other(grad: Tensor, x: Tensor, other: Tensor, rounding_mode: str | None) -> Tensor:
    # d(x/y)/dy = −x/y²; divided twice, because y² overflows long before x/y does
    return -grad * (x / other / other) if rounding_mode is None else torch.zeros_like(grad)


@composite(names="true_divide", aten="true_divide.Tensor true_divide.Scalar")
def true_divide(x: Tensor, other: Tensor) -> Any:
    """Elementwise quotient; see `div`."""
    return div(x, other)


@composite(names="__rtruediv__ __rdiv__")
def _rdiv(x: Tensor, other: Tensor) -> Any:
    """Elementwise quotient the other way round, other / x."""
    return div(other, x)


@primitive(
    broadcasts=True,
    names="floor_divide __floordiv__",
    aten="floor_divide.default floor_divide.Scalar",
)
def floor_divide(x: Tensor, other: Tensor) -> Tensor:
    """Elementwise quotient rounded towards −∞, ⌊x / other⌋, as Python's ``//``.

    Differs from torch:
        Its gradient is zero, as that of ``div(rounding_mode="floor")``; torch has none.
    """
    return torch.floor_divide(x, other)


@floor_divide.vjp("x")
def floor_divide_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@floor_divide.vjp("other")
def floor_divide_wrt_other(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@composite(names="__rfloordiv__")
def _rfloordiv(x: Tensor, other: Tensor) -> Any:
    """The rounded quotient the other way round, ⌊other / x⌋."""
    return floor_divide(other, x)


@primitive(
    broadcasts=True,
    names="remainder __mod__",
    aten="remainder.Tensor remainder.Scalar remainder.Scalar_Tensor",
)
def remainder(x: Tensor, other: Tensor) -> Tensor:
    """What ``//`` leaves, x − other · ⌊x / other⌋: it has the sign of `other`, as Python's ``%``."""
    return torch.remainder(x, other)


@remainder.vjp("x")
def remainder_wrt_x(grad: Tensor) -> Tensor:
    return grad


@remainder.vjp("other")
def remainder_wrt_other(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return -grad * torch.div(x, other, rounding_mode="floor")  # the quotient is constant between its jumps


@composite(names="__rmod__")
def _rmod(x: Tensor, other: Tensor) -> Any:
    """The remainder the other way round, other % x."""
    return remainder(other, x)


@primitive(broadcasts=True, names="fmod", aten="fmod.Tensor fmod.Scalar")
def fmod(x: Tensor, other: Tensor) -> Tensor:
    """What a division rounded towards zero leaves: it has the sign of `x`, as C's ``fmod``."""
    return torch.fmod(x, other)


@fmod.vjp("x")
def fmod_wrt_x(grad: Tensor) -> Tensor:
    return grad


@fmod.vjp("other")
def fmod_wrt_other(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return -grad * torch.div(x, other, rounding_mode="trunc")


@primitive(names="reciprocal", aten="reciprocal.default")
def reciprocal(x: Tensor) -> Tensor:
    """Elementwise 1 / x."""
    return torch.reciprocal(x)


@reciprocal.vjp("x")
def reciprocal_wrt_x(grad: Tensor, out: Tensor) -> Tensor:
    return -grad * (out * out)


# Powers


@primitive(broadcasts=True, names="pow __pow__", aten="pow.Tensor_Tensor pow.Tensor_Scalar pow.Scalar")
def pow(x: Tensor, exponent: Tensor) -> Tensor:
    """Elementwise power, x to the `exponent`.

    Where `x` is 0 its derivative is that of the polynomial (so 0 for exponents 0, 2, 3, …, and 1 for exponent 1); with
    respect to the exponent it is 0 there, if the exponent isn't negative.

    Args:
        x: A tensor or a number.
        exponent: A tensor or a number; its shape and that of `x` broadcast.

    Returns:
        The power; NaN for negative `x` with exponents that aren't whole.

    Differs from torch:
        With a tensor as exponent, second derivatives are finite where torch has NaN (`x` 0) or masks a part of them
        (exponent 0).

    Example:
        >>> from neuronix.autograd import tensor
        >>> x = tensor([0.0, 2.0], requires_grad=True)
        >>> (x ** 3 + 2 ** x).sum().backward()
        >>> x.grad
        tensor([ 0.6931, 14.7726])
    """
    return torch.pow(x, exponent)


@pow.vjp("x")
def pow_wrt_x(grad: Tensor, x: Tensor, exponent: Tensor) -> Tensor:
    # d(xʸ)/dx = y·xʸ⁻¹, which is 0 for y = 0, also at x = 0, where xʸ⁻¹ is infinite. A number is no array that could
    # be batched, traced or recorded, so the rule may look at it.
    if isinstance(exponent, _NUMBERS):
        return torch.zeros_like(grad) if exponent == 0 else grad * (exponent * torch.pow(x, exponent - 1))
    infinite = (exponent == 0) & ~(torch.abs(x) > 0)  # not x == 0, so that NaN to the power of 0 is 1 and flat
    return grad * (exponent * torch.pow(x, torch.where(infinite, 1, exponent) - 1))


@pow.vjp("exponent")
def pow_wrt_exponent(grad: Tensor, x: Tensor, exponent: Tensor, out: Tensor) -> Tensor:
    # d(xʸ)/dy = xʸ·log x. At x = 0 the power doesn't change with y ≥ 0, but the formula would be 0·(−∞).
    if not isinstance(x, _NUMBERS):
        flat = (x == 0) & _is_not_negative(exponent)
        return grad * (out * torch.log(torch.where(flat, 1, x)))
    if x == 0:
        return grad * (out * torch.where(_is_not_negative(exponent), torch.zeros_like(out), -math.inf))
    return grad * (out * _log(x))


def _is_not_negative(exponent: Any) -> Any:
    if isinstance(exponent, _NUMBERS):
        return exponent.real >= 0
    return (torch.real(exponent) if exponent.is_complex() else exponent) >= 0


def _log(x: Any) -> Any:
    """The logarithm of a number other than 0, as torch's: NaN for negative ones that aren't complex."""
    if isinstance(x, complex):
        return cmath.log(x)
    return math.log(x) if x > 0 else math.nan


@composite(names="__rpow__")
def _rpow(x: Tensor, other: Tensor) -> Any:
    """The power the other way round, other ** x."""
    return pow(other, x)


@primitive(names="square", aten="square.default")
def square(x: Tensor) -> Tensor:
    """Elementwise square, x²."""
    return torch.square(x)


@square.vjp("x")
def square_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    return grad * (2 * x)


@composite(names="float_power", aten="float_power.Tensor_Tensor float_power.Tensor_Scalar float_power.Scalar")
def float_power(x: Tensor, exponent: Tensor) -> Any:
    """Elementwise power in double precision."""
    complex_ = any(v.is_complex() if hasattr(v, "is_complex") else isinstance(v, complex) for v in (x, exponent))
    dtype = torch.complex128 if complex_ else torch.float64
    return pow(*(v.to(dtype) if hasattr(v, "to") else v for v in (x, exponent)))


@primitive(broadcasts=True, names="hypot", aten="hypot.default")
def hypot(x: Tensor, other: Tensor) -> Tensor:
    """The length of the hypotenuse, √(x² + other²), without overflow."""
    return torch.hypot(x, other)


@hypot.vjp("x")
def hypot_wrt_x(grad: Tensor, x: Tensor, out: Tensor) -> Tensor:
    return grad * (x / out)


@hypot.vjp("other")
def hypot_wrt_other(grad: Tensor, other: Tensor, out: Tensor) -> Tensor:
    return grad * (other / out)


@primitive(broadcasts=True, names="atan2 arctan2", aten="atan2.default")
def atan2(x: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (other, x) in the plane, in (−π, π]."""
    return torch.atan2(x, other)


@atan2.vjp("x")
def atan2_wrt_x(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return grad * (other * _inverse_square_length(x, other))


@atan2.vjp("other")
def atan2_wrt_other(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return grad * (-x * _inverse_square_length(x, other))


def _inverse_square_length(x: Tensor, y: Tensor) -> Tensor:
    """1 / (x² + y²), and 0 at the origin, where the angle has no derivative."""
    squared = x * x + y * y
    return torch.where(squared == 0, 0, torch.reciprocal(squared))


# Combinations of three


@primitive(broadcasts=True, names="copysign", aten="copysign.Tensor copysign.Scalar")
def copysign(x: Tensor, other: Tensor) -> Tensor:
    """The size of ``x`` with the sign of ``other``."""
    return torch.copysign(x, other)


@copysign.vjp("x")
def copysign_wrt_x(grad: Tensor, x: Tensor, out: Tensor) -> Tensor:
    return grad * (out / x).masked_fill(x == 0, 0)


@copysign.vjp("other")
def copysign_wrt_other(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)  # the sign jumps, and is constant elsewhere


@primitive(broadcasts=True, names="heaviside", aten="heaviside.default")
def heaviside(x: Tensor, values: Tensor) -> Tensor:
    """0 below zero, ``values`` at zero, 1 above.

    Differs from torch, which has no gradient here: with respect to ``values`` it is 1 where ``x`` is zero.
    """
    return torch.heaviside(x, values)


@heaviside.vjp("x")
def heaviside_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)  # as of `sign`


@heaviside.vjp("values")
def heaviside_wrt_values(grad: Tensor, x: Tensor) -> Tensor:
    return grad * (x == 0)


@primitive(broadcasts=True, names="lerp", aten="lerp.Tensor lerp.Scalar")
def lerp(x: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """Linear interpolation, x + weight · (end − x).

    Args:
        x: Where `weight` 0 ends up.
        end: Where `weight` 1 ends up.
        weight: A tensor or a number.

    Returns:
        The interpolation; all three broadcast.
    """
    return torch.lerp(x, end, weight)


@lerp.vjp("x")
def lerp_wrt_x(grad: Tensor, weight: Tensor) -> Tensor:
    return grad * (1 - weight)


@lerp.vjp("end")
def lerp_wrt_end(grad: Tensor, weight: Tensor) -> Tensor:
    return grad * weight


@lerp.vjp("weight")
def lerp_wrt_weight(grad: Tensor, x: Tensor, end: Tensor) -> Tensor:
    return grad * (end - x)


@primitive(broadcasts=True, names="addcmul", aten="addcmul.default")
def addcmul(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Elementwise x + value · tensor1 · tensor2."""
    return torch.addcmul(x, tensor1, tensor2, value=value)


@addcmul.vjp("x")
def addcmul_wrt_x(grad: Tensor) -> Tensor:
    return grad


@addcmul.vjp("tensor1")
def addcmul_wrt_tensor1(grad: Tensor, tensor2: Tensor, value: float) -> Tensor:
    return grad * (tensor2 * value)


@addcmul.vjp("tensor2")
def addcmul_wrt_tensor2(grad: Tensor, tensor1: Tensor, value: float) -> Tensor:
    return grad * (tensor1 * value)


@composite(names="addcdiv", aten="addcdiv.default")
def addcdiv(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Any:
    """Elementwise x + value · tensor1 / tensor2."""
    return add(x, div(tensor1, tensor2), alpha=value)


# The larger, the smaller, and choosing


@primitive(broadcasts=True, names="maximum", aten="maximum.default")
def maximum(x: Tensor, other: Tensor) -> Tensor:
    """The larger of two, elementwise; NaN where either is. Equal arguments share the gradient half and half."""
    return torch.maximum(x, other)


@maximum.vjp("x")
def maximum_wrt_x(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where(x < other, 0, _halved_at_ties(grad, x, other))


@maximum.vjp("other")
def maximum_wrt_other(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where(x > other, 0, _halved_at_ties(grad, x, other))


@primitive(broadcasts=True, names="minimum", aten="minimum.default")
def minimum(x: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, elementwise; NaN where either is. Equal arguments share the gradient half and half."""
    return torch.minimum(x, other)


@minimum.vjp("x")
def minimum_wrt_x(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where(x > other, 0, _halved_at_ties(grad, x, other))


@minimum.vjp("other")
def minimum_wrt_other(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where(x < other, 0, _halved_at_ties(grad, x, other))


def _halved_at_ties(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where(x == other, grad / 2, grad)


@primitive(broadcasts=True, names="fmax", aten="fmax.default")
def fmax(x: Tensor, other: Tensor) -> Tensor:
    """The larger of two, elementwise; where one is NaN, the other one. At ties `x` takes the gradient."""
    return torch.fmax(x, other)


@fmax.vjp("x")
def fmax_wrt_x(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where((x >= other) | torch.isnan(other), grad, 0)


@fmax.vjp("other")
def fmax_wrt_other(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where((x >= other) | torch.isnan(other), 0, grad)


@primitive(broadcasts=True, names="fmin", aten="fmin.default")
def fmin(x: Tensor, other: Tensor) -> Tensor:
    """The smaller of two, elementwise; where one is NaN, the other one. At ties `x` takes the gradient."""
    return torch.fmin(x, other)


@fmin.vjp("x")
def fmin_wrt_x(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where((x <= other) | torch.isnan(other), grad, 0)


@fmin.vjp("other")
def fmin_wrt_other(grad: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return torch.where((x <= other) | torch.isnan(other), 0, grad)


@primitive(broadcasts=True, names="clamp clip", aten="clamp.default clamp.Tensor")
def clamp(x: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Tensor:
    """Elementwise min(max(x, `min`), `max`).

    The gradient goes to whichever of the three is the result; at a bound it goes to `x`.

    Args:
        x: A tensor.
        min: The smallest value to let through: a tensor, a number, or ``None`` for none.
        max: The largest, likewise; where it is smaller than `min` it is the result.

    Returns:
        The values between the bounds.

    Raises:
        ArgumentError: If both bounds are ``None``.

    Example:
        >>> from neuronix.autograd import tensor
        >>> x = tensor([-2.0, 0.5, 1.0, 3.0], requires_grad=True)
        >>> x.clamp(-1, 1).sum().backward()
        >>> x.grad
        tensor([0., 1., 1., 0.])
    """
    return torch.clamp(x, min, max)


@clamp.vjp("x")
def clamp_wrt_x(grad: Tensor, x: Tensor, min: Tensor | None, max: Tensor | None) -> Tensor:
    if min is None:
        return torch.where(x <= max, grad, 0)  # type: ignore[operator]  # torch refuses two bounds of None
    if max is None:
        return torch.where(x >= min, grad, 0)
    return torch.where((x >= min) & (x <= max), grad, 0)


@clamp.vjp("min")
def clamp_wrt_min(grad: Tensor, x: Tensor, min: Tensor, max: Tensor | None) -> Tensor:
    return torch.where(x < min if max is None else (x < min) & (min < max), grad, 0)


@clamp.vjp("max")
def clamp_wrt_max(grad: Tensor, x: Tensor, min: Tensor | None, max: Tensor) -> Tensor:
    return torch.where(x > max if min is None else (x > max) | (max < min), grad, 0)


@composite(names="clamp_min", aten="clamp_min.default clamp_min.Tensor")
def clamp_min(x: Tensor, min: Tensor) -> Any:
    """Elementwise max(x, `min`); see `clamp`."""
    return clamp(x, min, None)


@composite(names="clamp_max", aten="clamp_max.default clamp_max.Tensor")
def clamp_max(x: Tensor, max: Tensor) -> Any:
    """Elementwise min(x, `max`); see `clamp`."""
    return clamp(x, None, max)


@primitive(broadcasts=True, aten="where.self where.ScalarOther where.ScalarSelf where.Scalar")
def where_(condition: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """`x` where `condition` holds, else `other`."""
    return torch.where(condition, x, other)


@where_.vjp("x")
def where_wrt_x(grad: Tensor, condition: Tensor) -> Tensor:
    return torch.where(condition, grad, 0)  # not grad · condition: what isn't chosen may be infinite


@where_.vjp("other")
def where_wrt_other(grad: Tensor, condition: Tensor) -> Tensor:
    return torch.where(condition, 0, grad)


@composite(names="torch.where", aten="where.default")
def where(condition: Tensor, x: Tensor | None = None, other: Tensor | None = None) -> Any:
    """Take `x` where `condition` holds, else `other`.

    Args:
        condition: Booleans.
        x: A tensor or a number.
        other: A tensor or a number; all three broadcast.

    Returns:
        The chosen values; without `x` and `other` the indices at which `condition` holds, as a tuple of a tensor for
        each axis.

    Example:
        >>> from neuronix.autograd import ops, tensor
        >>> x = tensor([-1.0, 2.0], requires_grad=True)
        >>> ops.where(x > 0, x, 0.1 * x).sum().backward()
        >>> x.grad
        tensor([0.1000, 1.0000])
    """
    return _where_nonzero(condition) if x is None and other is None else where_(condition, x, other)


@primitive(constant=True)
def _where_nonzero(condition: Tensor) -> tuple[Tensor, ...]:
    return torch.where(condition)


@composite(names="Tensor.where")
def _where_method(x: Tensor, condition: Tensor, other: Tensor) -> Any:
    """`x` where `condition` holds, else `other`."""
    return where_(condition, x, other)
