"""SGD and AdamW against torch's own database of optimizers: every input that it lists for the CPU, over 50 steps.

Torch trains first; then Neuronix trains the same network with its own engine, while torch's differentiation is replaced
by functions that raise.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

from neuronix import optim
from neuronix.autograd import CustomTensor, tensor
from neuronix.optim.errors import OptimizerError

STEPS = 50
INFOS = {info.optim_cls.__name__: info for info in optim_db if info.optim_cls.__name__ in ("SGD", "AdamW")}
DTYPES = [torch.float64, torch.float32]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
ROWS = [
    pytest.param(name, inputs.kwargs, dtype, id=f"{name}-{inputs.desc.replace(' ', '_')}-{str(dtype)[6:]}")
    for name, info in INFOS.items()
    for dtype in DTYPES
    for inputs in info.optim_inputs_func(device="cpu", dtype=dtype)
]

# What torch lists as an error and Neuronix can't be given, or gives another error for, and why.
OTHER = {
    "lr as Tensor doesn't work with foreach & not capturable": "`foreach` isn't an argument",
    r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True": "`foreach` isn't an argument",
    "a param group cannot have duplicate parameters": "an error here, a warning in torch",
}
ERRORS = [
    pytest.param(name, each, id=f"{name}-{each.optimizer_error_input.desc.replace(' ', '_')}")
    for name, info in INFOS.items()
    for each in info.optim_error_inputs_func(device="cpu", dtype=torch.float64)
]


def numbers(*shape: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def start(dtype: torch.dtype) -> list[torch.Tensor]:
    """The weights of a small network, and one that it doesn't use."""
    shapes = [(5, 6), (6,), (6, 3), (3,), (2, 2)]
    return [numbers(*shape, seed=seed, dtype=dtype) for seed, shape in enumerate(shapes)]


def train(optimizer: Any, params: list[Any], dtype: torch.dtype) -> list[list[torch.Tensor]]:
    """Train a small network, on another batch at each step; return copies of its weights after each."""
    history = []
    for step in range(STEPS):
        x, y = numbers(8, 5, seed=100 + step, dtype=dtype), numbers(8, 3, seed=200 + step, dtype=dtype)
        optimizer.zero_grad()
        out = (x @ params[0] + params[1]).tanh() @ params[2] + params[3]
        ((out - y) ** 2).mean().backward()
        optimizer.step()
        history.append([param.data.clone() for param in params])
    return history


def groups_of(params: list[Any], grouping: str) -> list[Any]:
    named: list[Any] = [(f"weight{i}", param) for i, param in enumerate(params)]
    if grouping == "one":
        return params
    if grouping == "named":
        return named
    return [{"params": params[:2], "lr": 0.03}, {"params": params[2], "weight_decay": 0.2}, {"params": params[3:]}]


@contextmanager
def without_torchs_differentiation() -> Iterator[None]:
    """Let torch's backward and grad raise."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("torch's differentiation was used")

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in [
            (torch.Tensor, "backward"),
            (torch.autograd, "backward"),
            (torch.autograd, "grad"),
            *((torch.func, name) for name in ("grad", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "linearize")),
        ]:
            patch.setattr(owner, name, refuse)
        yield


@functools.cache
def tolerance_of(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 0.0, "atol": TOLERANCE[dtype]}


@pytest.mark.parametrize("grouping", ["one", "named", "several"])
@pytest.mark.parametrize(("name", "options", "dtype"), ROWS)
def test_trains_like_torch(name: str, options: dict[str, Any], dtype: torch.dtype, grouping: str) -> None:
    theirs = [torch.nn.Parameter(value) for value in start(dtype)]
    reference = INFOS[name].optim_cls(groups_of(theirs, grouping), **copy.deepcopy(options))
    expected = train(reference, theirs, dtype)

    ours: list[CustomTensor] = [tensor(value, requires_grad=True) for value in start(dtype)]
    with without_torchs_differentiation():
        optimizer = getattr(optim, name)(groups_of(ours, grouping), **copy.deepcopy(options))
        got = train(optimizer, ours, dtype)

    for mine, wanted in zip(got, expected, strict=True):
        for a, b in zip(mine, wanted, strict=True):
            torch.testing.assert_close(a, b, **tolerance_of(dtype))
    assert not torch.equal(got[-1][0], start(dtype)[0])
    assert torch.equal(got[-1][4], start(dtype)[4])

    saved, wanted_state = optimizer.state_dict(), reference.state_dict()
    assert list(saved) == list(wanted_state)
    assert saved["state"].keys() == wanted_state["state"].keys()
    for number, kept in wanted_state["state"].items():
        assert list(saved["state"][number]) == list(kept)
        for key, value in kept.items():
            torch.testing.assert_close(saved["state"][number][key], value, **tolerance_of(dtype))
    assert saved["param_groups"] == wanted_state["param_groups"]


@pytest.mark.parametrize(("name", "each"), ERRORS)
def test_refuses_what_torch_refuses(name: str, each: Any) -> None:
    given = each.optimizer_error_input
    assert each.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
    params = [torch.zeros(2)] if given.params is None else given.params
    kind = getattr(optim, name)
    if "foreach" in given.kwargs:
        assert given.desc in OTHER
        with pytest.raises(TypeError, match="foreach"):
            kind(params, **given.kwargs)
        return
    wanted = OptimizerError if given.desc in OTHER else each.error_type
    with pytest.raises(OptimizerError) as caught:
        kind(params, **given.kwargs)
    assert isinstance(caught.value, wanted)


def test_the_database_lists_what_is_expected() -> None:
    """A newer torch may list more, never less: an empty table would let everything pass."""
    assert set(INFOS) == {"SGD", "AdamW"}
    assert len(ROWS) >= 2 * (9 + 5)
    assert len(ERRORS) >= 16
    listed = {
        each.optimizer_error_input.desc
        for info in INFOS.values()
        for each in info.optim_error_inputs_func(device="cpu", dtype=torch.float64)
    }
    assert listed >= OTHER.keys()
