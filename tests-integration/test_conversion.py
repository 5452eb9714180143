"""`from_torch` and `to_torch` over torch's own module database: the same layer there and back."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from torch.testing._internal.common_modules import module_db
from torch.utils._pytree import tree_leaves

import neuronix.losses
from neuronix import nn
from neuronix.autograd import CustomTensor
from neuronix.autograd.errors import UnsupportedError
from neuronix.nn.errors import ModuleTypeError

INFOS = {
    info.module_cls.__name__: info
    for info in module_db
    if hasattr(nn, info.module_cls.__name__) or hasattr(neuronix.losses, info.module_cls.__name__)
}


def values(result: Any) -> list[torch.Tensor]:
    leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, (torch.Tensor, CustomTensor))]
    return [leaf.data.detach() for leaf in leaves]


def called(layer: Any, sample: Any) -> list[torch.Tensor]:
    torch.manual_seed(0)
    args, kwargs = copy.deepcopy((sample.forward_input.args, sample.forward_input.kwargs))
    return values(layer(*args, **kwargs))


@pytest.mark.parametrize("name", sorted(INFOS))
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_there_and_back(name: str) -> None:
    info = INFOS[name]
    for training in (True, False):
        torch.manual_seed(0)
        rows = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=False, training=training)
        for sample in rows[:: max(1, len(rows) // 4)]:  # attention has hundreds, which differ in their inputs
            arguments = sample.constructor_input
            kwargs = dict(arguments.kwargs)
            if "dtype" in inspect.signature(info.module_cls).parameters:
                kwargs["dtype"] = torch.float64
            theirs = info.module_cls(*arguments.args, **kwargs).double().train(training)
            for parameter in theirs.parameters():
                parameter.requires_grad = False
                break
            ours = nn.from_torch(theirs)
            back = nn.to_torch(ours)
            assert type(back) is type(theirs)
            assert repr(back) == repr(theirs)
            assert ours.training is back.training is training
            for state in (ours.state_dict(), back.state_dict()):
                assert list(state) == list(theirs.state_dict())
                assert_close(dict(state), dict(theirs.state_dict()), rtol=0, atol=0)
            flags = [parameter.requires_grad for parameter in theirs.parameters()]
            assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in back.parameters()] == flags
            expected = called(theirs, sample)
            assert_close(called(back, sample), expected, rtol=0, atol=0, equal_nan=True)
            assert_close(called(ours, sample), expected, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_a_large_part_of_the_database_is_converted() -> None:
    assert len(INFOS) >= 50
    some = "Linear Conv2d BatchNorm2d LSTM MultiheadAttention TransformerEncoder MSELoss"
    assert set(some.split()) <= set(INFOS)


def test_containers_and_what_is_shared() -> None:
    theirs = torch.nn.ModuleDict(
        {
            "list": torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).double()]),
            "sequence": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Tanh())),
        }
    )
    theirs["again"] = theirs["list"][0]
    theirs["sequence"][0].weight = theirs["list"][0].weight
    theirs["list"].eval()
    ours = nn.from_torch(theirs)
    back = nn.to_torch(ours)
    for made in (ours, back):
        assert list(made.state_dict()) == list(theirs.state_dict())
        assert made["again"] is made["list"][0]
        assert made["sequence"][0].weight is made["list"][0].weight
        assert made["list"][1].weight.dtype is torch.float64
        assert [m.training for m in made.modules()] == [m.training for m in theirs.modules()]
    assert repr(back) == repr(theirs)
    ours["again"].weight.data.zero_()
    assert theirs["again"].weight.detach().abs().sum() > 0


class Own(torch.nn.Linear):
    pass


def test_what_cannot_be_converted() -> None:
    with pytest.raises(UnsupportedError, match=r"1 \(Own\).*\n.*adopt"):
        nn.from_torch(torch.nn.Sequential(torch.nn.Tanh(), Own(2, 2)))
    with pytest.raises(UnsupportedError, match=r"the layer \(PartialConv2d\): torch has no layer"):
        nn.to_torch(nn.PartialConv2d(4, 2))
    hooked = torch.nn.Linear(2, 2)
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedError, match="hooks"):
        nn.from_torch(hooked)
    with pytest.raises(ModuleTypeError, match="from_torch: a torch.nn.Module"):
        nn.from_torch(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ModuleTypeError, match="to_torch: a module of Neuronix"):
        nn.to_torch(torch.nn.Linear(2, 2))  # type: ignore[arg-type]
