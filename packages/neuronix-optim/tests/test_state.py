"""State goes both ways between Neuronix and torch, through files, pickles and copies, and is checked when loaded."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from neuronix.optim import SGD, AdamW, Lion, Momentum, Nesterov, Optimizer
from neuronix.optim.errors import OptimizerError, OptimizerKeyError

PAIRS: list[tuple[str, Any, Any, dict[str, Any]]] = [
    ("sgd", SGD, torch.optim.SGD, {"lr": 0.05}),
    ("sgd-momentum", SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1}),
    ("sgd-nesterov", SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("adamw", AdamW, torch.optim.AdamW, {"lr": 0.05}),
    ("adamw-amsgrad", AdamW, torch.optim.AdamW, {"lr": 0.05, "amsgrad": True, "betas": (0.8, 0.9)}),
]
pairs = pytest.mark.parametrize(("kind", "reference", "options"), [row[1:] for row in PAIRS], ids=[p[0] for p in PAIRS])


def params_of(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in [(3, 2), (4,), ()]]


def groups_of(params: list[Tensor], named: bool = False) -> list[dict[str, Any]]:
    members: list[Any] = [(f"p{i}", p) for i, p in enumerate(params)] if named else params
    return [{"params": members[:2]}, {"params": members[2:], "lr": 0.01}]


def advance(optimizer: Any, params: list[Tensor], steps: range) -> None:
    for step in steps:
        for index, param in enumerate(params):
            param.grad = None if index == 1 and step % 2 else torch.cos(2 * param + step) + 0.5 * param
        optimizer.step()


def saved_and_loaded(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Take it through a file, as a checkpoint is."""
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def assert_same(ours: Any, theirs: Any) -> None:
    """Compare dicts, lists, tensors and numbers all the way down: the same keys in the same order, the same types."""
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            assert_same(ours[key], value)
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    elif isinstance(theirs, Tensor):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    else:
        assert ours == theirs


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("steps", [0, 5])
@pairs
def test_format_is_torchs(kind: Any, reference: Any, options: dict[str, Any], steps: int, named: bool) -> None:
    ours, theirs = params_of(), params_of()
    optimizer, other = kind(groups_of(ours, named), **options), reference(groups_of(theirs, named), **options)
    advance(optimizer, ours, range(steps))
    advance(other, theirs, range(steps))
    assert_same(optimizer.state_dict(), other.state_dict())


@pytest.mark.parametrize("direction", ["ours to torch", "torch to ours"])
@pairs
def test_training_goes_on_in_the_other_library(
    kind: Any, reference: Any, options: dict[str, Any], direction: str
) -> None:
    unbroken, broken = params_of(), params_of()
    whole = reference(groups_of(unbroken), **options)
    advance(whole, unbroken, range(60))

    before, after = (kind, reference) if direction == "ours to torch" else (reference, kind)
    first = before(groups_of(broken), **options)
    advance(first, broken, range(30))
    resumed = [param.clone() for param in broken]
    second = after(groups_of(resumed), lr=0.5)  # the loaded learning rates replace this one
    second.load_state_dict(saved_and_loaded(first.state_dict()))
    advance(second, resumed, range(30, 60))
    for a, b in zip(resumed, unbroken, strict=True):
        # Ascending, the parameters reach the thousands, where a last digit is 5e-13.
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-12)
    assert_same(second.state_dict(), whole.state_dict())


@pytest.mark.parametrize("kind", [Momentum, Nesterov, Lion])
def test_training_goes_on_from_a_state(kind: Any) -> None:
    unbroken, broken = params_of(), params_of()
    whole = kind(unbroken, lr=0.02)
    advance(whole, unbroken, range(40))
    first = kind(broken, lr=0.02)
    advance(first, broken, range(20))
    second = kind(broken)
    second.load_state_dict(saved_and_loaded(first.state_dict()))
    advance(second, broken, range(20, 40))
    for a, b in zip(broken, unbroken, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", [Momentum, Nesterov])
def test_sgd_of_torch_takes_over_from_the_names_people_learn(kind: Any) -> None:
    ours = params_of()
    optimizer = kind(ours, lr=0.02)
    advance(optimizer, ours, range(10))
    theirs = [param.clone() for param in ours]
    other = torch.optim.SGD(theirs)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    advance(optimizer, ours, range(10, 50))
    advance(other, theirs, range(10, 50))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_loading_copies() -> None:
    ours, others = params_of(), params_of()
    first, second = AdamW(ours, lr=0.1), AdamW(others)
    advance(first, ours, range(3))
    saved = first.state_dict()
    second.load_state_dict(saved)
    snapshot = copy.deepcopy(saved)
    advance(second, others, range(3, 6))
    second.param_groups[0]["lr"] = 7.0
    assert_same(saved, snapshot)


def test_loading_casts_to_the_parameter_but_not_the_count() -> None:
    ours = params_of()
    first = AdamW(ours)
    advance(first, ours, range(3))
    halves = params_of(torch.bfloat16)
    second = AdamW(halves)
    second.load_state_dict(first.state_dict())
    kept = second.state[halves[0]]
    assert kept["exp_avg"].dtype == torch.bfloat16
    assert kept["step"].dtype == torch.float32
    assert kept["step"].item() == 3


def test_options_that_pick_torchs_implementation_come_back() -> None:
    theirs, ours = params_of(), params_of()
    other = torch.optim.AdamW(theirs, foreach=True)
    optimizer = AdamW(ours)
    optimizer.load_state_dict(other.state_dict())
    assert optimizer.state_dict()["param_groups"][0]["foreach"] is True


def test_older_checkpoints_of_torch() -> None:
    """They know fewer flags, count steps with a number, and write None for a buffer that isn't there yet."""
    params = params_of()
    optimizer = AdamW(params, amsgrad=True)
    advance(optimizer, params, range(2))
    saved = copy.deepcopy(optimizer.state_dict())
    for option in ("amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay"):
        del saved["param_groups"][0][option]
    for kept in saved["state"].values():
        kept["step"] = int(kept["step"])
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["amsgrad"] is False
    assert optimizer.state[params[0]]["step"].item() == 2
    advance(optimizer, params, range(2, 4))

    descent = SGD(params, momentum=0.9)
    saved = descent.state_dict()
    saved["state"] = {0: {"momentum_buffer": None}}
    descent.load_state_dict(saved)
    advance(descent, params, range(2))


def test_names_are_kept_by_a_state_without_names() -> None:
    params = params_of()
    optimizer = SGD([(f"p{i}", p) for i, p in enumerate(params)])
    optimizer.load_state_dict(SGD(params).state_dict())
    assert optimizer.param_groups[0]["param_names"] == ["p0", "p1", "p2"]


def state_with(**changes: Any) -> dict[str, Any]:
    """Return the state of an AdamW after two steps, with changes to its first group or its first entry."""
    params = params_of()
    optimizer = AdamW(params)
    advance(optimizer, params, range(2))
    saved = copy.deepcopy(optimizer.state_dict())
    for key, value in changes.items():
        target = saved["param_groups"][0] if key in saved["param_groups"][0] else saved["state"][0]
        if value is ...:
            del target[key]
        else:
            target[key] = value
    return saved


BAD_STATES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, OptimizerKeyError, "lacks 'state', 'param_groups'"),
    ([], OptimizerError, "must be a dict"),
    ({"state": {}, "param_groups": []}, OptimizerError, "0 parameter groups, the optimizer has 1"),
    (state_with(params=[0, 1]), OptimizerError, "has 2 parameters, that of the optimizer has 3"),
    (state_with(params=[0, 1, 9]), OptimizerError, "entry for parameter 2, which is in none"),
    (state_with(betas=...), OptimizerKeyError, "group 0 of the loaded state lacks 'betas'"),
    (state_with(betas=(0.9, 1.5)), OptimizerError, r"`betas\[1\]` must be at least 0 and less than 1, got 1.5"),
    (state_with(lr=-1.0), OptimizerError, "`lr` must be at least 0, got -1"),
    (state_with(exp_avg=...), OptimizerKeyError, "parameter 0 lacks 'exp_avg'"),
    (state_with(exp_avg_sq=torch.zeros(2, 3)), OptimizerError, r"shape \(2, 3\), the parameter has \(3, 2\)"),
    (state_with(step="two"), OptimizerError, "step of the loaded state of parameter 0"),
    (SGD(params_of(), momentum=0.9).state_dict(), OptimizerKeyError, "lacks 'betas', 'eps'"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_STATES, ids=[row[2] for row in BAD_STATES])
def test_a_bad_state_changes_nothing(bad: Any, error: type[Exception], message: str) -> None:
    params = params_of()
    optimizer = AdamW(params, lr=0.3)
    advance(optimizer, params, range(3))
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(bad)
    assert_same(optimizer.state_dict(), before)


def optimizers_with_state() -> list[Optimizer]:
    result: list[Optimizer] = []
    for kind in (SGD, Momentum, Nesterov, AdamW, Lion):
        params = params_of()
        optimizer: Optimizer = kind([(f"p{i}", p) for i, p in enumerate(params)], lr=0.02)
        advance(optimizer, params, range(3))
        result.append(optimizer)
    return result


@pytest.mark.parametrize("optimizer", optimizers_with_state(), ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "pickle"])
def test_a_copy_steps_like_its_original(optimizer: Optimizer, duplicate: Any) -> None:
    twin = duplicate(optimizer)
    ours, theirs = optimizer.param_groups[0]["params"], twin.param_groups[0]["params"]
    assert all(a is not b for a, b in zip(ours, theirs, strict=True))
    twin_before = copy.deepcopy(twin.state_dict())
    advance(optimizer, ours, range(3, 6))
    assert_same(twin.state_dict(), twin_before)  # nothing is shared
    advance(twin, theirs, range(3, 6))
    assert_same(twin.state_dict(), optimizer.state_dict())
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


def test_steps_are_counted_in_the_default_dtype_as_in_torch() -> None:
    param = torch.ones(2)
    param.grad = torch.ones(2)
    torch.set_default_dtype(torch.float64)
    try:
        optimizer = AdamW([param])
        optimizer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    assert optimizer.state[param]["step"].dtype == torch.float64
