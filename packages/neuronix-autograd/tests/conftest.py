"""What the tests share: PyTorch as the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from neuronix.autograd import gradients, testing


@pytest.fixture(scope="session")
def check_against_torch() -> Callable[..., None]:
    """`testing.check_against_torch` with torch's differentiation as the oracle, refused while Neuronix is at work."""
    return partial(
        testing.check_against_torch,
        torch_grad=torch.autograd.grad,
        refused=(torch.autograd, torch.autograd.functional, torch.func, torch.Tensor),
    )


@pytest.fixture(autouse=True, scope="session")
def sums_in_place() -> Iterator[None]:
    """The tensors of tests are small: let their gradients be summed in place where large ones would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradients, "LARGE", 1)
        yield
