"""What torch.nn and torch.nn.functional offer and Neuronix doesn't: each with its reason."""

from __future__ import annotations

import inspect

import pytest
import torch

from neuronix import losses, nn

CLASSES = {
    "Buffer": "buffers are plain tensors: register_buffer",
    "Container": "an old name that torch warns of",
    "DataParallel": "one process, several devices: torch itself advises against it",
    "LinearCrossEntropyOptions": "how torch saves memory; LinearCrossEntropyLoss takes it, without effect",
    "NLLLoss2d": "an old name of NLLLoss that torch warns of",
    "RNNBase": "the base of torch's recurrent layers, which isn't made itself",
    "RNNCellBase": "the base of torch's recurrent cells, which isn't made itself",
    "UninitializedBuffer": "for lazy modules",
    "UninitializedParameter": "for lazy modules",
}
FUNCTIONS = {
    "assert_int_or_pair": "torch's own helper",
    "boolean_dispatch": "torch's own helper",
    "handle_torch_function": "torch's own helper",
    "has_torch_function": "torch's own helper",
    "has_torch_function_unary": "torch's own helper",
    "has_torch_function_variadic": "torch's own helper",
    "adaptive_max_pool1d_with_indices": "adaptive_max_pool1d(return_indices=True)",
    "adaptive_max_pool2d_with_indices": "adaptive_max_pool2d(return_indices=True)",
    "adaptive_max_pool3d_with_indices": "adaptive_max_pool3d(return_indices=True)",
    "max_pool1d_with_indices": "max_pool1d(return_indices=True)",
    "max_pool2d_with_indices": "max_pool2d(return_indices=True)",
    "max_pool3d_with_indices": "max_pool3d(return_indices=True)",
    "native_channel_shuffle": "channel_shuffle",
    "rrelu_": "rrelu(inplace=True)",
    "grouped_mm": "torch's takes CustomTensors: it calls torch._grouped_mm",
    "scaled_grouped_mm": "a kernel of low precision, for GPUs",
    "scaled_mm": "a kernel of low precision, for GPUs",
}
OURS = {name: getattr(place, name) for place in (nn, losses) for name in place.__all__}
THEIRS = {
    name: each for name, each in vars(torch.nn).items() if inspect.isclass(each) and not name.startswith(("_", "Lazy"))
}
SHARED = sorted(set(THEIRS) & set(OURS))


def test_what_is_missing_has_a_reason_and_nothing_else_has() -> None:
    assert set(THEIRS) - set(OURS) == set(CLASSES)
    functions = {
        name
        for name, each in vars(torch.nn.functional).items()
        if callable(each) and not inspect.isclass(each) and not name.startswith("_") and name != "Optional"
    }
    assert functions - set(nn.functional.__all__) - set(losses.functional.__all__) == set(FUNCTIONS)


@pytest.mark.parametrize("name", SHARED)
def test_constructor_is_torchs(name: str) -> None:
    """Names, order, kinds and defaults of the arguments."""
    if THEIRS[name].__init__ in (torch.nn.Module.__init__, torch.nn.Parameter.__init__):
        return  # which take, and ignore, whatever they are given; a Parameter is made by __new__
    ours, theirs = inspect.signature(OURS[name]).parameters, inspect.signature(THEIRS[name]).parameters
    if theirs.keys() & {"args", "kwargs"} and name not in ("Identity", "Sequential"):
        return  # torch's recurrent layers don't name theirs; ours do
    expected = [(key, p.kind, getattr(p.default, "__name__", p.default)) for key, p in theirs.items()]
    found = [(key, p.kind, getattr(p.default, "__name__", p.default)) for key, p in ours.items()]
    if name == "Sequential":  # torch calls the modules args
        expected, found = [each[1:] for each in expected], [each[1:] for each in found]
    assert found == expected


@pytest.mark.parametrize("name", [name for name in SHARED if hasattr(THEIRS[name], "forward")])
def test_forward_takes_what_torchs_takes(name: str) -> None:
    """Names and order, so that calls by keyword work."""
    ours, theirs = (list(inspect.signature(each[name].forward).parameters) for each in (OURS, THEIRS))
    if THEIRS[name].forward is torch.nn.Module.forward:
        return  # Module, and containers, which compute nothing
    assert ours == theirs
