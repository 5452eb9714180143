"""Comparisons and logic: booleans, which have no derivative, whatever they are computed from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.primitive import composite, primitive

__all__ = [
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "eq",
    "ge",
    "gt",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "le",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "ne",
    "signbit",
]


@primitive(constant=True, names="eq", aten="eq.Tensor eq.Scalar")
def eq(x: Tensor, other: Tensor) -> Tensor:
    """Elementwise x = other."""
    return torch.eq(x, other)


@primitive(constant=True, names="ne not_equal", aten="ne.Tensor ne.Scalar")
def ne(x: Tensor, other: Tensor) -> Tensor:
    """Elementwise x ≠ other."""
    return torch.ne(x, other)


@composite(names="__eq__")
def _eq_operator(x: Tensor, other: object) -> Any:
    """``x == other``; for a thing that is no number Python's own answer, ``False``."""
    try:
        return eq(x, other)
    except TypeError:
        return NotImplemented


@composite(names="__ne__")
def _ne_operator(x: Tensor, other: object) -> Any:
    """``x != other``; for a thing that is no number Python's own answer, ``True``."""
    try:
        return ne(x, other)
    except TypeError:
        return NotImplemented


@primitive(constant=True, names="lt less __lt__", aten="lt.Tensor lt.Scalar")
def lt(x: Tensor, other: Tensor) -> Tensor:
    """Elementwise x < other."""
    return torch.lt(x, other)


@primitive(constant=True, names="le less_equal __le__", aten="le.Tensor le.Scalar")
def le(x: Tensor, other: Tensor) -> Tensor:
    """Elementwise x ≤ other."""
    return torch.le(x, other)


@primitive(constant=True, names="gt greater __gt__", aten="gt.Tensor gt.Scalar")
def gt(x: Tensor, other: Tensor) -> Tensor:
    """Elementwise x > other."""
    return torch.gt(x, other)


@primitive(constant=True, names="ge greater_equal __ge__", aten="ge.Tensor ge.Scalar")
def ge(x: Tensor, other: Tensor) -> Tensor:
    """Elementwise x ≥ other."""
    return torch.ge(x, other)


@primitive(constant=True, names="isclose", aten="isclose.default")
def isclose(x: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Elementwise |x − other| ≤ atol + rtol · |other|."""
    return torch.isclose(x, other, rtol, atol, equal_nan)


@primitive(constant=True, names="isnan", aten="isnan.default")
def isnan(x: Tensor) -> Tensor:
    """Where `x` is NaN."""
    return torch.isnan(x)


@primitive(constant=True, names="isinf", aten="isinf.default")
def isinf(x: Tensor) -> Tensor:
    """Where `x` is infinite."""
    return torch.isinf(x)


@primitive(constant=True, names="isposinf", aten="isposinf.default")
def isposinf(x: Tensor) -> Tensor:
    """Where `x` is +∞."""
    return torch.isposinf(x)


@primitive(constant=True, names="isneginf", aten="isneginf.default")
def isneginf(x: Tensor) -> Tensor:
    """Where `x` is −∞."""
    return torch.isneginf(x)


@primitive(constant=True, names="isfinite", aten="isfinite.default")
def isfinite(x: Tensor) -> Tensor:
    """Where `x` is neither infinite nor NaN."""
    return torch.isfinite(x)


@primitive(constant=True, names="isreal", aten="isreal.default")
def isreal(x: Tensor) -> Tensor:
    """Where `x` has no imaginary part."""
    return torch.isreal(x)


@primitive(constant=True, names="signbit", aten="signbit.default")
def signbit(x: Tensor) -> Tensor:
    """Where the sign bit of `x` is set: for negative numbers and −0."""
    return torch.signbit(x)


@primitive(constant=True, names="logical_not", aten="logical_not.default")
def logical_not(x: Tensor) -> Tensor:
    """Where `x` is zero."""
    return torch.logical_not(x)


@primitive(constant=True, names="logical_and", aten="logical_and.default")
def logical_and(x: Tensor, other: Tensor) -> Tensor:
    """Where neither of two is zero."""
    return torch.logical_and(x, other)


@primitive(constant=True, names="logical_or", aten="logical_or.default")
def logical_or(x: Tensor, other: Tensor) -> Tensor:
    """Where not both of two are zero."""
    return torch.logical_or(x, other)


@primitive(constant=True, names="logical_xor", aten="logical_xor.default")
def logical_xor(x: Tensor, other: Tensor) -> Tensor:
    """Where exactly one of two is zero."""
    return torch.logical_xor(x, other)


@primitive(constant=True, names="bitwise_not __invert__", aten="bitwise_not.default")
def bitwise_not(x: Tensor) -> Tensor:
    """``~x`` of booleans or integers."""
    return torch.bitwise_not(x)


@primitive(
    constant=True,
    names="bitwise_and __and__ __rand__",
    aten="bitwise_and.Tensor bitwise_and.Scalar bitwise_and.Scalar_Tensor __and__.Tensor __and__.Scalar",
)
def bitwise_and(x: Tensor, other: Tensor) -> Tensor:
    """``x & other`` of booleans or integers."""
    return torch.bitwise_and(x, other)


@primitive(
    constant=True,
    names="bitwise_or __or__ __ror__",
    aten="bitwise_or.Tensor bitwise_or.Scalar bitwise_or.Scalar_Tensor __or__.Tensor __or__.Scalar",
)
def bitwise_or(x: Tensor, other: Tensor) -> Tensor:
    """``x | other`` of booleans or integers."""
    return torch.bitwise_or(x, other)


@primitive(
    constant=True,
    names="bitwise_xor __xor__ __rxor__",
    aten="bitwise_xor.Tensor bitwise_xor.Scalar bitwise_xor.Scalar_Tensor __xor__.Tensor __xor__.Scalar",
)
def bitwise_xor(x: Tensor, other: Tensor) -> Tensor:
    """``x ^ other`` of booleans or integers."""
    return torch.bitwise_xor(x, other)
