"""Hooks are called when torch's are, with what torch gives them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

from neuronix.optim import LBFGS, SGD, AdamW
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError, OptimizerTypeError


def trace(kind: Any) -> list[Any]:
    """Register one hook of each kind, go through a step, a saving and a loading, and note what happens."""
    w = torch.zeros(2)
    w.grad = torch.ones(2)
    optimizer = kind([w], lr=0.5)
    seen: list[Any] = []

    def changed(saved: dict[str, Any], lr: float) -> dict[str, Any]:
        saved = copy.deepcopy(saved)
        saved["param_groups"][0]["lr"] = lr
        return saved

    optimizer.register_step_pre_hook(
        lambda o, args, kwargs: seen.append(("pre", o is optimizer, len(args), w.tolist()))
    )
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(("post", len(args), kwargs, w.tolist())))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("saving"))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, saved: changed(saved, 7.0))
    optimizer.register_load_state_dict_pre_hook(lambda o, saved: changed(saved, saved["param_groups"][0]["lr"] + 1))
    handle = optimizer.register_load_state_dict_post_hook(lambda o: seen.append(o.param_groups[0]["lr"]))
    optimizer.step()
    optimizer.step(lambda: 3.0)
    optimizer.load_state_dict(optimizer.state_dict())
    handle.remove()
    optimizer.load_state_dict(optimizer.state_dict())
    seen.append(optimizer.state_dict()["param_groups"][0]["lr"])
    return seen


def test_hooks_are_called_as_torchs() -> None:
    assert trace(SGD) == trace(torch.optim.SGD)
    assert trace(AdamW)[0] == ("pre", True, 1, [0.0, 0.0])


@pytest.mark.parametrize("kind", [SGD, torch.optim.SGD])
def test_a_hook_may_change_the_arguments(kind: Any) -> None:
    w = torch.zeros(1)
    w.grad = torch.ones(1)
    optimizer = kind([w], lr=0.5)
    handle = optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: "the hook's"), kwargs))
    assert optimizer.step() == "the hook's"
    handle.remove()
    assert optimizer.step() is None
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(RuntimeError):
        optimizer.step()
    assert w.item() == -1.0


def test_copies_have_no_hooks() -> None:
    w = torch.zeros(1)
    w.grad = torch.ones(1)
    optimizer = SGD([w], lr=0.5)
    seen: list[str] = []
    optimizer.register_step_post_hook(lambda *_: seen.append("called"))
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        other.step()
    assert seen == []


def test_hooks_of_lbfgs_and_bad_ones() -> None:
    w = torch.ones(1)
    optimizer = LBFGS([w])
    seen: list[str] = []
    optimizer.register_step_post_hook(lambda *_: seen.append("called"))

    def closure() -> float:
        w.grad = 2 * w
        return float((w**2).sum())

    assert optimizer.step(closure) == 1.0
    assert seen == ["called"]
    with pytest.raises(OptimizerTypeError, match="LBFGS.step: `closure` is missing"):
        optimizer.step()
    with pytest.raises(OptimizerTypeError, match="LBFGS: a hook must be a function, got 3"):
        optimizer.register_step_pre_hook(3)  # type: ignore[arg-type]
    optimizer.register_step_pre_hook(lambda *_: "nonsense")
    with pytest.raises(OptimizerRuntimeError, match="must return None or"):
        optimizer.step(closure)
    assert issubclass(OptimizerRuntimeError, OptimizerError)
