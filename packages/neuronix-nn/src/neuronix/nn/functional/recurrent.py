"""Recurrent networks: a cell says how one step changes the state, and `sweep` takes it along a sequence.

A sequence is handed over as *rows*: those of the first time, then those of the second, and so on, with the number of
rows at each time beside them (``batch_sizes``).  A batch of equally long sequences has the same number at all times; in
a packed one the numbers fall, because the longest sequence stands first.  So there is one loop for both.

What the cells have in common is W_ih · x + b_ih, which doesn't depend on the state: it is computed for all times in one
product, and a step adds what comes from the state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from neuronix.autograd import CustomTensor, composite, ops
from neuronix.autograd.errors import ShapeError
from neuronix.nn.functional.dropout import dropout
from neuronix.nn.tensor_like import TensorLike

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell"]

State: TypeAlias = tuple[Any, ...]
"""(h,), or (h, c) of an LSTM; each (rows, size)."""


class Weights(NamedTuple):
    """The parameters of one layer in one direction."""

    ih: TensorLike  # (gates · hidden, input)
    hh: TensorLike  # (gates · hidden, size of h)
    bias_ih: TensorLike | None = None  # (gates · hidden,)
    bias_hh: TensorLike | None = None  # (gates · hidden,)
    hr: TensorLike | None = None  # (projection, hidden), of an LSTM whose h is projected


Step: TypeAlias = Callable[[Any, State, Weights], State]
"""From W_ih · x + b_ih and the state to the next state."""


# Steps


def tanh_step(projected: Any, state: State, weights: Weights) -> State:
    """Elman's step: h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return (ops.tanh(projected + ops.linear(state[0], weights.hh, weights.bias_hh)),)


def relu_step(projected: Any, state: State, weights: Weights) -> State:
    """The same with relu: h' = relu(W_ih x + b_ih + W_hh h + b_hh)."""
    return (ops.relu(projected + ops.linear(state[0], weights.hh, weights.bias_hh)),)


def lstm_step(projected: Any, state: State, weights: Weights) -> State:
    """An LSTM's step: c' = σ(f) · c + σ(i) · tanh(g) and h' = σ(o) · tanh(c'), projected by W_hr if there is one."""
    h, c = state
    gates = projected + ops.linear(h, weights.hh, weights.bias_hh)
    i, f, g, o = ops.chunk(gates, 4, -1)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(c)
    return (h if weights.hr is None else ops.linear(h, weights.hr)), c


def gru_step(projected: Any, state: State, weights: Weights) -> State:
    """A GRU's step: h' = (1 − z) · n + z · h with n = tanh(x_n + r · h_n), r = σ(x_r + h_r) and z = σ(x_z + h_z)."""
    (h,) = state
    hidden = weights.hh.shape[1]
    x_gates, x_n = ops.split(projected, [2 * hidden, hidden], -1)
    h_gates, h_n = ops.split(ops.linear(h, weights.hh, weights.bias_hh), [2 * hidden, hidden], -1)
    r, z = ops.chunk(ops.sigmoid(x_gates + h_gates), 2, -1)
    n = ops.tanh(x_n + r * h_n)
    return (n + z * (h - n),)


# Along a sequence


def sweep(
    step: Step, rows: Any, batch_sizes: Sequence[int], initial: State, weights: Weights, reverse: bool
) -> tuple[Any, State]:
    """One layer in one direction.

    Args:
        step: The cell.
        rows: (sum of batch_sizes, input), time by time.
        batch_sizes: How many of the sequences go on at each time; they never grow.
        initial: The state before the first step, a row for each sequence.
        weights: The parameters.
        reverse: Whether it goes from the last time to the first.

    Returns:
        The outputs h in the order of ``rows``, and the state of each sequence after its last step.
    """
    projected = ops.split(ops.linear(rows, weights.ih, weights.bias_ih), list(batch_sizes))
    times = range(len(batch_sizes))
    outputs: list[Any] = [None] * len(batch_sizes)
    finished: list[State] = []
    live = 0 if reverse else len(initial[0])
    state = tuple(part[:0] for part in initial) if reverse else initial
    for time in reversed(times) if reverse else times:
        size = batch_sizes[time]
        if size < live:  # forwards, the shortest sequences end
            finished.append(tuple(part[size:] for part in state))
            state = tuple(part[:size] for part in state)
        elif size > live:  # backwards, they begin
            begun = tuple(part[live:size] for part in initial)
            state = tuple(ops.cat([old, new]) for old, new in zip(state, begun, strict=True)) if live else begun
        live = size
        state = step(projected[time], state, weights)
        outputs[time] = state[0]
    final = tuple(ops.cat(list(parts)) for parts in zip(state, *reversed(finished), strict=True)) if finished else state
    return ops.cat(outputs), final


def stacked(
    step: Step,
    rows: Any,
    batch_sizes: Sequence[int],
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
        step: The cell.
        rows: The input, as for `sweep`.
        batch_sizes: As for `sweep`.
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
            out, final = sweep(step, rows, batch_sizes, states[place], weights, reverse=direction == 1)
            outputs.append(out)
            finals.append(final)
        rows = ops.cat(outputs, -1) if bidirectional else outputs[0]
    return rows, *(ops.stack(list(parts)) for parts in zip(*finals, strict=True))


def _weights(parameters: Sequence[Any], has_biases: bool) -> Weights:
    ih, hh, *rest = parameters
    biases = rest[:2] if has_biases else [None, None]
    projection = rest[2:] if has_biases else rest
    return Weights(ih, hh, *biases, *projection)


def _run(step: Step, parts: int, args: Sequence[Any], options: dict[str, Any]) -> tuple[Any, ...]:
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
    rows, *final = stacked(step, rows, batch_sizes, initial, parameters, **settings)
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
    output, h, c = _run(lstm_step, 2, args, kwargs)
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
    output, h = _run(gru_step, 1, args, kwargs)
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
    output, h = _run(tanh_step, 1, args, kwargs)
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
    output, h = _run(relu_step, 1, args, kwargs)
    return output, h


# Single steps


def _one_step(step: Step, input: Any, state: State, ih: Any, hh: Any, bias_ih: Any, bias_hh: Any) -> State:
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
    return step(ops.linear(input, ih, bias_ih), state, Weights(ih, hh, bias_ih, bias_hh))


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
    h, c = _one_step(lstm_step, input, (h, c), w_ih, w_hh, b_ih, b_hh)
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
    return _one_step(gru_step, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


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
    return _one_step(tanh_step, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


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
    return _one_step(relu_step, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]
