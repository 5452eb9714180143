"""Saved tensors kept elsewhere, and checkpoints: the same gradients, and the memory that was promised."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from neuronix.autograd import (
    AutogradGraph,
    CustomTensor,
    checkpoint,
    errors,
    grad,
    no_grad,
    saved_tensors_hooks,
    tensor,
)
from neuronix.autograd.watching.saved_tensors import save_on_cpu


def leaf(*shape: int, seed: int = 0) -> CustomTensor:
    generator = torch.Generator().manual_seed(seed)
    return CustomTensor(torch.randn(*shape, generator=generator, dtype=torch.float64), requires_grad=True)


def layers(x: Any, weight: Any) -> Any:
    hidden = torch.tanh(x @ weight)
    values, _ = torch.topk(hidden, 3)
    return torch.softmax(torch.cat([hidden, values], 1), -1) * 2


def test_every_saved_tensor_goes_through_the_hooks() -> None:
    def count(x: Any, hooks: Any) -> tuple[int, int]:
        packed, unpacked = [], []

        def pack(value: torch.Tensor) -> torch.Tensor:
            packed.append(value)
            return value

        def unpack(value: torch.Tensor) -> torch.Tensor:
            unpacked.append(value)
            return value

        with hooks(pack, unpack):
            y = (x * x).exp() + 1
        y.sum().backward()
        return len(packed), len(unpacked)

    assert count(leaf(3), saved_tensors_hooks) == (3, 3)
    theirs = torch.randn(3, requires_grad=True)
    assert count(theirs, torch.autograd.graph.saved_tensors_hooks) == (3, 3)


@pytest.mark.parametrize("retain", [False, True])
def test_gradients_are_the_same(retain: bool) -> None:
    x, weight = leaf(4, 5), leaf(5, 6, seed=1)
    expected = grad(layers(x, weight).square().sum(), [x, weight])
    stored: dict[int, torch.Tensor] = {}

    def pack(value: torch.Tensor) -> int:
        stored[len(stored)] = value.clone()
        return len(stored) - 1

    with saved_tensors_hooks(pack, stored.__getitem__):
        loss = layers(x, weight).square().sum()
    for _ in range(2 if retain else 1):
        received = grad(loss, [x, weight], retain_graph=retain)
        for ours, theirs in zip(received, expected, strict=True):
            assert ours is not None
            assert theirs is not None
            assert_close(ours.data, theirs.data, rtol=0, atol=0)
    assert stored


def test_the_original_isnt_kept() -> None:
    x = leaf(3)
    with saved_tensors_hooks(lambda value: value.clone(), lambda packed: packed):
        y = x.exp()
    kept = weakref.ref(y.data)
    z = y.sum()
    del y
    assert kept() is None
    z.backward()
    assert_close(x.grad, x.data.exp(), rtol=0, atol=0)


def test_saved_values_can_be_looked_at() -> None:
    x = leaf(3)
    with saved_tensors_hooks(lambda value: value.float(), lambda packed: packed.double()):
        y = x * x
    node = y.grad_fn
    assert node is not None
    assert_close(node.saved_values["x"], x.data.float().double(), rtol=0, atol=0)
    y.sum().backward()
    assert node.saved_values == {}


def test_the_innermost_block_counts() -> None:
    x = leaf(3)
    seen = []

    def hooks(name: str) -> saved_tensors_hooks:
        return saved_tensors_hooks(lambda value: seen.append(name) or value, lambda packed: packed)

    with hooks("outer"):
        y = x.exp()
        with hooks("inner"):
            y = y.exp()
        y = y.exp()
    assert seen == ["outer", "inner", "outer"]
    y.sum().backward()


def test_second_derivatives_through_packed_values() -> None:
    x = leaf(4)
    with saved_tensors_hooks(lambda value: value.clone(), lambda packed: packed):
        y = (x**3).sum()
        (first,) = grad(y, x, create_graph=True)
        assert first is not None
        (second,) = grad(first.sum(), x)
    assert second is not None
    assert_close(second.data, 6 * x.data, rtol=1e-15, atol=0)


def test_what_is_unpacked_must_be_the_tensor() -> None:
    x = leaf(3)
    with saved_tensors_hooks(lambda value: value, lambda packed: None):
        y = x.exp().sum()
    with pytest.raises(errors.DtypeError, match="NoneType"):
        y.backward()
    with saved_tensors_hooks(lambda value: value, lambda packed: packed[:2]):
        y = x.exp().sum()
    with pytest.raises(errors.ShapeError, match=r"\(2,\) for one of shape \(3,\)"):
        y.backward()
    assert x.grad is None


def test_a_failing_pack_hook_leaves_everything_as_it_was() -> None:
    x = leaf(3)

    def pack(value: torch.Tensor) -> Any:
        raise OSError("the disk is full")

    with AutogradGraph() as graph:
        with pytest.raises(OSError, match="full"), saved_tensors_hooks(pack, lambda packed: packed):
            x.exp()
        gc.collect()
        assert [node.name for node in graph.nodes()] in ([], ["leaf"])
        x.exp().sum().backward()
    assert_close(x.grad, x.data.exp(), rtol=0, atol=0)


def test_save_on_cpu() -> None:
    x = leaf(3)
    with save_on_cpu():
        y = (x * x).sum()
    y.backward()
    assert_close(x.grad, 2 * x.data, rtol=0, atol=0)


# Checkpoints


def block(x: Any, weight: Any) -> Any:
    return torch.nn.functional.dropout(torch.tanh(x @ weight), 0.5).square()


@pytest.mark.parametrize("nested", [False, True])
def test_a_checkpoint_gives_the_same_gradients(nested: bool) -> None:
    weight = leaf(5, 5, seed=1)

    def gradients(run: Any) -> list[torch.Tensor]:
        torch.manual_seed(7)
        x = leaf(4, 5)
        weight.grad = None
        run(x * 1.0).sum().backward()
        assert x.grad is not None
        assert weight.grad is not None
        return [x.grad, weight.grad, torch.rand(1)]  # and the same random numbers afterwards

    def two(x: Any) -> Any:
        return checkpoint(block, checkpoint(block, x, weight), weight=weight)

    expected = gradients(lambda x: block(block(x, weight), weight))
    received = gradients((lambda x: checkpoint(two, x)) if nested else two)
    assert_close(received, expected, rtol=0, atol=0)


def test_a_checkpoint_equals_torchs(check_against_torch: Any) -> None:
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)

    def ours(x: Any, weight: Any) -> Any:
        return checkpoint(layers, checkpoint(layers, x, weight)[:, :5], weight)

    def theirs(x: Any, weight: Any) -> Any:
        again = torch.utils.checkpoint.checkpoint
        return again(layers, again(layers, x, weight, use_reentrant=False)[:, :5], weight, use_reentrant=False)

    check_against_torch(ours, x, weight, torch_function=theirs)


def test_nothing_of_the_inside_is_kept() -> None:
    x = leaf(3)
    inner: list[weakref.ref[torch.Tensor]] = []

    def function(x: CustomTensor) -> CustomTensor:
        y = x.exp()
        inner.append(weakref.ref(y.data))
        return y.sin().sum()

    loss = checkpoint(function, x)
    assert inner[0]() is None
    loss.backward()
    assert [reference() for reference in inner] == [None, None]
    assert_close(x.grad, x.data.exp() * x.data.exp().cos(), rtol=1e-15, atol=0)


def test_it_computes_once_a_pass() -> None:
    calls = []

    def function(x: CustomTensor) -> CustomTensor:
        calls.append(None)
        return x.exp().sin().cos().sum()

    x = leaf(3)
    loss = checkpoint(function, x)
    loss.backward(retain_graph=True)
    assert len(calls) == 2
    loss.backward()
    assert len(calls) == 3
    with no_grad():
        checkpoint(function, x)
    assert len(calls) == 4


def test_a_function_that_does_something_else_the_second_time() -> None:
    x = leaf(3)

    def changing(*turns: Any) -> Any:
        turns_left = list(turns)
        return checkpoint(lambda x: turns_left.pop(0)(x), x).sum()

    for first, second, message in (
        (lambda x: x.exp(), lambda x: x * 2, "fewer"),
        (lambda x: x.exp(), lambda x: x.exp().exp(), "more than 1"),
        (lambda x: x.exp(), lambda x: x[:2].exp(), r"\(3,\) in the forward pass, and one of shape \(2,\)"),
    ):
        with pytest.raises(errors.GradientError, match=message):
            changing(first, second).backward()
    assert x.grad is None


def test_an_argument_that_has_changed() -> None:
    constant = torch.ones(3, dtype=torch.float64)
    loss = checkpoint(lambda x, c: (x * c).exp().sum(), leaf(3), CustomTensor(constant))
    constant.mul_(2)
    with pytest.raises(errors.GradientError, match=r"\(3,\) has been changed in place"):
        loss.backward()


def test_dicts_and_lists_of_arguments() -> None:
    x, y = leaf(3), leaf(3, seed=1)
    checkpoint(lambda pair, *, by: (pair[0] * by["y"]).exp().sum(), [x, 2], by={"y": y}).backward()
    product = x.data * y.data
    assert_close(x.grad, product.exp() * y.data, rtol=1e-15, atol=0)
    assert_close(y.grad, product.exp() * x.data, rtol=1e-15, atol=0)


def test_inside_a_graphs_block() -> None:
    x = leaf(3)
    with AutogradGraph():
        y = x * 2
        checkpoint(lambda y: y.exp().sum(), y).backward()
    assert_close(x.grad, 2 * (2 * x.data).exp(), rtol=1e-15, atol=0)


def test_a_pack_hook_that_changes_its_tensor_is_refused() -> None:
    x = leaf(3)
    y = x * 2
    changed = pytest.raises(errors.GradientError, match=r"pack_hook .* changed the tensor of shape \(3,\)")
    with saved_tensors_hooks(lambda kept: kept.mul_(2), lambda packed: packed), changed:
        y.sin()
    (x * x).sum().backward()
    assert_close(x.grad, 2 * x.data, rtol=0, atol=0)


@pytest.mark.parametrize("order", [1, 2])
def test_a_function_that_differentiates_its_own_inside(order: int) -> None:
    def penalty(x: Any) -> Any:
        take = grad if isinstance(x, CustomTensor) else torch.autograd.grad
        gradient = (x.sin() * x**3).sum()
        for _ in range(order):
            (gradient,) = take(gradient.sum(), x, create_graph=True)
        return (gradient * gradient * x).sum()

    x = leaf(4)
    checkpoint(penalty, x).backward()
    expected = x.data.clone().requires_grad_()
    penalty(expected).backward()
    assert_close(x.grad, expected.grad, rtol=1e-12, atol=1e-12)


def test_a_function_that_computes_in_another_type_the_second_time() -> None:
    calls: list[int] = []

    def changes(x: Any) -> Any:
        calls.append(1)
        return (x if len(calls) == 1 else x.float()).sin().exp().double()

    y = checkpoint(changes, leaf(3))
    with pytest.raises(errors.GradientError, match=r"a torch.float64 tensor of shape \(3,\) .* and torch.float32"):
        y.sum().backward()


SELECTIONS: dict[str, Any] = {
    "max": lambda x: x.max(1),
    "min": lambda x: x.min(1, keepdim=True),
    "median": lambda x: x.median(0),
    "nanmedian": lambda x: x.nanmedian(0),
    "kthvalue": lambda x: x.kthvalue(2),
    "mode": lambda x: x.mode(0),
    "sort": lambda x: x.sort(1, descending=True),
    "topk": lambda x: x.topk(3),
    "cummax": lambda x: x.cummax(1),
    "cummin": lambda x: x.cummin(0),
    "frexp": lambda x: x.frexp(),
}


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_selection_keeps_no_more_than_in_torch(selection: str) -> None:
    """The places, and not what stood there."""
    kept: list[torch.Tensor] = []
    x = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))

    def pack(value: torch.Tensor) -> torch.Tensor:
        kept.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        result = SELECTIONS[selection](x.clone().requires_grad_())
    expected = sum(value.nbytes for value in kept)
    kept.clear()
    with saved_tensors_hooks(pack, lambda value: value):
        ours = SELECTIONS[selection](tensor(x, requires_grad=True))
    assert_close(ours[0].data, result[0].detach(), rtol=0, atol=0)
    assert sum(value.nbytes for value in kept) <= expected
