"""What the optimizers have beyond steps, on models of Neuronix and of torch: averages, clipping, two algorithms."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuronix import losses, nn, optim
from neuronix.autograd import compile as compile_step
from neuronix.optim import swa_utils

theirs = torch.optim.swa_utils


def network(library: Any) -> Any:
    # A bias before a normalisation has a gradient of nothing but rounding, which these optimizers would magnify.
    return library.Sequential(
        library.Linear(4, 8, bias=False), library.BatchNorm1d(8), library.Tanh(), library.Linear(8, 3)
    ).double()


def twins() -> tuple[Any, Any]:
    torch.manual_seed(0)
    reference = network(torch.nn)
    model = network(nn)
    model.load_state_dict(reference.state_dict())
    return model, reference


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 4, generator=generator, dtype=torch.float64)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def assert_same(ours: Any, other: Any, tolerance: float = 1e-12) -> None:
    ours, other = ours.state_dict(), other.state_dict()
    assert list(ours) == list(other)
    for name, value in other.items():
        torch.testing.assert_close(ours[name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("use_buffers", [False, True])
def test_averages_of_a_model(use_buffers: bool) -> None:
    """A model, trained with clipped gradients and a schedule, and its moving average, in both libraries."""
    model, reference = twins()
    average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=use_buffers)
    expected = theirs.AveragedModel(reference, avg_fn=theirs.get_ema_avg_fn(0.9), use_buffers=use_buffers)
    optimizer, other = optim.SGD(model.parameters(), lr=0.5), torch.optim.SGD(reference.parameters(), lr=0.5)
    scheduler, schedule = swa_utils.SWALR(optimizer, 0.05, 5), theirs.SWALR(other, 0.05, 5)
    for step in range(12):
        x, y = batch(step)
        optimizer.zero_grad()
        losses.CrossEntropyLoss()(model(x), y).backward()
        norm = optim.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
        scheduler.step()
        average.update_parameters(model)
        other.zero_grad()
        torch.nn.functional.cross_entropy(reference(x), y).backward()
        wanted = torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.3)
        other.step()
        schedule.step()
        expected.update_parameters(reference)
        torch.testing.assert_close(norm, wanted, rtol=1e-10, atol=0)
    assert_same(average, expected)
    loader = [batch(seed) for seed in range(3)]
    swa_utils.update_bn(loader, average)
    theirs.update_bn(loader, expected)
    assert_same(average, expected)
    x, _ = batch(20)
    torch.testing.assert_close(average.eval()(x).data, expected.eval()(x).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [optim.Prodigy, optim.ScheduleFreeAdamW, optim.Lion])
def test_both_kinds_of_model_are_stepped_alike(kind: Any) -> None:
    model, reference = twins()
    optimizer, other = kind(model.parameters(), lr=0.05), kind(reference.parameters(), lr=0.05)
    for step in range(12):
        x, y = batch(step)
        optimizer.zero_grad()
        losses.CrossEntropyLoss()(model(x), y).backward()
        optimizer.step()
        other.zero_grad()
        torch.nn.functional.cross_entropy(reference(x), y).backward()
        other.step()
    assert_same(model, reference, 1e-9)


@pytest.mark.parametrize("kind", [optim.Prodigy, optim.ScheduleFreeAdamW, optim.Lion])
def test_a_compiled_step_is_the_same(kind: Any) -> None:
    """Also what changes from step to step: d of Prodigy, the sum of squares and the warm-up of Schedule-Free AdamW."""
    options = {"warmup_steps": 5} if kind is optim.ScheduleFreeAdamW else {}
    (model, _), (other, _) = twins(), twins()
    optimizer, expected = kind(model.parameters(), lr=0.05, **options), kind(other.parameters(), lr=0.05, **options)

    def step_of(model: Any, optimizer: Any) -> Any:
        def step(x: torch.Tensor, y: torch.Tensor) -> Any:
            optimizer.zero_grad()
            loss = losses.CrossEntropyLoss()(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    compiled = compile_step(step_of(model, optimizer), state=(model, optimizer), backend="aot_eager")
    plain = step_of(other, expected)
    for seed in range(8):
        x, y = batch(seed)
        compiled(x, y)
        plain(x, y)
    assert_same(model, other, 1e-10)
