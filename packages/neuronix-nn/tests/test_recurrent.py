"""Recurrent layers beyond what torch's module database lists: packed sequences, dropout, states, bad input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix import nn
from neuronix.autograd import CustomTensor, rules_only, tensor
from neuronix.autograd.errors import ArgumentError, ShapeError
from neuronix.nn.errors import LayerArgumentError, ModuleTypeError
from neuronix.nn.utils import rnn

LENGTHS = {"sorted": [5, 3, 3, 1], "equal": [4, 4, 4], "unsorted": [1, 5, 2, 5], "one": [3]}
KINDS = ["RNN", "GRU", "LSTM"]


def both(name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any, dict[str, tuple[Any, Any]]]:
    """Ours and torch's with the same parameters, and these in pairs."""
    torch.manual_seed(0)
    ours = getattr(nn, name)(*args, **kwargs, dtype=torch.float64)
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **kwargs, dtype=torch.float64)
    expected = dict(theirs.named_parameters())
    return ours, theirs, {key: (value, expected[key]) for key, value in ours.named_parameters()}


def double(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def packed_run(module: Any, library: Any, lengths: list[int], in_order: bool) -> Callable[..., Any]:
    def run(x: Any, *state: Any) -> Any:
        packed = library.pack_padded_sequence(x, lengths, module.batch_first, in_order)
        hx = (state if isinstance(module, (nn.LSTM, torch.nn.LSTM)) else state[0]) if state else None
        out, final = module(packed, hx)
        padded, found = library.pad_packed_sequence(out, module.batch_first, -2.0, total_length=6)
        assert found.tolist() == lengths
        return padded, final

    return run


@pytest.mark.parametrize("order", LENGTHS)
@pytest.mark.parametrize("name", KINDS)
def test_packed_sequences(name: str, order: str, check_against_torch: Callable[..., None]) -> None:
    lengths = LENGTHS[order]
    in_order = order != "unsorted"
    first = order == "unsorted"
    ours, theirs, parameters = both(name, 3, 4, num_layers=2, bidirectional=True, batch_first=first)
    x = double(len(lengths), max(lengths), 3) if first else double(max(lengths), len(lengths), 3)
    states = [double(4, len(lengths), 4) for _ in range(2 if name == "LSTM" else 1)]
    for given in ([], states):
        check_against_torch(
            packed_run(ours, rnn, lengths, in_order),
            x,
            *given,
            torch_function=packed_run(theirs, torch.nn.utils.rnn, lengths, in_order),
            parameters=parameters,
        )


@pytest.mark.parametrize("name", KINDS)
def test_states_and_layers(name: str, check_against_torch: Callable[..., None]) -> None:
    projected: dict[str, Any] = {"proj_size": 2} if name == "LSTM" else {}
    ours, theirs, parameters = both(name, 3, 4, 2, bidirectional=True, batch_first=True, **projected)
    states = [double(4, 2, 2), double(4, 2, 4)] if name == "LSTM" else [double(4, 2, 4)]

    def run(module: Any) -> Callable[..., Any]:
        return lambda x, *hx: module(x, hx if name == "LSTM" else hx[0])

    check_against_torch(run(ours), double(2, 5, 3), *states, torch_function=run(theirs), parameters=parameters)


@pytest.mark.parametrize("name", KINDS)
def test_dropout_between_layers_draws_what_torch_draws(name: str) -> None:
    ours, theirs, _ = both(name, 3, 4, num_layers=3, dropout=0.4)
    x = double(5, 2, 3)
    for training in (True, False):
        torch.manual_seed(1)
        expected = theirs.train(training)(x)[0]
        torch.manual_seed(1)
        received = ours.train(training)(x)[0]
        torch.testing.assert_close(received.data, expected.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_rules_alone_give_the_same(name: str) -> None:
    ours, theirs, parameters = both(name, 3, 4, 2)
    x = double(5, 2, 3)
    theirs(x)[0].sum().backward()
    with rules_only():
        ours(x.detach())[0].sum().backward()
    for received, expected in parameters.values():
        torch.testing.assert_close(received.grad, expected.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [*KINDS, "RNNCell", "GRUCell", "LSTMCell"])
def test_torchs_own_layers_arrive_here(name: str) -> None:
    """torch's modules call `torch.lstm` and its sisters, which are these operations."""
    module = getattr(torch.nn, name)(3, 4, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64)
    out = module(x)
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    weights = [CustomTensor(value.detach().clone(), requires_grad=True) for value in module.parameters()]
    state = torch.zeros(1, 1, 4, dtype=torch.float64)
    if name.endswith("Cell"):
        function = {"RNNCell": torch.rnn_tanh_cell, "GRUCell": torch.gru_cell, "LSTMCell": torch.lstm_cell}[name]
        zeros = state[0].expand(5, 4)
        found: Any = function(x, (zeros, zeros) if name == "LSTMCell" else zeros, *weights)
        (found[0] if name == "LSTMCell" else found).sum().backward()
    else:
        network = {"RNN": torch.rnn_tanh, "GRU": torch.gru, "LSTM": torch.lstm}[name]
        hx = (state, state) if name == "LSTM" else state
        found = network(x.unsqueeze(1), hx, weights, True, 1, 0.0, True, False, batch_first=False)
        assert "lstm" not in str(found[0].grad_fn)
        found[0].sum().backward()
    for weight, expected in zip(weights, module.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, expected.grad, rtol=1e-10, atol=1e-12)


def test_a_state_dict_goes_both_ways() -> None:
    ours, theirs, _ = both("LSTM", 3, 4, num_layers=2, bidirectional=True, proj_size=2)
    assert [len(weights) for weights in ours.all_weights] == [5] * 4
    assert str(theirs.load_state_dict(ours.state_dict())) == str(ours.load_state_dict(theirs.state_dict()))
    for module in (nn.LSTM(2, 3), nn.LSTM(2, 3, 2, bias=False, batch_first=True, dropout=0.5, bidirectional=True)):
        arguments = (2, 3) if module.num_layers == 1 else (2, 3, 2, False, True, 0.5, True)
        assert repr(module) == repr(torch.nn.LSTM(*arguments))
    assert repr(ours) == repr(theirs)


# Packing


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_pad_and_unpad(first: bool, side: str, check_against_torch: Callable[..., None]) -> None:
    def run(library: Any) -> Callable[..., Any]:
        return lambda *xs: library.pad_sequence(list(xs), first, 2.0, side)

    xs = [double(3, 2), double(1, 2), double(4, 2)]
    check_against_torch(run(rnn), *xs, torch_function=run(torch.nn.utils.rnn))
    padded = torch.nn.utils.rnn.pad_sequence(xs, first)
    for received, expected in zip(rnn.unpad_sequence(padded, [3, 1, 4], first), xs, strict=True):
        torch.testing.assert_close(received.data, expected, rtol=0, atol=0)


def test_pack_and_unpack() -> None:
    xs = [double(3, 2), double(1, 2), double(4, 2)]
    ours, theirs = (library.pack_sequence(xs, enforce_sorted=False) for library in (rnn, torch.nn.utils.rnn))
    assert isinstance(ours, torch.nn.utils.rnn.PackedSequence)
    for received, expected in zip(ours, theirs, strict=True):
        values = received.data if isinstance(received, CustomTensor) else received
        torch.testing.assert_close(values, expected, rtol=0, atol=0)
    for received, expected in zip(rnn.unpack_sequence(ours), xs, strict=True):
        torch.testing.assert_close(received.data, expected, rtol=0, atol=0)


def test_torchs_packing_functions_take_our_tensors() -> None:
    values = torch.randn(4, 3, 2, dtype=torch.float64)
    x = tensor(values, requires_grad=True)
    library: Any = torch.nn.utils.rnn
    packed = library.pack_padded_sequence(x, torch.tensor([2, 4, 1]), enforce_sorted=False)
    padded, lengths = library.pad_packed_sequence(packed, batch_first=True)
    (padded * 2).sum().backward()
    there = torch.arange(4).unsqueeze(1) < torch.tensor([2, 4, 1])
    assert lengths.tolist() == [2, 4, 1]
    torch.testing.assert_close(x.grad, 2.0 * there.unsqueeze(2).expand(4, 3, 2).double(), rtol=0, atol=0)


# Bad input


def lstm(**options: Any) -> Any:
    return nn.LSTM(3, 4, 2, bidirectional=True, **options)


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: nn.RNN(3, 4, nonlinearity="gelu"),
        LayerArgumentError,
        "nonlinearity must be 'tanh' or 'relu', got 'gelu'",
    ),
    (lambda: nn.GRU(3, 0), LayerArgumentError, "hidden_size must be greater than zero, got 0"),
    (lambda: nn.LSTM(3, 4, proj_size=4), LayerArgumentError, "smaller than hidden_size (4)"),
    (lambda: nn.LSTM(3, 4, dropout=1.5), LayerArgumentError, "between 0 and 1, got 1.5"),
    (lambda: nn.LSTM(3, 4, bias="yes"), ModuleTypeError, "bias should be of type bool, got: str"),  # type: ignore[arg-type]
    (lambda: lstm()(torch.ones(5)), LayerArgumentError, "Expected input to be 2D or 3D, got 1D"),
    (lambda: lstm()([1.0]), ModuleTypeError, "a tensor or a PackedSequence, got list"),
    (lambda: lstm()(torch.ones(5, 2, 7)), ShapeError, "Expected 3, got 7"),
    (lambda: lstm()(torch.ones(0, 2, 3)), ShapeError, "at least one step"),
    (lambda: lstm()(torch.ones(5, 2, 3).double()), LayerArgumentError, "does not match weight dtype"),
    (lambda: lstm()(torch.ones(5, 2, 3), (torch.ones(4, 2, 4),)), ShapeError, "hx must be 2 tensors, got 1"),
    (
        lambda: lstm()(torch.ones(5, 2, 3), (torch.ones(4, 2, 4), torch.ones(4, 2, 3))),
        ShapeError,
        "Expected hidden[1] size (4, 2, 4), got [4, 2, 3]",
    ),
    (lambda: nn.GRU(3, 4)(torch.ones(5, 3), torch.ones(1, 1, 4)), ShapeError, "Expected hidden size (1, 4)"),
    (lambda: nn.GRUCell(3, 4)(torch.ones(5, 3), torch.ones(2, 4)), ShapeError, "doesn't match hidden0 batch size"),
    (lambda: rnn.pack_padded_sequence(torch.ones(3, 2, 1), [1, 2]), ArgumentError, "decreasing order"),
    (lambda: rnn.pack_padded_sequence(torch.ones(3, 2, 1), [2, 0]), ArgumentError, "greater than 0, but found 0"),
    (lambda: rnn.pack_padded_sequence(torch.ones(3, 2, 1), [9, 1]), ShapeError, "at most 3"),
    (lambda: rnn.pack_padded_sequence(torch.ones(3, 2, 1), [1]), ShapeError, "expected 2 lengths"),
    (lambda: rnn.pad_sequence([]), ArgumentError, "got none"),
    (lambda: rnn.pad_sequence([torch.ones(1)], padding_side="top"), ArgumentError, "got 'top'"),
    (lambda: rnn.unpack_sequence(torch.ones(1)), ModuleTypeError, "got Tensor"),  # type: ignore[arg-type]
    (
        lambda: rnn.pad_packed_sequence(rnn.pack_sequence([torch.ones(3)]), total_length=2),
        ArgumentError,
        "total_length to be at least the length of the longest",
    ),
]


@pytest.mark.parametrize("do, error, message", WRONG, ids=[message for *_, message in WRONG])
def test_what_is_refused(do: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        do()
    assert message in str(caught.value)


def test_dropout_that_does_nothing_is_pointed_out() -> None:
    with pytest.warns(UserWarning, match="does nothing with num_layers=1"):
        nn.LSTM(3, 4, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.LSTM(3, 4, num_layers=2, dropout=0.5)
