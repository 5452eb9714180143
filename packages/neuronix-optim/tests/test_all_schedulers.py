"""Every schedule of torch over long runs, on optimizers of both libraries, with its state going both ways."""

from __future__ import annotations

import copy
import inspect
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix import optim
from neuronix.optim import lr_scheduler
from neuronix.optim.errors import OptimizerError, OptimizerTypeError

EPOCHS = 300
theirs = torch.optim.lr_scheduler


class Decay:
    """A function of the epoch that can be saved."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, epoch: float) -> float:
        return float(self.rate**epoch)


def decay(epoch: float) -> float:
    return 0.99**epoch


def wave(epoch: float) -> float:
    return 1.01 if epoch % 3 else 0.97


SIMPLE: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 30, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [3, 3, 17, 240], "gamma": 0.5}),
    ("MultiStepLR", {"milestones": []}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.7, "total_iters": 200}),
    ("ConstantLR", {"factor": 1.0, "total_iters": 0}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.01, "end_factor": 0.9, "total_iters": 250}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 120}),
    ("ExponentialLR", {"gamma": 0.98}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 280, "power": 2.5}),
    ("CosineAnnealingLR", {"T_max": 70, "eta_min": 1e-3}),
    ("LambdaLR", {"lr_lambda": decay}),
    ("LambdaLR", {"lr_lambda": [decay, Decay(0.9)]}),
    ("MultiplicativeLR", {"lr_lambda": wave}),
    ("MultiplicativeLR", {"lr_lambda": [wave, decay]}),
    ("CosineAnnealingWarmRestarts", {"T_0": 7}),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 2, "eta_min": 1e-3}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 3}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 11}),
    ("CyclicLR", {"base_lr": [0.01, 0.02], "max_lr": [0.3, 0.4], "step_size_up": 7, "step_size_down": 3}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 5, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 5, "mode": "exp_range", "gamma": 0.99}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 5, "scale_fn": Decay(0.8), "scale_mode": "cycle"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 5, "scale_fn": decay, "scale_mode": "iterations"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 9, "cycle_momentum": False}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1, "step_size_up": 9, "base_momentum": [0.7, 0.6], "max_momentum": 0.99}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": EPOCHS}),
    ("OneCycleLR", {"max_lr": [0.5, 0.3], "epochs": 31, "steps_per_epoch": 10, "pct_start": 0.4, "div_factor": 10}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": EPOCHS + 1, "anneal_strategy": "linear", "final_div_factor": 100}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": EPOCHS + 1, "three_phase": True, "base_momentum": [0.8, 0.7]}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": EPOCHS + 1, "cycle_momentum": False, "pct_start": 0.01}),
]


def made(module: Any, name: str, options: dict[str, Any]) -> Callable[[Any], Any]:
    return lambda optimizer: getattr(module, name)(optimizer, **copy.deepcopy(options))


def sequence(module: Any, *milestones: int, first: str = "LinearLR") -> Callable[[Any], Any]:
    def make(optimizer: Any) -> Any:
        others = [
            module.ExponentialLR(optimizer, 0.98),
            module.CosineAnnealingWarmRestarts(optimizer, 6, 2),
            module.StepLR(optimizer, 5, 0.7),
            module.MultiplicativeLR(optimizer, wave),
            module.PolynomialLR(optimizer, 90, 2.0),
        ]
        schedulers = [getattr(module, first)(optimizer), *others[: len(milestones)]]
        return module.SequentialLR(optimizer, schedulers, list(milestones))

    return make


def chain(module: Any) -> Callable[[Any], Any]:
    def make(optimizer: Any) -> Any:
        members = [
            module.ConstantLR(optimizer, 0.1, 20),
            module.LinearLR(optimizer, 0.3, 0.8, 50),
            module.ExponentialLR(optimizer, 0.99),
            module.CosineAnnealingLR(optimizer, 400),
            module.MultiStepLR(optimizer, [10, 100]),
        ]
        return module.ChainedScheduler(members)

    return make


def chain_in_sequence(module: Any) -> Callable[[Any], Any]:
    def make(optimizer: Any) -> Any:
        chained = module.ChainedScheduler([module.ConstantLR(optimizer), module.LambdaLR(optimizer, decay)], optimizer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if module is theirs else "error")  # torch: a step before the optimizer's
            return module.SequentialLR(optimizer, [chained, module.LinearLR(optimizer)], [40])

    return make


MAKERS: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    *((f"{n}-{i}", made(lr_scheduler, n, o), made(theirs, n, o)) for i, (n, o) in enumerate(SIMPLE)),
    ("SequentialLR", sequence(lr_scheduler, 10), sequence(theirs, 10)),
    ("SequentialLR-five", sequence(lr_scheduler, 3, 40, 90, 130, 200), sequence(theirs, 3, 40, 90, 130, 200)),
    ("SequentialLR-at-0", sequence(lr_scheduler, 0, first="ConstantLR"), sequence(theirs, 0, first="ConstantLR")),
    ("ChainedScheduler", chain(lr_scheduler), chain(theirs)),
    ("SequentialLR-of-a-chain", chain_in_sequence(lr_scheduler), chain_in_sequence(theirs)),
]
makers = pytest.mark.parametrize(("ours", "reference"), [row[1:] for row in MAKERS], ids=[row[0] for row in MAKERS])


def optimizer_of(library: Any, kind: str = "SGD", tensors: bool = False) -> Any:
    groups = [{"params": [torch.zeros(2)], "lr": torch.tensor(lr).double() if tensors else lr} for lr in (0.5, 0.25)]
    return getattr(library, kind)(groups, **{"momentum": 0.9} if kind == "SGD" else {})


def scheduled(optimizer: Any) -> list[float]:
    """Everything that a schedule may change."""
    found = []
    for group in optimizer.param_groups:
        found.append(float(group["lr"]))
        found.append(float(group["momentum"] if "momentum" in group else group.get("betas", (0,))[0]))
    return found


def history(optimizer: Any, scheduler: Any, epochs: int) -> list[float]:
    result = scheduled(optimizer)
    for _ in range(epochs):
        optimizer.step()
        scheduler.step()
        result += scheduled(optimizer)
    return result


def assert_same_state(got: Any, wanted: Any) -> None:
    artefacts = {"_is_initial", "_step_count"} if "_schedulers" in wanted else set()  # of a chain in a sequence
    assert got.keys() - artefacts == wanted.keys() - artefacts
    for name, value in wanted.items():
        if name in artefacts:
            continue
        if name == "_schedulers":
            for mine, other in zip(got[name], value, strict=True):
                assert_same_state(mine, other)
        elif name == "_schedule_phases":
            assert got[name] == value
        elif isinstance(value, (float, int)) or (isinstance(value, list) and value and isinstance(value[0], float)):
            assert got[name] == pytest.approx(value, rel=1e-12, abs=1e-300)
        else:
            assert got[name] == value


@pytest.mark.parametrize(("kind", "tensors"), [("SGD", False), ("Adam", True)], ids=["SGD", "Adam, rates in tensors"])
@makers
def test_long_run_equals_torch(ours: Any, reference: Any, kind: str, tensors: bool) -> None:
    optimizer, other = optimizer_of(optim, kind, tensors), optimizer_of(torch.optim, kind, tensors)
    scheduler, expected = ours(optimizer), reference(other)
    got, want = history(optimizer, scheduler, EPOCHS), history(other, expected, EPOCHS)
    assert got == pytest.approx(want, rel=1e-11, abs=1e-15)
    assert [float(lr) for lr in scheduler.get_last_lr()] == scheduled(optimizer)[::2]
    if not tensors:
        assert_same_state(scheduler.state_dict(), expected.state_dict())


@makers
def test_schedules_an_optimizer_of_torch(ours: Any, reference: Any) -> None:
    optimizer, other = optimizer_of(torch.optim), optimizer_of(torch.optim)
    got, want = history(optimizer, ours(optimizer), 30), history(other, reference(other), 30)
    assert got == pytest.approx(want, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("direction", ["ours", "from torch", "to torch"])
@makers
def test_goes_on_from_a_state(ours: Any, reference: Any, direction: str) -> None:
    whole = optimizer_of(torch.optim)
    want = history(whole, reference(whole), 60)
    library, make = (torch.optim, reference) if direction == "from torch" else (optim, ours)
    first = optimizer_of(library)
    scheduler = make(first)
    got = history(first, scheduler, 25)
    buffer = io.BytesIO()
    torch.save((first.state_dict(), scheduler.state_dict()), buffer)
    buffer.seek(0)
    library, make = (torch.optim, reference) if direction == "to torch" else (optim, ours)
    second = optimizer_of(library)
    resumed = make(second)
    optimizer_state, state = torch.load(buffer, weights_only=False)  # torch's own, which holds a Counter
    second.load_state_dict(optimizer_state)
    resumed.load_state_dict(state)
    got += history(second, resumed, 35)[4:]
    assert got == pytest.approx(want, rel=1e-11, abs=1e-15)


@pytest.mark.parametrize("name", [name for name in theirs.__all__ if name != "LRScheduler"])
def test_has_torchs_signature(name: str) -> None:
    def arguments(kind: Any) -> list[tuple[str, Any, Any]]:
        return [(each.name, each.kind, each.default) for each in inspect.signature(kind).parameters.values()]

    assert arguments(getattr(lr_scheduler, name)) == arguments(getattr(theirs, name))


def test_all_of_torch_are_there() -> None:
    assert {*theirs.__all__} <= {*lr_scheduler.__all__}


@pytest.mark.parametrize("epochs", [[0, 5, 2, 30], [7.25, 7.5, 13.0, 0.5]], ids=["whole", "parts"])
@pytest.mark.parametrize(("name", "options"), SIMPLE, ids=[f"{n}-{i}" for i, (n, _) in enumerate(SIMPLE)])
def test_jumps_to_an_epoch_as_torch_does(name: str, options: dict[str, Any], epochs: list[Any]) -> None:
    if name != "CosineAnnealingWarmRestarts" and epochs[0] == 7.25:
        epochs = [7, 7, 13, 1]  # others count whole epochs
    optimizer, other = optimizer_of(optim), optimizer_of(torch.optim)
    scheduler = getattr(lr_scheduler, name)(optimizer, **options)
    reference = getattr(theirs, name)(other, **options)
    if options.get("total_iters") == 0:
        return  # torch divides by zero there
    for epoch in epochs:
        optimizer.step()
        other.step()
        scheduler.step(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that the argument is deprecated
            reference.step(epoch)
        assert scheduled(optimizer) == pytest.approx(scheduled(other), rel=1e-12, abs=1e-15)


def test_a_restart_at_the_epoch_of_a_power() -> None:
    """log(1000, 10) rounds to less than 3, where torch's schedule ends a fall instead of starting one."""
    optimizer = optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=9, T_mult=10)
    scheduler.step(999)
    assert (scheduler.T_cur, scheduler.T_i) == (0, 9000)
    assert optimizer.param_groups[0]["lr"] == 1.0


def test_only_a_callable_object_is_saved() -> None:
    optimizer = optimizer_of(optim)
    saved = lr_scheduler.LambdaLR(optimizer, [decay, Decay(0.5)]).state_dict()
    assert saved["lr_lambdas"] == [None, {"rate": 0.5}]
    resumed = lr_scheduler.LambdaLR(optimizer, [decay, Decay(0.1)])
    resumed.load_state_dict(saved)
    assert resumed.lr_lambdas[1].rate == 0.5  # type: ignore[attr-defined]


def test_a_factor_of_zero_comes_back() -> None:
    optimizer = optim.SGD([torch.zeros(1)], lr=0.5)
    scheduler = lr_scheduler.ConstantLR(optimizer, factor=0.0, total_iters=2)
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == [0.0, 0.0, 0.5]


@pytest.mark.parametrize("library", [optim, torch.optim])
def test_a_schedule_before_the_first_step_warns(library: Any) -> None:
    optimizer = optimizer_of(library)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.9)
    with pytest.warns(UserWarning, match=r"ExponentialLR.step\(\) was called before SGD.step\(\)"):
        scheduler.step()


def test_a_function_that_fails_changes_nothing() -> None:
    optimizer = optimizer_of(optim)

    def fails(epoch: int) -> float:
        return 1 / (2 - epoch)

    scheduler = lr_scheduler.LambdaLR(optimizer, fails)
    optimizer.step()
    scheduler.step()
    before = copy.deepcopy((scheduler.state_dict(), optimizer.state_dict()))
    with pytest.raises(ZeroDivisionError):
        scheduler.step()
    assert (scheduler.state_dict(), optimizer.state_dict()) == before


def test_one_cycle_ends() -> None:
    optimizer = optimizer_of(optim)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    before = copy.deepcopy((scheduler.state_dict(), optimizer.state_dict()))
    with pytest.raises(OptimizerError, match="OneCycleLR: 4 steps are more than the 3 of the schedule"):
        scheduler.step()
    assert (scheduler.state_dict(), optimizer.state_dict()) == before


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("LambdaLR", {"lr_lambda": [decay]}, "`lr_lambda` must be one or one for each of the 2 parameter groups, got 1"),
    ("LambdaLR", {"lr_lambda": 0.5}, "`lr_lambda` must be a function of the epoch, got 0.5"),
    ("MultiplicativeLR", {"lr_lambda": [decay] * 3}, "got 3"),
    ("MultiStepLR", {"milestones": [1.5]}, "`milestones` must be integers, got 1.5"),
    ("ConstantLR", {"factor": 1.5}, "`factor` must be at least 0 and at most 1, got 1.5"),
    ("ConstantLR", {"total_iters": -1}, "`total_iters` must be at least 0, got -1"),
    ("LinearLR", {"start_factor": 0.0}, "`start_factor` must be greater than 0, got 0"),
    ("LinearLR", {"start_factor": 1.1}, "`start_factor` must be at least 0 and at most 1, got 1.1"),
    ("LinearLR", {"end_factor": -0.1}, "`end_factor` must be at least 0 and at most 1, got -0.1"),
    ("ExponentialLR", {"gamma": float("nan")}, "`gamma` must be finite, got nan"),
    ("PolynomialLR", {"power": "2"}, "`power` must be a number, got '2'"),
    ("CosineAnnealingWarmRestarts", {"T_0": 0}, "`T_0` must be at least 1, got 0"),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 0}, "`T_mult` must be at least 1, got 0"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": [0.1]}, "`max_lr` must be one or one for each of the 2"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1, "mode": "square"}, "`mode` must be 'triangular' or"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1, "step_size_up": 0}, "`step_size_up` must be greater than 0, got 0"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1, "scale_fn": 3}, "`scale_fn` must be a function, got 3"),
    ("OneCycleLR", {"max_lr": 0.1}, "`total_steps` is missing"),
    ("OneCycleLR", {"max_lr": 0.1, "epochs": 3}, "`total_steps` is missing"),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 0}, "`total_steps` must be at least 1, got 0"),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 2.5}, "`total_steps` must be an integer, got 2.5"),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9, "pct_start": 1.5}, "`pct_start` must be at least 0 and at most 1"),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9, "anneal_strategy": "x"}, "`anneal_strategy` must be 'cos' or"),
    (
        "OneCycleLR",
        {"max_lr": 0.1, "total_steps": 9, "max_momentum": 1.0},
        "`max_momentum` must be at least 0",
    ),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9, "last_epoch": 3}, "group 0 has no 'initial_lr'"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(BAD)])
def test_bad_arguments_change_nothing(name: str, options: dict[str, Any], message: str) -> None:
    optimizer = optimizer_of(optim)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(OptimizerError) as caught:
        getattr(lr_scheduler, name)(optimizer, **options)
    assert message in str(caught.value)
    assert str(caught.value).startswith(name)
    assert optimizer.state_dict() == before


@pytest.mark.parametrize(
    ("name", "options"), [("CyclicLR", {"base_lr": 0.1, "max_lr": 1}), ("OneCycleLR", {"max_lr": 1})]
)
def test_momentum_that_isnt_there(name: str, options: dict[str, Any]) -> None:
    optimizer = optim.Adagrad([torch.zeros(1)])
    options = {**options, **({"total_steps": 9} if name == "OneCycleLR" else {})}
    with pytest.raises(OptimizerError, match="needs an optimizer with momentum or betas, Adagrad has neither"):
        getattr(lr_scheduler, name)(optimizer, **options)
    getattr(lr_scheduler, name)(optimizer, **options, cycle_momentum=False)


def test_members_that_dont_fit() -> None:
    optimizer, other = optimizer_of(optim), optimizer_of(optim)
    first, second = lr_scheduler.ConstantLR(optimizer), lr_scheduler.ExponentialLR(other, 0.9)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer)
    rows: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: lr_scheduler.ChainedScheduler([]), OptimizerError, "`schedulers` is empty"),
        (lambda: lr_scheduler.ChainedScheduler([first, second]), OptimizerError, "number 1 is of another optimizer"),
        (lambda: lr_scheduler.ChainedScheduler([first], other), OptimizerError, "number 0 is of another optimizer"),
        (
            lambda: lr_scheduler.ChainedScheduler([first, plateau]),
            OptimizerTypeError,
            "number 1 is a ReduceLROnPlateau",
        ),
        (lambda: lr_scheduler.ChainedScheduler(first), OptimizerTypeError, "`schedulers` must be a list"),  # type: ignore[arg-type]
        (lambda: lr_scheduler.SequentialLR(optimizer, [first], [3]), OptimizerError, "1 schedules need 0 milestones"),
        (lambda: lr_scheduler.SequentialLR(optimizer, [first, first], [1.5]), OptimizerTypeError, "must be an integer"),  # type: ignore[list-item]
        (lambda: lr_scheduler.SequentialLR(optimizer, [first] * 3, [5, 3]), OptimizerError, "must rise, got [5, 3]"),
        (lambda: lr_scheduler.SequentialLR(optimizer, [first, 3], [3]), OptimizerTypeError, "number 1 must be one of"),  # type: ignore[list-item]
    ]
    before = copy.deepcopy((optimizer.state_dict(), first.state_dict()))
    for make, error, message in rows:
        with pytest.raises(error) as caught:
            make()
        assert message in str(caught.value)
    assert (optimizer.state_dict(), first.state_dict()) == before


def test_a_chain_begins_at_its_milestone() -> None:
    """As if training began there; torch can't do it."""
    optimizer, alone = (optim.SGD([torch.zeros(1)], lr=0.5) for _ in range(2))
    constant = lr_scheduler.ConstantLR(optimizer, 0.5, 100)
    scheduler = lr_scheduler.SequentialLR(optimizer, [constant, chain(lr_scheduler)(optimizer)], [10])
    got = history(optimizer, scheduler, 40)
    want = history(alone, chain(lr_scheduler)(alone), 30)
    assert got[20:] == pytest.approx(want, rel=1e-12)


def test_a_state_of_another_composition_changes_nothing() -> None:
    optimizer = optimizer_of(optim)
    scheduler = sequence(lr_scheduler, 10)(optimizer)
    before = copy.deepcopy(scheduler.state_dict())
    with pytest.raises(OptimizerError, match="the loaded state has 3 of '_schedulers', not 2"):
        scheduler.load_state_dict(sequence(lr_scheduler, 10, 20)(optimizer_of(optim)).state_dict())
    wrong = copy.deepcopy(before)
    del wrong["_schedulers"][1]["gamma"]
    with pytest.raises(OptimizerError, match="ExponentialLR: the loaded state lacks 'gamma'"):
        scheduler.load_state_dict(wrong)
    assert scheduler.state_dict() == before
