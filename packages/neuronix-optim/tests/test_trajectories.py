"""Steps equal torch's, for every option and for several groups, over 60 steps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from neuronix.optim import SGD, AdamW, Momentum, Nesterov, Optimizer

STEPS = 60
SHAPES = [(3, 4), (4,), (), (2, 0), (5,)]

Make = Callable[[list[Any]], Any]

SGD_OPTIONS: list[dict[str, Any]] = [
    {},
    {"lr": 0.05},
    {"lr": torch.tensor(0.05)},
    {"lr": 0.05, "weight_decay": 0.3},
    {"lr": 0.05, "weight_decay": 0.3, "maximize": True},
    {"lr": 0.05, "momentum": 0.9},
    {"lr": 0.05, "momentum": 0.9, "dampening": 0.4},
    {"lr": 0.05, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1},
    {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.2},
    {"lr": 0.01, "momentum": 0.8, "nesterov": True, "weight_decay": 0.2, "maximize": True},
]
ADAMW_OPTIONS: list[dict[str, Any]] = [
    {},
    {"lr": 0.05},
    {"lr": torch.tensor(0.05, dtype=torch.float64)},
    {"lr": 0.05, "betas": (0.8, 0.95)},
    {"lr": 0.05, "betas": (0.0, 0.0)},
    {"lr": 0.05, "betas": (torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.95, dtype=torch.float64))},
    {"lr": 0.05, "eps": 1e-3},
    {"lr": 0.05, "eps": 0.0},
    {"lr": 0.05, "weight_decay": 0.0},
    {"lr": 0.05, "weight_decay": 0.4},
    {"lr": 0.05, "maximize": True},
    {"lr": 0.05, "amsgrad": True},
    {"lr": 0.05, "amsgrad": True, "weight_decay": 0.4, "maximize": True},
]
ROWS: list[tuple[str, type[Optimizer], type[torch.optim.Optimizer], dict[str, Any]]] = [
    *((f"sgd-{i}", SGD, torch.optim.SGD, options) for i, options in enumerate(SGD_OPTIONS)),
    *((f"adamw-{i}", AdamW, torch.optim.AdamW, options) for i, options in enumerate(ADAMW_OPTIONS)),
]


def start(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


def set_gradients(params: list[Tensor], step: int) -> None:
    """Give a gradient that depends on the parameter and the step; the second has one now and then, the last never."""
    for index, param in enumerate(params[:-1]):
        param.grad = None
        if index != 1 or step % 3 != 0:
            param.grad = torch.cos(2 * param + step) + 0.5 * param


def difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    return max(((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True) if a.numel()), default=0.0)


def run(make_ours: Make, make_theirs: Make, dtype: torch.dtype) -> float:
    """Return the largest difference of the parameters after any of the steps."""
    ours, theirs = start(dtype), start(dtype)
    optimizer, reference = make_ours(ours), make_theirs(theirs)
    largest = 0.0
    for step in range(STEPS):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        optimizer.step()
        reference.step()
        largest = max(largest, difference(ours, theirs))
    assert difference(ours, start(dtype)) > 1e-3  # something has moved
    assert torch.equal(ours[-1], start(dtype)[-1])  # what has no gradient hasn't
    return largest


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("kind", "reference", "options"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_equals_torch(kind: Any, reference: Any, options: dict[str, Any], dtype: torch.dtype, tolerance: float) -> None:
    if dtype == torch.float32 and isinstance(options.get("betas", (0,))[0], Tensor):
        options = {**options, "betas": tuple(beta.float() for beta in options["betas"])}
    assert run(lambda p: kind(p, **options), lambda p: reference(p, **options), dtype) <= tolerance


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda p: Momentum(p, 0.05), {"momentum": 0.9}),
        (
            lambda p: Momentum(p, 0.05, 0.8, 0.2, 0.1, maximize=True),
            {"momentum": 0.8, "dampening": 0.2, "weight_decay": 0.1, "maximize": True},
        ),
        (lambda p: Nesterov(p, 0.05), {"momentum": 0.9, "nesterov": True}),
        (lambda p: Nesterov(p, 0.05, 0.7, 0.1), {"momentum": 0.7, "nesterov": True, "weight_decay": 0.1}),
    ],
    ids=["momentum", "momentum-all", "nesterov", "nesterov-all"],
)
def test_names_that_people_learn_are_torch_sgd(make: Make, options: dict[str, Any]) -> None:
    assert run(make, lambda p: torch.optim.SGD(p, 0.05, **options), torch.float64) <= 1e-12


@pytest.mark.parametrize(
    ("kind", "reference", "first", "second"),
    [
        (SGD, torch.optim.SGD, {"momentum": 0.9, "lr": 0.02}, {"nesterov": True, "momentum": 0.5}),
        (AdamW, torch.optim.AdamW, {"betas": (0.5, 0.9), "amsgrad": True}, {"lr": 0.1, "weight_decay": 0.0}),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_groups_with_options_of_their_own(
    kind: Any, reference: Any, first: dict[str, Any], second: dict[str, Any], named: bool
) -> None:
    def groups(params: list[Tensor]) -> list[dict[str, Any]]:
        members: list[Any] = [(f"p{i}", p) for i, p in enumerate(params)] if named else params
        return [
            {"params": members[:2], **first},
            {"params": members[2], **second} if not named else {"params": members[2:3], **second},
            {"params": iter(members[3:])},
        ]

    assert run(lambda p: kind(groups(p), lr=0.03), lambda p: reference(groups(p), lr=0.03), torch.float64) <= 1e-12


@pytest.mark.parametrize(("kind", "reference"), [(SGD, torch.optim.SGD), (AdamW, torch.optim.AdamW)])
def test_a_group_added_and_options_changed_on_the_way(kind: Any, reference: Any) -> None:
    ours, theirs = start(torch.float64), start(torch.float64)
    optimizer, other = kind(ours[:2], lr=0.05), reference(theirs[:2], lr=0.05)
    for step in range(STEPS):
        if step == 20:
            optimizer.add_param_group({"params": ours[2:4], "lr": 0.1})
            other.add_param_group({"params": theirs[2:4], "lr": 0.1})
        if step == 40:
            for group in (*optimizer.param_groups, *other.param_groups):
                group["lr"] *= 0.1
                group["weight_decay"] = 0.5
        for params in (ours, theirs):
            set_gradients(params, step)
        optimizer.step()
        other.step()
        assert difference(ours, theirs) <= 1e-12


@pytest.mark.parametrize(
    ("kind", "reference", "options"),
    [
        (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
        (AdamW, torch.optim.AdamW, {"lr": 0.05, "amsgrad": True}),
        (AdamW, torch.optim.AdamW, {"lr": 0.05, "maximize": True}),
    ],
)
def test_complex_parameters(kind: Any, reference: Any, options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(3, 2, dtype=torch.complex128, generator=generator)
    ours, theirs = first.clone(), first.clone()
    optimizer, other = kind([ours], **options), reference([theirs], **options)
    for step in range(STEPS):
        for param in (ours, theirs):
            param.grad = (param * (0.3 + 0.2j) + 0.1 * step).conj().resolve_conj()
        optimizer.step()
        other.step()
        assert (ours - theirs).abs().max() <= 1e-12
    kept, expected = optimizer.state_dict()["state"][0], other.state_dict()["state"][0]
    assert kept.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value, rtol=0, atol=1e-12)


def test_a_gradient_is_never_changed() -> None:
    for make in (
        lambda p: SGD(p, momentum=0.9, nesterov=True, weight_decay=0.1, maximize=True),
        lambda p: AdamW(p, maximize=True, amsgrad=True),
    ):
        param = torch.ones(3, dtype=torch.float64)
        grad = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
        param.grad = grad
        optimizer = make([param])
        optimizer.step()
        optimizer.step()
        assert param.grad is grad
        assert grad.tolist() == [1.0, -2.0, 3.0]


def test_amsgrad_can_be_turned_on_between_steps() -> None:
    param = torch.ones(2, dtype=torch.float64)
    optimizer = AdamW([param], lr=0.1)
    for step in range(3):
        param.grad = torch.tensor([1.0, 2.0], dtype=torch.float64) / (step + 1)
        optimizer.param_groups[0]["amsgrad"] = step > 0
        optimizer.step()
    kept = optimizer.state[param]
    assert torch.all(kept["max_exp_avg_sq"] >= kept["exp_avg_sq"])


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_torch_notices_that_a_saved_value_was_stepped(kind: Any) -> None:
    """As with torch's own optimizers: going backward twice with a step between them is an error, not a wrong number."""
    param = torch.ones(2, requires_grad=True)
    loss = (param**2).sum()
    loss.backward(retain_graph=True)
    kind([param], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_gradient_that_is_conjugated_only_by_its_flag() -> None:
    param = torch.ones(1, dtype=torch.complex128)
    param.grad = torch.tensor([1 + 2j], dtype=torch.complex128).conj()
    assert param.grad.is_conj()
    SGD([param], lr=0.5).step()
    assert param.item() == 0.5 + 1j
