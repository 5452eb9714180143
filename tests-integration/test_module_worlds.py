"""Layers and losses of torch's database of modules in every world: by rules alone, under vmap, on fake tensors, traced.

One sample of each class.  What torch computes, one input after the other, is the oracle of each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from test_module_parity import DATABASE, NIGHTLY, PASSING, find, made, samples
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_unflatten

from neuronix import nn
from neuronix.autograd import CustomTensor, grad, rules_only

pytestmark = [
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

# Whole models of layers that are traced here one by one: with NEURONIX_NIGHTLY=1 in the environment.
TRACED_NIGHTLY = {"Transformer", "TransformerDecoderLayer", "TransformerEncoder"}

# How large torch's kernel makes a result depends on the numbers.
NOT_FAKE = {"CTCLoss"}

# Under vmap each sample would move the running statistics, which are one for all: torch refuses that, too.
ONLY_IN_EVALUATION = {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d"}


class Case:
    """One sample of a class: its inputs as a flat list of tensors, and the gradients of torch's module for them."""

    def __init__(self, name: str, training: bool = True) -> None:
        self.training = training
        self.info = DATABASE[name]
        self.name = name
        listed = samples(self.info, torch.float64, training)
        self.sample = next((each for each in listed if self._floats(each)), listed[0])
        given = (self.sample.forward_input.args, self.sample.forward_input.kwargs)
        flat, self.form = tree_flatten(given)
        self.places = [number for number, value in enumerate(flat) if isinstance(value, Tensor)]
        self.flat = [value.detach().clone() if isinstance(value, Tensor) else value for value in flat]
        self.values = [self.flat[number] for number in self.places]
        self.wanted = [flat[number].requires_grad for number in self.places]

    @staticmethod
    def _floats(sample: Any) -> bool:
        return any(isinstance(x, Tensor) and x.requires_grad for x in tree_flatten(sample.forward_input.args)[0])

    def module(self, factory: Callable[..., Any]) -> Any:
        return made(factory, self.sample, torch.float64, self.training)

    def gradients(self, module: Any, leaf: Callable[[Tensor, bool], Any], gradient: Any, *values: Tensor) -> list[Any]:
        """The gradients of inputs and parameters, of a weighting of all outputs."""
        flat = list(self.flat)
        inputs = [leaf(value, wanted) for value, wanted in zip(values, self.wanted, strict=True)]
        for number, value in zip(self.places, inputs, strict=True):
            flat[number] = value
        args, kwargs = tree_unflatten(flat, self.form)
        torch.manual_seed(2)
        outputs = [x for x in tree_flatten(module(*args, **kwargs))[0] if getattr(x, "requires_grad", False)]
        incoming = [torch.linspace(0.5, 1.5, x.numel(), dtype=x.dtype).reshape(x.shape) for x in outputs]
        leaves = [x for x, wanted in zip(inputs, self.wanted, strict=True) if wanted] + list(module.parameters())
        found = gradient(outputs, leaves, incoming, allow_unused=True)
        return [leaf.new_zeros(leaf.shape) if each is None else each for leaf, each in zip(leaves, found, strict=True)]

    def theirs(self, *values: Tensor) -> list[Tensor]:
        module = self.module(self.info.module_cls)
        if hasattr(module, "options"):
            module.options = None
        with sdpa_kernel(SDPBackend.MATH):
            return self.gradients(
                module, lambda x, wanted: x.detach().clone().requires_grad_(wanted), torch.autograd.grad, *values
            )

    def ours(self, module: Any) -> Callable[..., tuple[Tensor, ...]]:
        """A function from the inputs to the gradients, of torch's tensors."""

        def function(*values: Tensor) -> tuple[Tensor, ...]:
            found = self.gradients(module, lambda x, wanted: CustomTensor(x, requires_grad=wanted), grad, *values)
            return tuple(x.data if isinstance(x, CustomTensor) else x for x in found)

        return function


case = cache(Case)
expected = cache(lambda name: case(name).theirs(*case(name).values))


def close(ours: Any, theirs: Any) -> None:
    for number, (received, wanted) in enumerate(zip(ours, theirs, strict=True)):
        torch.testing.assert_close(  # in some samples there are NaNs, as of negative probabilities
            received, wanted, rtol=1e-9, atol=1e-10, equal_nan=True, msg=lambda text, n=number: f"{n}: {text}"
        )


@pytest.mark.parametrize("name", PASSING)
def test_rules_alone(name: str) -> None:
    with rules_only():
        close(case(name).ours(case(name).module(find(name)))(*case(name).values), expected(name))


@pytest.mark.parametrize("name", PASSING)
def test_vectorized(name: str) -> None:
    it = Case(name, training=False) if name in ONLY_IN_EVALUATION else case(name)
    rows = [[x * factor if x.dtype.is_floating_point else x for x in it.values] for factor in (1.0, 0.9)]
    stacked = [torch.stack(pair) for pair in zip(*rows, strict=True)]
    together = torch.vmap(it.ours(it.module(find(name))), randomness="same")(*stacked)
    for number, row in enumerate(rows):
        close([x[number] for x in together], it.theirs(*row))


@pytest.mark.parametrize("name", [name for name in PASSING if name not in NOT_FAKE])
def test_fake(name: str) -> None:
    """Shapes and types without numbers."""
    it = case(name)
    module = it.module(find(name))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for parameter in module.parameters():
            parameter.data = mode.from_tensor(parameter.data)
        for owner in module.modules():
            held = vars(owner)  # buffers and other tensors
            held.update({key: mode.from_tensor(x) for key, x in held.items() if type(x) is Tensor})
        found = it.ours(module)(*[mode.from_tensor(x) for x in it.values])
    assert [(x.shape, x.dtype) for x in found] == [(x.shape, x.dtype) for x in expected(name)]


def test_made_of_fake_tensors() -> None:
    """Models are made without memory, and layers copied."""
    with FakeTensorMode():
        model = nn.Transformer(8, 2, 2, 2, 16, dtype=torch.float32)
        out = model(torch.empty(5, 3, 8), torch.empty(4, 3, 8))
        out.sum().backward()
    assert out.shape == (4, 3, 8)
    assert all(x.grad is not None and x.grad.shape == x.shape for x in model.parameters())


@pytest.mark.parametrize("name", [name for name in PASSING if NIGHTLY or name not in TRACED_NIGHTLY])
def test_traced(name: str) -> None:
    """What is traced for some numbers computes the gradients for others."""
    it = case(name)
    others = [x * 0.9 if x.dtype.is_floating_point else x for x in it.values]
    graph = make_fx(it.ours(it.module(find(name))))(*it.values)
    close(graph(*others), it.theirs(*others))
