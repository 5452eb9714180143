"""The kernels for many parameters at once give what the paper's lines give."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuronix.autograd import rules_only
from neuronix.optim import SGD, AdamW, Optimizer

pytestmark = pytest.mark.kernels
OPTIONS = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "weight_decay": 0.2, "maximize": True}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (AdamW, {"lr": 0.1}),
    (AdamW, {"lr": torch.tensor(0.1, dtype=torch.float64), "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    (AdamW, {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3}),
]
SHAPES = [(5, 6), (6,), (), (3, 2, 2), (0,)]


def trajectory(kind: Any, options: dict[str, Any], dtype: torch.dtype, steps: int = 12) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def numbers(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    params = [numbers(shape) for shape in SHAPES]
    params.append(numbers((4, 3)).t())  # not contiguous: stepped by itself
    optimizer = kind(params, **options)
    for step in range(steps):
        for number, param in enumerate(params):
            # One parameter has its first gradient later than the others.
            param.grad = None if number == 1 and step < 3 else numbers(tuple(param.shape))
        optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values()]
    return [*params, *kept]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_kernels_are_equal_to_the_paper(
    kind: Any, options: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    by_kernel = trajectory(kind, options, dtype)
    with rules_only():
        by_paper = trajectory(kind, options, dtype)
    torch.testing.assert_close(by_kernel, by_paper, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_which_of_them_runs(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    update = kind.update
    monkeypatch.setattr(kind, "update", lambda self, *rest: called.append("paper") or update(self, *rest))
    param = torch.ones(2)
    param.grad = torch.ones(2)
    optimizer: Optimizer = kind([param], lr=0.1)
    optimizer.step()
    assert called == []
    with rules_only():
        optimizer.step()
    assert called == ["paper"]


def test_state_can_be_made_before_the_first_step() -> None:
    params = [torch.ones(2, requires_grad=True), torch.ones(3)]
    optimizer = AdamW(params)
    optimizer.initialize_state()
    assert list(optimizer.state_dict()["state"]) == [0]
    before = {name: value.clone() for name, value in optimizer.state[params[0]].items()}
    optimizer.initialize_state()
    torch.testing.assert_close(dict(optimizer.state[params[0]]), before, rtol=0, atol=0)
