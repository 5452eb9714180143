"""In-place operations: differentiated as in torch, or refused before anything has changed."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from neuronix.autograd import CustomTensor, grad, no_grad, tensor
from neuronix.autograd.errors import DtypeError, GradientError, ShapeError


def _both(program: Callable[[Any, Any], Any]) -> None:
    """Run ``program(x, w)`` on torch leaves and on ours, and compare the result and both gradients."""
    values = torch.tensor([0.5, -1.5, 2.0], dtype=torch.float64), torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    theirs = [v.clone().requires_grad_() for v in values]
    mine = [CustomTensor(v.clone(), requires_grad=True) for v in values]
    expected, got = program(*theirs), program(*mine)
    assert_close(got.data, expected.detach(), rtol=1e-12, atol=1e-12)
    (expected * expected).sum().backward()
    (got * got).sum().backward()
    for ours, torchs in zip(mine, theirs, strict=True):
        wanted = torch.zeros(3, dtype=torch.float64) if torchs.grad is None else torchs.grad
        found = torch.zeros(3, dtype=torch.float64) if ours.grad is None else ours.grad
        assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("op", ["iadd", "isub", "imul", "itruediv"])
@pytest.mark.parametrize("operand", ["number", "leaf"])
def test_operators(op: str, operand: str) -> None:
    def program(x: Any, w: Any) -> Any:
        y = x * 2 + 5
        return getattr(operator, op)(y, {"number": 3.0, "leaf": w}[operand])

    _both(program)


def test_a_tensor_by_itself() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y *= y  # torch refuses this one at backward; here the old values are kept for the rule
    y.sum().backward()
    assert_close(y.data, torch.tensor([9.0, 36.0]))
    assert_close(x.grad, 18 * x.data)


def test_power() -> None:
    def program(x: Any, w: Any) -> Any:
        y = x * w
        y **= 3
        return y

    _both(program)


@pytest.mark.parametrize("name", ["exp_", "neg_", "sin_", "tanh_", "sigmoid_", "relu_", "abs_"])
def test_methods(name: str) -> None:
    def program(x: Any, w: Any) -> Any:
        y = x * w
        assert getattr(y, name)() is y
        return y

    _both(program)


def test_torch_functions_with_an_underscore() -> None:
    def program(x: Any, w: Any) -> Any:
        y = x * w
        torch.sin_(y)
        z = y * 2
        torch.nn.functional.relu(z, inplace=True)
        return z

    _both(program)


def test_the_old_values_live_on_where_they_were_used() -> None:
    def program(x: Any, w: Any) -> Any:
        y = x + 1
        z = y * 3  # saves nothing of y
        y *= w
        return y + z

    _both(program)


def test_a_constant_becomes_a_result() -> None:
    def program(x: Any, w: Any) -> Any:
        y = x.detach() * 0 + 1
        assert not y.requires_grad
        y *= w
        assert y.requires_grad
        return y * x

    _both(program)


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(1, 3), slice(None), [0, 2], torch.tensor([2, 0]), torch.tensor([True, False, True]), ...],
    ids=str,
)
def test_assignment(index: Any) -> None:
    def program(x: Any, w: Any) -> Any:
        y = x * 2
        y[index] = w[index] * 3
        return y

    _both(program)


def test_assignment_of_a_number_and_of_a_row() -> None:
    def program(x: Any, w: Any) -> Any:
        y = torch.stack([x, w]) * 1
        y[0, 1] = 7.0
        y[1] = x * w
        y[:, 2] = w[0]
        return y

    _both(program)


def test_augmented_assignment_to_an_item() -> None:
    def program(x: Any, w: Any) -> Any:
        y = x * 3
        y[0] *= 5  # takes a view, changes it, assigns it
        y[1:] += w[1:]
        y[[0, 2]] *= w[0]  # takes a copy, changes it, assigns it
        return y

    _both(program)


def test_a_leaf_that_requires_grad_refuses() -> None:
    w = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradientError, match="leaf"):
        w *= 2
    with pytest.raises(GradientError, match="leaf"):
        w[0] = 5.0
    with pytest.raises(GradientError, match="leaf"):
        w.exp_()
    assert w.tolist() == [1.0, 2.0]


def test_a_leaf_is_changed_inside_no_grad_and_stays_the_same_leaf() -> None:
    w = tensor([1.0, 2.0], requires_grad=True)
    data = w.data
    (w * w).sum().backward()
    with no_grad():
        w -= 0.5 * w.grad
        w[0] = 7.0
    assert w.is_leaf
    assert w.requires_grad
    assert w.data is data
    assert_close(w.data, torch.tensor([7.0, 0.0]))


def test_a_view_of_a_view_changes_its_base() -> None:
    def program(x: Any, w: Any) -> Any:
        y = torch.stack([x, w]) * 3
        y.reshape(6).reshape(2, 3).T[1:].mul_(2)
        return y[0] + y[1] * x

    _both(program)


def test_a_change_through_data_is_found() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y.data.mul_(2)
    with pytest.raises(GradientError, match="changed in place through its .data"):
        y * 2
    with pytest.raises(GradientError, match="changed in place"):
        y.backward(torch.ones(2))
    with pytest.raises(GradientError, match="changed in place"):
        y += 1


def test_a_plain_tensor_refuses_a_tracked_operand() -> None:
    w = tensor([1.0, 2.0], requires_grad=True)
    plain = torch.ones(2)
    with pytest.raises(GradientError, match="plain Tensor"):
        plain.mul_(w)
    with pytest.raises(GradientError, match="plain Tensor"):
        plain[0] = w[0]
    with pytest.raises(GradientError, match="out="):
        torch.mul(w, 2, out=plain)
    assert plain.tolist() == [1.0, 1.0]
    plain.mul_(w.detach())
    assert plain.tolist() == [1.0, 2.0]


def test_wrong_shapes_and_types_change_nothing() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    with pytest.raises(ShapeError, match="broadcast"):
        y += torch.ones(2, 2)
    counts = tensor([1, 2])
    with pytest.raises(DtypeError, match="cast"):
        counts += y
    assert y.tolist() == [3.0, 6.0]
    assert counts.tolist() == [1, 2]
    y.sum().backward()
    assert_close(x.grad, torch.tensor([3.0, 3.0]))


def test_out_on_constants_fills_the_given_tensor() -> None:
    x = tensor([1.0, 2.0])
    out = tensor([0.0, 0.0])
    assert torch.mul(x, 2, out=out) is out
    assert out.tolist() == [2.0, 4.0]


def test_a_broadcast_operand_gets_its_own_shape() -> None:
    x = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    b = tensor([10.0, 20.0], requires_grad=True)
    y = x * 1
    y += b
    y.sum().backward()
    assert_close(b.grad, torch.tensor([2.0, 2.0]))


SEVERAL: dict[str, tuple[Callable[[Any], Any], dict[int, bool]]] = {  # for each result whether it may change
    "qr": (torch.linalg.qr, {0: False, 1: False}),
    "eigh": (lambda x: torch.linalg.eigh(x + x.mT), {0: False, 1: False}),
    "svd": (torch.linalg.svd, {0: False, 1: False, 2: False}),
    "cholesky_ex": (lambda x: torch.linalg.cholesky_ex(x @ x.mT), {0: False}),
    "inv_ex": (torch.linalg.inv_ex, {0: False}),
    "slogdet": (torch.linalg.slogdet, {1: True}),
    "max": (lambda x: x.max(0), {0: True}),
    "sort": (lambda x: x.sort(1), {0: True}),
    "var_mean": (lambda x: torch.var_mean(x, 0), {0: True, 1: True}),
}


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize(
    "name, place, may_change", [(name, *item) for name, (_, places) in SEVERAL.items() for item in places.items()]
)
def test_one_of_several_results_that_a_rule_reads_is_protected(
    name: str, place: int, may_change: bool, recording: bool
) -> None:
    function, _ = SEVERAL[name]
    values = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def program(x: Any, gradient: Callable[..., Any]) -> Any:
        results = function(x)
        results[place].mul_(2)
        return gradient(sum((y * y).sum() for y in results if y.requires_grad), x, create_graph=recording)[0]

    ours, theirs = CustomTensor(values.clone(), requires_grad=True), values.clone().requires_grad_()
    if may_change:
        assert_close(program(ours, grad).data, program(theirs, torch.autograd.grad).detach(), rtol=1e-10, atol=1e-10)
        return
    with pytest.raises(RuntimeError):
        program(theirs, torch.autograd.grad)
    with pytest.raises(GradientError, match=rf"its result ({place}|'\w+') with shape .* has been modified"):
        program(ours, grad)
