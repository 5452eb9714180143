"""backward() and grad(): seeds, accumulation, ownership of .grad, hooks, memory."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from neuronix.autograd import AutogradGraph, CustomTensor, grad, gradients, no_grad, primitive, tensor
from neuronix.autograd.errors import DtypeError, GradientError, GraphError, ShapeError


def test_a_second_backward_raises_and_changes_nothing() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(GraphError, match="second time"):
        y.backward()
    assert_close(x.grad, torch.tensor([2.0, 4.0]))
    a = x * 2
    b, c = a.sum(), (a * x).sum()
    b.backward()
    before = x.grad.clone()
    with pytest.raises(GraphError, match="second time"):
        c.backward()  # shares `a`
    assert_close(x.grad, before)


def test_nothing_to_differentiate() -> None:
    with pytest.raises(GradientError, match="nothing to differentiate"):
        tensor(1.0).backward()
    x = tensor(1.0, requires_grad=True)
    with no_grad():
        y = x * 2
    with pytest.raises(GradientError, match="nothing to differentiate"):
        y.backward()


def test_a_leaf_is_its_own_derivative() -> None:
    x = tensor(2.0, requires_grad=True)
    x.backward()
    assert x.grad is not None
    assert x.grad.item() == 1
    assert grad(x, x)[0].item() == 1


def test_gradient_is_checked() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        y.backward(torch.ones(3))
    with pytest.raises(DtypeError, match="complex"):
        y.backward(torch.ones(2, dtype=torch.complex64))
    y.backward(torch.ones(2, dtype=torch.float64))  # cast, as torch does
    assert x.grad is not None
    assert x.grad.dtype is torch.float32


def test_create_graph_points_to_grad() -> None:
    x = tensor(1.0, requires_grad=True)
    with pytest.raises(GradientError, match=r"grad\(output, inputs, create_graph=True\)"):
        (x * x).backward(create_graph=True)


def test_inputs_limits_accumulation() -> None:
    x, w = tensor([1.0, 2.0], requires_grad=True), tensor([3.0, 4.0], requires_grad=True)
    h = x * w
    (h * h).sum().backward(inputs=[w])
    assert x.grad is None
    assert_close(w.grad, 2 * (x.data * w.data) * x.data)
    h = x * w
    (h * h).sum().backward(inputs=h)
    assert x.grad is None
    assert_close(h.grad, 2 * h.data)


def test_grad_returns_a_tuple_and_touches_nothing() -> None:
    x, w = tensor([1.0, 2.0], requires_grad=True), tensor([3.0, 4.0], requires_grad=True)
    h = x * w
    result = grad(h.sum(), [x, w, h])
    assert isinstance(result, tuple)
    assert all(isinstance(g, CustomTensor) for g in result)
    assert_close(result[0].data, w.data)
    assert_close(result[1].data, x.data)
    assert_close(result[2].data, torch.ones(2))
    assert x.grad is None
    assert w.grad is None
    assert h.grad is None


def test_grad_of_unused_inputs() -> None:
    x, w = tensor([1.0, 2.0], requires_grad=True), tensor([3.0], requires_grad=True)
    with pytest.raises(GradientError, match="input 1.*not used"):
        grad(x.sum(), [x, w])
    assert grad(x.sum(), [x, w], allow_unused=True)[1] is None
    assert grad(x.sum(), [x, w], materialize_grads=True)[1].tolist() == [0.0]
    with pytest.raises(GradientError, match="does not require grad"):
        grad(x.sum(), tensor([1.0]))
    with pytest.raises(GradientError, match="empty"):
        grad(x.sum(), [])
    with pytest.raises(ValueError, match="materialize_grads"):
        grad(x.sum(), x, allow_unused=False, materialize_grads=True)


def test_grad_of_several_outputs() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    (g,) = grad([x * 2, (x * 3).sum()], x, grad_outputs=[torch.tensor([1.0, 10.0]), None])
    assert_close(g.data, torch.tensor([5.0, 23.0]))
    with pytest.raises(ShapeError, match="2 outputs"):
        grad([x * 2, x * 3], x, grad_outputs=[torch.ones(2)])


def test_orders_one_to_five() -> None:
    x = tensor(1.3, dtype=torch.float64, requires_grad=True)
    y = x**6
    for k, factor in enumerate([6, 30, 120, 360, 720], start=1):
        (y,) = grad(y, x, create_graph=True)
        assert_close(y.item(), factor * 1.3 ** (6 - k), rtol=1e-13, atol=0)


def test_a_gradient_as_part_of_a_loss() -> None:
    def penalty(x: torch.Tensor, w: torch.Tensor, gradient: object) -> torch.Tensor:
        y = (x * w).tanh().sum()
        (g,) = gradient(y, x, create_graph=True)  # type: ignore[operator]
        return y + (g * g).sum()

    values = torch.tensor([0.3, -0.7], dtype=torch.float64), torch.tensor([1.1, 0.4], dtype=torch.float64)
    theirs = [v.clone().requires_grad_() for v in values]
    penalty(*theirs, torch.autograd.grad).backward()
    mine = [tensor(v, requires_grad=True) for v in values]
    penalty(*mine, grad).backward()
    for ours, torchs in zip(mine, theirs, strict=True):
        assert_close(ours.grad, torchs.grad, rtol=1e-12, atol=1e-12)


# Ownership of .grad


def test_leaves_never_share_a_gradient() -> None:
    x, w = tensor([1.0, 2.0], requires_grad=True), tensor([3.0, 4.0], requires_grad=True)
    (x + w).sum().backward()
    x.grad.mul_(10)
    assert_close(w.grad, torch.tensor([1.0, 1.0]))
    assert x.grad.is_contiguous()
    assert x.grad._base is None
    assert x.grad.untyped_storage().nbytes() == x.grad.nbytes


def test_the_callers_gradient_is_not_taken() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    given = torch.tensor([5.0, 6.0])
    (x + 0).backward(given)
    x.grad.zero_()
    assert given.tolist() == [5.0, 6.0]
    y = tensor([1.0, 2.0], requires_grad=True)
    y.backward(given)
    y.grad.zero_()
    assert given.tolist() == [5.0, 6.0]


def test_a_saved_value_is_not_taken() -> None:
    @primitive
    def half_square(x: torch.Tensor) -> torch.Tensor:
        return x * x / 2

    @half_square.vjp("x")
    def half_square_wrt_x(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x  # right where grad is 1, and the very tensor that the caller holds

    x = tensor([3.0], requires_grad=True)
    half_square(x).backward()
    x.grad.zero_()
    assert x.tolist() == [3.0]


def test_an_expanded_gradient_is_copied() -> None:
    x = tensor(torch.zeros(3, 4), requires_grad=True)
    x.sum().backward()
    assert x.grad.stride() == (4, 1)
    x.grad[0, 0] = 5
    assert x.grad.sum() == 16


def test_a_gradient_held_by_a_hook_is_not_shared() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    held = []
    x.register_hook(held.append)
    (x * 3).sum().backward()
    x.grad.zero_()
    assert held[0].tolist() == [3.0, 3.0]


# Hooks


def test_hooks_on_leaves_and_results() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.clone()))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    y.sum().backward()
    assert_close(seen[0], torch.ones(2))
    assert_close(x.grad, torch.tensor([21.0, 21.0]))
    handle.remove()
    handle.remove()
    with pytest.raises(GradientError, match="hook"):
        tensor([1.0]).register_hook(print)


def test_a_hook_that_returns_nonsense_is_refused_before_grad_changes() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: torch.ones(3))
    with pytest.raises(ShapeError, match="hook of 'mul'"):
        y.sum().backward()
    assert x.grad is None


def test_retain_grad() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert_close(y.grad, 2 * y.data)
    with pytest.raises(GradientError):
        tensor(1.0).retain_grad()


# Memory


def test_saved_values_go_as_the_pass_goes() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    kept = torch.tensor([3.0, 4.0])
    watched = weakref.ref(kept)
    y = (x * kept).sum()
    del kept
    assert watched() is not None
    y.backward()
    assert watched() is None


def test_what_no_rule_names_is_not_kept() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    h = x + 1
    watched = weakref.ref(h.data)
    y = (h + 2).sum()
    del h
    assert watched() is None
    y.backward()


def test_a_thousand_steps_leave_the_graph_as_it_was() -> None:
    w = tensor(torch.ones(3), requires_grad=True)
    graph = (w * 1).grad_fn.graph
    gc.disable()
    try:
        sizes = []
        for step in range(1000):
            ((w * 2).exp().sum()).backward()
            w.grad = None
            if step % 250 == 249:
                sizes.append(graph.num_nodes())
        assert len(set(sizes)) == 1
    finally:
        gc.enable()


def test_mixed_dtypes_give_each_argument_its_own() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    w = tensor([[3.0], [4.0]], dtype=torch.float64, requires_grad=True)
    y = x * w
    assert y.dtype is torch.float64
    y.sum().backward()
    assert x.grad.dtype is torch.float32
    assert w.grad.dtype is torch.float64
    assert_close(x.grad, torch.tensor([7.0, 7.0]))
    assert_close(w.grad, torch.tensor([[3.0], [3.0]], dtype=torch.float64))


def test_complex_numbers_follow_torchs_convention(check_against_torch) -> None:
    torch.manual_seed(0)
    z = torch.randn(3, dtype=torch.complex128, requires_grad=True)
    w = torch.randn(3, dtype=torch.complex128, requires_grad=True)
    r = torch.randn(3, dtype=torch.float64, requires_grad=True)
    for function in (lambda z, w, r: z * w * r, lambda z, w, r: (z * z + w).exp() * r):
        theirs = function(z, w, r)
        expected = torch.autograd.grad(theirs, [z, w, r], grad_outputs=torch.ones_like(theirs))
        mine = [tensor(t, requires_grad=True) for t in (z, w, r)]
        got = grad(function(*mine), mine, grad_outputs=torch.ones_like(theirs))
        for ours, torchs in zip(got, expected, strict=True):
            assert_close(ours.data, torchs, rtol=1e-12, atol=1e-12)


def test_backward_of_a_scoped_graph_inside_another_block() -> None:
    x = tensor([1.0], requires_grad=True)
    y = x * 2
    with AutogradGraph():
        y.backward()
    assert_close(x.grad, torch.tensor([2.0]))


class Sums(TorchDispatchMode):
    """Counts the additions of two tensors, new ones and in place."""

    def __init__(self) -> None:
        super().__init__()
        self.new = self.in_place = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.new += func is torch.ops.aten.add.Tensor
        self.in_place += func is torch.ops.aten.add_.Tensor
        return func(*args, **(kwargs or {}))


def test_a_sum_of_gradients_is_written_over_one_that_nobody_else_holds() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    z = (y * 3 + y.exp() + y.sin()).sum()
    with Sums() as sums:
        z.backward()
    assert (sums.new, sums.in_place) == (0, 2)
    assert_close(x.grad, 2 * (3 + (2 * x.data).exp() + (2 * x.data).cos()))


def test_a_small_sum_of_gradients_is_a_new_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "LARGE", 4096)
    x = tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    z = (y * 3 + y.exp()).sum()
    with Sums() as sums:
        z.backward()
    assert (sums.new, sums.in_place) == (1, 0)


def test_no_sum_is_written_over_a_gradient_that_somebody_holds() -> None:
    @primitive
    def halves(x: torch.Tensor) -> torch.Tensor:
        return x / 2

    held = torch.tensor([0.5, 0.5, 0.5])

    @halves.vjp("x")
    def halves_wrt_x(grad: torch.Tensor) -> torch.Tensor:
        return held  # the rule's own, which it gives away each time

    seed, x = torch.tensor([1.0, 2.0, 3.0]), tensor([1.0, 2.0, 3.0], requires_grad=True)
    seen: list[torch.Tensor] = []
    y = x * 2
    y.register_hook(lambda grad: seen.append(grad))
    a, b = y + y, halves(y)  # the rule of `+` hands one tensor on twice; that of halves, its own
    a.register_hook(lambda grad: seen.append(grad))
    c = a + y.view(3) + b + y  # the seed goes to each of them as it is
    for _ in range(2):
        c.backward(seed, retain_graph=True)
    assert_close(seed, torch.tensor([1.0, 2.0, 3.0]), rtol=0, atol=0)
    assert_close(held, torch.tensor([0.5, 0.5, 0.5]), rtol=0, atol=0)
    by_y = 4 * seed + 0.5
    assert_close(seen, [seed, by_y, seed, by_y], rtol=0, atol=0)
    assert_close(x.grad, 4 * by_y, rtol=0, atol=0)
    by = grad(c, (x, y, a, b), seed)
    assert_close([g.data for g in by if g is not None], [2 * by_y, by_y, seed, seed], rtol=0, atol=0)
    assert_close(seed, torch.tensor([1.0, 2.0, 3.0]), rtol=0, atol=0)


def test_a_sum_of_a_batched_gradient_and_one_that_is_not() -> None:
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2
    a, b = y * 5, y.exp()

    def by_x(of_a: torch.Tensor, of_b: torch.Tensor) -> torch.Tensor:
        (found,) = grad([a, b], x, [of_a, of_b], retain_graph=True)
        return found.data

    basis, plain = torch.eye(3), torch.tensor([1.0, 2.0, 3.0])
    assert_close(torch.vmap(by_x, (None, 0))(plain, basis), 10 * plain + 2 * b.data * basis)
    assert_close(torch.vmap(by_x, (0, None))(basis, plain), 10 * basis + 2 * b.data * plain)
