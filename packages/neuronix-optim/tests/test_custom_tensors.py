"""On Neuronix's own tensors: training equals torch's, leaves stay leaves, and the engine knows of each step."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, is_grad_enabled, no_grad, tensor
from neuronix.optim import SGD, AdamW, Lion, Momentum, Nesterov, ReduceLROnPlateau, StepLR
from neuronix.optim.errors import OptimizerError

STEPS = 60
KINDS: list[tuple[str, Any, Any]] = [
    ("SGD", SGD, torch.optim.SGD),
    ("Momentum", Momentum, lambda p, **o: torch.optim.SGD(p, momentum=0.9, **o)),
    ("Nesterov", Nesterov, lambda p, **o: torch.optim.SGD(p, momentum=0.9, nesterov=True, **o)),
    ("AdamW", AdamW, torch.optim.AdamW),
]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Y = numbers(20, 3, seed=1), numbers(20, 2, seed=2)
START = [numbers(3, 4, seed=3), torch.zeros(4, dtype=torch.float64), numbers(4, 2, seed=4), numbers(7, seed=5)]


def loss_of(params: list[Any]) -> Any:
    """Return the loss of a small network; the last parameter isn't used."""
    hidden = (X @ params[0] + params[1]).tanh()
    return ((hidden @ params[2] - Y) ** 2).mean()


def ours() -> list[CustomTensor]:
    return [tensor(value.clone(), requires_grad=True) for value in START]


def train(optimizer: Any, params: list[Any], steps: int = STEPS) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(params)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("kind", "reference"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS])
def test_training_equals_torch(kind: Any, reference: Any) -> None:
    params, others = ours(), [value.clone().requires_grad_() for value in START]
    losses = train(kind(params, lr=0.05, weight_decay=0.01), params)
    expected = train(reference(others, lr=0.05, weight_decay=0.01), others)
    assert losses == pytest.approx(expected, rel=0, abs=1e-12)
    assert losses[-1] < 0.8 * losses[0]
    for a, b in zip(params, others, strict=True):
        torch.testing.assert_close(a.data, b.detach(), rtol=0, atol=1e-12)


def test_lion_trains() -> None:
    params = ours()
    losses = train(Lion(params, lr=0.01), params)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("kind", [SGD, Momentum, Nesterov, AdamW, Lion])
def test_a_parameter_stays_the_same_leaf(kind: Any) -> None:
    params = ours()
    held = [param.data for param in params]
    optimizer = kind(params, lr=0.05)
    train(optimizer, params, 2)
    for param, data in zip(params, held, strict=True):
        assert param.data is data
        assert param.is_leaf
        assert param.requires_grad
    assert params[3].grad is None
    assert torch.equal(params[3].data, START[3])
    for kept in optimizer.state_dict()["state"].values():
        assert all(type(value) is Tensor and not value.requires_grad for value in kept.values())


def test_the_engine_notices_a_step_between_two_backward_passes() -> None:
    w = tensor([1.0, 2.0], requires_grad=True)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_closure_records_also_inside_no_grad() -> None:
    w = tensor([3.0], requires_grad=True)
    optimizer = SGD([w], lr=0.25)

    def closure() -> CustomTensor:
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with no_grad():
        loss = optimizer.step(closure)
        assert not is_grad_enabled()
    assert loss.item() == 9.0
    assert w.item() == 1.5


@pytest.mark.parametrize("direction", ["to torch", "from torch"])
def test_training_goes_on_in_the_other_library(direction: str) -> None:
    whole = [value.clone().requires_grad_() for value in START]
    train(torch.optim.AdamW(whole, lr=0.05, amsgrad=True), whole)

    params, others = ours(), [value.clone().requires_grad_() for value in START]
    first, second = (params, others) if direction == "to torch" else (others, params)
    kinds = (AdamW, torch.optim.AdamW) if direction == "to torch" else (torch.optim.AdamW, AdamW)
    before = kinds[0](first, lr=0.05, amsgrad=True)
    train(before, first, 30)
    for source, target in zip(first, second, strict=True):
        target.data.copy_(source.data)
    after = kinds[1](second)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    train(after, second, 30)
    for a, b in zip(second, whole, strict=True):
        torch.testing.assert_close(a.data, b.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "pickle"])
def test_a_copy_trains_like_its_original(duplicate: Any) -> None:
    params = ours()
    optimizer = AdamW(params, lr=0.05)
    train(optimizer, params, 3)
    twin = duplicate(optimizer)
    twins = twin.param_groups[0]["params"]
    assert train(twin, twins, 3) == train(optimizer, params, 3)
    for a, b in zip(params, twins, strict=True):
        assert a is not b
        assert torch.equal(a.data, b.data)


def test_a_computed_tensor_is_refused() -> None:
    w = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(OptimizerError, match=r"number 1, of shape \(2,\), is computed from other tensors"):
        SGD([w, w * 2])


def test_given_twice_is_refused() -> None:
    w = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(OptimizerError, match="is in group 0 already"):
        SGD([w, w])


def test_schedules_take_a_tracked_loss() -> None:
    w = tensor([1.0], requires_grad=True)
    optimizer = SGD([w], lr=1.0)
    plateau, steps = ReduceLROnPlateau(optimizer, patience=0, factor=0.5), StepLR(optimizer, 2, 0.1)
    optimizer.step()
    for _ in range(2):
        plateau.step((w * w).sum())
        steps.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
