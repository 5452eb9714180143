"""What the tests share: PyTorch as the oracle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from neuronix.autograd import testing


@pytest.fixture(scope="session")
def check_against_torch() -> Callable[..., None]:
    """`testing.check_against_torch` with torch's differentiation as the oracle, refused while Neuronix is at work."""
    return partial(
        testing.check_against_torch,
        torch_grad=torch.autograd.grad,
        refused=(torch.autograd, torch.autograd.functional, torch.func, torch.Tensor),
    )
