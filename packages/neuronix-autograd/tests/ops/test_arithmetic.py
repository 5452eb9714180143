"""Arithmetic: each row against torch (values and gradients of both orders) and against finite differences."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, errors, grad, ops, tensor
from neuronix.autograd.dispatch import registry
from neuronix.autograd.testing import check_against_finite_differences

INF, NAN = math.inf, math.nan

# Name, function of torch's arguments, what they are: a shape for random numbers, a list for given ones; note.
Row = tuple[str, Callable[..., Any], list[Any], str]


def made(what: Any, dtype: torch.dtype = torch.float64, position: int = 0) -> Any:
    """A leaf of random numbers for a shape, of the given ones for a list; anything else unchanged."""
    if isinstance(what, tuple):
        generator = torch.Generator().manual_seed(100 * position + 10 * len(what) + sum(what))
        return torch.randn(what, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    if isinstance(what, list):
        return torch.tensor(what, dtype=dtype, requires_grad=True)
    return what


def all_made(inputs: list[Any], dtype: torch.dtype = torch.float64) -> list[Any]:
    return [made(what, dtype, position) for position, what in enumerate(inputs)]


def heaviside(x: Any, values: Any) -> Any:
    """torch.heaviside, written out for PyTorch, which can't differentiate it."""
    if isinstance(x, CustomTensor) or isinstance(values, CustomTensor):
        return torch.heaviside(x, values)
    return torch.where(x == 0, values, torch.relu(torch.sign(x)))


def label(row: Row) -> str:
    return f"{row[0]} {row[3]}"


ABOVE = [[0.3, 1.7, 2.5], [4.0, 0.9, 1.1]]  # positive, no ties with whole multiples
BOOLS = torch.tensor([[True, False, True], [False, False, True]])
INTS = torch.tensor([[1, 2, 3], [-4, 5, 6]])

SMOOTH: list[Row] = [
    ("add", torch.add, [(2, 3), (2, 3)], "two tensors"),
    ("add", torch.add, [(2, 3), (3,)], "broadcast"),
    ("add", torch.add, [(2, 1), (1, 3)], "both broadcast"),
    ("add", torch.add, [(), (2, 3)], "0-d"),
    ("add", torch.add, [(0, 3), (1, 3)], "empty"),
    ("add", lambda x, y: torch.add(x, y, alpha=2.5), [(2, 3), (3,)], "alpha"),
    ("add", lambda x, y: x.add(y, alpha=-2), [(2, 3), (2, 3)], "method, alpha"),
    ("add", lambda x, y: torch.add(input=x, other=y), [(2, 3), (2, 3)], "by keyword"),
    ("add", lambda x: x + 2, [(2, 3)], "number on the right"),
    ("add", lambda x: 2 + x, [(2, 3)], "number on the left"),
    ("add", lambda x: x + x, [(2, 3)], "itself"),
    ("add", lambda x: torch.add(2, x), [(2, 3)], "number as the first argument"),
    ("sub", torch.sub, [(2, 3), (3,)], "broadcast"),
    ("sub", torch.subtract, [(), ()], "0-d, subtract"),
    ("sub", lambda x, y: torch.sub(x, y, alpha=3), [(2, 3), (2, 1)], "alpha"),
    ("sub", lambda x: x - 2, [(2, 3)], "number on the right"),
    ("sub", lambda x: 2 - x, [(2, 3)], "number on the left"),
    ("rsub", lambda x, y: torch.rsub(x, y, alpha=2), [(2, 3), (2, 3)], "alpha"),
    ("rsub", lambda x: torch.rsub(x, 3), [(2, 3)], "number"),
    ("neg", torch.neg, [(2, 3)], ""),
    ("neg", lambda x: -x, [()], "operator, 0-d"),
    ("neg", torch.negative, [(0,)], "negative, empty"),
    ("mul", torch.mul, [(2, 3), (3,)], "broadcast"),
    ("mul", torch.multiply, [(2, 1, 3), (4, 1)], "multiply, both broadcast"),
    ("mul", lambda x: x * x * x, [(2, 3)], "itself"),
    ("mul", lambda x: 2 * x * 3.5, [()], "numbers"),
    ("mul", torch.mul, [(0, 3), (3,)], "empty"),
    ("div", torch.div, [(2, 3), ABOVE], "two tensors"),
    ("div", torch.divide, [(3,), ABOVE], "divide, broadcast"),
    ("div", lambda x: x / 4, [(2, 3)], "number on the right"),
    ("div", lambda x: 4 / x, [ABOVE], "number on the left"),
    ("div", lambda x, y: torch.div(x, y, rounding_mode="floor"), [(2, 3), ABOVE], "floor"),
    ("div", lambda x, y: x.div(y, rounding_mode="trunc"), [(2, 3), ABOVE], "method, trunc"),
    ("div", lambda x, y: torch.div(x, y, rounding_mode=None), [(2, 3), ABOVE], "rounding_mode=None"),
    ("true_divide", torch.true_divide, [(2, 3), ABOVE], ""),
    ("remainder", torch.remainder, [(2, 3), ABOVE], "two tensors"),
    ("remainder", lambda x: x % 0.7, [(2, 3)], "number on the right"),
    ("remainder", lambda x: x % -0.7, [(2, 3)], "negative number"),
    ("fmod", torch.fmod, [(2, 3), ABOVE], "two tensors"),
    ("fmod", lambda x: x.fmod(-0.7), [(2, 3)], "negative number"),
    ("reciprocal", torch.reciprocal, [ABOVE], ""),
    ("pow", torch.pow, [ABOVE, (2, 3)], "two tensors"),
    ("pow", lambda x, y: x**y, [ABOVE, (3,)], "operator, broadcast"),
    ("pow", lambda x: x**2, [(2, 3)], "exponent 2"),
    ("pow", lambda x: x**3, [(2, 3)], "exponent 3, negative base"),
    ("pow", lambda x: x**1, [(2, 3)], "exponent 1"),
    ("pow", lambda x: x**0, [(2, 3)], "exponent 0"),
    ("pow", lambda x: x**-1.5, [ABOVE], "negative exponent"),
    ("pow", lambda x: x.pow(exponent=0.5), [ABOVE], "by keyword"),
    ("pow", lambda x: 2**x, [(2, 3)], "number to the power of a tensor"),
    ("pow", lambda x: torch.pow(0.5, x), [()], "function, number to the power of a tensor"),
    ("pow", lambda x: 1**x, [(2, 3)], "1 to the power of a tensor"),
    ("square", torch.square, [(2, 3)], ""),
    ("float_power", torch.float_power, [ABOVE, (2, 3)], ""),
    ("float_power", lambda x: torch.float_power(x, 2), [(2, 3)], "number"),
    ("hypot", torch.hypot, [(2, 3), (3,)], "broadcast"),
    ("atan2", torch.atan2, [(2, 3), (3,)], "broadcast"),
    ("atan2", torch.arctan2, [(2, 3), (2, 3)], "arctan2"),
    ("lerp", torch.lerp, [(2, 3), (3,), (2, 1)], "all broadcast"),
    ("lerp", lambda x, y: torch.lerp(x, y, 0.3), [(2, 3), (2, 3)], "number"),
    ("addcmul", torch.addcmul, [(2, 3), (3,), (2, 1)], "all broadcast"),
    ("addcmul", lambda x, y, z: x.addcmul(y, z, value=-2), [(2, 3), (2, 3), ()], "value"),
    ("addcdiv", lambda x, y, z: torch.addcdiv(x, y, z, value=0.5), [(2, 3), (3,), ABOVE], "value"),
    ("maximum", torch.maximum, [(2, 3), (3,)], "broadcast"),
    ("minimum", torch.minimum, [(2, 3), (3,)], "broadcast"),
    ("fmax", torch.fmax, [(2, 3), (3,)], "broadcast"),
    ("fmin", torch.fmin, [(2, 3), (3,)], "broadcast"),
    ("clamp", lambda x: torch.clamp(x, -0.5, 0.7), [(2, 3)], "numbers"),
    ("clamp", lambda x: x.clamp(min=0.1), [(2, 3)], "min alone"),
    ("clamp", lambda x: x.clip(max=0.1), [(2, 3)], "clip, max alone"),
    ("clamp", torch.clamp, [(2, 3), [-0.5, -0.1, -2.0], (2, 1)], "tensors, also min > max"),
    ("clamp", lambda x, y: torch.clamp(x, min=y), [(2, 3), (3,)], "min a tensor"),
    ("clamp", lambda x, y: torch.clamp(x, max=y), [(2, 3), ()], "max a tensor, 0-d"),
    ("clamp_min", lambda x: torch.clamp_min(x, 0.2), [(2, 3)], "number"),
    ("clamp_min", torch.clamp_min, [(2, 3), (3,)], "tensor"),
    ("clamp_max", lambda x: x.clamp_max(0.2), [(2, 3)], "number"),
    ("clamp_max", torch.clamp_max, [(2, 3), (3,)], "tensor"),
    ("where", torch.where, [BOOLS, (2, 3), (2, 3)], "two tensors"),
    ("where", torch.where, [BOOLS, (3,), ()], "broadcast"),
    ("where", lambda x: torch.where(x > 0, x, 0), [(2, 3)], "number"),
    ("where", lambda x: torch.where(x > 0, 1.5, x), [(2, 3)], "number first"),
    ("where", lambda x, y: x.where(BOOLS, y), [(2, 3), (2, 3)], "method"),
    ("where", lambda x: x.where(BOOLS, 2.0), [(2, 3)], "method, number"),
]  # fmt: skip

KINKS: list[Row] = [
    ("div", torch.div, [[1.0, 0.0, -1.0, INF], [0.0, 0.0, INF, INF]], "zeros and infinities"),
    ("div", torch.div, [[1e200], [1e-200]], "where y² would overflow"),
    ("reciprocal", torch.reciprocal, [[0.0, INF, NAN]], "zero and infinity"),
    ("remainder", torch.remainder, [[5.0, -5.0, 5.0, -5.0], [3.0, 3.0, -3.0, -3.0]], "signs"),
    ("remainder", torch.remainder, [[6.0, 1.0], [3.0, 0.0]], "multiples and zero"),
    ("fmod", torch.fmod, [[5.0, -5.0, 6.0, 1.0], [-3.0, 3.0, 3.0, 0.0]], "signs, multiples, zero"),
    *[("pow", lambda x, n=n: x**n, [[0.0, -0.0, 2.0, -2.0]], f"0 to the power of {n}") for n in (0, 1, 2, 3, -1, 0.0)],
    ("pow", lambda x: x**0.5, [[0.0, 2.0]], "root of 0"),
    ("pow", lambda x: x**1.5, [[0.0, -2.0, INF, NAN]], "power 1.5"),
    ("pow", torch.pow, [[-2.0, -2.0, -2.0], [2.0, 3.0, 0.5]], "negative to the power of a tensor"),
    ("pow", torch.pow, [[INF, 1.0, NAN], [2.0, INF, 1.0]], "infinity and NaN"),
    ("pow", lambda x: torch.pow(x, torch.tensor([0.0, 0.0])), [[INF, 1.0]], "infinity to the 0"),
    ("pow", lambda x: (-2) ** x, [[2.0, 3.0]], "a negative number to the power of a tensor"),
    ("copysign", torch.copysign, [[2.0, -2.0, 0.0, -0.0, INF, NAN], [-1.0, 0.0, -0.0, -3.0, -1.0, 1.0]], "zeros"),
    ("copysign", lambda x: x.copysign(-2.0), [(2, 3)], "a number"),
    ("heaviside", heaviside, [[-1.0, 0.0, -0.0, 2.0], [7.0, 8.0, 9.0, 6.0]], "below, at and above zero"),
    ("hypot", torch.hypot, [[0.0, 3.0, 0.0], [0.0, 0.0, -4.0]], "origin and axes"),
    ("hypot", torch.hypot, [[1e200], [1e200]], "where squares overflow"),
    ("atan2", torch.atan2, [[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, -4.0, 2.0]], "origin and axes"),
    ("maximum", torch.maximum, [[1.0, 2.0, NAN, 1.0, INF], [1.0, 3.0, 1.0, NAN, INF]], "ties and NaN"),
    ("minimum", torch.minimum, [[1.0, 2.0, NAN, 1.0, -INF], [1.0, 3.0, 1.0, NAN, -INF]], "ties and NaN"),
    ("fmax", torch.fmax, [[1.0, 2.0, NAN, 1.0, NAN], [1.0, 3.0, 1.0, NAN, NAN]], "ties and NaN"),
    ("fmin", torch.fmin, [[1.0, 2.0, NAN, 1.0, NAN], [1.0, 3.0, 1.0, NAN, NAN]], "ties and NaN"),
    ("clamp", lambda x: torch.clamp(x, -1, 1), [[-1.0, 1.0, INF, -INF, NAN, 0.0]], "bounds, infinity, NaN"),
    ("clamp", torch.clamp, [[-1.0, 1.0, 0.0, 5.0], [-1.0, 0.0, 0.0, 3.0], [1.0, 1.0, 0.0, 2.0]], "tensors, ties"),
    ("where", lambda x: torch.where(x > 0, x.log(), 0.0), [[1.0, 2.0]], "a function behind it"),
    ("where", torch.where, [torch.tensor([True, False]), [INF, 1.0], [1.0, NAN]], "infinity and NaN"),
    ("floor_divide", lambda x: (x // 2).detach(), [[5.0, -5.0]], "value"),
    ("floor_divide", lambda x: (7 // x).detach(), [[2.0, -2.0]], "value, number on the left"),
]

# Arguments of different dtypes: the result's dtype is torch's, and each gradient has its argument's.
SINGLE = torch.tensor([[1.5, -2.5, 0.5]], dtype=torch.float32, requires_grad=True)
DOUBLE = torch.tensor([2.5, 1.5, 0.7], dtype=torch.float64)
ZERO_D = torch.tensor(2.5, dtype=torch.float64)
HALF = torch.tensor([1.5, -2.5, 0.5], dtype=torch.bfloat16, requires_grad=True)
BINARY = [torch.add, torch.sub, torch.mul, torch.div, torch.remainder, torch.maximum, torch.hypot, torch.atan2]
MIXED: list[Row] = [
    *[(f.__name__, f, [SINGLE, DOUBLE], "float32 leaf, float64 constant") for f in BINARY],
    *[(f.__name__, f, [SINGLE, ZERO_D], "float32 leaf, float64 0-d constant") for f in BINARY],
    *[(f.__name__, f, [SINGLE, DOUBLE.clone().requires_grad_()], "float32 and float64 leaves") for f in BINARY],
    *[(f.__name__, f, [INTS, DOUBLE.clone().requires_grad_()], "int constant, float64 leaf") for f in BINARY[:5]],
    *[(f.__name__, f, [SINGLE, INTS], "float32 leaf, int constant") for f in BINARY[:5]],
    *[(f.__name__, f, [HALF, 3], "bfloat16 leaf, number") for f in BINARY[:5]],
    *[(f.__name__, f, [HALF, SINGLE], "bfloat16 and float32 leaves") for f in BINARY[:5]],
    ("pow", torch.pow, [INTS.abs(), SINGLE], "int base"),
    ("pow", torch.pow, [SINGLE, INTS], "int exponent"),
    ("pow", torch.pow, [2, SINGLE], "int number as base"),
    ("pow", torch.pow, [HALF, 3], "bfloat16"),
    ("pow", torch.pow, [DOUBLE, SINGLE], "float32 exponent of a float64 base"),
    ("where", torch.where, [torch.tensor([True, False, True]), SINGLE, DOUBLE], "float32 leaf, float64 constant"),
    ("where", lambda x: torch.where(x > 0, x, 0), [HALF], "bfloat16 and a number"),
    ("where", lambda x: torch.where(x > 0, x, 0), [SINGLE], "float32 and a number"),
    ("clamp", lambda x: torch.clamp(x, 0, 1), [HALF], "bfloat16 and numbers"),
    ("clamp", torch.clamp, [SINGLE, DOUBLE - 2, DOUBLE], "float64 bounds"),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("row", SMOOTH, ids=label)
def test_against_torch(check_against_torch: Callable[..., None], row: Row, dtype: torch.dtype) -> None:
    check_against_torch(row[1], *all_made(row[2], dtype))


@pytest.mark.parametrize("row", KINKS, ids=label)
def test_kinks_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    check_against_torch(row[1], *all_made(row[2]))


@pytest.mark.parametrize("row", MIXED, ids=label)
def test_mixed_dtypes_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    check_against_torch(row[1], *row[2])


@pytest.mark.parametrize("row", SMOOTH, ids=label)
def test_against_finite_differences(row: Row) -> None:
    check_against_finite_differences(row[1], *(v.detach() if isinstance(v, Tensor) else v for v in all_made(row[2])))


COMPLEX: list[Row] = [
    *[(f.__name__, f, [(2, 3), (2, 3)], "") for f in (torch.add, torch.sub, torch.mul, torch.div, torch.pow)],
    *[(f.__name__, f, [(2, 3)], "") for f in (torch.neg, torch.reciprocal, torch.square)],
    ("lerp", lambda x, y: torch.lerp(x, y, 0.3), [(2, 3), (2, 3)], "number"),
    ("addcmul", lambda x, y, z: torch.addcmul(x, y, z, value=2), [(2, 3), (2, 3), (2, 3)], "value"),
    ("pow", lambda x: x**3, [(2, 3)], "number"),
    ("pow", lambda x: x**0, [(2, 3)], "exponent 0"),
    ("pow", lambda x: x**2j, [(2, 3)], "complex number"),
    ("pow", lambda x: (1 + 2j) ** x, [(2, 3)], "complex number to the power of a tensor"),
    ("pow", lambda x: 2**x, [(2, 3)], "number to the power of a tensor"),
    ("where", lambda x, y: torch.where(BOOLS, x, y), [(2, 3), (2, 3)], ""),
]  # fmt: skip


@pytest.mark.parametrize("row", COMPLEX, ids=label)
def test_complex_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    check_against_torch(row[1], *all_made(row[2], torch.complex128))


def test_complex_leaf_and_real_leaf(check_against_torch: Callable[..., None]) -> None:
    x, y = made((2, 3), torch.complex128), made((2, 3), position=1)
    for function in (torch.add, torch.sub, torch.mul, torch.div):
        check_against_torch(function, x, y)
        check_against_torch(function, y, x)


def test_every_operation_has_a_row() -> None:
    rows = {row[0] for row in (*SMOOTH, *KINKS)}
    assert set(ops.arithmetic.__all__) <= rows
    declared = {key.rsplit(".", 1)[1] for key in registry.OPERATIONS if key.startswith(ops.arithmetic.__name__ + ".")}
    assert {name.rstrip("_") for name in declared if not name.startswith("_")} == set(ops.arithmetic.__all__)


# What rows can't show


@pytest.mark.parametrize("left", [7, 7.5, np.float64(7.5), np.array([7.5, 8.0]), torch.tensor([7.5, 8.0])], ids=repr)
@pytest.mark.parametrize(
    "operation",
    [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow],
)
def test_reflected_operators(operation: Callable[..., Any], left: Any) -> None:
    values = torch.tensor([2.0, 3.0], dtype=torch.float64)
    x = CustomTensor(values.clone(), requires_grad=True)
    plain = torch.as_tensor(left) if isinstance(left, (np.ndarray, np.generic)) else left
    for ours, theirs in (
        (operation(left, x), operation(plain, values)),
        (operation(x, left), operation(values, plain)),
    ):
        assert isinstance(ours, CustomTensor)
        assert ours.requires_grad
        torch.testing.assert_close(ours.data, theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda y: operator.iadd(y, 2), "+="),
        (lambda y: operator.isub(y, 2), "-="),
        (lambda y: operator.itruediv(y, 3), "/="),
        (lambda y: operator.imod(y, 0.7), "%="),
        (lambda y: operator.ipow(y, 2), "**="),
        (lambda y: y.add_(y, alpha=2), "add_ with alpha"),
        (lambda y: y.sub_(1, alpha=2), "sub_ with alpha"),
        (lambda y: y.mul_(torch.tensor([2.0, 3.0])), "mul_"),
        (lambda y: y.div_(2, rounding_mode="trunc"), "div_ with rounding"),
        (lambda y: y.pow_(3), "pow_"),
        (lambda y: y.neg_(), "neg_"),
        (lambda y: y.reciprocal_(), "reciprocal_"),
        (lambda y: y.square_(), "square_"),
        (lambda y: y.clamp_(-1, 1), "clamp_"),
        (lambda y: y.clip_(max=0.5), "clip_"),
        (lambda y: y.remainder_(0.7), "remainder_"),
        (lambda y: y.fmod_(0.7), "fmod_"),
        (lambda y: y.lerp_(torch.ones(2), 0.3), "lerp_"),
        (lambda y: y.addcmul_(torch.ones(2), y, value=2), "addcmul_"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_in_place_against_torch(
    check_against_torch: Callable[..., None], change: Callable[..., Any], name: str
) -> None:
    def function(x: Any) -> Any:
        y = x * 3
        same = change(y)
        assert same is y
        return y * y

    check_against_torch(function, torch.tensor([1.3, -0.4], requires_grad=True))


def test_in_place_floor_division() -> None:
    x = tensor([5.0, -5.0], requires_grad=True)
    y = x * 1
    y //= 2
    y.sum().backward()
    assert y.tolist() == [2.0, -3.0]
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("function", [lambda x: x // 2, lambda x: 7 // x, lambda x: torch.floor_divide(x, x.detach())])
def test_floor_division_has_zero_gradient(function: Callable[..., Any]) -> None:
    x = tensor([5.0, -5.0], requires_grad=True)
    function(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("function", "exponents"),
    [
        (lambda y: torch.zeros(4, dtype=torch.float64) ** y, [0.0, 1.0, 2.0, -1.0]),
        (lambda y: 0**y, [0.0, 1.0, 2.0, -1.0]),
        (lambda y: 0.0**y, [0.0, 0.5, 3.0, -2.0]),
    ],
)
def test_zero_to_the_power_of_a_tensor(function: Callable[..., Any], exponents: list[float]) -> None:
    # First order as torch. Second order: flat for exponents ≥ 0, so 0; torch says NaN there.
    theirs = torch.tensor(exponents, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(function(theirs).sum(), theirs)
    ours = tensor(exponents, dtype=torch.float64, requires_grad=True)
    (first,) = grad(function(ours).sum(), ours, create_graph=True)
    assert first is not None
    assert first.tolist() == expected.tolist() == [0.0, 0.0, 0.0, -INF]
    (second,) = grad(first.sum(), ours)
    assert second is not None
    assert second.tolist() == [0.0, 0.0, 0.0, INF]


def test_powers_of_zero_with_tensor_exponents() -> None:
    exponents = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    x = tensor([0.0, 0.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    (first,) = grad((x**exponents).sum(), x, create_graph=True)
    assert first is not None
    (second,) = grad(first.sum(), x)
    assert second is not None
    assert (first.tolist(), second.tolist()) == ([0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0])


def test_mixed_second_derivative_at_exponent_zero() -> None:
    # ∂²(xʸ)/∂x∂y = xʸ⁻¹·(1 + y·log x) is 1/x at y = 0; torch masks it there
    x = tensor([2.0, 4.0], dtype=torch.float64, requires_grad=True)
    y = tensor([0.0, 0.0], dtype=torch.float64, requires_grad=True)
    (first,) = grad((x**y).sum(), x, create_graph=True)
    assert first is not None
    (mixed,) = grad(first[:1].sum(), y)
    assert mixed is not None
    assert mixed.tolist() == [0.5, 0.0]


def test_bfloat16_exponent_keeps_its_dtype() -> None:
    y = tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    (0**y).sum().backward()
    assert y.grad is not None
    assert y.grad.dtype is torch.bfloat16


def test_numpy_scalars_are_numbers() -> None:
    x = tensor(1.0, dtype=torch.float32, requires_grad=True)
    for result in (np.float64(3) * x, x * np.float64(3), x + np.int64(2), np.float64(2) ** x):
        assert isinstance(result, CustomTensor)
        assert result.dtype is torch.float32


def test_remainder_of_a_number() -> None:
    # torch has no derivative for a number on the left; a tensor of that number says what it must be
    def ours(x: Any) -> Any:
        return 3 % x

    def theirs(x: Any) -> Any:
        return torch.remainder(torch.full_like(x, 3), x)

    x = made([0.31, -1.7, 2.5])
    (expected,) = torch.autograd.grad(theirs(x).sum(), x)
    leaf = CustomTensor(x.detach(), requires_grad=True)
    ours(leaf).sum().backward()
    torch.testing.assert_close(leaf.grad, expected, rtol=0, atol=0)
    check_against_finite_differences(ours, x.detach())


def test_in_place_with_itself() -> None:
    x = tensor([1.5, -2.0], requires_grad=True)
    y = x * 3
    y *= y
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [27.0, -36.0]  # d(9x²)/dx = 18x


def test_where_with_a_condition_alone_gives_indices() -> None:
    x = tensor([[0.0, 2.0], [3.0, 0.0]], requires_grad=True)
    rows, columns = torch.where(x)
    assert isinstance(rows, CustomTensor)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
    assert not rows.requires_grad


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x + torch.ones(4), errors.ShapeError),
        (lambda x: x * "a", TypeError),
        (lambda x: x + None, TypeError),
        (lambda x: x.clamp(), RuntimeError),
        (lambda x: x.div(2, rounding_mode="up"), RuntimeError),
        (lambda x: torch.tensor([True]) - CustomTensor([True]), RuntimeError),
        (lambda x: torch.where(x, x, x), RuntimeError),
    ],
)
def test_errors(function: Callable[..., Any], error: type[Exception]) -> None:
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(error):
        function(x)
