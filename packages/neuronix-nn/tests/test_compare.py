"""`compare`: agreement is said, and a planted mistake is found by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from neuronix import nn
from neuronix.autograd import CustomTensor, primitive
from neuronix.nn.errors import ModuleTypeError


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.drop = torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Dropout(0.3)

    def forward(self, x: Any) -> Any:
        return x + self.drop(F.gelu(self.fc(self.norm(x))))


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.Sequential(Block(), Block(), Block())
        self.bn, self.relu = torch.nn.BatchNorm1d(4), torch.nn.ReLU(inplace=True)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return self.head(self.relu(self.bn(self.blocks(x)))) * scale


@pytest.fixture
def model() -> Net:
    torch.manual_seed(0)
    return Net().double()


def batch() -> torch.Tensor:
    return torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_agreement_with_dropout_and_keywords(model: Net) -> None:
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    with torch.no_grad():
        report = nn.compare(model, batch(), scale=2.0, loss=lambda out: F.mse_loss(out, torch.ones_like(out)))
    assert report.agrees
    assert (report.first, report.what, report.tolerance) == (None, None, 1e-9)
    assert report.loss == pytest.approx(report.torch_loss, rel=1e-12)
    assert [layer.name for layer in report.layers[:5]] == [f"blocks.0.{n}" for n in ("norm", "fc", "drop")] + [
        "blocks.0", "blocks.1.norm",
    ]  # fmt: skip
    assert report.layers[-1].name == ""
    assert all(layer.gradient is not None and layer.gradient_size > 0 for layer in report.layers)
    assert set(report.layers[1].parameters) == {"weight", "bias"}
    lines = repr(report).splitlines()
    assert lines[0].startswith("agrees within 1e-09: loss ")
    assert len(lines) == 2 + len(report.layers)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_wrong_layer_is_found_by_its_output(model: Net) -> None:
    ours = nn.adopt(model)
    ours.blocks[1].norm.weight.data[2] += 1e-6
    report = nn.compare(model, batch(), ours=ours)
    assert not report.agrees
    assert report.first is not None
    assert (report.first.name, report.what) == ("blocks.1.norm", "output")
    assert report.first.output > 1e-7
    assert repr(report).startswith("first difference: the output of 'blocks.1.norm' (LayerNorm): its result is off by")
    assert sum(line.endswith("<--") for line in repr(report).splitlines()) == 1


@primitive
def careless(x: Any) -> Any:
    """A copy with a wrong rule."""
    return torch.clone(x)


@careless.vjp("x")
def careless_wrt_x(grad: Any) -> Any:
    return grad * 1.001


class Careless(torch.nn.Module):
    """Right in torch, and with a wrong rule in Neuronix."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *args: Any) -> Any:
        return through_careless(self.layer(*args))


def through_careless(x: Any) -> Any:
    from neuronix.autograd.disguise import Disguised, disguise

    return disguise(careless(x.custom)) if isinstance(x, Disguised) else x.clone()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_wrong_rule_is_found_where_it_is(model: Net, place: int) -> None:
    model.blocks[place].fc = Careless(model.blocks[place].fc)
    report = nn.compare(model, batch())
    assert report.first is not None
    assert (report.first.name, report.first.kind, report.what) == (f"blocks.{place}.fc", "Careless", "gradient")
    assert all(layer.output < 1e-12 for layer in report.layers)
    assert "is off by" in report.details


def test_a_wrong_rule_between_layers_is_found_in_their_parent(model: Net) -> None:
    class Parent(Block):
        def forward(self, x: Any) -> Any:
            return through_careless(super().forward(x))

    model.blocks[1].__class__ = Parent
    report = nn.compare(model, batch())
    assert report.first is not None
    assert (report.first.name, report.what) == ("blocks.1", "gradient")


def test_several_results_and_a_loss_of_the_models_own() -> None:
    class Several(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(3, 4)

        def forward(self, x: Any) -> Any:
            out, state = self.lstm(x)
            return {"out": out, "state": state, "n": 3}

    report = nn.compare(Several(), torch.randn(5, 2, 3))
    assert (report.agrees, report.tolerance) == (True, 1e-4)
    with pytest.raises(ModuleTypeError, match="torch's functions"):
        nn.compare(Several(), torch.randn(5, 2, 3), loss=lambda result: CustomTensor(0.0))
    with pytest.raises(ModuleTypeError, match="torch.nn.Module"):
        nn.compare(nn.Linear(2, 2), torch.ones(2))  # type: ignore[arg-type]


def test_sides_that_call_different_layers(model: Net) -> None:
    other = nn.adopt(torch.nn.Sequential(torch.nn.Linear(4, 2)).double())
    with pytest.raises(ModuleTypeError, match=r"number 0 is 'blocks\.0\.norm' in torch and '0' here"):
        nn.compare(model, batch(), ours=other)


def test_a_port_of_ones_own() -> None:
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Sigmoid(), torch.nn.Flatten())
    ours = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten())
    ours.load_state_dict(theirs.state_dict())
    report = nn.compare(theirs, torch.randn(2, 1, 5, 5), ours=ours)
    assert report.first is not None
    assert (report.first.name, report.what) == ("1", "output")
    assert nn.compare(theirs, torch.randn(2, 1, 5, 5), ours=nn.from_torch(theirs)).agrees
