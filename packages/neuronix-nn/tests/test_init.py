"""Initialisation: the numbers that torch draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuronix import nn
from neuronix.autograd import CustomTensor
from neuronix.nn import init

ROWS: list[tuple[str, dict[str, Any]]] = [
    ("uniform_", {}),
    ("uniform_", dict(a=-2.0, b=3.0)),
    ("normal_", dict(mean=1.0, std=0.2)),
    ("constant_", dict(val=0.3)),
    ("ones_", {}),
    ("zeros_", {}),
    ("xavier_uniform_", {}),
    ("xavier_uniform_", dict(gain=1.7)),
    ("xavier_normal_", dict(gain=0.3)),
    ("kaiming_uniform_", {}),
    ("kaiming_uniform_", dict(a=2.0, mode="fan_out")),
    ("kaiming_uniform_", dict(nonlinearity="relu")),
    ("kaiming_normal_", dict(nonlinearity="tanh")),
    ("kaiming_normal_", dict(a=0.1, mode="fan_out")),
]


@pytest.mark.parametrize("shape", [(3, 4), (4, 3, 5), (2, 3, 3, 2)])
@pytest.mark.parametrize("name, options", ROWS)
def test_fills_with_torchs_numbers(name: str, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    ours, theirs = nn.Parameter(torch.empty(shape)), torch.nn.Parameter(torch.empty(shape))
    torch.manual_seed(0)
    assert getattr(init, name)(ours, **options) is ours
    torch.manual_seed(0)
    getattr(torch.nn.init, name)(theirs, **options)
    assert torch.equal(ours.data, theirs.data)


def test_fills_anything_with_data_and_takes_a_generator() -> None:
    for target in (torch.empty(3, 3), CustomTensor(torch.empty(3, 3)), torch.nn.Parameter(torch.empty(3, 3))):
        init.xavier_normal_(target, generator=torch.Generator().manual_seed(4))
        expected = torch.nn.init.xavier_normal_(torch.empty(3, 3), generator=torch.Generator().manual_seed(4))
        assert torch.equal(target.data, expected)


@pytest.mark.parametrize(
    "nonlinearity, param",
    [("linear", None), ("conv2d", None), ("sigmoid", None), ("tanh", None), ("relu", None), ("selu", None)]
    + [("leaky_relu", None), ("leaky_relu", 0.3)],
)
def test_gains_are_torchs(nonlinearity: str, param: float | None) -> None:
    assert init.calculate_gain(nonlinearity, param) == torch.nn.init.calculate_gain(nonlinearity, param)


def test_reset_parameters_draws_anew() -> None:
    for make in (lambda lib: lib.Linear(3, 2), lambda lib: lib.Conv2d(2, 2, 3), lambda lib: lib.Embedding(3, 2, 1)):
        ours, theirs = make(nn), make(torch.nn)
        torch.manual_seed(9)
        ours.reset_parameters()
        torch.manual_seed(9)
        theirs.reset_parameters()
        assert all(torch.equal(a.data, b.data) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_without_elements() -> None:
    for make in (lambda lib: lib.Linear(0, 2), lambda lib: lib.Conv2d(0, 2, 3), lambda lib: lib.Linear(3, 0)):
        torch.manual_seed(0)
        ours = make(nn)
        torch.manual_seed(0)
        theirs = make(torch.nn)
        shapes = [tuple(value.shape) for value in theirs.state_dict().values()]
        assert [tuple(value.shape) for value in ours.state_dict().values()] == shapes
