"""Recurrent layers beyond what torch's module database lists: packed sequences, dropout, states, bad input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from neuronix import nn
from neuronix.autograd import CustomTensor, grad, no_grad, rules_only, tensor
from neuronix.autograd.errors import ArgumentError, ShapeError
from neuronix.nn.errors import LayerArgumentError, ModuleTypeError
from neuronix.nn.functional.recurrence import onednn
from neuronix.nn.utils import rnn

LENGTHS = {"sorted": [5, 3, 3, 1], "equal": [4, 4, 4], "unsorted": [1, 5, 2, 5], "one": [3]}
KINDS = ["RNN", "GRU", "LSTM"]


def both(
    name: str, *args: Any, dtype: torch.dtype = torch.float64, **kwargs: Any
) -> tuple[Any, Any, dict[str, tuple[Any, Any]]]:
    """Ours and torch's with the same parameters, and these in pairs."""
    torch.manual_seed(0)
    ours = getattr(nn, name)(*args, **kwargs, dtype=dtype)
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **kwargs, dtype=dtype)
    expected = dict(theirs.named_parameters())
    return ours, theirs, {key: (value, expected[key]) for key, value in ours.named_parameters()}


def double(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def gradients(output: Any, leaves: Any, *given: Any, **options: Any) -> list[torch.Tensor]:
    """The plain values of `grad`, of leaves that all have one."""
    return [found.data for found in grad(output, leaves, *given, **options) if found is not None]


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


@pytest.mark.parametrize("name", KINDS)
def test_outputs_may_be_changed_in_place(name: str) -> None:
    """No derivative reads the outputs that a user holds, here as in torch's own loop."""
    ours, theirs, parameters = both(name, 3, 4)
    x = double(5, 2, 3)
    for library_output in (ours(x.detach())[0], theirs(x)[0]):
        library_output += 1
        library_output.square().sum().backward()
    for received, expected in parameters.values():
        torch.testing.assert_close(received.grad, expected.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_one_gradient_alone(name: str) -> None:
    """Each is what it is beside the others, though only one sequence's state at the end is used."""
    ours, _, _ = both(name, 3, 4, bidirectional=True)
    x = CustomTensor(double(5, 2, 3).detach(), requires_grad=True)
    leaves = [x, *ours.parameters()]
    together = gradients(_last_state(ours, x), leaves)
    for leaf in leaves:
        leaf.requires_grad = False
    for leaf, expected in zip(leaves, together, strict=True):
        leaf.requires_grad = True
        (alone,) = gradients(_last_state(ours, x), leaf)
        leaf.requires_grad = False
        torch.testing.assert_close(alone, expected, rtol=1e-12, atol=1e-14)


def _last_state(module: Any, x: Any) -> Any:
    state = module(x)[1]
    return (state[1] if isinstance(module, nn.LSTM) else state)[-1, 1].sum()


# An LSTM by oneDNN


def single(*shape: int) -> torch.Tensor:
    return torch.randn(shape, requires_grad=True)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions of ``onednn.py`` that have computed something since."""
    names: list[str] = []

    def observed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            names.append(name)
            return function(*args)

        return call

    for name in ("lstm", "lstm_backward"):
        monkeypatch.setattr(onednn, name, observed(name, getattr(onednn, name)))
    return names


@pytest.mark.kernels
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True, "bidirectional": True}],
    ids=str,
)
def test_onednn_gives_what_torch_gives(
    options: dict[str, Any], ran: list[str], check_against_torch: Callable[..., None]
) -> None:
    ours, theirs, parameters = both("LSTM", 3, 4, dtype=torch.float32, **options)
    directions = ours.num_layers * (2 if ours.bidirectional else 1)
    x = single(5, 2, 3)
    batch = 5 if ours.batch_first else 2
    for given in ([], [single(directions, batch, 4), single(directions, batch, 4)]):
        ran.clear()
        check_against_torch(
            lambda x, *hx: ours(x, hx or None),
            x,
            *given,
            torch_function=lambda x, *hx: theirs(x, hx or None),
            parameters=parameters,
        )
        assert ran[: 2 * directions] == ["lstm"] * directions + ["lstm_backward"] * directions  # the plain pass


@pytest.mark.kernels
@pytest.mark.parametrize("used", [[0], [1], [2], [0, 2]], ids=str)
def test_onednn_with_results_that_nobody_uses(used: list[int], ran: list[str]) -> None:
    ours, theirs, parameters = both("LSTM", 3, 4, dtype=torch.float32)
    x = single(5, 2, 3)
    for module in (ours, theirs):
        out, (h, c) = module(x.detach())
        sum((out, h, c)[place].square().sum() for place in used).backward()
    assert ran == ["lstm", "lstm_backward"]
    for received, expected in parameters.values():
        torch.testing.assert_close(received.grad, expected.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.kernels
@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")  # torch's flags() sets another one, too
def test_without_onednn_the_steps_give_the_same(ran: list[str]) -> None:
    ours, _, _ = both("LSTM", 3, 4, dtype=torch.float32)
    x = tensor(torch.randn(5, 2, 3), requires_grad=True)
    leaves = [x, *ours.parameters()]
    expected = gradients(ours(x)[0].square().sum(), leaves)
    assert ran == ["lstm", "lstm_backward"]
    with torch.backends.mkldnn.flags(enabled=False):
        by_steps = gradients(ours(x)[0].square().sum(), leaves)
    assert len(ran) == 2
    with torch.no_grad():  # it then leaves no workspace
        without_workspace = gradients(ours(x)[0].square().sum(), leaves)
    assert ran[2:] == ["lstm"]
    with no_grad():
        value = ours(x)[0]
    assert ran[3:] == ["lstm"]
    torch.testing.assert_close(value.data, ours(x)[0].data, rtol=1e-6, atol=1e-6)
    for found in (by_steps, without_workspace):
        for received, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(received, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.kernels
def test_where_onednn_cant_go_the_steps_do(ran: list[str]) -> None:
    """Many examples at once, a traced program, tensors without memory, sequences of different lengths, projections."""
    ours, _, _ = both("LSTM", 3, 4, dtype=torch.float32)
    examples = torch.randn(3, 5, 2, 3)

    def gradient(values: torch.Tensor) -> torch.Tensor:
        x = CustomTensor(values, requires_grad=True)
        return gradients(ours(x)[0].square().sum(), x)[0]

    one_by_one = torch.stack([gradient(example) for example in examples])
    ran.clear()
    torch.testing.assert_close(torch.vmap(gradient)(examples), one_by_one, rtol=1e-5, atol=1e-5)
    traced: Any = make_fx(gradient)(examples[0])
    torch.testing.assert_close(traced(examples[1]), one_by_one[1], rtol=1e-5, atol=1e-5)
    assert not any("mkldnn" in str(node.target) for node in traced.graph.nodes)
    with FakeTensorMode():
        fake = nn.LSTM(3, 4)
        out, _ = fake(torch.empty(5, 2, 3))
        out.sum().backward()
    assert out.shape == (5, 2, 4)
    assert all(p.grad is not None and p.grad.shape == p.shape for p in fake.parameters())
    ours(rnn.pack_sequence([torch.randn(3, 3), torch.randn(2, 3)]))[0].data.sum().backward()
    nn.LSTM(3, 4, proj_size=2)(examples[0])[0].sum().backward()
    assert ran == []


@pytest.mark.kernels
def test_gradients_of_many_examples_at_once_behind_onednn(ran: list[str]) -> None:
    ours, _, _ = both("LSTM", 3, 4, dtype=torch.float32)
    x = tensor(torch.randn(5, 2, 3), requires_grad=True)
    out = ours(x)[0]

    def pullback(gradient: torch.Tensor) -> torch.Tensor:
        return gradients(out, x, gradient, retain_graph=True)[0]

    incoming = torch.randn(3, 5, 2, 4)
    together = torch.vmap(pullback)(incoming)
    assert ran == ["lstm"]
    torch.testing.assert_close(together, torch.stack([pullback(g) for g in incoming]), rtol=1e-5, atol=1e-5)
    assert ran == ["lstm", *["lstm_backward"] * 3]


@pytest.mark.parametrize("place", range(7))
def test_shapes_that_dont_fit_never_reach_onednn(place: int, ran: list[str]) -> None:
    """Its kernels read memory without looking at shapes."""
    shapes = [(5, 2, 3), (1, 2, 4), (1, 2, 4), (16, 3), (16, 4), (16,), (16,)]
    shapes[place] = (*shapes[place][:-1], shapes[place][-1] + 1)
    x, h, c, *weights = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ShapeError):
        nn.functional.lstm(x, (h, c), weights, True, 1, 0.0, True, False, False)
    assert ran == []


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
