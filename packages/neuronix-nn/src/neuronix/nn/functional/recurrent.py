"""Recurrent networks: layers and directions put together, as torch's functions have them, and single steps.

What one layer computes in one direction, and its derivative, stand in ``recurrence/``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from neuronix.autograd import CustomTensor, composite, is_grad_enabled, ops
from neuronix.autograd.errors import ShapeError
from neuronix.nn.functional.dropout import dropout
from neuronix.nn.functional.recurrence import State, elman_layer, gru_layer, gru_update, lstm_layer, lstm_update
from neuronix.nn.tensor_like import TensorLike

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell"]


class Weights(NamedTuple):
    """The parameters of one layer in one direction."""

    ih: TensorLike  # (gates · hidden, input)
    hh: TensorLike  # (gates · hidden, size of h)
    bias_ih: TensorLike | None = None  # (gates · hidden,)
    bias_hh: TensorLike | None = None  # (gates · hidden,)
    hr: TensorLike | None = None  # (projection, hidden), of an LSTM whose h is projected


Layer: TypeAlias = Callable[[Any, State, Weights, list[int], bool], tuple[Any, ...]]
"""From the input's rows, the first state, the parameters, how many rows there are at each time, and whether it goes
backwards, to the outputs' rows and the parts of the final state."""


def _elman_layer(relu: bool) -> Layer:
    def layer(rows: Any, state: State, weights: Weights, batch_sizes: list[int], reverse: bool) -> tuple[Any, ...]:
        outputs, h = elman_layer(rows, *weights[:4], *state, batch_sizes, reverse, relu, _place_for_steps())
        return outputs, h

    return layer


def _gru_layer(rows: Any, state: State, weights: Weights, batch_sizes: list[int], reverse: bool) -> tuple[Any, ...]:
    outputs, h = gru_layer(rows, *weights[:4], *state, batch_sizes, reverse, _place_for_steps())
    return outputs, h


def _lstm_layer(rows: Any, state: State, weights: Weights, batch_sizes: list[int], reverse: bool) -> tuple[Any, ...]:
    outputs, h, c = lstm_layer(rows, *weights[:4], *state, weights.hr, batch_sizes, reverse, _place_for_steps())
    return outputs, h, c


def _place_for_steps() -> list[Tensor] | None:
    """Where a layer keeps its steps for its kernel, if it is recorded."""
    return [] if is_grad_enabled() else None


def stacked(
    one_layer: Layer,
    rows: Any,
    batch_sizes: list[int],
    initial: Sequence[Any],
    parameters: Sequence[Any],
    *,
    has_biases: bool,
    num_layers: int,
    dropout_p: float,
    train: bool,
    bidirectional: bool,
) -> tuple[Any, ...]:
    """All layers and directions: each layer reads the outputs of the one below, both directions side by side.

    Args:
        one_layer: Computes one of them.
        rows: The input, time by time (see ``recurrence/``).
        batch_sizes: How many rows there are at each time.
        initial: The parts of the state, each (layers · directions, sequences, size).
        parameters: Those of each layer and direction, one after the other, in torch's order.
        has_biases: Whether biases are among them.
        num_layers: The number of layers.
        dropout_p: The probability with which an output of a layer is dropped on its way to the next.
        train: Whether dropout is active.
        bidirectional: Whether each layer also goes backwards.

    Returns:
        The rows of the last layer's outputs, and the parts of the final state, stacked like ``initial``.
    """
    directions = 2 if bidirectional else 1
    count = len(parameters) // (num_layers * directions)
    states = list(zip(*(ops.unbind(part) for part in initial), strict=True))
    finals: list[State] = []
    for layer in range(num_layers):
        if layer and train and dropout_p:
            rows = dropout(rows, dropout_p)
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            weights = _weights(parameters[place * count : (place + 1) * count], has_biases)
            out, *final = one_layer(rows, states[place], weights, batch_sizes, direction == 1)
            outputs.append(out)
            finals.append(tuple(final))
        rows = ops.cat(outputs, -1) if bidirectional else outputs[0]
    return rows, *(ops.stack(list(parts)) for parts in zip(*finals, strict=True))


def _weights(parameters: Sequence[Any], has_biases: bool) -> Weights:
    ih, hh, *rest = parameters
    biases = rest[:2] if has_biases else [None, None]
    projection = rest[2:] if has_biases else rest
    return Weights(ih, hh, *biases, *projection)


def _run(one_layer: Layer, parts: int, args: Sequence[Any], options: dict[str, Any]) -> tuple[Any, ...]:
    """A recurrent network with torch's two lists of arguments; see `lstm`."""
    names = ["has_biases", "num_layers", "dropout", "train", "bidirectional"]
    # Of packed sequences hx comes third, after batch_sizes: a tensor stands where otherwise a list does.
    packed = isinstance(args[1 if parts == 2 else 2], (Tensor, CustomTensor))
    input, *args = args
    batch_sizes = args.pop(0).tolist() if packed else None
    hx, parameters, *given = args
    settings = dict(zip(names if packed else [*names, "batch_first"], given, strict=False)) | options
    batch_first = settings.pop("batch_first", False)
    settings["dropout_p"] = settings.pop("dropout")
    initial = (hx,) if parts == 1 else tuple(hx)
    rows = input
    if batch_sizes is None:
        rows = ops.transpose(rows, 0, 1) if batch_first else rows
        times, batch = rows.shape[:2]
        if times == 0:
            raise ShapeError(f"expected a sequence of at least one step, got input of shape {tuple(input.shape)}")
        batch_sizes = [batch] * times
        rows = ops.reshape(rows, (times * batch, rows.shape[2]))
    rows, *final = stacked(one_layer, rows, batch_sizes, initial, parameters, **settings)
    if not packed:
        rows = ops.reshape(rows, (times, batch, rows.shape[-1]))
        rows = ops.transpose(rows, 0, 1) if batch_first else rows
    return rows, *final


@composite(names="torch.lstm")
def lstm(*args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
    """Long short-term memory along sequences.

    With the state (h, c) and the four gates i, f, g, o, which are the quarters of W_ih x + b_ih + W_hh h + b_hh,

        c' = σ(f) · c + σ(i) · tanh(g)
        h' = σ(o) · tanh(c')          (projected by W_hr if there is one)

    Args:
        *args: Torch's: either ``input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
            batch_first``, with an input (time, batch, features) or (batch, time, features); or, of packed sequences,
            ``data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional``.  ``hx`` is the
            pair (h, c), each (layers · directions, batch, size); ``params`` lists for each layer and direction W_ih,
            W_hh, both biases, and W_hr.
        **kwargs: The same, from ``has_biases`` on, by name.

    Returns:
        The outputs of the last layer, and the final h and c.

    References:
        Hochreiter & Schmidhuber 1997, Long short-term memory; Gers et al. 2000, Learning to forget (the gate f).
    """
    output, h, c = _run(_lstm_layer, 2, args, kwargs)
    return output, h, c


@composite(names="torch.gru")
def gru(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Gated recurrent units along sequences.

    With W_ih x + b_ih = (x_r, x_z, x_n) and W_hh h + b_hh = (h_r, h_z, h_n),

        r = σ(x_r + h_r),   z = σ(x_z + h_z),   n = tanh(x_n + r · h_n),   h' = (1 − z) · n + z · h

    Args:
        *args: As for `lstm`, with a single h for ``hx``.
        **kwargs: As for `lstm`.

    Returns:
        The outputs of the last layer, and the final h.

    References:
        Cho et al. 2014, Learning phrase representations using RNN encoder–decoder, with the reset gate inside W_hh h.
    """
    output, h = _run(_gru_layer, 1, args, kwargs)
    return output, h


@composite(names="torch.rnn_tanh")
def rnn_tanh(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """The simple recurrent network h' = tanh(W_ih x + b_ih + W_hh h + b_hh) along sequences.

    Args:
        *args: As for `gru`.
        **kwargs: As for `gru`.

    Returns:
        The outputs of the last layer, and the final h.

    References:
        Elman 1990, Finding structure in time.
    """
    output, h = _run(_elman_layer(relu=False), 1, args, kwargs)
    return output, h


@composite(names="torch.rnn_relu")
def rnn_relu(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """The simple recurrent network with relu in the place of tanh.

    Args:
        *args: As for `gru`.
        **kwargs: As for `gru`.

    Returns:
        The outputs of the last layer, and the final h.
    """
    output, h = _run(_elman_layer(relu=True), 1, args, kwargs)
    return output, h


# Single steps


def _projected(input: Any, state: State, ih: Any, hh: Any, bias_ih: Any, bias_hh: Any) -> tuple[Any, Any]:
    """W_ih x + b_ih and W_hh h + b_hh."""
    size = hh.shape[1]
    if input.shape[-1] != ih.shape[1]:
        raise ShapeError(f"input has inconsistent input_size: got {input.shape[-1]} expected {ih.shape[1]}")
    for name, part in zip(("hidden0", "hidden1"), state, strict=False):
        if part.shape[-1] != size:
            raise ShapeError(f"{name} has inconsistent hidden_size: got {part.shape[-1]}, expected {size}")
        if part.shape[:-1] != input.shape[:-1]:
            raise ShapeError(
                f"Input batch size {tuple(input.shape[:-1])} doesn't match {name} batch size {tuple(part.shape[:-1])}"
            )
    return ops.linear(input, ih, bias_ih), ops.linear(state[0], hh, bias_hh)


@composite(names="torch.lstm_cell")
def lstm_cell(
    input: Any, hx: Sequence[Any], w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None
) -> tuple[Any, Any]:
    """One step of an LSTM.

    Args:
        input: (batch, input features).
        hx: The state (h, c), each (batch, hidden).
        w_ih: (4 · hidden, input features).
        w_hh: (4 · hidden, hidden).
        b_ih: (4 · hidden,) or ``None``.
        b_hh: (4 · hidden,) or ``None``.

    Returns:
        The next (h, c).

    Raises:
        ShapeError: If the shapes don't fit.
    """
    h, c = hx
    x_gates, h_gates = _projected(input, (h, c), w_ih, w_hh, b_ih, b_hh)
    h, c = lstm_update(x_gates + h_gates, c)
    return h, c


@composite(names="torch.gru_cell")
def gru_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a GRU.

    Args:
        input: (batch, input features).
        hx: (batch, hidden).
        w_ih: (3 · hidden, input features).
        w_hh: (3 · hidden, hidden).
        b_ih: (3 · hidden,) or ``None``.
        b_hh: (3 · hidden,) or ``None``.

    Returns:
        The next h.

    Raises:
        ShapeError: If the shapes don't fit.
    """
    return gru_update(*_projected(input, (hx,), w_ih, w_hh, b_ih, b_hh), hx)


@composite(names="torch.rnn_tanh_cell")
def rnn_tanh_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a simple recurrent network.

    Args:
        input: (batch, input features).
        hx: (batch, hidden).
        w_ih: (hidden, input features).
        w_hh: (hidden, hidden).
        b_ih: (hidden,) or ``None``.
        b_hh: (hidden,) or ``None``.

    Returns:
        The next h.

    Raises:
        ShapeError: If the shapes don't fit.
    """
    x_gate, h_gate = _projected(input, (hx,), w_ih, w_hh, b_ih, b_hh)
    return ops.tanh(x_gate + h_gate)


@composite(names="torch.rnn_relu_cell")
def rnn_relu_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a simple recurrent network with relu; arguments as for `rnn_tanh_cell`.

    Args:
        input: (batch, input features).
        hx: (batch, hidden).
        w_ih: (hidden, input features).
        w_hh: (hidden, hidden).
        b_ih: (hidden,) or ``None``.
        b_hh: (hidden,) or ``None``.

    Returns:
        The next h.

    Raises:
        ShapeError: If the shapes don't fit.
    """
    x_gate, h_gate = _projected(input, (hx,), w_ih, w_hh, b_ih, b_hh)
    return ops.relu(x_gate + h_gate)
