"""Draws whose distribution depends on tensors: torch's numbers from the same seed, and torch's gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix.autograd import CustomTensor, grad
from neuronix.autograd.disguise import disguise, reveal, torch_code

ROWS: dict[str, Callable[..., Any]] = {
    "bernoulli": torch.bernoulli,
    "normal": lambda x: torch.normal(x, x),
    "normal, mean": lambda x: torch.normal(x, 2.0),
    "normal, deviation": lambda x: torch.normal(1.0, std=x),
    "poisson": torch.poisson,
    "gamma": torch._standard_gamma,
    "Beta": lambda x: torch.distributions.Beta(x, x + 1).rsample(),
    "Poisson": lambda x: torch.distributions.Poisson(x).sample() * x,
    "multinomial": lambda x: x[torch.multinomial(x, 2)],
    "Categorical": lambda x: torch.distributions.Categorical(probs=x).log_prob(
        torch.distributions.Categorical(probs=x).sample()
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_values_and_gradients_are_torchs(name: str) -> None:
    values = torch.tensor([0.3, 0.9, 0.5, 0.2], dtype=torch.float64)
    theirs, ours = values.clone().requires_grad_(), CustomTensor(values.clone(), requires_grad=True)
    torch.manual_seed(0)
    expected = ROWS[name](theirs)
    torch.manual_seed(0)
    with torch_code():  # torch.distributions asks for torch tensors
        found = reveal(ROWS[name](disguise(ours)))
    assert torch.equal(found.data, expected.detach())
    weight = torch.arange(1.0, 1 + expected.numel(), dtype=torch.float64).reshape(expected.shape)
    (theirs_grad,) = torch.autograd.grad((expected * weight).sum(), theirs)
    (ours_grad,) = grad((found * weight).sum(), ours)
    assert ours_grad is not None
    torch.testing.assert_close(ours_grad.data, theirs_grad, rtol=1e-12, atol=1e-12)
