"""Mistakes that this project's ancestor or its peers made, each found by running them; none may come back."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from neuronix.autograd import AutogradGraph, CustomTensor, tensor
from neuronix.autograd.errors import GradientError, GraphError


def test_a_result_that_is_scaled_scales_its_gradient() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    (10 * ((x - 3) ** 2).mean()).backward()
    assert_close(x.grad, torch.tensor([-20.0, -10.0]))


def test_backward_twice_accumulates_once_each() -> None:
    x = tensor(3.0, requires_grad=True)
    y = x * x
    y.backward(retain_graph=True)
    assert x.grad is not None
    assert x.grad.item() == 6
    y.backward(retain_graph=True)
    assert x.grad.item() == 12


@pytest.mark.parametrize("requires_grad", [False, True])
def test_an_inline_operand_lives_until_backward(requires_grad: bool) -> None:
    x = tensor([2.0], requires_grad=True)
    y = x * CustomTensor([3.0], requires_grad=requires_grad)
    gc.collect()
    y.backward()
    assert_close(x.grad, torch.tensor([3.0]))


def test_in_place_multiplication_is_differentiated() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y *= 5
    y.sum().backward()
    assert_close(x.grad, torch.tensor([15.0, 15.0]))


def test_in_place_through_a_view_changes_its_base() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    v = y[0]
    v *= 5
    assert_close(y.data, torch.tensor([15.0, 6.0]))
    y.sum().backward()
    assert_close(x.grad, torch.tensor([15.0, 3.0]))


def test_silu_at_zero_has_the_slope_one_half() -> None:
    x = tensor([0.0, -200.0, 200.0], requires_grad=True, dtype=torch.float64)
    torch.nn.functional.silu(x).sum().backward()
    assert_close(x.grad, torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64))


def test_mixing_graphs_raises() -> None:
    x = tensor([1.0], requires_grad=True)
    with AutogradGraph(auto_cleanup=False):
        inner = x * 2
    with pytest.raises(GraphError, match="recorded on"):
        inner * 3
    outer = x * 2
    with AutogradGraph(), pytest.raises(GraphError, match="recorded on"):
        outer * 3


def test_ordinary_expressions_work() -> None:
    a = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    v = tensor([1.0, -1.0], requires_grad=True)
    (a @ v).sum().backward()
    assert_close(a.grad, torch.tensor([[1.0, -1.0], [1.0, -1.0]]))
    assert_close(v.grad, torch.tensor([4.0, 6.0]))
    assert a.sum(dim=(0, 1)).item() == 10
    assert a.mean(dim=(0, 1)).item() == 2.5
    assert_close((1 / a).data, torch.tensor([[1.0, 0.5], [1 / 3, 0.25]]))
    assert_close((-a).data, torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]))
    assert_close(a[1].data, torch.tensor([3.0, 4.0]))
    product = np.array([[1.0, 2.0], [3.0, 4.0]]) * a
    assert isinstance(product, CustomTensor)
    assert product.requires_grad
    assert (np.float64(3) * a).requires_grad


def test_a_diamond_takes_linear_time() -> None:
    # 2^200 paths: it ends at all only if each node is visited once.
    x = tensor(1.0, requires_grad=True, dtype=torch.float64)
    y = x
    for _ in range(200):
        y = y + y
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 2.0**200


def test_a_deep_chain_does_not_recurse() -> None:
    x = tensor(1.0, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 1
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == 1


def test_a_non_scalar_needs_a_gradient() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradientError, match="scalar"):
        (x * 2).backward()
    assert x.grad is None


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_integers_cannot_require_grad(dtype: torch.dtype) -> None:
    with pytest.raises(GradientError, match="floating point"):
        CustomTensor(torch.ones(2, dtype=dtype), requires_grad=True)
    with pytest.raises(GradientError, match="floating point"):
        CustomTensor(torch.ones(2, dtype=dtype)).requires_grad_()


def test_an_unfinished_graph_dies_with_its_last_reference() -> None:
    gc.disable()
    try:
        x = tensor([1.0, 2.0], requires_grad=True)
        y = (x * 2).exp().sum()
        nodes = [weakref.ref(node) for node in _history(y)]
        assert len(nodes) == 4
        del y
        assert [node() for node in nodes] == [None] * 4
    finally:
        gc.enable()


def _history(tensor: CustomTensor) -> list[object]:
    assert tensor.grad_fn is not None
    return list(tensor.grad_fn.graph.reverse_toposort_from_tensor(tensor))
