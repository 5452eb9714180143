"""Averages of models, and the schedule for them, equal torch's; models of torch serve as models."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from neuronix.optim import SGD, swa_utils
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError, OptimizerTypeError

theirs = torch.optim.swa_utils
MEAN = theirs.get_swa_multi_avg_fn()
RULES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("mean", {}, {}),
    ("moving", {"avg_fn": swa_utils.get_ema_avg_fn(0.9)}, {"avg_fn": theirs.get_ema_avg_fn(0.9)}),
    (
        "moving, lists",
        {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn()},
        {"multi_avg_fn": theirs.get_ema_multi_avg_fn()},
    ),
    (
        "mean, lists",
        {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()},
        {"multi_avg_fn": MEAN},
    ),
]


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)).double()


def vary(model: torch.nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for param in model.parameters():
            param.copy_(torch.randn(param.shape, generator=generator, dtype=param.dtype))
        model(torch.randn(8, 3, generator=generator, dtype=torch.float64))  # moves the running statistics


def assert_same(ours: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 1e-13) -> None:
    assert list(ours) == list(other)
    for name, value in other.items():
        torch.testing.assert_close(ours[name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize(("ours", "reference"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_averages_equal_torchs(ours: dict[str, Any], reference: dict[str, Any], use_buffers: bool) -> None:
    rounds = reference.get("multi_avg_fn") is MEAN  # 1 / (n + 1) to single precision
    if rounds and use_buffers:
        return  # torch can't average the count of batches there, an integer
    model = network()
    average = swa_utils.AveragedModel(model, use_buffers=use_buffers, **ours)
    expected = theirs.AveragedModel(model, use_buffers=use_buffers, **reference)
    for step in range(7):
        vary(model, step)
        average.update_parameters(model)
        expected.update_parameters(model)
        assert_same(average.state_dict(), expected.state_dict(), 1e-7 if rounds else 1e-13)
    x = torch.ones(2, 3, dtype=torch.float64)
    torch.testing.assert_close(average.eval()(x), average.module.eval()(x))
    other = swa_utils.AveragedModel(network(), use_buffers=use_buffers)
    other.load_state_dict(expected.state_dict())
    assert_same(other.state_dict(), expected.state_dict())
    again = theirs.AveragedModel(network(), use_buffers=use_buffers)
    again.load_state_dict(average.state_dict())
    assert [name for name, _ in average.named_parameters()] == [name for name, _ in expected.named_parameters()]


def test_running_statistics_anew() -> None:
    model = network()
    average, expected = swa_utils.AveragedModel(model), theirs.AveragedModel(model)
    loader = [(torch.randn(5, 3, dtype=torch.float64), "label") for _ in range(3)]
    average.eval()
    expected.eval()
    swa_utils.update_bn(loader, average)
    theirs.update_bn(loader, expected)
    assert_same(average.state_dict(), expected.state_dict())
    assert average.module[1].momentum == 0.1
    assert not average.module.training
    swa_utils.update_bn(loader, torch.nn.Linear(3, 2).double())  # nothing to do


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 7])
@pytest.mark.parametrize("swa_lr", [0.05, [0.05, 0.6]])
def test_schedule_equals_torchs(swa_lr: Any, epochs: int, strategy: Any) -> None:
    def groups() -> list[dict[str, Any]]:
        return [{"params": [torch.zeros(1)], "lr": lr} for lr in (0.5, 0.25)]

    optimizer, other = SGD(groups()), torch.optim.SGD(groups())
    ours = swa_utils.SWALR(optimizer, copy.copy(swa_lr), epochs, strategy)
    reference = theirs.SWALR(other, copy.copy(swa_lr), epochs, strategy)
    for _ in range(20):
        got, want = ([group["lr"] for group in each.param_groups] for each in (optimizer, other))
        assert got == pytest.approx(want, rel=1e-12)
        for each in (optimizer, ours, other, reference):
            each.step()
    saved, wanted = ours.state_dict(), reference.state_dict()
    assert saved.pop("_last_lr") == pytest.approx(wanted.pop("_last_lr"), rel=1e-12)
    assert saved == wanted


def test_bad_input() -> None:
    model = network()
    with pytest.raises(OptimizerError, match="only one of `avg_fn` and `multi_avg_fn`"):
        swa_utils.AveragedModel(model, avg_fn=swa_utils.get_swa_avg_fn(), multi_avg_fn=swa_utils.get_swa_multi_avg_fn())
    with pytest.raises(OptimizerTypeError, match=r"must have parameters\(\) and buffers\(\), got 3"):
        swa_utils.AveragedModel(3)
    with pytest.raises(OptimizerError, match="`decay` must be at least 0 and at most 1, got 1.5"):
        swa_utils.get_ema_avg_fn(1.5)
    average = swa_utils.AveragedModel(model)
    before = copy.deepcopy(average.state_dict())
    with pytest.raises(OptimizerRuntimeError, match="has 2 parameters of other shapes than the average's 6"):
        average.update_parameters(torch.nn.Linear(3, 4))
    assert_same(average.state_dict(), before)
    optimizer = SGD([torch.zeros(1)], lr=0.5)
    for options, message in [
        ({"swa_lr": [0.1, 0.2]}, "`swa_lr` must be one or one for each of the 1 parameter groups, got 2"),
        ({"swa_lr": 0.1, "anneal_epochs": -1}, "`anneal_epochs` must be at least 0, got -1"),
        ({"swa_lr": 0.1, "anneal_strategy": "x"}, "`anneal_strategy` must be 'cos' or 'linear'"),
    ]:
        with pytest.raises(OptimizerError, match=message):
            swa_utils.SWALR(optimizer, **options)  # type: ignore[arg-type]
    assert "swa_lr" not in optimizer.param_groups[0]
