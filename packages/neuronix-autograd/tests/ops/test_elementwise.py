"""Functions of one number: each row against torch (values and gradients of both orders) and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix.autograd import CustomTensor, grad, ops, rules_only, tensor
from neuronix.autograd.dispatch import registry
from neuronix.autograd.testing import check_against_finite_differences

INF, NAN = math.inf, math.nan

# Name, function of torch's arguments, numbers at which it is smooth, numbers at which it isn't, or that are extreme.
Row = tuple[str, Callable[..., Any], list[float], list[float]]

ANY = [-2.3, -0.4, 0.7, 1.9]
POSITIVE = [0.1, 0.7, 1.9, 30.0]
UNIT = [-0.9, -0.3, 0.2, 0.8]
EXTREME = [0.0, -0.0, 1000.0, -1000.0, INF, -INF, NAN]

ROWS: list[Row] = [
    ("exp", torch.exp, ANY, EXTREME),
    ("exp2", torch.exp2, ANY, EXTREME),
    ("exp2", torch.special.exp2, ANY, EXTREME),
    ("expm1", torch.expm1, ANY, [*EXTREME, 1e-12]),
    ("expm1", torch.special.expm1, ANY, []),
    ("log", torch.log, POSITIVE, EXTREME),
    ("log2", torch.log2, POSITIVE, EXTREME),
    ("log10", torch.log10, POSITIVE, EXTREME),
    ("log1p", torch.log1p, POSITIVE, [*EXTREME, -1.0, 1e-12]),
    ("log1p", torch.special.log1p, POSITIVE, []),
    ("sqrt", torch.sqrt, POSITIVE, EXTREME),
    ("rsqrt", torch.rsqrt, POSITIVE, EXTREME),
    ("sin", torch.sin, ANY, EXTREME),
    ("cos", torch.cos, ANY, EXTREME),
    ("tan", torch.tan, [-1.2, -0.4, 0.7, 1.1], EXTREME),
    ("asin", torch.asin, UNIT, [*EXTREME, 1.0, -1.0]),
    ("asin", torch.arcsin, UNIT, []),
    ("acos", torch.acos, UNIT, [*EXTREME, 1.0, -1.0]),
    ("acos", torch.arccos, UNIT, []),
    ("atan", torch.atan, ANY, EXTREME),
    ("atan", torch.arctan, ANY, []),
    ("sinc", torch.sinc, ANY, []),
    ("sinc", torch.special.sinc, ANY, []),
    ("entr", torch.special.entr, POSITIVE, [0.0, -0.0, 1000.0, INF, -INF, NAN]),
    ("sinh", torch.sinh, ANY, EXTREME),
    ("cosh", torch.cosh, ANY, EXTREME),
    ("tanh", torch.tanh, ANY, EXTREME),
    ("tanh", torch.nn.functional.tanh, ANY, []),
    ("asinh", torch.asinh, ANY, EXTREME),
    ("asinh", torch.arcsinh, ANY, []),
    ("acosh", torch.acosh, [1.2, 2.5, 10.0], [1.0, 0.5, NAN]),
    ("acosh", torch.arccosh, [1.2, 2.5], []),
    ("atanh", torch.atanh, UNIT, [*EXTREME, 1.0, -1.0]),
    ("atanh", torch.arctanh, UNIT, []),
    ("sigmoid", torch.sigmoid, ANY, EXTREME),
    ("sigmoid", torch.special.expit, ANY, []),
    ("sigmoid", torch.nn.functional.sigmoid, ANY, []),
    ("logit", torch.logit, [0.1, 0.5, 0.9], [0.0, 1.0, -0.1, 1.1, NAN]),
    ("logit", torch.special.logit, [0.1, 0.5, 0.9], []),
    ("logit", lambda x: torch.logit(x, eps=0.2), [0.3, 0.5, 0.1, 0.9], [0.0, 1.0, -0.1, 1.1]),
    ("erf", torch.erf, ANY, EXTREME),
    ("erf", torch.special.erf, ANY, []),
    ("erfc", torch.erfc, ANY, EXTREME),
    ("erfinv", torch.erfinv, UNIT, [1.0, -1.0, 0.0, NAN]),
    ("abs", torch.abs, ANY, EXTREME),
    ("abs", torch.absolute, ANY, []),
    ("abs", abs, ANY, []),
    ("sgn", torch.sgn, ANY, EXTREME),
    ("sign", torch.sign, ANY, EXTREME),
    ("floor", torch.floor, ANY, [*EXTREME, 2.0, -1.5]),
    ("ceil", torch.ceil, ANY, [*EXTREME, 2.0, -1.5]),
    ("trunc", torch.trunc, ANY, [*EXTREME, 2.0, -1.5]),
    ("trunc", torch.fix, ANY, []),
    ("round", torch.round, ANY, [*EXTREME, 0.5, 1.5, 2.5, -0.5]),
    ("round", lambda x: torch.round(x, decimals=1), ANY, []),
    ("frac", torch.frac, ANY, [2.0, -1.5, NAN]),
]  # fmt: skip

METHODS = (
    "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin arcsin acos arccos atan arctan sinc sinh "
    "cosh tanh asinh arcsinh acosh arccosh atanh arctanh sigmoid logit erf erfc erfinv abs absolute sgn sign floor "
    "ceil trunc fix round frac"
).split()


def leaf(values: Any, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def label(row: Row) -> str:
    return row[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("row", ROWS, ids=label)
def test_against_torch(check_against_torch: Callable[..., None], row: Row, dtype: torch.dtype) -> None:
    check_against_torch(row[1], leaf(row[2], dtype))


@pytest.mark.parametrize("row", [row for row in ROWS if row[3]], ids=label)
def test_kinks_and_extremes_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    check_against_torch(row[1], leaf(row[3]))


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_0d_and_empty_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    check_against_torch(row[1], leaf(row[2][0]))
    check_against_torch(row[1], torch.empty(0, 3, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_against_finite_differences(row: Row) -> None:
    check_against_finite_differences(row[1], leaf(row[2]).detach(), second_order=True, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_methods_and_their_in_place_forms(check_against_torch: Callable[..., None], name: str) -> None:
    x = leaf([1.3, 1.9] if "cosh" in name and name.startswith("a") else [0.3, 0.9])
    check_against_torch(lambda x: getattr(x, name)(), x)
    if hasattr(torch.Tensor, f"{name}_"):
        # torch has no derivative of asinh_ and its kin, so the oracle isn't in place
        expected = {"torch_function": lambda x: getattr(x, name)()}
        check_against_torch(lambda x: getattr(x * 1, f"{name}_")(), x, **expected)
        if hasattr(torch, f"{name}_"):
            check_against_torch(lambda x: getattr(torch, f"{name}_")(x * 1), x, **expected)


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_integers_are_constants(row: Row) -> None:
    values = torch.tensor([1, 2, 3])
    try:
        expected = row[1](values)
    except (RuntimeError, TypeError) as refused:
        with pytest.raises(type(refused)):
            row[1](CustomTensor(values))
        return
    result = row[1](CustomTensor(values))
    assert not result.requires_grad
    torch.testing.assert_close(result.data, expected, rtol=0, atol=0, equal_nan=True)


COMPLEX = (
    "exp expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "sigmoid abs sgn"
).split()


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_against_torch(check_against_torch: Callable[..., None], name: str) -> None:
    x = leaf([0.3 + 0.4j, -0.7 + 0.2j, 0.5 - 0.6j, -0.2 - 0.9j], torch.complex128)
    check_against_torch(getattr(torch, name), x)


def test_complex_abs_and_sgn_at_zero() -> None:
    for function in (torch.abs, torch.sgn):
        x = CustomTensor(torch.zeros(2, dtype=torch.complex128), requires_grad=True)
        (first,) = grad(function(x), x, torch.ones(2, dtype=function(x).dtype))
        assert first is not None
        assert first.tolist() == [0, 0]


@pytest.mark.parametrize("values", [[0.0, 0.0, 2.0, -1.0, 0.0], [3.0, 0.0, -2.0]])
@pytest.mark.parametrize(
    ("function", "shift"), [(torch.xlogy, 0), (torch.special.xlogy, 0), (torch.special.xlog1py, 1)]
)
def test_xlogy(check_against_torch: Callable[..., None], function: Any, shift: int, values: list[float]) -> None:
    others = leaf([1.0, 0.0, 0.5, 2.0, 3.0][: len(values)]) - shift
    check_against_torch(function, leaf(values), others, second_order=0.0 not in others + shift)
    check_against_torch(function, leaf(values), leaf([1.0, 2.0, 0.5, 2.0, 3.0][: len(values)]))
    check_against_torch(lambda y: function(2, y), leaf([1.0, 2.0]))
    check_against_torch(lambda x: function(x, 2.0), leaf(values))
    check_against_finite_differences(function, leaf([0.5, 2.0]).detach(), leaf([0.3, 1.5]).detach())


def test_sinc_at_zero() -> None:
    # sinc(x) = 1 − (πx)²/6 + …: slope 0 and curvature −π²/3, where the quotient itself is 0/0
    x = tensor(0.0, dtype=torch.float64, requires_grad=True)
    (first,) = grad(torch.sinc(x), x, create_graph=True)
    assert first is not None
    assert first.item() == 0.0


@pytest.mark.parametrize("function", [torch.tanh, torch.sigmoid])
def test_kernels_equal_rules(function: Callable[..., Any]) -> None:
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        values = torch.tensor([*ANY, *EXTREME], dtype=dtype)
        x = CustomTensor(values, requires_grad=True)
        weights = torch.linspace(-1, 2, len(values), dtype=dtype)
        (by_kernel,) = grad(function(x), x, weights)
        with rules_only():
            (by_rule,) = grad(function(x), x, weights)
        assert by_kernel is not None
        assert by_rule is not None
        torch.testing.assert_close(by_kernel.data, by_rule.data, rtol=tolerance, atol=tolerance, equal_nan=True)


def test_sigmoid_is_finite_far_out() -> None:
    x = tensor([1000.0, -1000.0], requires_grad=True)
    torch.sigmoid(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0]


def test_results_that_are_kept_may_not_be_changed_but_arguments_may() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    result = torch.exp(y)  # keeps its result, not y
    y += 1
    result.sum().backward()
    torch.testing.assert_close(x.grad, torch.exp(x.data))


def test_frexp() -> None:
    x = torch.tensor([0.0, 1.0, -3.0, 0.3, 1e-300, -1e300], dtype=torch.float64, requires_grad=True)
    y = tensor(x.detach().clone(), requires_grad=True)
    (mantissa, exponent), (expected, powers) = torch.frexp(y), torch.frexp(x)
    torch.testing.assert_close(mantissa.data, expected.detach(), rtol=0, atol=0)
    assert torch.equal(exponent.data if isinstance(exponent, CustomTensor) else exponent, powers)
    mantissa.sum().backward()
    # PyTorch takes the power in float32, so that its gradient is infinite or 0 for the last two; see the definition.
    torch.testing.assert_close(y.grad, torch.ldexp(torch.ones(6, dtype=torch.float64), -powers), rtol=1e-15, atol=0)
    expected.sum().backward()
    assert y.grad is not None
    assert x.grad is not None
    torch.testing.assert_close(y.grad[:4], x.grad[:4], rtol=1e-15, atol=0)


def test_every_operation_has_a_row() -> None:
    rows = {row[0] for row in ROWS} | {"xlogy", "xlog1py", "frexp"}
    declared = {key.rsplit(".", 1)[1] for key in registry.OPERATIONS if key.startswith(ops.elementwise.__name__ + ".")}
    assert declared == set(ops.elementwise.__all__) == rows
