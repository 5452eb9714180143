"""Comparisons and logic: torch's values, as constants, from tensors that require grad."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from neuronix.autograd import CustomTensor, errors, ops, tensor
from neuronix.autograd.dispatch import registry

X = torch.tensor([[1.0, -2.0, math.nan], [math.inf, 0.0, -math.inf]])
Y = torch.tensor([1.0, 0.0, math.nan])
BOOLS, OTHER_BOOLS = torch.tensor([True, False, True, False]), torch.tensor([True, True, False, False])
INTS = torch.tensor([1, 2, 3, 12])

UNARY = ["isnan", "isinf", "isposinf", "isneginf", "isfinite", "isreal", "signbit", "logical_not"]
BINARY = ["eq", "ne", "lt", "le", "gt", "ge", "isclose", "logical_and", "logical_or", "logical_xor"]
BITWISE = ["bitwise_and", "bitwise_or", "bitwise_xor"]
ALIASES = ["not_equal", "less", "less_equal", "greater", "greater_equal"]


def check(function: Callable[..., Any], *arguments: torch.Tensor | float) -> None:
    expected = function(*arguments)
    custom = [
        CustomTensor(a, requires_grad=a.is_floating_point()) if isinstance(a, torch.Tensor) else a for a in arguments
    ]
    result = function(*custom)
    assert isinstance(result, CustomTensor)
    assert not result.requires_grad
    assert result.is_leaf
    torch.testing.assert_close(result.data, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    check(getattr(torch, name), X)
    check(getattr(torch, name), X.double()[:0])
    check(getattr(torch, name), torch.tensor(2.0))
    if hasattr(torch.Tensor, name):
        check(lambda x: getattr(x, name)(), X)


@pytest.mark.parametrize("name", [*BINARY, *ALIASES])
def test_binary(name: str) -> None:
    check(getattr(torch, name), X, Y)
    check(getattr(torch, name), X[0], torch.tensor([1.0, 2.0, 3.0]).clone())
    check(lambda x, y: getattr(x, name)(y), X, Y)
    if not name.startswith("logical") and name != "isclose":
        check(lambda x: getattr(torch, name)(x, 1), X)


@pytest.mark.parametrize("name", BITWISE)
def test_bitwise(name: str) -> None:
    check(getattr(torch, name), BOOLS, OTHER_BOOLS)
    check(lambda x: getattr(x, name)(6), INTS)


@pytest.mark.parametrize("operation", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
@pytest.mark.parametrize("other", [1, 0.5, Y, np.array([1.0, 2.0, 3.0]), np.float64(1.0)], ids=repr)
def test_operators(operation: Callable[..., Any], other: Any) -> None:
    plain = torch.as_tensor(other) if isinstance(other, (np.ndarray, np.generic)) else other
    x = CustomTensor(X, requires_grad=True)
    for ours, theirs in ((operation(x, other), operation(X, plain)), (operation(other, x), operation(plain, X))):
        assert isinstance(ours, CustomTensor)
        assert not ours.requires_grad
        assert torch.equal(ours.data, theirs)


@pytest.mark.parametrize("operation", [operator.and_, operator.or_, operator.xor])
def test_bitwise_operators(operation: Callable[..., Any]) -> None:
    check(operation, BOOLS, OTHER_BOOLS)
    assert torch.equal(operation(BOOLS, CustomTensor(OTHER_BOOLS)).data, operation(BOOLS, OTHER_BOOLS))
    assert torch.equal(operation(True, CustomTensor(OTHER_BOOLS)).data, operation(True, OTHER_BOOLS))
    check(operator.invert, BOOLS)
    check(torch.bitwise_not, INTS)


def test_masks_are_changed_in_place() -> None:
    mask = CustomTensor(BOOLS.clone())
    mask &= OTHER_BOOLS
    assert mask.tolist() == [True, False, False, False]
    mask |= CustomTensor(BOOLS)
    assert mask.tolist() == [True, False, True, False]
    mask.logical_not_()
    assert mask.tolist() == [False, True, False, True]


@pytest.mark.parametrize("thing", [None, "1", object(), []])
def test_what_is_no_number_is_unequal(thing: object) -> None:
    x = tensor(1.0, requires_grad=True)
    assert (x == thing) is False
    assert (x != thing) is True
    assert (thing == x) is False
    with pytest.raises(TypeError):
        operator.lt(x, thing)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(errors.ShapeError, match=r"eq: .*\n  given: x=float32\(2, 3\), other=float32\(4,\)"):
        operator.eq(tensor(torch.zeros(2, 3)), torch.zeros(4))


def test_tensors_stay_hashable() -> None:
    x, y = tensor(1.0), tensor(1.0)
    assert len({x, y, x}) == 2


def test_every_operation_has_a_row() -> None:
    declared = {key.rsplit(".", 1)[1] for key in registry.OPERATIONS if key.startswith(ops.comparisons.__name__ + ".")}
    rows = {*UNARY, *BINARY, *BITWISE, "bitwise_not"}
    assert {name for name in declared if not name.startswith("_")} == set(ops.comparisons.__all__) == rows
