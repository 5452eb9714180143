"""Long short-term memory: a layer, and what a single step does with its gates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from neuronix.autograd import primitive
from neuronix.nn.functional.recurrence import onednn
from neuronix.nn.functional.recurrence.sweep import (
    Gates,
    Gradients,
    State,
    Steps,
    given,
    products,
    sweep,
    total,
)

__all__ = ["lstm_layer", "lstm_update"]

_sigmoid_backward = torch.ops.aten.sigmoid_backward.default
_tanh_backward = torch.ops.aten.tanh_backward.default


def lstm_step(x: Any, state: State, w_hh: Any, w_hr: Any) -> tuple[State, Gates]:
    """An LSTM's step: c' = σ(f) · c + σ(i) · tanh(g) and h' = σ(o) · tanh(c'), projected by W_hr if there is one."""
    h, c = state
    gates = lstm_gates(torch.addmm(x, h, w_hh.mT))
    h, c = lstm_states(gates, c)
    h = h if w_hr is None else linear(h, w_hr)
    return (h, c), gates


def lstm_gates(gates: Any) -> tuple[Any, Any, Any, Any]:
    """σ(i), σ(f), tanh(g) and σ(o) of W_ih x + b_ih + W_hh h + b_hh, (rows, 4 · hidden)."""
    i, f, g, o = gates.chunk(4, -1)
    return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)


def lstm_states(gates: Gates, c: Any) -> tuple[Any, Any]:
    """The h' before its projection, and c'."""
    i, f, g, o = gates
    c = torch.addcmul(i * g, f, c)
    return o * torch.tanh(c), c


def lstm_slopes(gates: Gates, before: Any) -> tuple[Any, Any, Any, Any, Any]:
    """The derivatives of c' by i, f and g, of h' (before its projection) by o, and of h' by c'."""
    i, f, g, o = gates
    shown = torch.tanh(torch.addcmul(i * g, f, before))
    by_i, by_f, by_g = i * g * (1 - i), before * f * (1 - f), i * (1 - g * g)
    return by_i, by_f, by_g, o * shown * (1 - o), o * (1 - shown * shown)


def lstm_wrt_gates(by_h: Any, by_c: Any, slopes: Gates) -> tuple[Any, Any]:
    """What the gates receive, side by side, (rows, 4 · hidden), and what c' does by itself and through h'."""
    by_i, by_f, by_g, by_o, by_new_c = slopes
    by_c = torch.addcmul(by_c, by_h, by_new_c)
    return torch.cat([by_c * by_i, by_c * by_f, by_c * by_g, by_h * by_o], -1), by_c


def lstm_steps(
    rows: Any,
    w_ih: Any,
    w_hh: Any,
    bias: Any,
    state: State,
    w_hr: Any,
    batch_sizes: list[int],
    reverse: bool,
    keeping: bool,
) -> tuple[Any, Steps, State]:
    """The outputs of all rows, all steps (h before, and gates) if they are to be kept, and the final h and c."""

    def step(now: Any, state: State) -> tuple[tuple[Any, ...], State]:
        new, gates = lstm_step(now[0], state, w_hh, w_hr)
        return (new[0], state[0], *gates) if keeping else (new[0],), new

    (outputs, *steps), state = sweep(step, [linear(rows, w_ih, bias)], batch_sizes, state, reverse)
    return outputs, steps, state


@primitive
def lstm_layer(
    rows: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    h: Tensor,
    c: Tensor,
    w_hr: Tensor | None,
    batch_sizes: list[int],
    reverse: bool,
    kept: list[Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """An LSTM in one direction: the outputs of all rows, and the final h and c."""
    layer = onednn.Layer(rows, w_ih, w_hh, b_ih, b_hh, h, c, batch_sizes)
    if w_hr is None and onednn.computes(layer):
        return onednn.lstm(layer, reverse, kept)
    outputs, steps, (h, c) = lstm_steps(
        rows, w_ih, w_hh, total(b_ih, b_hh), (h, c), w_hr, batch_sizes, reverse, kept is not None
    )
    if kept is not None:
        kept += steps
    return outputs, h, c


@lstm_layer.vjp("rows", "w_ih", "w_hh", "b_ih", "b_hh", "h", "c", "w_hr")
def lstm_layer_wrt(
    grad: list[Tensor],
    rows: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    h: Tensor,
    c: Tensor,
    w_hr: Tensor | None,
    batch_sizes: list[int],
    reverse: bool,
    needs: tuple[bool, ...],
) -> Gradients:
    _, steps, _ = lstm_steps(rows, w_ih, w_hh, total(b_ih, b_hh), (h, c), w_hr, batch_sizes, reverse, True)
    return lstm_through_time(grad, rows, w_ih, w_hh, h, c, w_hr, batch_sizes, reverse, steps, needs)


@lstm_layer.fused("rows", "w_ih", "w_hh", "b_ih", "b_hh", "h", "c", "w_hr")
def lstm_layer_kernel(
    grad: list[Tensor],
    rows: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    h: Tensor,
    c: Tensor,
    w_hr: Tensor | None,
    batch_sizes: list[int],
    reverse: bool,
    kept: list[Tensor],
    needs: tuple[bool, ...],
) -> Gradients:
    if onednn.computes_backward(kept, grad):
        layer = onednn.Layer(rows, w_ih, w_hh, b_ih, b_hh, h, c, batch_sizes)
        return onednn.lstm_backward(grad, layer, reverse, kept)
    if not kept or onednn.has_left(kept):
        return lstm_layer_wrt(grad, rows, w_ih, w_hh, b_ih, b_hh, h, c, w_hr, batch_sizes, reverse, needs)
    return lstm_through_time(grad, rows, w_ih, w_hh, h, c, w_hr, batch_sizes, reverse, kept, needs)


def lstm_through_time(
    grad: list[Tensor],
    rows: Any,
    w_ih: Any,
    w_hh: Any,
    h: Any,
    c: Any,
    w_hr: Any,
    batch_sizes: list[int],
    reverse: bool,
    steps: Steps,
    needs: tuple[bool, ...],
) -> Gradients:
    """The gradients of an LSTM's rows, parameters and first states."""
    h_before, *gates = steps
    c_before = cells_before(gates, c, batch_sizes, reverse)
    by_outputs, *by_final = given(grad, [h_before, h, c])

    def back(now: Any, state: State) -> tuple[tuple[Any, ...], State]:
        (by_output, f, *slopes), (by_h, by_c) = now, state
        by_h = by_h + by_output
        by_gates, by_c = lstm_wrt_gates(by_h if w_hr is None else by_h @ w_hr, by_c, slopes)
        return (by_gates,) if w_hr is None else (by_gates, by_h), (by_gates @ w_hh, by_c * f)

    (by_gates, *by_h), by_first = sweep(
        back, [by_outputs, gates[1], *lstm_slopes(gates, c_before)], batch_sizes, tuple(by_final), not reverse
    )
    by_w_hr = by_h[0].mT @ lstm_states(gates, c_before)[0] if needs[7] else None
    return *products(by_gates, by_gates, rows, h_before, w_ih, needs), *by_first, by_w_hr


def cells_before(gates: Gates, c: Any, batch_sizes: list[int], reverse: bool) -> Any:
    """The c that each step began with, of all rows."""

    def step(now: Any, state: State) -> tuple[State, State]:
        (written, f), (c,) = now, state
        return state, (torch.addcmul(written, f, c),)

    i, f, g, _ = gates
    (before,), _ = sweep(step, [i * g, f], batch_sizes, (c,), reverse)
    return before


@primitive
def lstm_update(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The h' and c' of a step, from W_ih x + b_ih + W_hh h + b_hh, and c."""
    return lstm_states(lstm_gates(gates), c)


@lstm_update.vjp("gates", "c")
def lstm_update_wrt(grad: list[Tensor], out: Any, gates: Tensor, c: Tensor) -> Gradients:
    found = lstm_gates(gates)
    by_h, by_c = given(grad, out)
    by_gates, by_c = lstm_wrt_gates(by_h, by_c, lstm_slopes(found, c))
    return by_gates, by_c * found[1]


@lstm_update.fused("gates", "c")
def lstm_update_kernel(grad: list[Tensor], out: Any, gates: Tensor, c: Tensor) -> Gradients:
    i, f, g, o = lstm_gates(gates)
    shown = torch.tanh(out[1])
    by_h, by_c = given(grad, out)
    by_c = by_c + _tanh_backward(by_h * o, shown)
    by_i, by_f = _sigmoid_backward(by_c * g, i), _sigmoid_backward(by_c * c, f)
    by_g, by_o = _tanh_backward(by_c * i, g), _sigmoid_backward(by_h * shown, o)
    return torch.cat([by_i, by_f, by_g, by_o], -1), by_c * f
