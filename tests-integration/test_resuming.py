"""Training that is saved, loaded elsewhere and resumed goes on bit for bit as it would have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from neuronix import nn, optim
from neuronix.losses import functional
from neuronix.nn.errors import CheckpointError

MAKERS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "AdamW and CosineAnnealingLR": lambda params: with_schedule(
        optim.AdamW(params, lr=0.05, amsgrad=True), lambda o: optim.CosineAnnealingLR(o, 12)
    ),
    "SGD with momentum and StepLR": lambda params: with_schedule(
        optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True), lambda o: optim.StepLR(o, 4)
    ),
    "LBFGS": lambda params: (optim.LBFGS(params, lr=0.5, max_iter=3, history_size=4), None),
    "ReduceLROnPlateau": lambda params: with_schedule(
        optim.RMSprop(params, lr=0.02, momentum=0.5), lambda o: optim.ReduceLROnPlateau(o, patience=0)
    ),
    "half precision": lambda params: (optim.Adam(params, lr=0.01), None),
}


def with_schedule(optimizer: Any, schedule: Callable[[Any], Any]) -> tuple[Any, Any]:
    return optimizer, schedule(optimizer)


def make(name: str, seed: int) -> tuple[nn.Module, Any, Any, torch.Generator]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
    if name == "half precision":
        model.bfloat16()
    optimizer, scheduler = MAKERS[name](model.parameters())
    return model, optimizer, scheduler, torch.Generator().manual_seed(seed)


def train(parts: tuple[Any, ...], steps: int) -> list[float]:
    model, optimizer, scheduler, generator = parts
    losses = []
    for _ in range(steps):
        x = torch.randn(16, 3, generator=generator).to(next(model.parameters()).dtype)

        def closure(x: torch.Tensor = x) -> Any:
            optimizer.zero_grad()
            loss = functional.mse_loss(model(x), x.sum(1, keepdim=True))
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
        if isinstance(scheduler, optim.ReduceLROnPlateau):
            scheduler.step(losses[-1])
        elif scheduler is not None:
            scheduler.step()
    return losses


@pytest.mark.parametrize("name", MAKERS)
def test_resumed_training_is_the_same_training(name: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    whole = make(name, 0)
    train(whole, 7)
    named = dict(zip(("model", "optimizer", "scheduler", "generator"), whole, strict=True))
    parts = {key: part for key, part in named.items() if part is not None}
    nn.save({**parts, "step": 7, "random": torch.get_rng_state()}, path)
    expected = train(whole, 8)

    resumed = make(name, 5)
    others = dict(zip(("model", "optimizer", "scheduler", "generator"), resumed, strict=True))
    state = nn.load(path, into={key: part for key, part in others.items() if part is not None})
    torch.set_rng_state(state["random"])
    assert state["step"] == 7
    assert train(resumed, 8) == expected
    for a, b in zip(whole[0].state_dict().values(), resumed[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_an_optimizer_that_refuses_takes_the_model_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    model, optimizer, scheduler, _ = make("AdamW and CosineAnnealingLR", 0)
    nn.save({"model": model, "optimizer": optimizer, "scheduler": scheduler}, path)
    other, adamw, _, _ = make("AdamW and CosineAnnealingLR", 1)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    adamw.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
    with pytest.raises(CheckpointError, match="1 parameter groups, the optimizer has 2"):
        nn.load(path, into={"model": other, "optimizer": adamw})
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


def test_torch_reads_the_state(tmp_path: Path) -> None:
    """The state is torch's, so a training begun here goes on there, and the other way round."""
    path = tmp_path / "checkpoint.safetensors"
    parts = make("AdamW and CosineAnnealingLR", 0)
    train(parts, 3)
    nn.save({"model": parts[0], "optimizer": parts[1]}, path)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Dropout(), torch.nn.Linear(8, 1)
    )
    optimizer = torch.optim.AdamW(theirs.parameters(), amsgrad=True)
    nn.load(path, into={"model": theirs, "optimizer": optimizer})
    assert torch.equal(theirs[0].weight, parts[0][0].weight.data)
    assert optimizer.state_dict()["state"][0]["exp_avg"].abs().sum() > 0
    torch.save({"model": theirs.state_dict(), "optimizer": optimizer.state_dict()}, path)
    again = make("AdamW and CosineAnnealingLR", 3)
    nn.load(path, into={"model": again[0], "optimizer": again[1]})
    assert torch.equal(again[0][0].weight.data, parts[0][0].weight.data)
