"""Corners in which the engine was wrong once: shared memory, changes behind its back, leaves that become others."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from neuronix.autograd import AutogradGraph, CustomTensor, errors, grad, no_grad, primitive, tensor
from neuronix.autograd.errors import GradientError
from neuronix.autograd.testing import no_leaks


def leaf(*values: Any) -> CustomTensor:
    return CustomTensor(torch.tensor(values, dtype=torch.float64), requires_grad=True)


def torch_leaf(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def gradients(x: Any) -> Callable[..., Any]:
    return grad if isinstance(x, CustomTensor) else torch.autograd.grad


# Programs that end in lists of numbers, the same on both sides.


def retained_through_a_change(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    y *= 5
    y.sum().backward()
    return y.grad.tolist(), x.grad.tolist()


def retained_twice(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    y.retain_grad()
    y.sum().backward()
    return y.grad.tolist()


def retained_before_a_hook(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    y.register_hook(lambda gradient: gradient * 10)
    y.sum().backward()
    return y.grad.tolist(), x.grad.tolist()


def retained_in_passes_that_accumulate(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    z = (y * y).sum()
    z.backward(retain_graph=True)
    gradients(x)(z, x, retain_graph=True)
    z.backward()
    return y.grad.tolist(), x.grad.tolist()


def retained_of_one_result_of_several(leaf: Callable[..., Any]) -> Any:
    x = leaf([1.0, 5.0], [4.0, 2.0])
    values, _ = x.max(1)
    values.retain_grad()
    (values * values).sum().backward()
    return values.grad.tolist(), x.grad.tolist()


def inputs_given_twice(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward(inputs=[x, x])
    return x.grad.tolist()


def inputs_that_are_results(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward(inputs=[y])
    return y.grad.tolist(), x.grad


def frozen_after_its_use(leaf: Callable[..., Any]) -> Any:
    x, z = leaf(1.0, 2.0), leaf(1.0, 1.0)
    y = x * 3 + z
    x.requires_grad_(False)
    y.sum().backward()
    return x.grad, z.grad.tolist()


def thawed_later(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0).detach()
    y = x * 3
    x.requires_grad_()
    (x * y).sum().backward()
    return x.grad.tolist(), y.requires_grad


def another_dtype_after_its_use(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    kept = x * 3
    x.data = x.data.float()
    (x * 2).sum().backward()
    return x.grad.dtype, x.grad.tolist(), kept.dtype


def hooks_on_results_of_several(leaf: Callable[..., Any]) -> Any:
    x = leaf([1.0, 5.0, 3.0], [2.0, 2.5, 1.0])
    y, _ = x.max(1)
    z, _ = x.sort(1)
    y.register_hook(lambda gradient: gradient * gradient)
    (first,) = gradients(x)((y.exp() + z.sum(1) * y).sum(), x, create_graph=True)
    return first.tolist(), gradients(x)((first * first).sum(), x)[0].tolist()


def hook_that_returns_a_constant_in_a_recorded_pass(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    y = x.sin()
    y.register_hook(lambda gradient: torch.full((2,), 3.0, dtype=torch.float64))
    (first,) = gradients(x)(y.exp().sum(), x, create_graph=True)
    return first.tolist(), gradients(x)(first.sum(), x)[0].tolist()


def zeroed(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.zero_()
    y.sum().backward()
    return x.grad.tolist()


def overwritten_by_a_constant(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.copy_(torch.ones(2))
    y[0] = float("nan")
    y.sum().backward()
    return x.grad.tolist()


def detached_in_place(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y * 3
    y.detach_()
    z.sum().backward()
    return x.grad.tolist(), y.requires_grad


def the_gradient_changed_between_passes(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    x.grad *= 2
    x.grad.add_(1)
    (x * 3).sum().backward()
    return x.grad.tolist()


def noncontiguous_leaf(leaf: Callable[..., Any]) -> Any:
    x = leaf([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    y = type(x)(x.data.t()[::2]) if isinstance(x, CustomTensor) else x.detach().t()[::2]
    y.requires_grad_()
    (y * y.sum(0)).sum().backward()
    (y[0] * y[1]).sum().backward()
    return y.grad.tolist()


def expanded_constant(leaf: Callable[..., Any]) -> Any:
    x = leaf(1.0)
    y = x.detach().expand(3).requires_grad_()
    (y * torch.arange(3)).sum().backward()
    return y.grad.tolist()


@pytest.mark.parametrize(
    "program",
    [
        retained_through_a_change,
        retained_twice,
        retained_before_a_hook,
        retained_in_passes_that_accumulate,
        retained_of_one_result_of_several,
        inputs_given_twice,
        inputs_that_are_results,
        frozen_after_its_use,
        thawed_later,
        another_dtype_after_its_use,
        hooks_on_results_of_several,
        hook_that_returns_a_constant_in_a_recorded_pass,
        zeroed,
        overwritten_by_a_constant,
        detached_in_place,
        the_gradient_changed_between_passes,
        noncontiguous_leaf,
        expanded_constant,
    ],
)
def test_as_in_torch(program: Callable[..., Any]) -> None:
    assert program(leaf) == program(torch_leaf)


# Memory of gradients


def test_a_gradient_that_is_set_is_copied() -> None:
    x, y = leaf(1.0, 2.0), leaf(1.0, 2.0)
    mine = torch.ones(2, dtype=torch.float64)
    x.grad = mine
    y.grad = x.grad
    (x * 3).sum().backward()
    assert_close(mine, torch.ones(2, dtype=torch.float64))
    assert_close(y.grad, torch.ones(2, dtype=torch.float64))
    assert_close(x.grad, torch.full((2,), 4.0, dtype=torch.float64))
    x.grad = torch.ones(1, dtype=torch.float64).expand(2)
    (x * 3).sum().backward()
    assert_close(x.grad, torch.full((2,), 4.0, dtype=torch.float64))


def test_gradients_share_memory_with_nothing() -> None:
    x, y, z = leaf(1.0, 2.0), leaf(1.0, 2.0), leaf(1.0, 2.0)
    given = torch.ones(2, dtype=torch.float64)
    (x + y + z.view(2)).backward(given)
    x.backward(given)
    for each in (x, y, z):
        assert each.grad is not None
        each.grad.mul_(7)
    assert_close(given, torch.ones(2, dtype=torch.float64))
    assert [each.grad.tolist() for each in (x, y, z) if each.grad is not None] == [[14, 14], [7, 7], [7, 7]]


@primitive
def keeps_its_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """x · weight, with a rule that returns the very tensor that it saved."""
    return x * weight


@keeps_its_gradient.vjp("x")
def keeps_its_gradient_wrt_x(weight: Tensor) -> Tensor:
    return weight


def test_a_rule_may_return_what_it_saved() -> None:
    x = leaf(1.0, 2.0)
    weight = torch.tensor([3.0, 4.0], dtype=torch.float64)
    keeps_its_gradient(x, weight).sum().backward()
    assert x.grad is not None
    x.grad.mul_(7)
    assert weight.tolist() == [3.0, 4.0]


# Changes behind the engine's back


def index_tensor(x: CustomTensor) -> CustomTensor:
    places = torch.tensor([0, 1])
    y = x[places]
    places.add_(1)
    return y


def index_among_others(x: CustomTensor) -> CustomTensor:
    places = torch.tensor([0, 1])
    y = x.reshape(1, 3)[0, places]
    places.add_(1)
    return y


def gathered_places(x: CustomTensor) -> CustomTensor:
    places = CustomTensor(torch.tensor([0, 1]))
    y = x.gather(0, places)
    places.data.add_(1)
    return y


def positions_of_a_maximum(x: CustomTensor) -> CustomTensor:
    y, places = x.max(0)
    places.data.fill_(0)
    return y


def mask(x: CustomTensor) -> CustomTensor:
    chosen = torch.tensor([True, False, True])
    y = torch.where(chosen, x, 2 * x)
    chosen.fill_(True)
    return y


def factor(x: CustomTensor) -> CustomTensor:
    other = torch.ones(3, dtype=torch.float64)
    y = x * other
    other.fill_(5)
    return y


def result(x: CustomTensor) -> CustomTensor:
    y = x.exp()
    z = y * 1
    y.data.fill_(5)
    return z


@pytest.mark.parametrize(
    "program", [index_tensor, index_among_others, gathered_places, positions_of_a_maximum, mask, factor, result]
)
def test_a_saved_value_that_was_changed_is_noticed(program: Callable[[CustomTensor], CustomTensor]) -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = program(x).sum()
    with pytest.raises(GradientError, match="modified by an inplace operation"):
        y.backward()
    assert x.grad is None


def test_values_beside_positions_may_change() -> None:
    x = leaf([1.0, 5.0], [4.0, 2.0])
    y, _ = x.max(1)
    y *= 2
    y.sum().backward()
    assert_close(x.grad, torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=torch.float64))


# Several results in a recorded pass


@primitive
def exp_and_sin(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two results, one of which the rule uses."""
    return torch.exp(x), torch.sin(x)


@exp_and_sin.vjp("x")
def exp_and_sin_wrt_x(grad: Any, out: Any, x: Tensor) -> Any:
    parts = [slope * part for part, slope in zip(grad, (out[0], torch.cos(x)), strict=True) if part is not None]
    return sum(parts[1:], start=parts[0])


@pytest.mark.parametrize("keep_results", [True, False])
def test_a_rule_that_uses_one_result_of_several_is_differentiated(keep_results: bool) -> None:
    def second(x: Any, both: Callable[[Any], Any]) -> Any:
        a, b = both(x)
        total = (a * b).sum()
        if not keep_results:
            a, b = a.detach(), b.detach()
        (first,) = gradients(x)(total, x, create_graph=True)
        inputs = [x, a] if keep_results else [x]
        return [found.tolist() for found in gradients(x)((first * first * a).sum(), inputs)]

    ours = second(leaf(0.3, 0.7), exp_and_sin)
    theirs = second(torch_leaf(0.3, 0.7), lambda x: (torch.exp(x), torch.sin(x)))
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert our == pytest.approx(their, rel=1e-12)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (3, 0)])
def test_distances_of_no_points_have_a_gradient(shape: tuple[int, int], p: float) -> None:
    # PyTorch's own kernel for it divides by the number of points: the process ends
    x = CustomTensor(torch.ones(shape, dtype=torch.float64), requires_grad=True)
    distances = torch.nn.functional.pdist(x, p)
    assert distances.shape == (shape[0] * (shape[0] - 1) // 2,)
    (first,) = grad(distances.sum(), x, create_graph=True)
    assert first is not None
    assert_close(first.data, torch.zeros(shape, dtype=torch.float64))
    if p:  # else the distance is a number of coordinates, whose gradient is a constant
        first.sum().backward()
        assert_close(x.grad, torch.zeros(shape, dtype=torch.float64))


# Copies


class Named(CustomTensor):
    """As a Parameter: a subclass that adds nothing but a ``__dict__``."""


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_attributes_are_copied_too(copied: Callable[[Any], Any]) -> None:
    x = Named([1.0, 2.0], requires_grad=True)
    x.tags = ["weight"]
    x.itself = x
    twin = copied(x)
    assert type(twin) is Named
    assert twin.requires_grad
    assert twin.itself is twin
    assert twin.tags == ["weight"]
    assert twin.tags is not x.tags


def test_copies_of_tensors_that_share_memory_share_memory() -> None:
    memory = torch.arange(6.0).reshape(2, 3)
    pair = copy.deepcopy([CustomTensor(memory.t(), requires_grad=True), CustomTensor(memory[1])])
    assert pair[0].data.stride() == (1, 3)
    with no_grad():
        pair[0].data.zero_()
    assert pair[1].tolist() == [0.0, 0.0, 0.0]
    assert memory.sum() == 15


# Graphs


def test_a_leaf_outlives_the_graphs_that_it_was_used_on() -> None:
    x = leaf(2.0)
    for number in range(3):
        with AutogradGraph() as graph:
            y = x * number
            y.backward()
            assert graph.num_nodes() == 2
    (x * 4).backward()
    assert x.grad is not None
    assert x.grad.item() == 0 + 1 + 2 + 4


def test_outputs_of_a_block_and_of_none_are_differentiated_at_once() -> None:
    x = leaf(2.0)
    others = [x * number for number in range(5)]
    with AutogradGraph(auto_cleanup=False):
        y = x * x
    (found,) = grad([others[3], y, x], [x])
    assert found.item() == 3 + 4 + 1


def test_a_leaf_with_values_of_another_shape() -> None:
    x = leaf(1.0, 2.0)
    kept = x * 3
    x.data = torch.ones(3, dtype=torch.float64)
    (x * 2).sum().backward()
    assert_close(x.grad, torch.full((3,), 2.0, dtype=torch.float64))
    assert kept.shape == (2,)


def test_failed_operations_leave_nothing_behind() -> None:
    x = leaf(1.0, 2.0)

    def attempts() -> None:
        y = x * 2
        y.retain_grad()
        handle = y.register_hook(lambda gradient: gradient * 2)
        for attempt in (
            lambda: y.backward(),
            lambda: y @ torch.ones(7),
            lambda: y.mul_(torch.ones(3, 2)),
            lambda: y[5],
            lambda: grad(y.sum(), leaf(1.0)),
        ):
            try:
                attempt()
            except (RuntimeError, IndexError):
                continue
            raise AssertionError
        handle.remove()
        y.sum().backward()

    with no_leaks():
        attempts()


@pytest.mark.parametrize(
    "function",
    [
        lambda x, c: torch.nn.functional.pad(x, (1, 1), value=c),
        torch.nn.functional.leaky_relu,
        lambda x, c: torch.add(x, x, alpha=c),
        torch.nn.functional.elu,
        torch.nn.functional.softplus,
        lambda x, c: torch.addcmul(x, x, x, value=c),
        lambda x, c: torch.nn.functional.threshold(x, c, c),
        lambda x, c: torch.nn.functional.hardtanh(x, -c, c),
        torch.nn.functional.celu,
    ],
)
@pytest.mark.parametrize("constant", [tensor, torch.tensor], ids=["ours", "torch's"])
def test_a_constant_tensor_may_stand_for_a_number(function: Any, constant: Any) -> None:
    values = torch.tensor([[1.0, -2.0], [3.0, 0.25]], dtype=torch.float64)
    x, expected_x = tensor(values.clone(), requires_grad=True), values.clone().requires_grad_()
    result = function(x, constant(0.5))
    expected = function(expected_x, 0.5)
    torch.testing.assert_close(result.data, expected.detach(), rtol=0, atol=0)
    result.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, expected_x.grad, rtol=1e-15, atol=0)
    with pytest.raises(errors.DtypeError, match="must be a number"):
        function(x, tensor(0.5, requires_grad=True))
