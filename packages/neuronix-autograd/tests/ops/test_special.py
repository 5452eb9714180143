"""Special functions: each row against torch to second order, and against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import special

from neuronix.autograd import CustomTensor, grad, ops
from neuronix.autograd.dispatch import registry
from neuronix.autograd.testing import check_against_finite_differences

POSITIVE = [0.3, 1.2, 2.5, 7.0]
ANY = [-2.3, -0.4, 0.7, 1.9]

# Name, function, numbers at which it is smooth, and others.
ROWS: list[tuple[str, Callable[..., Any], list[float], list[float]]] = [
    ("lgamma", torch.lgamma, POSITIVE, [-0.5, 0.0]),
    ("lgamma", special.gammaln, POSITIVE, [-0.5]),
    ("lgamma", lambda x: torch.mvlgamma(x + 2, 2), POSITIVE, []),
    ("digamma", torch.digamma, POSITIVE, [-0.5]),
    ("digamma", special.psi, POSITIVE, [-0.5]),
    ("polygamma", lambda x: torch.polygamma(1, x), POSITIVE, []),
    ("polygamma", lambda x: special.polygamma(0, x), POSITIVE, []),
    ("polygamma", lambda x: x.polygamma(2), POSITIVE, []),
    ("erfcx", special.erfcx, ANY, [0.0, 1000.0]),
    ("log_ndtr", special.log_ndtr, ANY, [-30.0, 30.0]),
    ("ndtri", special.ndtri, [0.1, 0.5, 0.8], []),
    ("i0", torch.i0, ANY, [0.0]),
    ("i0", special.i0, ANY, []),
    ("i0e", special.i0e, ANY, [0.0]),
    ("i1", special.i1, ANY, []),
    ("i1e", special.i1e, ANY, []),
]


@pytest.mark.parametrize(("name", "function", "smooth", "others"), ROWS, ids=[row[0] for row in ROWS])
def test_against_torch(
    check_against_torch: Callable[..., None],
    name: str,
    function: Callable[..., Any],
    smooth: list[float],
    others: list[float],
) -> None:
    check_against_torch(function, torch.tensor([*smooth, *others], dtype=torch.float64, requires_grad=True), atol=1e-9)
    check_against_torch(function, torch.tensor(smooth, dtype=torch.float32, requires_grad=True), rtol=1e-4)
    check_against_finite_differences(function, torch.tensor(smooth, dtype=torch.float64))


@pytest.mark.parametrize("function", [special.i1, special.i1e])
def test_bessel_functions_of_order_one_at_zero(check_against_torch: Callable[..., None], function: Any) -> None:
    check_against_torch(function, torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True), second_order=False)


def test_every_operation_has_a_row() -> None:
    declared = {key.rsplit(".", 1)[1] for key in registry.OPERATIONS if key.startswith(ops.special.__name__ + ".")}
    assert {name for name in declared if not name.startswith("_")} == set(ops.special.__all__)
    assert set(ops.special.__all__) == {row[0] for row in ROWS}


def of_sinc(x: float, order: int) -> float:
    """A derivative of sin(πx)/(πx), from its series."""
    terms = ((-1) ** k * math.perm(2 * k, order) / math.factorial(2 * k + 1) for k in range(1, 12))
    return math.pi**order * sum(term * (math.pi * x) ** (2 * k - order) for k, term in enumerate(terms, 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("x", [0.0, 1e-300, 1e-12, -1e-8, 1e-5, -1.1e-4, 1e-3, 2.4e-3, -2.5e-3, 0.1])
@pytest.mark.parametrize(
    ("function", "first", "second"),
    [
        # Σ (−1)ᵏ z²ᵏ / (2k + 1)! with z = πx
        (torch.sinc, lambda x: of_sinc(x, 1), lambda x: of_sinc(x, 2)),
        # x/2 + x³/16 + x⁵/384 + x⁷/18432 + …
        (
            torch.special.i1,
            lambda x: 1 / 2 + 3 * x**2 / 16 + 5 * x**4 / 384 + 7 * x**6 / 18432,
            lambda x: 3 * x / 8 + 5 * x**3 / 96 + 7 * x**5 / 3072,
        ),
    ],
    ids=["sinc", "i1"],
)
def test_near_zero_no_digits_are_lost(function: Any, first: Any, second: Any, x: float, dtype: Any) -> None:
    leaf = CustomTensor(torch.tensor(x, dtype=dtype), requires_grad=True)
    (slope,) = grad(function(leaf), leaf, create_graph=True)
    (curvature,) = grad(slope, leaf)
    point, eps = leaf.item(), torch.finfo(dtype).eps
    # torch's own I₀ is off by two units in the last place, of 1.  Of the quotient that takes over at |x| = ε^(1/6) at
    # least half of the digits are left, and a third of its slope's.
    loses = abs(point) >= 0.9 * eps ** (1 / 6)
    assert slope.item() == pytest.approx(first(point), rel=eps**0.6 if loses else 6 * eps, abs=0)
    assert curvature.item() == pytest.approx(second(point), rel=eps**0.3 if loses else 6 * eps, abs=0)
