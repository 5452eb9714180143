"""Trajectories of 200 steps equal torch's, for every optimizer and every input of torch's own database.

Each row is run as a user would, by fused kernels and lists, and by the definition. A step of LBFGS is up to 20
iterations, so it takes 10 steps.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_optimizers import optim_db

from neuronix import optim
from neuronix.autograd import rules_only
from neuronix.optim import Lion

STEPS = 200
INFOS = {info.optim_cls.__name__: info for info in optim_db}
ROWS = [
    pytest.param(name, inputs.kwargs, id=f"{name}-{inputs.desc.replace(' ', '_')}")
    for name, info in INFOS.items()
    for inputs in info.optim_inputs_func(device="cpu", dtype=torch.float64)
]
KINDS = [*INFOS, "Lion"]


def start(name: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes: list[tuple[int, ...]] = [(3, 4), (6, 2)] if name == "Muon" else [(2, 3, 2), (5,)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def gradient(param: Tensor, step: int, name: str) -> Tensor:
    """Of a bowl with waves that move, so that signs change and coordinates differ."""
    grad = 0.5 * param + 0.3 * torch.cos(3 * param + step)
    if name == "SparseAdam":
        rows = torch.arange(step % 2, param.shape[0], 2)
        return torch.sparse_coo_tensor(rows[None], grad[rows], param.shape, check_invariants=True)
    return grad


def advance(name: str, optimizer: Any, params: list[Tensor], step: int) -> None:
    def closure() -> Tensor:
        fixed = 0 if name == "LBFGS" else step  # its line search needs a loss that stays
        for param in params:
            param.grad = gradient(param.detach(), fixed, name)
        return torch.stack([(0.25 * p**2 + 0.1 * torch.sin(3 * p + fixed)).sum() for p in params]).sum()

    if name == "LBFGS":
        optimizer.step(closure)
        return
    for index, param in enumerate(params):
        param.grad = gradient(param, step, name) if index != 1 or step % 3 else None  # one now and then has none
    optimizer.step()


def in_double(options: dict[str, Any]) -> dict[str, Any]:
    """Torch computes with a learning rate that is a tensor in the precision of that tensor."""
    return {key: value.double() if isinstance(value, Tensor) else value for key, value in options.items()}


def difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("name", "options"), ROWS)
def test_200_steps_equal_torchs(name: str, options: dict[str, Any]) -> None:
    options = in_double(copy.deepcopy(options))
    theirs, usual, by_rules = start(name), start(name), start(name)
    reference = INFOS[name].optim_cls(theirs, **options)
    optimizer, definition = getattr(optim, name)(usual, **options), getattr(optim, name)(by_rules, **options)
    for step in range(STEPS // 20 if name == "LBFGS" else STEPS):
        advance(name, reference, theirs, step)
        advance(name, optimizer, usual, step)
        with rules_only():
            advance(name, definition, by_rules, step)
        assert difference(usual, theirs) <= 1e-10, f"step {step}"
        assert difference(by_rules, theirs) <= 1e-10, f"step {step}"
    assert difference(usual, start(name)) > 1e-4


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", [name for name in KINDS if name != "LBFGS"])
def test_all_ways_give_what_the_definition_gives(name: str, dtype: torch.dtype, tolerance: float) -> None:
    """Fused kernel, lists and single tensors, against the definition, over ten steps."""
    kind = getattr(optim, name)
    ways: list[dict[str, Any]] = [{}]
    if "foreach" in kind([torch.ones(1, 1)]).defaults:
        ways += [{"foreach": True}, {"foreach": False}]
    if "fused" in kind([torch.ones(1, 1)]).defaults:
        ways += [{"fused": True}, {"foreach": False, "fused": False}]
    expected = start(name, dtype)
    definition = kind(expected, lr=0.02)
    results = [start(name, dtype) for _ in ways]
    optimizers = [kind(params, lr=0.02, **way) for params, way in zip(results, ways, strict=True)]
    for step in range(10):
        with rules_only():
            advance(name, definition, expected, step)
        for optimizer, params in zip(optimizers, results, strict=True):
            advance(name, optimizer, params, step)
            assert difference(params, expected) <= tolerance


@pytest.mark.kernels  # by the rules alone there are no lists
def test_lists_are_split_so_that_they_stay_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """How the parameters are put into lists changes nothing."""
    whole, split = [torch.arange(6.0) for _ in range(5)], [torch.arange(6.0) for _ in range(5)]
    first, second = Lion(whole, lr=0.1), Lion(split, lr=0.1)
    sizes = []

    def noted(update: Callable[..., None]) -> Callable[..., None]:
        def note(theta: Any, *others: Any) -> None:
            sizes.append(len(theta.tensors) if not isinstance(theta, Tensor) else 1)
            update(theta, *others)

        return note

    monkeypatch.setattr(first, "update", noted(first.update))
    monkeypatch.setattr(second, "update", noted(second.update))
    for params in (whole, split):
        for param in params:
            param.grad = param - 2
    first.step()
    monkeypatch.setattr("neuronix.optim.stepping.LIST_SIZE", 12)
    second.step()
    assert sizes == [5, 2, 2, 1]
    assert all(torch.equal(a, b) for a, b in zip(whole, split, strict=True))


def test_the_database_lists_what_is_expected() -> None:
    assert len(INFOS) >= 15
    assert len(ROWS) >= 90
