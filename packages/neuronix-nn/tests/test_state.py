"""state_dict and load_state_dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neuronix import nn
from neuronix.autograd import tensor
from neuronix.nn.errors import StateDictError


def network(library: Any) -> Any:
    return library.Sequential(
        library.Conv2d(1, 4, 3, bias=False),
        library.BatchNorm2d(4),
        library.ReLU(),
        library.Flatten(),
        library.Linear(16, 3),
    )


def values(module: Any) -> list[torch.Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def test_values_are_plain_tensors_that_share_memory() -> None:
    model = network(nn)
    state = model.state_dict()
    assert all(type(value) is torch.Tensor and not value.requires_grad for value in state.values())
    state["4.bias"].zero_()
    assert model[4].bias.tolist() == [0.0, 0.0, 0.0]
    assert model.state_dict(keep_vars=True)["4.bias"] is model[4].bias


def test_through_torch_and_back(tmp_path: Path) -> None:
    ours, theirs = network(nn).double(), network(torch.nn).double()
    for _ in range(2):
        ours(torch.randn(3, 1, 4, 4, dtype=torch.float64))
    torch.save(ours.state_dict(), tmp_path / "ours.pt")
    theirs.load_state_dict(torch.load(tmp_path / "ours.pt", weights_only=True))
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(x).data, theirs.eval()(x).detach(), rtol=0, atol=1e-12)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    fresh = network(nn).double()
    fresh.load_state_dict(torch.load(tmp_path / "theirs.pt", weights_only=True))
    for a, b in zip(values(fresh), values(ours), strict=True):
        assert torch.equal(a, b)


def test_loading_copies_and_keeps_parameters() -> None:
    ours, other = network(nn), network(nn)
    parameters = list(ours.parameters())
    ours.load_state_dict(other.state_dict())
    other[4].weight.data.zero_()
    assert ours[4].weight.data.abs().sum() > 0
    assert all(a is b for a, b in zip(ours.parameters(), parameters, strict=True))


def test_loading_with_assign_takes_the_tensors() -> None:
    ours, other = network(nn), network(nn).double()
    parameters, state = list(ours.parameters()), other.state_dict()
    ours.load_state_dict(state, assign=True)
    assert ours[4].weight.data.data_ptr() == state["4.weight"].data_ptr()
    assert ours[1].running_mean is state["1.running_mean"]
    assert ours[4].weight.dtype == torch.float64
    assert all(a is b for a, b in zip(ours.parameters(), parameters, strict=True))


def test_loading_converts() -> None:
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.ones((1, 2)), "bias": tensor([2.0], requires_grad=True)})
    assert layer.weight.tolist() == [[1.0, 1.0]]
    assert layer.weight.dtype == torch.float32
    assert layer.bias.tolist() == [2.0]
    layer.load_state_dict(torch.nn.Linear(2, 1).double().state_dict(keep_vars=True))
    assert layer.weight.dtype == torch.float32


def test_every_misfit_is_named_and_nothing_is_loaded() -> None:
    model = network(nn)
    before = values(model)
    state = {name: value + 1 for name, value in network(nn).state_dict().items()}
    del state["4.weight"], state["1.running_var"]
    state["extra"] = torch.zeros(1)
    state["0.weight"] = torch.zeros(4, 1, 5, 5)
    state["1.bias"] = "no tensor"
    state["1.weight"] = torch.zeros(4, dtype=torch.complex64)
    with pytest.raises(StateDictError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    assert "Error(s) in loading state_dict for Sequential" in message
    assert "Missing key(s) in state_dict: '1.running_var', '4.weight'" in message
    assert "Unexpected key(s) in state_dict: 'extra'" in message
    assert "size mismatch for 0.weight: the state has shape (4, 1, 5, 5), the module has shape (4, 1, 3, 3)" in message
    assert "'1.bias' must be a tensor, got str" in message
    assert "'1.weight' is complex in the state and real in the module" in message
    assert all(torch.equal(a, b) for a, b in zip(values(model), before, strict=True))


def test_not_strict() -> None:
    model = network(nn)
    other = network(nn).state_dict()
    missing = other.pop("4.bias")
    other["extra"] = missing
    bias = model[4].bias.data.clone()
    result = model.load_state_dict(other, strict=False)
    assert result.missing_keys == ["4.bias"]
    assert result.unexpected_keys == ["extra"]
    assert repr(result) == "IncompatibleKeys(missing_keys=['4.bias'], unexpected_keys=['extra'])"
    assert torch.equal(model[4].bias.data, bias)
    assert torch.equal(model[4].weight.data, other["4.weight"])
    other["4.weight"] = torch.zeros(1)
    with pytest.raises(StateDictError, match=r"size mismatch for 4\.weight"):
        model.load_state_dict(other, strict=False)


def test_a_layer_without_bias_has_no_entry_for_it() -> None:
    assert list(nn.Linear(2, 2, bias=False).state_dict()) == ["weight"]
    with pytest.raises(StateDictError, match="Unexpected"):
        nn.Linear(2, 2, bias=False).load_state_dict(nn.Linear(2, 2).state_dict())


def test_a_later_gradient_refuses_weights_that_were_loaded_over() -> None:
    layer = nn.Linear(2, 2)
    x = tensor(torch.ones(1, 2), requires_grad=True)
    loss = layer(x).sum()
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
