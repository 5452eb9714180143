"""Losses at large, tiny, infinite and undefined numbers: values and gradients are PyTorch's, in every precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import neuronix.losses
from neuronix.autograd import CustomTensor, rules_only
from neuronix.autograd.testing import FAR_OUT

assert neuronix.losses  # its functions answer for torch's below

CLASSES = torch.tensor([row % 3 for row in range(len(FAR_OUT))])
SIGNS = torch.tensor([1 - 2 * (row % 2) for row in range(len(FAR_OUT))])
SEVERAL = torch.stack([CLASSES, torch.full_like(CLASSES, -1), CLASSES], 1)


def numbers(x: Any) -> Any:
    """A target of −1, 0 and 1."""
    return torch.linspace(-1, 1, 3, dtype=x.dtype).expand(x.shape)


def chances(x: Any) -> Any:
    """Probabilities."""
    return torch.softmax(torch.linspace(-1, 1, 3), 0).to(x.dtype).expand(x.shape)


def weight(x: Any) -> Any:
    """One for each class."""
    return torch.tensor([0.5, 2.0, 1.0], dtype=x.dtype)


def signs(x: Any) -> Any:
    """A target of 1 and −1."""
    return torch.tensor([1, -1, 1], dtype=x.dtype).expand(x.shape)


LOSSES: dict[str, Callable[..., Any]] = {
    "mse": lambda x, **how: F.mse_loss(x, numbers(x), **how),
    "mse, as target": lambda x, **how: F.mse_loss(numbers(x), x, **how),
    "l1": lambda x, **how: F.l1_loss(x, numbers(x), **how),
    "smooth_l1": lambda x, **how: F.smooth_l1_loss(x, numbers(x), **how),
    "smooth_l1, narrow": lambda x, **how: F.smooth_l1_loss(x, numbers(x), beta=0.3, **how),
    "smooth_l1, beta 0": lambda x, **how: F.smooth_l1_loss(x, numbers(x), beta=0.0, **how),
    "huber": lambda x, **how: F.huber_loss(x, numbers(x), delta=0.4, **how),
    "binary, of scores": lambda x, **how: F.binary_cross_entropy_with_logits(x, chances(x), **how),
    "binary, weighted": lambda x, **how: F.binary_cross_entropy_with_logits(x, chances(x), pos_weight=weight(x), **how),
    "binary": lambda x, **how: F.binary_cross_entropy(
        torch.sigmoid(torch.where(torch.isnan(x), 0.0, x)), chances(x), **how
    ),
    "cross_entropy": lambda x, **how: F.cross_entropy(x, CLASSES, **how),
    "cross_entropy, weighted": lambda x, **how: F.cross_entropy(x, CLASSES, weight=weight(x), **how),
    "cross_entropy, smoothed": lambda x, **how: F.cross_entropy(x, CLASSES, label_smoothing=0.1, **how),
    "cross_entropy, ignoring": lambda x, **how: F.cross_entropy(x, CLASSES, ignore_index=1, **how),
    "cross_entropy, chances": lambda x, **how: F.cross_entropy(x, chances(x), **how),
    "cross_entropy, everything": lambda x, **how: F.cross_entropy(
        x, chances(x), weight=weight(x), label_smoothing=0.1, **how
    ),
    "nll": lambda x, **how: F.nll_loss(x, CLASSES, weight=weight(x), **how),
    "kl_div": lambda x, **how: F.kl_div(x, chances(x), **how),
    "kl_div, log target": lambda x, **how: F.kl_div(x, numbers(x), log_target=True, **how),
    "kl_div, as target": lambda x, **how: F.kl_div(numbers(x), x, **how),
    "kl_div, as log target": lambda x, **how: F.kl_div(numbers(x), x, log_target=True, **how),
    "poisson": lambda x, **how: F.poisson_nll_loss(x, chances(x), **how),
    "poisson, full": lambda x, **how: F.poisson_nll_loss(x, 3 * chances(x), full=True, **how),
    "poisson, of rates": lambda x, **how: F.poisson_nll_loss(x, chances(x), log_input=False, **how),
    "gaussian": lambda x, **how: F.gaussian_nll_loss(x, numbers(x), chances(x), full=True, **how),
    "hinge_embedding": lambda x, **how: F.hinge_embedding_loss(x, signs(x), **how),
    "soft_margin": lambda x, **how: F.soft_margin_loss(x, signs(x), **how),
    "multilabel_soft_margin": lambda x, **how: F.multilabel_soft_margin_loss(x, (signs(x) + 1) / 2, **how),
    "multi_margin": lambda x, **how: F.multi_margin_loss(x, CLASSES, **how),
    "multi_margin, squared": lambda x, **how: F.multi_margin_loss(x, CLASSES, 2, 0.5, weight(x), **how),
    "multilabel_margin": lambda x, **how: F.multilabel_margin_loss(x, SEVERAL, **how),
    "margin_ranking": lambda x, **how: F.margin_ranking_loss(x, numbers(x), signs(x), margin=0.2, **how),
    "cosine_embedding": lambda x, **how: F.cosine_embedding_loss(x, numbers(x), SIGNS, margin=0.1, **how),
    "triplet_margin": lambda x, **how: F.triplet_margin_loss(x, numbers(x), -numbers(x), **how),
    "triplet_margin, 1": lambda x, **how: F.triplet_margin_loss(x, numbers(x), -numbers(x), p=1, swap=True, **how),
}
# Rows that PyTorch's kernels get wrong: they aren't compared.
WRONG_IN_TORCH: dict[str, tuple[Callable[[Any], Any], str]] = {
    "soft_margin": (
        lambda x: x.abs() > 80,
        "log(1 + exp(−yx)) overflows, and its gradient is ∞ / ∞",
    ),
    **dict.fromkeys(
        ["multi_margin", "multi_margin, squared", "multilabel_margin"],
        (lambda x: ~torch.isfinite(x), "a difference that is NaN is left out of the sum, as if it were negative"),
    ),
}
# Its kernels for these know no half precision, so there is nothing to compare with.
NO_HALF = ("multi_margin", "multi_margin, squared", "multilabel_margin")
PRECISIONS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
CASES = [(name, dtype) for name in LOSSES for dtype in PRECISIONS if name not in NO_HALF or dtype.itemsize > 2]


@pytest.mark.kernels
@pytest.mark.parametrize("rules", [False, True], ids=["kernels", "rules"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("name", "dtype"), CASES, ids=str)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss by both:UserWarning")
def test_far_out(name: str, dtype: torch.dtype, reduction: str, rules: bool) -> None:
    function, values = LOSSES[name], torch.tensor(FAR_OUT, dtype=torch.float64).to(dtype)
    wrong, _ = WRONG_IN_TORCH.get(name, (torch.zeros_like, ""))
    values = torch.where(wrong(values).bool().any(1, keepdim=True), torch.ones_like(values), values)
    theirs = values.clone().requires_grad_()
    expected = function(theirs, reduction=reduction)
    generator = torch.Generator().manual_seed(0)
    weights = (torch.rand(expected.shape, generator=generator, dtype=torch.float64) + 0.5).to(dtype)
    expected.backward(weights)
    ours = CustomTensor(values.clone(), requires_grad=True)
    received = function(ours, reduction=reduction)
    if rules:
        with rules_only():
            received.backward(weights)
    else:
        received.backward(weights)
    assert theirs.grad is not None
    assert received.dtype is dtype
    rounding, smallest = 8 * torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    assert_close(received.data, expected.detach(), rtol=rounding, atol=smallest, equal_nan=True)
    # by the rules alone, what cancels in softmax(x) − target leaves an absolute error
    atol = rounding if rules else smallest
    assert_close(ours.grad, theirs.grad, rtol=rounding, atol=atol, equal_nan=True)
