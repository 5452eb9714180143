"""Reductions, each row against torch (values, gradients of both orders) and against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix.autograd import CustomTensor, errors, grad, tensor
from neuronix.autograd.testing import check_against_finite_differences

Row = tuple[str, Callable[..., Any], list[Any]]


def made(what: Any, dtype: torch.dtype = torch.float64) -> Any:
    """A leaf of random numbers for a shape; of the given ones for a list."""
    if isinstance(what, tuple):
        generator = torch.Generator().manual_seed(sum(what) + len(what))
        return torch.randn(what, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    if isinstance(what, list):
        return torch.tensor(what, dtype=dtype, requires_grad=True)
    return what


SMOOTH: list[Row] = [
    ("sum", lambda x: x.sum(), [(3, 4)]),
    ("sum of a scalar", lambda x: x.sum(), [()]),
    ("sum of a scalar along 0", lambda x: x.sum(0), [()]),
    ("sum of a scalar along -1, keepdim", lambda x: x.sum(-1, keepdim=True), [()]),
    ("sum of nothing", lambda x: x.sum(), [(0, 3)]),
    ("sum along an empty axis", lambda x: x.sum(0), [(0, 3)]),
    ("sum along an axis", lambda x: x.sum(1), [(3, 4)]),
    ("sum along the last axis, keepdim", lambda x: x.sum(dim=-1, keepdim=True), [(3, 4)]),
    ("sum along axes", lambda x: x.sum(dim=(0, -1)), [(2, 3, 4)]),
    ("sum along axes in a list", lambda x: torch.sum(x, [1, 0]), [(2, 3, 4)]),
    ("sum along no axis", lambda x: x.sum(()), [(2, 3)]),
    ("sum by numpy's keyword", lambda x: torch.sum(x, axis=0), [(2, 3)]),
    ("sum along axes of size one", lambda x: x.sum((0, 2)), [(1, 3, 1)]),
    ("mean", lambda x: x.mean(), [(3, 4)]),
    ("mean of a scalar", lambda x: x.mean(), [()]),
    ("mean along axes", lambda x: x.mean(dim=(0, 2)), [(2, 3, 4)]),
    ("mean along an axis, keepdim", lambda x: torch.mean(x, -2, keepdim=True), [(2, 3, 4)]),
    ("mean along no axis", lambda x: x.mean(()), [(2, 3)]),
    ("nansum", lambda x: x.nansum(1), [(3, 4)]),
    ("nanmean", lambda x: torch.nanmean(x, 1), [(3, 4)]),
    ("var", lambda x: x.var(), [(3, 4)]),
    ("var along an axis", lambda x: x.var(1), [(3, 4)]),
    ("var along axes, keepdim", lambda x: x.var((0, 2), keepdim=True), [(2, 3, 4)]),
    ("var, biased", lambda x: x.var(unbiased=False), [(3, 4)]),
    ("var, biased, by position", lambda x: x.var(False), [(3, 4)]),
    ("var, biased along an axis", lambda x: torch.var(x, 1, False, True), [(3, 4)]),
    ("var with a correction", lambda x: torch.var(x, dim=1, correction=2), [(3, 4)]),
    ("var with correction 0", lambda x: torch.var(x, correction=0), [(3, 4)]),
    ("std", lambda x: x.std(), [(3, 4)]),
    ("std along an axis", lambda x: x.std(0, keepdim=True), [(3, 4)]),
    ("std with a correction", lambda x: torch.std(x, dim=(0, 1), correction=0.5), [(3, 4)]),
    ("std, biased along an axis", lambda x: x.std(1, False), [(3, 4)]),
    ("var_mean", lambda x: torch.var_mean(x, dim=0, correction=0), [(3, 4)]),
    ("std_mean", lambda x: torch.std_mean(x, 1), [(3, 4)]),
    ("amax", lambda x: x.amax(), [(3, 4)]),
    ("amax along axes", lambda x: x.amax((0, 2)), [(2, 3, 4)]),
    ("amax along an axis, keepdim", lambda x: torch.amax(x, dim=1, keepdim=True), [(3, 4)]),
    ("amax of a scalar", lambda x: x.amax(), [()]),
    ("amin along an axis", lambda x: x.amin(-1), [(3, 4)]),
    ("aminmax", lambda x: torch.aminmax(x), [(3, 4)]),
    ("aminmax along an axis", lambda x: torch.aminmax(x, dim=1, keepdim=True), [(3, 4)]),
    ("max", lambda x: x.max(), [(3, 4)]),
    ("min", lambda x: torch.min(x), [(3, 4)]),
    ("max of a scalar", lambda x: x.max(), [()]),
    ("max along an axis", lambda x: x.max(1), [(3, 4)]),
    ("max along an axis, values", lambda x: x.max(dim=1).values, [(3, 4)]),
    ("max along an axis, keepdim", lambda x: torch.max(x, dim=-2, keepdim=True), [(2, 3, 4)]),
    ("max of a scalar along an axis", lambda x: x.max(0), [()]),
    ("min along an axis", lambda x: x.min(0), [(3, 4)]),
    ("max of two", lambda x, y: torch.max(x, y), [(3, 4), (4,)]),
    ("max of two, by keyword", lambda x, y: x.max(other=y), [(3, 4), (3, 1)]),
    ("min of two", lambda x, y: x.min(y), [(3, 4), (4,)]),
    ("median", lambda x: x.median(), [(3, 4)]),
    ("median along an axis", lambda x: x.median(1), [(3, 4)]),
    ("nanmedian", lambda x: x.nanmedian(), [(3, 4)]),
    ("nanmedian along an axis", lambda x: torch.nanmedian(x, 1, True), [(3, 4)]),
    ("kthvalue", lambda x: x.kthvalue(2, 1), [(3, 4)]),
    ("mode", lambda x: torch.mode(x, 1, True), [(3, 4)]),
    ("sort", lambda x: x.sort(), [(3, 4)]),
    ("sort, descending", lambda x: torch.sort(x, dim=0, descending=True), [(3, 4)]),
    ("sort, stable", lambda x: torch.sort(x, stable=True), [(3, 4)]),
    ("sort of a scalar", lambda x: x.sort(), [()]),
    ("topk", lambda x: x.topk(2), [(3, 4)]),
    ("topk, smallest", lambda x: torch.topk(x, 2, dim=0, largest=False), [(3, 4)]),
    ("cummax", lambda x: x.cummax(1), [(3, 4)]),
    ("cummin", lambda x: x.cummin(0), [(3, 4)]),
    ("cumsum", lambda x: x.cumsum(0), [(3, 4)]),
    ("cumsum of a scalar", lambda x: x.cumsum(0), [()]),
    ("cumsum along an empty axis", lambda x: x.cumsum(-1), [(3, 0)]),
    ("cumprod", lambda x: x.cumprod(1), [(3, 5)]),
    ("cumprod along the first axis", lambda x: x.cumprod(0), [(9, 2)]),
    ("cumprod of a scalar", lambda x: x.cumprod(0), [()]),
    ("cumprod along an empty axis", lambda x: x.cumprod(0), [(0, 2)]),
    ("prod", lambda x: x.prod(), [(3, 4)]),
    ("prod of a scalar", lambda x: x.prod(), [()]),
    ("prod of a scalar along 0", lambda x: x.prod(0), [()]),
    ("prod of nothing", lambda x: x.prod(), [(0,)]),
    ("prod along an axis", lambda x: x.prod(-1), [(3, 4)]),
    ("prod along an axis, keepdim", lambda x: torch.prod(x, 0, keepdim=True), [(3, 4)]),
    ("prod along an axis of size one", lambda x: x.prod(0), [(1, 4)]),
    ("logsumexp", lambda x: x.logsumexp(1), [(3, 4)]),
    ("logsumexp along axes, keepdim", lambda x: torch.logsumexp(x, (0, -1), keepdim=True), [(2, 3, 4)]),
    ("logsumexp of a scalar", lambda x: x.logsumexp(0), [()]),
    ("logsumexp under its special name", lambda x: torch.special.logsumexp(x, 0), [(3, 4)]),
    ("logcumsumexp", lambda x: x.logcumsumexp(1), [(3, 4)]),
    ("renorm", lambda x: torch.renorm(x, 2, 0, 1.5), [(3, 4)]),
    ("renorm of order 3", lambda x: x.renorm(3, -1, 2.0), [(2, 3, 4)]),
    ("norm", lambda x: x.norm(), [(3, 4)]),
    ("norm along an axis", lambda x: x.norm(2, 1), [(3, 4)]),
    ("norm, keepdim", lambda x: torch.norm(x, dim=-1, keepdim=True), [(3, 4)]),
    ("norm of order 3", lambda x: x.norm(p=3, dim=(0, 1)), [(3, 4)]),
    ("norm of order 1.5", lambda x: torch.linalg.vector_norm(x, 1.5), [(3, 4)]),
    ("norm of order 0.5", lambda x: torch.linalg.vector_norm(x, 0.5, dim=1), [(3, 4)]),
    ("norm of order 1", lambda x: torch.linalg.vector_norm(x, 1, dim=1), [(3, 4)]),
    ("norm of order 0", lambda x: torch.linalg.vector_norm(x, 0, dim=1), [(3, 4)]),
    ("norm of order infinity", lambda x: torch.linalg.vector_norm(x, math.inf, dim=1, keepdim=True), [(3, 4)]),
    ("norm of order minus infinity", lambda x: x.norm(-math.inf), [(3, 4)]),
    ("norm of order -2", lambda x: torch.linalg.vector_norm(x, -2, dim=1), [(3, 4)]),
    ("linalg.norm", lambda x: torch.linalg.norm(x), [(3, 4)]),
    ("linalg.norm of vectors", lambda x: torch.linalg.norm(x, 2, -1), [(3, 4)]),
    ("linalg.norm of a matrix, the operator's", lambda x: torch.linalg.norm(x, 1), [(3, 4)]),
    ("linalg.matrix_norm of order infinity", lambda x: torch.linalg.matrix_norm(x, float("inf")), [(2, 3, 4)]),
    ("linalg.matrix_norm", lambda x: torch.linalg.matrix_norm(x), [(2, 3, 4)]),
    ("F.normalize", lambda x: torch.nn.functional.normalize(x, dim=1), [(3, 4)]),
]

# At kinks and ties torch chooses one of several subgradients, and so do we; at 0/0 both have NaN.
KINKS: list[Row] = [
    ("mean of nothing", lambda x: x.mean(), [(0,)]),
    ("nansum with NaN", lambda x: x.nansum(), [[1.0, math.nan, 3.0]]),
    ("nanmean with NaN", lambda x: torch.nanmean(x), [[1.0, math.nan, 3.0]]),
    ("var of one element, biased", lambda x: x.var(correction=0), [[2.0]]),
    ("std of one element, biased", lambda x: x.std(correction=0), [[2.0]]),
    ("std of equal elements", lambda x: x.std(1), [[[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]]]),
    ("amax with ties", lambda x: x.amax(1), [[[5.0, 5.0, 2.0], [1.0, 1.0, 1.0]]]),
    ("amin with ties", lambda x: x.amin(), [[[5.0, 2.0, 2.0], [2.0, 9.0, 8.0]]]),
    ("max with ties", lambda x: x.max(), [[[5.0, 5.0, 2.0], [1.0, 5.0, 1.0]]]),
    ("max along an axis with ties", lambda x: x.max(1), [[[5.0, 5.0, 2.0], [1.0, 1.0, 1.0]]]),
    ("min with ties", lambda x: x.min(), [[2.0, 2.0, 3.0]]),
    ("max with NaN", lambda x: x.max(), [[1.0, math.nan, 3.0]]),
    ("max of two with ties", lambda x, y: torch.max(x, y), [[1.0, 2.0], [1.0, 3.0]]),
    ("median with ties", lambda x: x.median(), [[1.0, 2.0, 2.0, 2.0, 5.0]]),
    ("sort with ties", lambda x: x.sort(stable=True), [[2.0, 1.0, 2.0, 1.0]]),
    ("prod with a zero", lambda x: x.prod(), [[2.0, 0.0, 3.0]]),
    ("prod with two zeros", lambda x: x.prod(), [[2.0, 0.0, 3.0, 0.0]]),
    ("prod with three zeros", lambda x: x.prod(), [[0.0, 0.0, 3.0, 0.0]]),
    ("prod along an axis with zeros", lambda x: x.prod(1), [[[2.0, 0.0, 3.0], [0.0, 0.0, 4.0], [1.0, 2.0, 3.0]]]),
    ("cumprod with a zero", lambda x: x.cumprod(0), [[2.0, 0.0, 3.0, 4.0]]),
    ("cumprod with zeros", lambda x: x.cumprod(1), [[[2.0, 0.0, 3.0, 0.0, 1.0], [0.0, 0.0, 4.0, 5.0, 6.0]]]),
    ("logsumexp of large numbers", lambda x: x.logsumexp(0), [[1000.0, 1001.0]]),
    ("logsumexp with -inf", lambda x: x.logsumexp(0), [[-math.inf, 1.0]]),
    ("logcumsumexp of large numbers", lambda x: x.logcumsumexp(0), [[1000.0, 1001.0, -1000.0]]),
    ("median with NaN", lambda x: x.median(), [[1.0, math.nan, 3.0]]),
    ("nanmedian with NaN", lambda x: x.nanmedian(), [[1.0, math.nan, 3.0]]),
    ("norm at zero", lambda x: x.norm(dim=1), [[[0.0, 0.0], [3.0, 4.0]]]),
    ("norm of order 1 with a zero", lambda x: x.norm(1), [[0.0, -2.0]]),
    ("norm of order infinity with ties", lambda x: x.norm(math.inf), [[3.0, -3.0, 1.0]]),
]


# torch warns of these, and so do we, because torch computes the value.
UNDEFINED: list[Row] = [
    ("var of one element", lambda x: x.var(), [[2.0]]),
    ("var with a correction larger than n", lambda x: x.var(correction=3), [[2.0, 3.0]]),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("name", "function", "inputs"), SMOOTH, ids=[row[0] for row in SMOOTH])
def test_against_torch(
    check_against_torch: Callable[..., None],
    name: str,
    function: Callable[..., Any],
    inputs: list[Any],
    dtype: torch.dtype,
) -> None:
    check_against_torch(function, *(made(what, dtype) for what in inputs))


@pytest.mark.parametrize(("name", "function", "inputs"), KINKS, ids=[row[0] for row in KINKS])
def test_kinks_against_torch(
    check_against_torch: Callable[..., None], name: str, function: Callable[..., Any], inputs: list[Any]
) -> None:
    check_against_torch(function, *(made(what) for what in inputs))


@pytest.mark.parametrize(("name", "function", "inputs"), UNDEFINED, ids=[row[0] for row in UNDEFINED])
@pytest.mark.filterwarnings("ignore:(var|std)\\(\\). degrees of freedom:UserWarning")
def test_undefined_values_against_torch(
    check_against_torch: Callable[..., None], name: str, function: Callable[..., Any], inputs: list[Any]
) -> None:
    check_against_torch(function, *(made(what) for what in inputs))


@pytest.mark.parametrize(("name", "function", "inputs"), SMOOTH, ids=[row[0] for row in SMOOTH])
def test_against_finite_differences(name: str, function: Callable[..., Any], inputs: list[Any]) -> None:
    check_against_finite_differences(function, *(made(what).detach() for what in inputs))


@pytest.mark.parametrize("function", [lambda x: x.sum(1), lambda x: x.mean(), lambda x: x.prod(1), lambda x: x.var()])
def test_complex(check_against_torch: Callable[..., None], function: Callable[..., Any]) -> None:
    x = torch.randn(3, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    if function(x).is_complex():
        check_against_torch(function, x.requires_grad_())
    else:
        check_against_torch(function, x.real.clone().requires_grad_())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.argmax(),
        lambda x: torch.argmax(x, dim=1, keepdim=True),
        lambda x: x.argmin(0),
        lambda x: x.any(),
        lambda x: x.any(1),
        lambda x: torch.all(x, dim=(0, 1)),
        lambda x: x.all(),
        lambda x: torch.count_nonzero(x, dim=0),
        lambda x: x.count_nonzero(),
    ],
)
def test_integer_and_boolean_results_are_constants(function: Callable[[Any], Any]) -> None:
    values = made((3, 4)).detach().round()
    received = function(CustomTensor(values, requires_grad=True))
    assert isinstance(received, CustomTensor)
    assert not received.requires_grad
    torch.testing.assert_close(received.data, function(values), rtol=0, atol=0)


def test_positions_that_come_with_values_are_constants() -> None:
    values, indices = tensor([[1.0, 5.0], [7.0, 2.0]], requires_grad=True).max(1)
    assert values.requires_grad
    assert not indices.requires_grad
    assert indices.tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["sum", "mean along axes", "var", "logsumexp", "norm", "prod along an axis", "max"])
def test_half_precision(check_against_torch: Callable[..., None], name: str, dtype: torch.dtype) -> None:
    function, inputs = next((function, inputs) for row, function, inputs in SMOOTH if row == name)
    check_against_torch(function, *(made(what, dtype) for what in inputs), second_order=False, rtol=4e-2, atol=4e-2)


def test_sums_may_be_computed_in_another_dtype(check_against_torch: Callable[..., None]) -> None:
    for function in (torch.sum, torch.mean, torch.prod):
        check_against_torch(lambda x, f=function: f(x, 0, dtype=torch.float64), made((3, 4), torch.float32))


def test_third_order_of_a_product_with_zeros() -> None:
    x = tensor([0.0, 2.0, 0.0], dtype=torch.float64, requires_grad=True)
    (first,) = grad(x.prod(), x, create_graph=True)
    (second,) = grad(first[0], x, create_graph=True)
    (third,) = grad(second[1], x)
    # ∂³(x₀ x₁ x₂) / ∂x₀ ∂x₁ ∂x₂ = 1
    assert third.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x.sum(2), errors.AxisError),
        (lambda x: x.sum((0, 0)), errors.NeuronixError),
        (lambda x: x.max(5), errors.AxisError),
        (lambda x: x.topk(9), errors.NeuronixError),
        (lambda x: x[:, :0].max(1), errors.AxisError),
        (lambda x: x.int().mean(), errors.DtypeError),
        (lambda x: x.sum("a"), errors.DtypeError),
    ],
)
def test_bad_arguments_raise_typed_errors(function: Callable[[Any], Any], error: type[Exception]) -> None:
    x = CustomTensor(torch.ones(3, 4), requires_grad=True)
    with pytest.raises(error, match=r"sum|max|topk|mean"):
        function(x)
    assert x.grad is None
