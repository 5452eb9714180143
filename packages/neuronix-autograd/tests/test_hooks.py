"""Hooks on nodes and on leaves do what torch's do, and a wrong one changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from neuronix.autograd import CustomTensor, errors, grad, tensor


def both(program: Any) -> tuple[Any, Any]:
    """What ``program(x)`` returns for our leaf and for torch's."""
    values = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    return program(CustomTensor(values.clone(), requires_grad=True)), program(values.clone().requires_grad_())


def plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value.data if isinstance(value, CustomTensor) else value


def test_a_prehook_sees_and_replaces_the_gradients_of_the_results() -> None:
    def program(x: Any) -> Any:
        seen = []
        y = x * x
        y.grad_fn.register_prehook(lambda outputs: seen.append(outputs))
        y.grad_fn.register_prehook(lambda outputs: (outputs[0] * 10,))
        (2 * y).sum().backward()
        return seen[0], x.grad

    (seen, gradient), (expected_seen, expected) = both(program)
    assert_close(plain(seen), expected_seen, rtol=0, atol=0)
    assert_close(gradient, expected, rtol=0, atol=0)
    assert gradient.tolist() == [40.0, 80.0, 120.0]


def test_a_hook_sees_a_gradient_for_each_argument() -> None:
    def program(x: Any) -> Any:
        seen = []
        y = x * x  # the same argument twice: two gradients, not their sum
        handle = y.grad_fn.register_hook(lambda inputs, outputs: seen.append((inputs, outputs)))
        y.sum().backward(retain_graph=True)
        handle.remove()
        y.sum().backward()
        assert len(seen) == 1
        return seen[0], x.grad

    (seen, gradient), (expected_seen, expected) = both(program)
    assert_close(plain(seen), expected_seen, rtol=0, atol=0)
    assert_close(gradient, expected, rtol=0, atol=0)


def test_a_hook_replaces_the_arguments_gradients() -> None:
    def program(x: Any) -> Any:
        y = x * 3
        y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] + 1, None))
        y.sum().backward()
        return x.grad

    gradient, expected = both(program)
    assert_close(gradient, expected, rtol=0, atol=0)


def test_hooks_of_an_operation_with_several_results() -> None:
    x = tensor([[3.0, 1.0], [2.0, 5.0]], requires_grad=True)
    values, _ = x.max(dim=1)
    (operation,) = values.grad_fn.parents
    seen: list[Any] = []
    operation.register_prehook(lambda outputs: seen.append(("before", outputs)))
    operation.register_hook(lambda inputs, outputs: seen.append(("after", inputs, outputs)))
    values.sum().backward()
    assert [row[0] for row in seen] == ["before", "after"]
    assert seen[0][1][0].tolist() == [1.0, 1.0]
    assert seen[1][1][0].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_hooks_are_recorded_with_the_pass() -> None:
    def second(leaf: Any, differentiate: Any) -> Any:
        y = leaf * leaf
        y.grad_fn.register_prehook(lambda outputs: (outputs[0] * leaf,))
        (first,) = differentiate(y.sum(), leaf, create_graph=True)  # 2x · x
        return differentiate(first.sum(), leaf)[0]

    values = torch.tensor([1.0, 2.0], dtype=torch.float64)
    received = second(CustomTensor(values, requires_grad=True), grad)
    expected = second(values.clone().requires_grad_(), torch.autograd.grad)
    assert_close(received.data, expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    ("kind", "returned"),
    [
        ("register_prehook", (torch.ones(2),)),
        ("register_prehook", (torch.ones(3), torch.ones(3))),
        ("register_hook", (torch.ones(3),)),
        ("register_hook", (torch.ones(1), None)),
    ],
)
def test_a_hook_that_returns_something_else_is_refused(kind: str, returned: Any) -> None:
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 3
    getattr(y.grad_fn, kind)(lambda *_: returned)
    with pytest.raises(errors.ShapeError, match="mul"):
        y.sum().backward()
    assert x.grad is None


def test_a_leafs_node_takes_no_hooks() -> None:
    x = tensor(1.0, requires_grad=True)
    (leaf,) = [node for node in (x * 1.0).grad_fn.parents if node is not None]
    with pytest.raises(errors.GraphError, match="register_post_accumulate_grad_hook"):
        leaf.register_prehook(lambda outputs: None)


def test_a_hook_after_accumulation_sees_the_sum() -> None:
    def program(x: Any) -> Any:
        seen = []
        handle = x.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad.clone()))
        (2 * x).sum().backward()
        (3 * x).sum().backward()
        handle.remove()
        (4 * x).sum().backward()
        return tuple(seen), x.grad

    received, expected = both(program)
    assert_close(received, expected, rtol=0, atol=0)


def test_a_hook_after_accumulation_needs_a_leaf() -> None:
    with pytest.raises(errors.GradientError, match="leaves"):
        (tensor(1.0, requires_grad=True) * 2).register_post_accumulate_grad_hook(print)
    with pytest.raises(errors.GradientError, match="leaves"):
        tensor(1.0).register_post_accumulate_grad_hook(print)


@pytest.mark.parametrize("split", [lambda x: x.sort()[0], lambda x: x.max(0)[0], lambda x: x.split([1, 2])[1]])
def test_the_node_of_one_of_several_results_takes_hooks_too(split: Any) -> None:
    def program(x: Any) -> Any:
        seen = []
        y = split(x)
        y.grad_fn.register_prehook(lambda outputs: tuple(None if o is None else o * 10 for o in outputs))
        y.grad_fn.register_hook(lambda inputs, outputs: seen.append(inputs[0]))
        y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] * 2,))
        (y * y).sum().backward()
        return seen[0], x.grad

    (seen, gradient), (expected_seen, expected) = both(program)
    assert_close(plain(seen), expected_seen, rtol=0, atol=0)
    assert_close(gradient, expected, rtol=0, atol=0)
    assert gradient.abs().max() >= 80


@pytest.mark.parametrize("register", ["tensor", "leaf", "prehook", "hook"])
@pytest.mark.parametrize("returned", [lambda gradient: gradient.float(), lambda gradient: 1.0])
def test_a_hook_that_returns_another_type_is_refused(register: str, returned: Any) -> None:
    def program(x: Any) -> Any:
        y = x * 3
        if register == "tensor":
            y.register_hook(returned)
        elif register == "leaf":
            x.register_hook(returned)
        elif register == "prehook":
            y.grad_fn.register_prehook(lambda outputs: (returned(outputs[0]),))
        else:
            y.grad_fn.register_hook(lambda inputs, outputs: (returned(inputs[0]), None))
        with pytest.raises((RuntimeError, TypeError)) as caught:
            y.sum().backward()
        assert x.grad is None
        return caught.value

    ours, theirs = both(program)
    assert isinstance(ours, errors.DtypeError)
    assert isinstance(ours, type(theirs))


def test_rules_behind_the_inputs_dont_run_and_keep_what_they_saved() -> None:
    def program(x: Any) -> Any:
        take = grad if isinstance(x, CustomTensor) else torch.autograd.grad
        seen: list[str] = []
        y = x * x
        y.register_hook(lambda gradient: seen.append("tensor"))
        y.grad_fn.register_prehook(lambda outputs: seen.append("node"))
        z = y.exp()
        first = take((z * y).sum(), [y, z])
        loss = y.sum()
        itself = take(loss, loss)
        assert seen == ["tensor"]
        loss.backward()
        return *(plain(item) for item in first), plain(itself[0]), x.grad

    ours, theirs = both(program)
    assert_close(ours, theirs, rtol=0, atol=0)


def test_a_result_knows_whether_it_retains_its_gradient() -> None:
    def program(x: Any) -> Any:
        y = x * 3
        told = [y.retains_grad]
        y.retain_grad()
        x.retain_grad()
        y.retain_grad()
        return [*told, y.retains_grad, x.retains_grad, (x * 2).retains_grad]

    ours, theirs = both(program)
    assert ours == theirs == [False, True, False, False]
