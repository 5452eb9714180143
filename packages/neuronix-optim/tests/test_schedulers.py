"""Schedules equal torch's over 40 epochs, also when they are chained, saved, resumed; and bad input."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix.optim import SGD, CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR, lr_scheduler
from neuronix.optim.errors import OptimizerError, OptimizerKeyError, OptimizerRuntimeError, OptimizerTypeError

EPOCHS = 40
theirs = torch.optim.lr_scheduler


def optimizer_of(kind: Any, lr: Any = 0.5, groups: int = 2) -> Any:
    return kind([{"params": [torch.zeros(2)], "lr": lr / (i + 1)} for i in range(groups)])


def rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def history(optimizer: Any, schedulers: list[Any], epochs: int = EPOCHS, measures: Any = None) -> list[list[float]]:
    result = [rates(optimizer)]
    for epoch in range(epochs):
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step(*([] if measures is None else [measures[epoch]]))
        result.append(rates(optimizer))
        assert [float(lr) for lr in schedulers[-1].get_last_lr()] == rates(optimizer)
    return result


def assert_equal(ours: list[list[float]], expected: list[list[float]]) -> None:
    assert [x for row in ours for x in row] == pytest.approx([x for row in expected for x in row], rel=1e-12, abs=0)


SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 1}),
    ("StepLR", {"step_size": 7}),
    ("StepLR", {"step_size": 7, "gamma": 0.5}),
    ("StepLR", {"step_size": 100, "gamma": 0.5}),
    ("CosineAnnealingLR", {"T_max": 1}),
    ("CosineAnnealingLR", {"T_max": 10}),
    ("CosineAnnealingLR", {"T_max": 13, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 40, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 1000}),
]
schedules = pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=[f"{n}-{o}" for n, o in SCHEDULES])


@schedules
@pytest.mark.parametrize("lr", [0.5, torch.tensor(0.5, dtype=torch.float64)], ids=["number", "tensor"])
def test_equals_torch(name: str, options: dict[str, Any], lr: Any) -> None:
    ours, other = optimizer_of(SGD, lr), optimizer_of(torch.optim.SGD, lr)
    got = history(ours, [getattr(lr_scheduler, name)(ours, **options)])
    want = history(other, [getattr(theirs, name)(other, **options)])
    assert_equal(got, want)


@schedules
def test_equals_its_closed_form(name: str, options: dict[str, Any]) -> None:
    ours, other = optimizer_of(SGD), optimizer_of(torch.optim.SGD)
    got = history(ours, [getattr(lr_scheduler, name)(ours, **options)])
    reference = getattr(theirs, name)(other, **options)
    for epoch, row in enumerate(got):
        reference.last_epoch = epoch
        assert row == pytest.approx(reference._get_closed_form_lr(), rel=1e-9, abs=1e-15)


def test_chained_schedules_equal_torch() -> None:
    ours, other = optimizer_of(SGD), optimizer_of(torch.optim.SGD)
    got = history(ours, [CosineAnnealingLR(ours, 15, 0.001), StepLR(ours, 4, 0.8)])
    want = history(other, [theirs.CosineAnnealingLR(other, 15, 0.001), theirs.StepLR(other, 4, 0.8)])
    assert_equal(got, want)


@pytest.mark.parametrize("direction", ["ours", "from torch", "to torch"])
@schedules
def test_resumes_from_a_state(name: str, options: dict[str, Any], direction: str) -> None:
    whole = optimizer_of(torch.optim.SGD)
    want = history(whole, [getattr(theirs, name)(whole, **options)])
    kinds: dict[str, Any] = {"ours": (SGD, lr_scheduler), "torch": (torch.optim.SGD, theirs)}
    before = kinds["torch" if direction == "from torch" else "ours"]
    after = kinds["torch" if direction == "to torch" else "ours"]

    first = optimizer_of(before[0])
    scheduler = getattr(before[1], name)(first, **options)
    got = history(first, [scheduler], 17)
    saved = copy.deepcopy((first.state_dict(), scheduler.state_dict()))

    second = optimizer_of(after[0], lr=9.0)
    resumed = getattr(after[1], name)(second, **{**options, next(iter(options)): 3})
    second.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert resumed.last_epoch == 17
    got += history(second, [resumed], EPOCHS - 17)[1:]
    assert_equal(got, want)


@pytest.mark.parametrize("last_epoch", [0, 6, 9, 13])
@schedules
def test_resumes_at_last_epoch_as_torch_does(name: str, options: dict[str, Any], last_epoch: int) -> None:
    ours, other = optimizer_of(SGD), optimizer_of(torch.optim.SGD)
    for optimizer in (ours, other):
        for group in optimizer.param_groups:
            group["initial_lr"] = 0.7
    got = history(ours, [getattr(lr_scheduler, name)(ours, **options, last_epoch=last_epoch)])
    want = history(other, [getattr(theirs, name)(other, **options, last_epoch=last_epoch)])
    assert_equal(got, want)


def test_a_learning_rate_in_a_tensor_is_written_in_place() -> None:
    lr = torch.tensor(1.0)
    optimizer = SGD([torch.zeros(1)], lr=lr)
    scheduler = StepLR(optimizer, 1, 0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == 0.5
    (last,) = scheduler.get_last_lr()
    assert last is not lr


def test_a_state_is_a_copy() -> None:
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    scheduler = StepLR(optimizer, 1)
    scheduler.state_dict()["base_lrs"].append(3.0)
    assert scheduler.base_lrs == [1.0]


MEASURES: dict[str, list[float]] = {
    "falls": [1 / (epoch + 1) for epoch in range(EPOCHS)],
    "rises": [0.1 * epoch for epoch in range(EPOCHS)],
    "flat": [1.0] * EPOCHS,
    "slow": [1 - 1e-5 * epoch for epoch in range(EPOCHS)],
    "wavy": [(epoch * 37 % 11) / 3 - 1 for epoch in range(EPOCHS)],
    "negative": [-1.0 - 0.01 * (epoch // 5) for epoch in range(EPOCHS)],
    "nan": [1.0, float("nan"), float("inf"), -float("inf")] * (EPOCHS // 4),
}
PLATEAUS: list[dict[str, Any]] = [
    {},
    {"patience": 0},
    {"patience": 2, "factor": 0.5},
    {"patience": 2, "factor": 0.5, "mode": "max"},
    {"patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
    {"patience": 1, "threshold": 0.1, "threshold_mode": "abs", "mode": "max"},
    {"patience": 1, "threshold": 0.1, "threshold_mode": "rel", "mode": "max"},
    {"patience": 1, "cooldown": 3},
    {"patience": 0, "min_lr": 0.1},
    {"patience": 0, "min_lr": [0.1, 0.001]},
    {"patience": 0, "factor": 0.5, "eps": 0.05},
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
@pytest.mark.parametrize("measures", MEASURES.values(), ids=MEASURES.keys())
def test_plateau_equals_torch(options: dict[str, Any], measures: list[float]) -> None:
    ours, other = optimizer_of(SGD), optimizer_of(torch.optim.SGD)
    scheduler, reference = ReduceLROnPlateau(ours, **options), theirs.ReduceLROnPlateau(other, **options)
    assert scheduler.state_dict().keys() == reference.state_dict().keys()
    got = history(ours, [scheduler], measures=measures)
    want = history(other, [reference], measures=measures)
    assert_equal(got, want)
    assert scheduler.state_dict() == reference.state_dict()


@pytest.mark.parametrize("direction", ["ours", "from torch", "to torch"])
def test_plateau_resumes_from_a_state(direction: str) -> None:
    measures = MEASURES["wavy"]
    options: dict[str, Any] = {"patience": 1, "cooldown": 2, "mode": "max", "factor": 0.7}
    whole = optimizer_of(torch.optim.SGD)
    want = history(whole, [theirs.ReduceLROnPlateau(whole, **options)], measures=measures)
    kinds: dict[str, Any] = {"ours": (SGD, lr_scheduler), "torch": (torch.optim.SGD, theirs)}
    before = kinds["torch" if direction == "from torch" else "ours"]
    after = kinds["torch" if direction == "to torch" else "ours"]
    first = optimizer_of(before[0])
    scheduler = before[1].ReduceLROnPlateau(first, **options)
    got = history(first, [scheduler], 17, measures=measures)
    second = optimizer_of(after[0], lr=9.0)
    resumed = after[1].ReduceLROnPlateau(second)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    got += history(second, [resumed], EPOCHS - 17, measures=measures[17:])[1:]
    assert_equal(got, want)


def test_plateau_and_groups_added_later() -> None:
    optimizer = optimizer_of(SGD)
    one_floor = ReduceLROnPlateau(optimizer, patience=0, min_lr=0.2)
    listed = ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.2, 0.2])
    optimizer.add_param_group({"params": [torch.zeros(1)], "lr": 0.3})
    for loss in (1.0, 2.0):
        one_floor.step(loss)
    assert rates(optimizer) == [0.2, 0.2, 0.2]
    listed.step(1.0)
    before = copy.deepcopy(listed.state_dict())
    with pytest.raises(OptimizerRuntimeError, match="has 3 parameter groups, `min_lrs` has 2"):
        listed.step(2.0)
    assert listed.state_dict() == before
    assert rates(optimizer) == [0.2, 0.2, 0.2]


def test_a_group_added_later_follows_the_schedule() -> None:
    optimizer, other = optimizer_of(SGD), optimizer_of(torch.optim.SGD)
    scheduler, reference = StepLR(optimizer, 5), theirs.StepLR(other, 5)
    cosine = CosineAnnealingLR(optimizer_of(SGD, groups=1), 3)
    for epoch in range(20):
        if epoch == 7:
            for each in (optimizer, other, cosine.optimizer):
                each.add_param_group({"params": [torch.zeros(1)], "lr": 0.3})
        for each, schedule in ((optimizer, scheduler), (other, reference), (cosine.optimizer, cosine)):
            each.step()
            schedule.step()
        assert rates(optimizer) == pytest.approx(rates(other), rel=1e-12)
    assert scheduler.base_lrs == [0.5, 0.25, 0.3]
    assert cosine.base_lrs == [0.5, 0.3]


def test_a_schedule_before_the_first_step_warns_once() -> None:
    optimizer = optimizer_of(SGD)
    scheduler = StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match=r"StepLR.step\(\) was called before SGD.step\(\)"):
        scheduler.step()
    scheduler.step()


def test_module_of_torchs_name() -> None:
    assert lr_scheduler.StepLR is StepLR
    for name in lr_scheduler.__all__:
        assert issubclass(getattr(lr_scheduler, name), LRScheduler)


BAD: list[tuple[str, Callable[[SGD], object], type[Exception], str]] = [
    ("step_size 0", lambda o: StepLR(o, 0), OptimizerError, "`step_size` must be at least 1, got 0"),
    ("step_size 1.5", lambda o: StepLR(o, 1.5), OptimizerTypeError, "`step_size` must be an integer, got 1.5"),
    ("gamma", lambda o: StepLR(o, 1, -0.1), OptimizerError, "`gamma` must be at least 0, got -0.1"),
    ("last_epoch", lambda o: StepLR(o, 1, last_epoch=3), OptimizerKeyError, "group 0 has no 'initial_lr'"),
    ("last_epoch -2", lambda o: StepLR(o, 1, last_epoch=-2), OptimizerError, "`last_epoch` must be at least -1"),
    ("last_epoch '3'", lambda o: StepLR(o, 1, last_epoch="3"), OptimizerTypeError, "must be an integer, got '3'"),
    ("T_max", lambda o: CosineAnnealingLR(o, 0), OptimizerError, "`T_max` must be at least 1, got 0"),
    ("eta_min", lambda o: CosineAnnealingLR(o, 3, None), OptimizerTypeError, "`eta_min` must be a number, got None"),
    ("factor", lambda o: ReduceLROnPlateau(o, factor=1.0), OptimizerError, "`factor` must be less than 1, got 1"),
    ("mode", lambda o: ReduceLROnPlateau(o, "low"), OptimizerError, "`mode` must be 'min' or 'max', got 'low'"),
    (
        "threshold_mode",
        lambda o: ReduceLROnPlateau(o, threshold_mode="x"),
        OptimizerError,
        "`threshold_mode` must be 'rel' or 'abs'",
    ),
    ("patience", lambda o: ReduceLROnPlateau(o, patience=-1), OptimizerError, "`patience` must be at least 0, got -1"),
    ("min_lr", lambda o: ReduceLROnPlateau(o, min_lr=[0.1]), OptimizerError, "2 parameter groups, got 1"),
    (
        "min_lr -1",
        lambda o: ReduceLROnPlateau(o, min_lr=[0.1, -1]),
        OptimizerError,
        r"`min_lr\[1\]` must be at least 0",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_arguments_change_nothing(make: Any, error: type[Exception], message: str) -> None:
    optimizer = optimizer_of(SGD)
    before = optimizer.state_dict()
    with pytest.raises(error, match=message):
        make(optimizer)
    assert optimizer.state_dict() == before


@pytest.mark.parametrize("make", [lambda o: StepLR(o, 1), ReduceLROnPlateau])
@pytest.mark.parametrize("wrong", [None, [torch.zeros(1)], torch.nn.Linear(1, 1)], ids=str)
def test_not_an_optimizer(make: Any, wrong: Any) -> None:
    with pytest.raises(OptimizerTypeError, match=r"`optimizer` must be an optimizer of neuronix.optim or torch.optim"):
        make(wrong)


@pytest.mark.parametrize("wrong", [None, "low", torch.zeros(2)], ids=str)
def test_a_measure_that_is_no_number_changes_nothing(wrong: Any) -> None:
    scheduler = ReduceLROnPlateau(optimizer_of(SGD))
    before = scheduler.state_dict()
    with pytest.raises(OptimizerTypeError, match="`metrics` must be a number"):
        scheduler.step(wrong)
    assert scheduler.state_dict() == before


def test_a_state_of_another_schedule_changes_nothing() -> None:
    optimizer = optimizer_of(SGD)
    scheduler, other = StepLR(optimizer, 3), CosineAnnealingLR(optimizer, 3)
    before = scheduler.state_dict()
    with pytest.raises(OptimizerKeyError, match=r"StepLR: the loaded state lacks 'step_size', 'gamma'"):
        scheduler.load_state_dict(other.state_dict())
    assert scheduler.state_dict() == before
