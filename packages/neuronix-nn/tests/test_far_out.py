"""Normalisations and distances at large, tiny, infinite and undefined numbers: values and gradients are PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

import neuronix.nn
from neuronix.autograd import CustomTensor, rules_only
from neuronix.autograd.testing import FAR_OUT

assert neuronix.nn  # its functions answer for torch's below

# Each row of FAR_OUT is normalised by itself: what one row does to the next would hide what happens in it.
INF = float("inf")
OTHERS = torch.linspace(-1, 1, 3, dtype=torch.float64)
PER_ROW = torch.linspace(-1.5, 2, len(FAR_OUT), dtype=torch.float64)
PER_PLACE = torch.tensor([1.5, -0.5, 2.0], dtype=torch.float64)


def pairs(x: Any) -> Any:
    """Two rows are the channels of one sample: (9, 2, 3)."""
    return x.reshape(-1, 2, 3)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "batch_norm": lambda x: F.batch_norm(x.t(), None, None, PER_ROW.to(x.dtype), PER_ROW.to(x.dtype), True),
    "batch_norm, bare": lambda x: F.batch_norm(x.t(), None, None, training=True),
    "batch_norm, evaluation": lambda x: F.batch_norm(
        x.t(), PER_ROW.to(x.dtype), PER_ROW.abs().to(x.dtype), PER_ROW.to(x.dtype), PER_ROW.to(x.dtype)
    ),
    "batch_norm, no variance": lambda x: F.batch_norm(x.t(), PER_ROW.to(x.dtype), 0 * PER_ROW.to(x.dtype)),
    "layer_norm": lambda x: F.layer_norm(x, (3,), PER_PLACE.to(x.dtype), PER_PLACE.to(x.dtype)),
    "layer_norm, bare": lambda x: F.layer_norm(x, (3,)),
    "group_norm": lambda x: F.group_norm(pairs(x), 2, PER_PLACE[:2].to(x.dtype), PER_PLACE[1:].to(x.dtype)),
    "group_norm, bare": lambda x: F.group_norm(x, 1),
    "instance_norm": lambda x: F.instance_norm(
        pairs(x), weight=PER_PLACE[:2].to(x.dtype), bias=PER_PLACE[1:].to(x.dtype)
    ),
    "instance_norm, bare": lambda x: F.instance_norm(pairs(x)),
    "rms_norm": lambda x: F.rms_norm(x, (3,), PER_PLACE.to(x.dtype)),
    "rms_norm, bare": lambda x: F.rms_norm(x, (3,)),
    "rms_norm, eps": lambda x: F.rms_norm(x, (3,), eps=1e-3),
    "local_response_norm": lambda x: F.local_response_norm(x.unsqueeze(-1), 2),
    "local_response_norm, strong": lambda x: F.local_response_norm(x.unsqueeze(-1), 3, alpha=1.0, beta=0.5, k=0.5),
    "normalize": lambda x: F.normalize(x, dim=1),
    "normalize, 1": lambda x: F.normalize(x, 1, dim=1),
    "normalize, inf": lambda x: F.normalize(x, INF, dim=1),
    "normalize, eps": lambda x: F.normalize(x, dim=1, eps=0.5),
    "cosine_similarity": lambda x: F.cosine_similarity(x, OTHERS.to(x.dtype).expand_as(x)),
    "cosine_similarity, eps": lambda x: F.cosine_similarity(x, OTHERS.to(x.dtype).expand_as(x), eps=0.5),
    "cosine_similarity, with itself": lambda x: F.cosine_similarity(x, x),
    "cosine_similarity, with zero": lambda x: F.cosine_similarity(x, torch.zeros_like(x)),
    "pairwise_distance": lambda x: F.pairwise_distance(x, OTHERS.to(x.dtype)),
    "pairwise_distance, 1": lambda x: F.pairwise_distance(x, OTHERS.to(x.dtype), 1.0),
    "pairwise_distance, inf": lambda x: F.pairwise_distance(x, OTHERS.to(x.dtype), INF),
}

# Where PyTorch's gradient isn't finite and ours is: there it isn't compared.
FINITE_HERE = {
    "normalize, inf": "whose largest number is infinite: the others have no influence, and torch multiplies 0 with ∞",
}
PRECISIONS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def both(name: str, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Our value and gradient, and PyTorch's."""
    theirs = values.clone().requires_grad_()
    expected = FUNCTIONS[name](theirs)
    generator = torch.Generator().manual_seed(0)
    weights = (torch.rand(expected.shape, generator=generator, dtype=torch.float64) + 0.5).to(expected.dtype)
    expected.backward(weights)
    ours = CustomTensor(values.clone(), requires_grad=True)
    received = FUNCTIONS[name](ours)
    received.backward(weights)
    assert theirs.grad is not None
    assert ours.grad is not None
    gradient = theirs.grad
    if name in FINITE_HERE:
        assert torch.isfinite(ours.grad[torch.isfinite(gradient)]).all()
        gradient = torch.where(torch.isfinite(gradient), gradient, ours.grad)
    return received.data, ours.grad, expected.detach(), gradient


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_far_out(name: str, dtype: torch.dtype) -> None:
    value, gradient, expected, expected_gradient = both(name, torch.tensor(FAR_OUT, dtype=torch.float64).to(dtype))
    # up to the order of a few products, and to numbers so small that they aren't normalised
    rounding, smallest = 8 * torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    assert_close(value, expected, rtol=rounding, atol=smallest, equal_nan=True)
    assert_close(gradient, expected_gradient, rtol=rounding, atol=smallest, equal_nan=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_far_out_by_the_rules_alone(name: str) -> None:
    # The rules find mean and variance again.  Of equal numbers 6e4 nothing is left but the rounding of their mean,
    # 1e-11, which 1/√eps and the other factor x̂ make larger; in lower precision it is larger than the gradient.
    with rules_only():
        value, gradient, expected, expected_gradient = both(name, torch.tensor(FAR_OUT, dtype=torch.float64))
    assert_close(value, expected, rtol=1e-13, atol=1e-300, equal_nan=True)
    assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-9, equal_nan=True)
