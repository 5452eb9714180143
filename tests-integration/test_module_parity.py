"""Layers and losses against torch's own database of modules: every class that it lists, and every input.

For each of its samples the same constructor arguments make torch's module and ours.  Compared are the names of the
parameters and of the state, outputs, running statistics, and the gradients of inputs and parameters of first and second
order, in training and in evaluation.  While Neuronix is at work, torch's differentiation is replaced by functions that
raise.

`modules_that_pass.txt` lists the classes that agree with torch in every row: all that the database has.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_overloads

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing._internal.common_modules import ModuleInfo, ModuleInput, module_db
from torch.utils._pytree import tree_map

from neuronix import losses, nn
from neuronix.autograd import testing

NIGHTLY = os.environ.get("NEURONIX_NIGHTLY") == "1"
# Samples of a class, in one mode, that are compared in every run.
MOST = {torch.float64: 24, torch.float32: 2}


# Relative and absolute tolerances, where a type keeps fewer digits than elsewhere.
LOOSER: dict[tuple[str, torch.dtype], tuple[float, float | None]] = {
    # The database's inputs of this loss come so close to 0 and 1 that second derivatives reach 1e4 and lose digits.
    ("BCELoss", torch.float64): (1e-9, None),
    ("BCELoss", torch.float32): (1e-3, None),
    # Log-probabilities of 50 steps add up to −150, of which float32 keeps 1e-5: torch's own gradient is off by 1e-4 of
    # its largest entry, as seen from float64, and ours, by the rules, by 2.4e-5.
    ("CTCLoss", torch.float32): (1e-4, 1e-4),
    # Entries that are what is left of sums a hundred times as large: torch's second derivatives are off by 2e-5 of the
    # largest entry, ours by 1.4e-5.  (Of a Transformer's, after four normalisations, no digits are left to compare.)
    ("MultiheadAttention", torch.float32): (1e-4, None),
    ("Transformer", torch.float32): (1e-4, None),
}


# Torch has no second order of these; ours is compared with finite differences elsewhere.
WITHOUT_SECOND_ORDER = {"CTCLoss", "MultiLabelMarginLoss", "MultiMarginLoss"}


def find(name: str) -> Any:
    """Our class of that name, if there is one."""
    for library in (nn, losses):
        if name in library.__all__:
            return getattr(library, name)
    return None


# Left out: lazy modules, which take their sizes from the first input, are nobody's wish here.
DATABASE = {
    info.module_cls.__name__: info
    for info in module_db
    if not issubclass(info.module_cls, torch.nn.modules.lazy.LazyModuleMixin)
}
PASSING = Path(__file__).with_name("modules_that_pass.txt").read_text().split()
INFOS = {name: DATABASE[name] for name in PASSING}


@cache
def samples(info: ModuleInfo, dtype: torch.dtype, training: bool) -> list[ModuleInput]:
    """What the database lists, drawn from a seed of its own; nobody changes it."""
    torch.manual_seed(0)
    listed: list[ModuleInput] = info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=True, training=training
    )
    return listed


def described(sample: ModuleInput) -> str:
    given = [*map(str, sample.constructor_input.args)]
    given += [f"{key}={value}" for key, value in sample.constructor_input.kwargs.items()]
    text = ",".join(" ".join(each.split())[:30] for each in given)
    return f"({text}){'-' + sample.desc if sample.desc else ''}".replace(" ", "_")


def rows(name: str) -> list[Any]:
    """The arguments of the test for each dtype, mode and sample of a class.

    Where the database has more of them than `MOST`, evenly spaced ones; with NEURONIX_NIGHTLY=1 in the environment all.
    """
    info = DATABASE[name]
    modes = [(True, "train"), (False, "eval")] if info.train_and_eval_differ else [(True, "train")]
    return [
        pytest.param(name, number, dtype, training, id=f"{name}{described(sample)}-{str(dtype)[6:]}-{mode}")
        for dtype, most in MOST.items()
        for training, mode in modes
        for number, sample in spaced(list(enumerate(samples(info, dtype, training))), most)
    ]


def spaced(values: list[Any], most: int) -> list[Any]:
    if len(values) <= most or NIGHTLY:
        return values
    return [values[number * (len(values) - 1) // (most - 1)] for number in range(most)]


ROWS = [row for name in PASSING for row in rows(name)]


def made(factory: Callable[..., Any], sample: ModuleInput, dtype: torch.dtype, training: bool) -> Any:
    torch.manual_seed(1)
    arguments = copy.deepcopy(sample.constructor_input)
    args = arguments.args if factory.__module__.startswith("torch.") else tree_map(translated, arguments.args)
    return factory(*args, **arguments.kwargs).to(dtype).train(training)


def translated(value: Any) -> Any:
    """A module that the database gives to a constructor, as one of ours with the same numbers."""
    if not isinstance(value, torch.nn.TransformerEncoderLayer):
        return value
    ours = nn.TransformerEncoderLayer(
        value.self_attn.embed_dim,
        value.self_attn.num_heads,
        value.linear1.out_features,
        value.dropout.p,
        value.activation,
        value.norm1.eps,
        value.self_attn.batch_first,
        value.norm_first,
        value.linear1.bias is not None,
        dtype=value.linear1.weight.dtype,
    )
    ours.load_state_dict(value.state_dict())
    return ours


def as_leaf(value: Any) -> Any:
    """A leaf of its own: the database has results among its inputs, and the same one twice."""
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, torch.Tensor) else value


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # both sides say so of KLDivLoss
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")  # of torch's TransformerEncoder
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch says so, once
@pytest.mark.parametrize("name, number, dtype, training", ROWS)
def test_module_equals_torchs(name: str, number: int, dtype: torch.dtype, training: bool) -> None:
    check_row(name, number, dtype, training)


@sdpa_kernel(SDPBackend.MATH)  # torch's other implementations of attention have no second derivative
def check_row(name: str, number: int, dtype: torch.dtype, training: bool) -> None:
    info = DATABASE[name]
    sample = samples(info, dtype, training)[number]
    theirs = made(info.module_cls, sample, dtype, training)
    ours = made(find(name), sample, dtype, training)

    if hasattr(theirs, "options"):  # how torch saves memory in LinearCrossEntropyLoss, at the price of derivatives
        theirs.options = None

    expected_parameters = dict(theirs.named_parameters())
    parameters = dict(ours.named_parameters())
    assert list(parameters) == list(expected_parameters)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=0, atol=0)  # the same seed, the same numbers
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]

    forward = sample.forward_input
    rtol, atol = LOOSER.get((name, dtype), (None, None))
    testing.check_against_torch(
        lambda *args: ours(*args, **forward.kwargs),
        *tree_map(as_leaf, forward.args),
        torch_function=lambda *args: theirs(*args, **forward.kwargs),
        torch_grad=torch.autograd.grad,
        refused=(torch.autograd, torch.autograd.functional, torch.func, torch.Tensor),
        parameters={key: (parameter, expected_parameters[key]) for key, parameter in parameters.items()},
        second_order=info.supports_gradgrad
        and name not in WITHOUT_SECOND_ORDER
        and not (name.startswith("Transformer") and dtype is torch.float32),
        rtol=rtol,
        atol=atol,
    )
    for key, value in theirs.state_dict().items():  # running statistics have moved alike
        tolerance = 1e-12 if dtype is torch.float64 else 1e-6
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=0, atol=tolerance)


def test_every_module_is_listed() -> None:
    """Of the torch that the constraints name.  A newer one's further modules are added when they agree, too."""
    assert sorted(set(DATABASE) - set(PASSING)) == []


@pytest.mark.parametrize("name", sorted(INFOS))
def test_arguments_are_torchs(name: str) -> None:
    """Names, order and defaults of the constructor."""
    theirs = inspect.signature(INFOS[name].module_cls)
    if overloads := get_overloads(INFOS[name].module_cls.__init__):  # RNN, LSTM and GRU say there what they take
        theirs = inspect.signature(overloads[0])
        theirs = theirs.replace(parameters=list(theirs.parameters.values())[1:])  # without self
    elif INFOS[name].module_cls.__init__ is torch.nn.Module.__init__:
        theirs = inspect.Signature()  # torch's Module takes, and ignores, whatever it is given

    def described(parameter: inspect.Parameter) -> tuple[Any, Any]:  # a default such as relu: ours of the same name
        return parameter.kind, getattr(parameter.default, "__name__", parameter.default)

    expected = {key: described(parameter) for key, parameter in theirs.parameters.items()}
    ours = inspect.signature(find(name))
    assert {key: described(parameter) for key, parameter in ours.parameters.items()} == expected
    assert list(ours.parameters) == list(expected)


@pytest.mark.parametrize("name", sorted(name for name, info in INFOS.items() if info.module_error_inputs_func))
def test_refuses_what_torch_refuses(name: str) -> None:
    info = INFOS[name]
    for training in (True, False):
        for each in info.module_error_inputs_func(
            info, device="cpu", dtype=torch.float64, requires_grad=False, training=training
        ):
            given = each.module_error_input
            arguments = given.constructor_input
            with pytest.raises(each.error_type):
                module = find(name)(*arguments.args, **arguments.kwargs)
                module.train(training)(*given.forward_input.args, **given.forward_input.kwargs)


def test_the_list_is_sorted_and_names_what_the_database_has() -> None:
    assert sorted(set(PASSING)) == PASSING
    assert set(PASSING) <= set(DATABASE)
    assert len(DATABASE) >= 108  # a newer torch may list more, never less


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")
def test_constants_of_inputs_are_left_alone() -> None:
    """The database's inputs may be shared between samples: no layer changes what it is given."""
    for name, info in INFOS.items():
        for sample in samples(info, torch.float64, True):
            before = tree_map(
                lambda value: value.clone() if isinstance(value, torch.Tensor) else value, sample.forward_input.args
            )
            made(find(name), sample, torch.float64, True)(*sample.forward_input.args, **sample.forward_input.kwargs)
            for a, b in zip(before, sample.forward_input.args, strict=True):
                if isinstance(a, torch.Tensor):
                    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True, msg=name)
