"""Clipping equals torch's, also on CustomTensors and sparse gradients; and bad input."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
import torch

from neuronix.autograd import tensor
from neuronix.optim import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError, OptimizerTypeError

theirs = torch.nn.utils
SHAPES = [(3, 4), (5,), (), (0,)]


def params_of(kind: Any, dtype: torch.dtype = torch.float64) -> list[Any]:
    generator = torch.Generator().manual_seed(2)
    params: list[Any] = []
    for shape in SHAPES:
        values = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        param = tensor(values, requires_grad=True) if kind == "ours" else torch.nn.Parameter(values)
        param.grad = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) * 3
        params.append(param)
    return [*params, torch.nn.Parameter(torch.ones(2))]  # the last one has no gradient


def gradients(params: list[Any]) -> list[torch.Tensor]:
    return [param.grad for param in params[:-1]]


def assert_equal(ours: list[Any], other: list[Any], tolerance: float) -> None:
    for a, b in zip(gradients(ours), gradients(other), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    assert ours[-1].grad is None


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kind", ["ours", "torch's"])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3, 0.5, inf, "inf"])
@pytest.mark.parametrize("max_norm", [0.5, 1e6, 0.0, inf])
def test_norm_equals_torch(max_norm: float, norm_type: Any, kind: str, dtype: torch.dtype, tolerance: float) -> None:
    ours, other = params_of(kind, dtype), params_of("torch's", dtype)
    if norm_type in (inf, "inf"):  # torch refuses the largest entry of nothing
        ours, other = [*ours[:3], ours[-1]], [*other[:3], other[-1]]
    kept = gradients(ours)
    got = clip_grad_norm_(iter(ours), max_norm, norm_type)
    want = theirs.clip_grad_norm_(other, max_norm, norm_type)
    torch.testing.assert_close(got, want.detach(), rtol=tolerance, atol=0)
    assert_equal(ours, other, tolerance)
    assert all(a is b for a, b in zip(gradients(ours), kept, strict=True))  # in place


@pytest.mark.parametrize("kind", ["ours", "torch's"])
@pytest.mark.parametrize("bound", [0.5, 100, 0.0, inf])
def test_value_equals_torch(bound: float, kind: str) -> None:
    ours, other = params_of(kind), params_of("torch's")
    clip_grad_value_(ours, bound)
    theirs.clip_grad_value_(other, bound)
    assert_equal(ours, other, 0)


def test_halves_equal_torch() -> None:
    ours, other = params_of("ours"), params_of("torch's")
    total = get_total_norm(gradients(ours))
    assert total == theirs.get_total_norm(gradients(other))
    assert get_total_norm(gradients(ours)[0]) == gradients(ours)[0].norm()
    assert get_total_norm([]).item() == 0.0
    clip_grads_with_norm_(ours, 0.3, total)
    theirs.clip_grads_with_norm_(other, 0.3, total)
    assert_equal(ours, other, 1e-14)


def test_complex_gradients() -> None:
    ours, other = (
        torch.nn.Parameter(torch.ones(2, dtype=torch.complex128)),
        torch.nn.Parameter(torch.ones(2, dtype=torch.complex128)),
    )
    for param in (ours, other):
        param.grad = torch.tensor([3 + 4j, -1j], dtype=torch.complex128)
    assert clip_grad_norm_(ours, 1.0) == theirs.clip_grad_norm_(other, 1.0)
    torch.testing.assert_close(ours.grad, other.grad, rtol=1e-14, atol=0)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, inf])
def test_sparse_gradients_are_clipped_as_dense_ones(norm_type: float) -> None:
    indices, values = torch.tensor([[0, 2, 0]]), torch.tensor([[3.0, 1.0], [2.0, -9.0], [1.0, 2.0]])
    for clip in (lambda p: clip_grad_norm_(p, 1.0, norm_type), lambda p: clip_grad_value_(p, 1.5)):
        sparse, dense = torch.zeros(3, 2), torch.zeros(3, 2)
        sparse.grad = torch.sparse_coo_tensor(indices, values.clone(), (3, 2), check_invariants=True)
        dense.grad = sparse.grad.to_dense()
        assert clip(sparse) == clip(dense)
        assert sparse.grad.is_sparse
        torch.testing.assert_close(sparse.grad.to_dense(), dense.grad, rtol=1e-6, atol=0)


def test_nothing_is_clipped_where_the_norm_is_an_error() -> None:
    params = params_of("ours")
    params[0].grad[0, 0] = nan
    before = [grad.clone() for grad in gradients(params)]
    with pytest.raises(OptimizerRuntimeError, match="the norm of order 2 of the gradients is nan; nothing was clipped"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    torch.testing.assert_close(gradients(params), before, rtol=0, atol=0, equal_nan=True)
    assert clip_grad_norm_(params, 1.0).isnan()
    assert gradients(params)[1].isnan().all()


@pytest.mark.parametrize("value", [-1.0, nan, "x"])
def test_bad_bounds_change_nothing(value: Any) -> None:
    params = params_of("ours")
    before = [grad.clone() for grad in gradients(params)]
    for clip in (clip_grad_norm_, clip_grad_value_, lambda p, v: clip_grads_with_norm_(p, v, torch.tensor(1.0))):
        with pytest.raises(OptimizerError, match="must be"):
            clip(params, value)
    torch.testing.assert_close(gradients(params), before, rtol=0, atol=0)


@pytest.mark.parametrize("wrong", [3.0, ["w"], [torch.ones(1), None]], ids=str)
def test_what_isnt_a_parameter(wrong: Any) -> None:
    with pytest.raises(OptimizerTypeError):
        clip_grad_norm_(wrong, 1.0)
