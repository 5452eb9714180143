"""ctc_loss: torch's values and gradients, all paths counted one by one, second derivatives by finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from neuronix.autograd import CustomTensor, grad, rules_only
from neuronix.autograd.errors import ShapeError
from neuronix.autograd.testing import check_against_finite_differences
from neuronix.losses import functional
from neuronix.losses.errors import LossArgumentError

TARGETS = torch.tensor([[1, 2, 2], [3, 1, 9], [2, 9, 9]])  # what is beyond a length means nothing
LENGTHS = torch.tensor([3, 2, 1])


def log_probabilities(steps: int = 7, count: int = 3, classes: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(steps, count, classes, generator=generator, dtype=torch.float64)
    return logits.log_softmax(-1).to(dtype).requires_grad_()


CALLS: dict[str, tuple[Any, ...]] = {
    "padded": (TARGETS, torch.tensor([7, 7, 7]), LENGTHS),
    "concatenated": (torch.tensor([1, 2, 2, 3, 1, 2]), torch.tensor([7, 7, 7]), LENGTHS),
    "tuples": (TARGETS, (7, 7, 7), (3, 2, 1)),
    "inputs of several lengths": (TARGETS, torch.tensor([7, 5, 2]), LENGTHS),
    "as short as can be": (TARGETS, torch.tensor([4, 2, 1]), LENGTHS),
    "no labels": (TARGETS, (7, 6, 5), (0, 2, 0)),
    "int32": (TARGETS.int(), torch.tensor([7, 5, 2]).int(), LENGTHS.int()),
}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("case", CALLS)
def test_against_torch(case: str, reduction: str, check_against_torch: Callable[..., None]) -> None:
    """Values, and gradients by the kernel and by the rule; torch has no second derivative."""
    check_against_torch(
        lambda x: F.ctc_loss(x, *CALLS[case], reduction=reduction), log_probabilities(), second_order=False
    )


def test_against_torch_in_single_precision(check_against_torch: Callable[..., None]) -> None:
    x = log_probabilities(dtype=torch.float32)
    check_against_torch(lambda x: F.ctc_loss(x, *CALLS["padded"]), x, second_order=False)


@pytest.mark.parametrize("blank", [0, 2, 3])
def test_another_blank(blank: int, check_against_torch: Callable[..., None]) -> None:
    targets = torch.tensor([[1, 1], [1, 0]]) if blank else torch.tensor([[1, 1], [1, 2]])
    x = log_probabilities(count=2)
    call = lambda x: F.ctc_loss(x, targets, (7, 6), (2, 2), blank=blank)  # noqa: E731
    check_against_torch(call, x, second_order=False)


def test_without_a_batch_axis(check_against_torch: Callable[..., None]) -> None:
    x = log_probabilities(count=1)[:, 0].detach().requires_grad_()
    call = lambda x: F.ctc_loss(x, TARGETS[0], torch.tensor(7), torch.tensor(3), reduction="none")  # noqa: E731
    check_against_torch(call, x, second_order=False)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_an_input_that_is_too_short(zero_infinity: bool, check_against_torch: Callable[..., None]) -> None:
    """Infinite, with a gradient of NaN; or nothing."""
    call = lambda x: F.ctc_loss(x, TARGETS, (3, 2, 1), (3, 2, 1), reduction="none", zero_infinity=zero_infinity)  # noqa: E731
    check_against_torch(call, log_probabilities(), second_order=False)


def test_all_paths_counted() -> None:
    x = log_probabilities(steps=5, count=1, classes=3).detach()
    targets = [1, 2, 2]

    def collapsed(path: tuple[int, ...]) -> list[int]:
        return [label for label, _ in itertools.groupby(path) if label]

    paths = [path for path in itertools.product(range(3), repeat=5) if collapsed(path) == targets]
    expected = -torch.stack([sum(x[t, 0, c] for t, c in enumerate(path)) for path in paths]).logsumexp(0)
    found = functional.ctc_loss(CustomTensor(x), torch.tensor([targets]), (5,), (3,), reduction="sum")
    torch.testing.assert_close(found.data, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", ["padded", "inputs of several lengths", "no labels"])
def test_second_derivatives(case: str) -> None:
    def loss(logits: Any) -> Any:
        return functional.ctc_loss(torch.log_softmax(logits, -1), *CALLS[case], reduction="sum")

    check_against_finite_differences(loss, log_probabilities().detach() * 2, second_order=True)


def test_a_probability_of_zero() -> None:
    """Log probabilities of −∞ in places that some paths could do without: by kernel and by rule the same, finite."""
    x = log_probabilities().detach()
    x[2, :, 1] = -torch.inf

    def gradient() -> Tensor:
        leaf = CustomTensor(x, requires_grad=True)
        (found,) = grad(functional.ctc_loss(leaf, *CALLS["padded"]), leaf)
        assert found is not None
        return found.data

    by_kernel = gradient()
    with rules_only():
        by_rule = gradient()
    places = torch.isfinite(x)  # at −∞ itself torch's kernel finds −∞ + ∞
    torch.testing.assert_close(by_rule[places], by_kernel[places], rtol=1e-11, atol=1e-12)
    assert torch.isfinite(by_rule).all()


def test_the_rule_is_batched_by_vmap() -> None:
    x = torch.stack([log_probabilities().detach(), log_probabilities().detach().flip(0)])

    def gradient(x: Tensor) -> Tensor:
        leaf = CustomTensor(x, requires_grad=True)
        with rules_only():
            (found,) = grad(functional.ctc_loss(leaf, *CALLS["padded"]), leaf)
        assert found is not None
        return found.data

    for together, each in zip(torch.vmap(gradient)(x), x, strict=True):
        torch.testing.assert_close(together, gradient(each), rtol=1e-12, atol=1e-12)


def test_bad_input() -> None:
    x = CustomTensor(log_probabilities().detach(), requires_grad=True)
    with pytest.raises(LossArgumentError, match="'avg'"):
        functional.ctc_loss(x, *CALLS["padded"], reduction="avg")
    with pytest.raises(ShapeError, match="7 labels, but 6 are given"):
        functional.ctc_loss(x, torch.tensor([1, 2, 2, 3, 1, 2]), (7, 7, 7), (3, 3, 1))
    with pytest.raises(ShapeError, match=r"\(T, N, C\)"):
        functional.ctc_loss(x[0, 0], *CALLS["padded"])
