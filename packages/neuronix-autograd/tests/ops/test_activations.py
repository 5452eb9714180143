"""Activations: each row against torch to second order and against finite differences; kernels against rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from neuronix.autograd import CustomTensor, errors, grad, ops, rules_only, tensor
from neuronix.autograd.dispatch import registry
from neuronix.autograd.testing import check_against_finite_differences

INF, NAN = math.inf, math.nan
ANY = [-4.3, -2.3, -0.7, -0.2, 0.1, 0.4, 1.9, 4.7]
FAR = [1000.0, -1000.0, 0.0, -0.0]
NOT_FINITE = [INF, -INF, NAN]

# Name, function of torch's arguments, where it has a kink.
Row = tuple[str, Callable[..., Any], list[float]]

ROWS: list[Row] = [
    ("relu", torch.relu, [0.0]),
    ("relu", F.relu, [0.0]),
    ("relu", lambda x: x.relu(), [0.0]),
    ("relu", lambda x: F.relu(x, inplace=False), []),
    ("relu6", F.relu6, [0.0, 6.0]),
    ("threshold", lambda x: F.threshold(x, 0.3, -1.5), [0.3]),
    ("threshold", lambda x: torch.threshold(x, 0.3, -1.5), [0.3]),
    ("leaky_relu", F.leaky_relu, [0.0]),
    ("leaky_relu", lambda x: F.leaky_relu(x, negative_slope=0.2), [0.0]),
    ("leaky_relu", lambda x: F.leaky_relu(x, -0.5), [0.0]),
    ("hardtanh", F.hardtanh, [-1.0, 1.0]),
    ("hardtanh", lambda x: F.hardtanh(x, -0.5, 2.0), [-0.5, 2.0]),
    ("hardsigmoid", F.hardsigmoid, [-3.0, 3.0]),
    ("hardswish", F.hardswish, [-3.0, 3.0]),
    ("hardshrink", F.hardshrink, [-0.5, 0.5]),
    ("hardshrink", lambda x: x.hardshrink(0.3), [-0.3, 0.3]),
    ("softshrink", F.softshrink, [-0.5, 0.5]),
    ("softshrink", lambda x: F.softshrink(x, 0.3), [-0.3, 0.3]),
    ("elu", F.elu, [0.0]),
    ("elu", lambda x: F.elu(x, alpha=0.7), [0.0]),
    ("selu", F.selu, [0.0]),
    ("selu", torch.selu, [0.0]),
    ("celu", lambda x: F.celu(x, 0.7), [0.0]),
    ("celu", lambda x: torch.celu(x, alpha=2.0), [0.0]),
    ("gelu", F.gelu, []),
    ("gelu", lambda x: F.gelu(x, approximate="tanh"), []),
    ("silu", F.silu, []),
    ("softplus", F.softplus, []),
    ("softplus", lambda x: F.softplus(x, beta=3), [20 / 3]),
    ("softplus", lambda x: F.softplus(x, beta=2, threshold=1), [0.5]),
    ("logsigmoid", F.logsigmoid, []),
    ("mish", F.mish, []),
    ("tanhshrink", F.tanhshrink, []),
    ("softsign", F.softsign, [0.0]),
    ("glu", F.glu, []),
    ("glu", lambda x: F.glu(x.reshape(2, -1), dim=0), []),
    ("softmax", lambda x: F.softmax(x, 0), []),
    ("softmax", lambda x: torch.softmax(x.reshape(2, -1), dim=-1), []),
    ("softmax", lambda x: x.reshape(2, 2, -1).softmax(1), []),
    ("softmax", lambda x: torch.special.softmax(x, 0), []),
    ("softmin", lambda x: F.softmin(x, dim=0), []),
    ("log_softmax", lambda x: F.log_softmax(x, 0), []),
    ("log_softmax", lambda x: torch.log_softmax(x.reshape(2, -1), dim=1), []),
    ("log_softmax", lambda x: x.reshape(2, 2, -1).log_softmax(-2), []),
    ("log_softmax", lambda x: torch.special.log_softmax(x, 0), []),
]


# torch has no second derivative of hardsigmoid, and its kernels round the constants 1/6 and 1/alpha to float32.
def order_and_tolerance(row: Row) -> dict[str, Any]:
    return {"second_order": row[0] != "hardsigmoid", "rtol": 1e-7 if row[0] in ("hardsigmoid", "celu") else None}


ELEMENTWISE = [row for row in ROWS if row[0] not in ("softmax", "softmin", "log_softmax", "glu")]

IN_PLACE: list[Row] = [
    ("relu", lambda y: F.relu(y, inplace=True), []),
    ("relu", torch.relu_, []),
    ("relu", F.relu_, []),
    ("relu", lambda y: y.relu_(), []),
    ("relu6", lambda y: F.relu6(y, inplace=True), []),
    ("threshold", lambda y: F.threshold(y, 0.3, -1.5, inplace=True), []),
    ("threshold", lambda y: F.threshold_(y, 0.3, -1.5), []),
    ("leaky_relu", lambda y: F.leaky_relu(y, 0.2, inplace=True), []),
    ("leaky_relu", lambda y: F.leaky_relu_(y, 0.2), []),
    ("hardtanh", lambda y: F.hardtanh(y, inplace=True), []),
    ("hardtanh", F.hardtanh_, []),
    ("hardsigmoid", lambda y: F.hardsigmoid(y, inplace=True), []),
    ("hardswish", lambda y: F.hardswish(y, inplace=True), []),
    ("elu", lambda y: F.elu(y, 0.7, inplace=True), []),
    ("elu", F.elu_, []),
    ("selu", lambda y: F.selu(y, inplace=True), []),
    ("celu", lambda y: F.celu(y, 0.7, inplace=True), []),
    ("silu", lambda y: F.silu(y, inplace=True), []),
    ("mish", lambda y: F.mish(y, inplace=True), []),
]


def leaf(values: Any, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def label(row: Row) -> str:
    return row[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("row", ROWS, ids=label)
def test_against_torch(check_against_torch: Callable[..., None], row: Row, dtype: torch.dtype) -> None:
    options = order_and_tolerance(row) if dtype is torch.float64 else {"second_order": row[0] != "hardsigmoid"}
    check_against_torch(row[1], leaf(ANY, dtype), **options)


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_against_finite_differences(row: Row) -> None:
    check_against_finite_differences(row[1], leaf(ANY).detach(), second_order=True)


@pytest.mark.parametrize("row", [row for row in ROWS if row[2]], ids=label)
def test_kinks_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    options = order_and_tolerance(row)
    if row[0] == "softplus":  # at the threshold torch takes the second derivative of one side, this that of the other
        options["second_order"] = False
    check_against_torch(row[1], leaf(row[2]), **options)


@pytest.mark.parametrize("row", ELEMENTWISE, ids=label)
def test_far_out_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    options = order_and_tolerance(row)
    if row[0] == "mish":  # torch's second derivative is NaN at 1000; this one's is tested below
        options["second_order"] = False
    check_against_torch(row[1], leaf(FAR), **options)


@pytest.mark.parametrize("row", ELEMENTWISE, ids=label)
def test_infinity_and_nan_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    check_against_torch(row[1], leaf(NOT_FINITE), second_order=False)


@pytest.mark.parametrize("row", ELEMENTWISE, ids=label)
def test_0d_and_empty_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    check_against_torch(row[1], leaf(-0.7), **order_and_tolerance(row))
    check_against_torch(row[1], torch.empty(0, 3, dtype=torch.float64, requires_grad=True), **order_and_tolerance(row))


@pytest.mark.parametrize("row", ELEMENTWISE, ids=label)
def test_bfloat16_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    check_against_torch(row[1], leaf(ANY, torch.bfloat16), second_order=False, rtol=5e-2, atol=2e-2)


@pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax])
@pytest.mark.parametrize(
    ("values", "dim"),
    [
        (0.5, 0),
        ([[1000.0, -1000.0, 0.0], [-1000.0, -1000.0, -1000.0]], 1),
        ([[1.0, -INF], [2.0, 3.0]], 1),
        ([[], []], 0),
        ([[], []], 1),
        ([[[0.1, 0.2], [0.3, -0.4]], [[0.5, 0.6], [0.7, 0.8]]], 1),
    ],
)
def test_softmax_of_awkward_inputs(
    check_against_torch: Callable[..., None], function: Callable[..., Any], values: Any, dim: int
) -> None:
    infinite = function is torch.log_softmax and INF in torch.tensor(values).abs()
    check_against_torch(lambda x: function(x, dim), leaf(values), second_order=not infinite)


@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_of_nothing_but_minus_infinity(check_against_torch: Callable[..., None], dim: int) -> None:
    x = torch.tensor([[0.0, -INF, 1.0], [-INF, -INF, -INF]], dtype=torch.float64)
    check_against_torch(lambda x: torch.ops.aten._safe_softmax(x, dim), x)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax, F.softmin])
def test_softmax_in_another_dtype(check_against_torch: Callable[..., None], function: Callable[..., Any]) -> None:
    x = leaf([[0.3, -1.2, 2.0], [0.1, 0.2, 0.3]], torch.float32)
    check_against_torch(lambda x: function(x, dim=1, dtype=torch.float64), x)
    check_against_torch(lambda x: function(x, -1, _stacklevel=5), x)
    check_against_torch(lambda x: x.softmax(1, dtype=torch.float64), x)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax, F.softmin])
@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4), (1, 2, 3, 4)])
def test_softmax_without_a_dim_warns_as_torch_does(function: Callable[..., Any], shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        ours = function(CustomTensor(x, requires_grad=True))
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        torch.testing.assert_close(ours.data, function(x))


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4), ()])
def test_prelu(check_against_torch: Callable[..., None], shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    one = leaf([0.25])
    check_against_torch(F.prelu, x, one)
    check_against_torch(torch.prelu, x, leaf(0.25))
    check_against_torch(lambda x, w: x.prelu(w), x, one)
    if x.ndim > 1:
        check_against_torch(F.prelu, x, leaf([0.1, 0.2, -0.3]))
    check_against_finite_differences(F.prelu, x.detach(), one.detach())
    check_against_torch(F.prelu, leaf([0.0, NAN, INF, -INF]), one, second_order=False)


@pytest.mark.parametrize("row", IN_PLACE, ids=label)
def test_in_place_against_torch(check_against_torch: Callable[..., None], row: Row) -> None:
    def function(x: Any) -> Any:
        y = x * 1
        assert row[1](y) is y
        return y * 2

    check_against_torch(function, leaf([0.7, -0.4, 2.0]), **order_and_tolerance(row))


@pytest.mark.parametrize("row", IN_PLACE, ids=label)
def test_in_place_on_constants(row: Row) -> None:
    values = torch.tensor([0.7, -0.4, 2.0])
    x = CustomTensor(values.clone())
    assert row[1](x) is x
    torch.testing.assert_close(x.data, row[1](values.clone()), rtol=0, atol=0)


@pytest.mark.parametrize("row", IN_PLACE, ids=label)
def test_in_place_on_leaves_is_refused(row: Row) -> None:
    x = tensor([0.7, -0.4], requires_grad=True)
    with pytest.raises(errors.GradientError, match="leaf"):
        row[1](x)
    torch.testing.assert_close(x.data, torch.tensor([0.7, -0.4]), rtol=0, atol=0)


KERNELS: list[Row] = [
    *[row for row in ROWS if row[0] not in ("glu", "tanhshrink", "softsign", "hardshrink", "softshrink", "logsigmoid")],
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("row", KERNELS, ids=label)
def test_kernels_equal_rules(row: Row, dtype: torch.dtype) -> None:
    values = [*ANY, *row[2], *(FAR if len(row[2]) % 2 == 0 else [*FAR, 1.5])]
    if row in ELEMENTWISE:
        values += NOT_FINITE
    x = CustomTensor(torch.tensor(values[: len(values) // 4 * 4], dtype=dtype), requires_grad=True)
    y = row[1](x)
    weights = torch.linspace(-1, 2, y.numel(), dtype=dtype).reshape(y.shape)
    (by_kernel,) = grad(y, x, weights, retain_graph=True)
    with rules_only():
        (by_rule,) = grad(y, x, weights)
    assert by_kernel is not None
    assert by_rule is not None
    tolerance = 2e-6 if dtype is torch.float32 else order_and_tolerance(row)["rtol"] or 1e-13
    torch.testing.assert_close(by_kernel.data, by_rule.data, rtol=tolerance, atol=tolerance, equal_nan=True)


def test_every_kernel_is_compared() -> None:
    with_kernel = {
        function.primitive.name
        for key, function in registry.OPERATIONS.items()
        if key.startswith(ops.activations.__name__ + ".") and getattr(function, "primitive", None)
        if function.primitive.kernels
    }
    assert with_kernel <= {row[0] for row in KERNELS}


@pytest.mark.parametrize("function", [F.silu, F.gelu, lambda x: F.gelu(x, approximate="tanh"), torch.sigmoid])
def test_derivative_at_zero_is_a_half(function: Callable[..., Any]) -> None:
    expected = 0.25 if function is torch.sigmoid else 0.5
    for mode in (rules_only(), None):
        x = tensor(0.0, requires_grad=True)
        if mode is None:
            function(x).backward()
        else:
            with mode:
                function(x).backward()
        assert x.grad is not None
        assert x.grad.item() == expected


@pytest.mark.parametrize(
    "function",
    [F.softplus, F.logsigmoid, F.silu, F.gelu, F.mish, lambda x: F.log_softmax(x, 0), lambda x: F.softmax(x, 0)],
)
def test_gradients_are_finite_far_out(function: Callable[..., Any]) -> None:
    for only in (True, False):
        x = tensor([1000.0, -1000.0, 0.0], requires_grad=True)
        (first,) = grad(function(x).sum(), x, create_graph=only)
        assert first is not None
        assert first.isfinite().all()
        if only:
            (second,) = grad(first.sum(), x)
            assert second is not None
            assert second.isfinite().all()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: F.prelu(x, torch.ones(4)), r"prelu: a weight of shape \(4,\)"),
        (lambda x: F.prelu(x, torch.ones(3, 1)), r"prelu: a weight of shape \(3, 1\)"),
        (lambda x: F.glu(x), r"glu: axis -1 of an input of shape \(2, 3\)"),
        (lambda x: F.gelu(x, approximate="quick"), "gelu: "),
        (lambda x: torch.softmax(x, 2), "softmax: "),
    ],
)
def test_errors(function: Callable[..., Any], message: str) -> None:
    with pytest.raises((errors.ShapeError, errors.ArgumentError, errors.AxisError), match=message):
        function(tensor(torch.zeros(2, 3), requires_grad=True))


def test_every_operation_has_a_row() -> None:
    rows = {row[0] for row in ROWS} | {"prelu", "safe_softmax"}
    declared = {key.rsplit(".", 1)[1] for key in registry.OPERATIONS if key.startswith(ops.activations.__name__ + ".")}
    assert {name.rstrip("_") for name in declared if not name.startswith("_")} == set(ops.activations.__all__) == rows
