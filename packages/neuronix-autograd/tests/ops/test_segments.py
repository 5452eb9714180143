"""segment_reduce: torch's values and gradients, and second derivatives, which torch hasn't, by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from neuronix.autograd import errors, grad, tensor
from neuronix.autograd.testing import check_against_finite_differences

REDUCTIONS = ["sum", "mean", "max", "min", "prod"]
LENGTHS = torch.tensor([2, 0, 2, 3])
SEGMENTS: dict[str, dict[str, Any]] = {
    "lengths": {"lengths": LENGTHS},
    "offsets": {"offsets": torch.tensor([0, 2, 2, 4, 7])},
    "32 bits": {"lengths": LENGTHS.int()},
    "initial": {"lengths": LENGTHS, "initial": 0.25},
    "elements behind": {"lengths": torch.tensor([2, 0, 3]), "unsafe": True},
    "of each row": {"lengths": torch.tensor([[2, 3, 2], [7, 0, 0]]), "axis": 1},
    "from the end": {"lengths": torch.tensor([[2, 3, 2], [7, 0, 0]]), "axis": -2},
}


def values(kind: str, reduce: str) -> Tensor:
    shape = (2, 7, 3) if "axis" in SEGMENTS[kind] else (7, 3)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if reduce == "prod":
        x.view(-1, 3)[[1, 4, 5]] = 0  # alone in its segment, and two in one
    return x


def reduced(kind: str, reduce: str) -> Callable[[Any], Any]:
    # what an empty segment gives isn't finite for some reductions
    return lambda x: torch.nan_to_num(torch.segment_reduce(x, reduce, **SEGMENTS[kind]), 0.0, 0.0, 0.0)


@pytest.mark.parametrize("kind", SEGMENTS)
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_against_torch(reduce: str, kind: str, check_against_torch: Callable[..., None]) -> None:
    x = values(kind, reduce).requires_grad_()
    check_against_torch(reduced(kind, reduce), x, second_order=False)


@pytest.mark.parametrize("kind", SEGMENTS)
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_against_finite_differences(reduce: str, kind: str) -> None:
    check_against_finite_differences(reduced(kind, reduce), values(kind, reduce), second_order=True)


def test_equal_elements_share_the_gradient_of_an_extreme() -> None:
    """Torch shares it where it is positive only."""
    x = tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]], requires_grad=True)
    (found,) = grad(torch.segment_reduce(x, "max", lengths=torch.tensor([3])), x, torch.tensor([[1.0, -2.0]]))
    assert found.tolist() == [[0.5, -1.0], [0.5, -1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    "options, error",
    [
        ({"lengths": torch.tensor([3, 5])}, errors.ShapeError),
        ({"indices": LENGTHS}, errors.ArgumentError),
        ({}, errors.ArgumentError),
        ({"lengths": LENGTHS.double()}, errors.UnsupportedError),
    ],
)
def test_bad_arguments_raise_torchs_errors(options: dict[str, Any], error: type[Exception]) -> None:
    x = torch.ones(7, 3)
    with pytest.raises(Exception, match="segment_reduce") as torchs:
        torch.segment_reduce(x, "sum", **options)
    with pytest.raises(error) as ours:
        torch.segment_reduce(tensor(x, requires_grad=True), "sum", **options)
    assert isinstance(ours.value, torchs.type)
