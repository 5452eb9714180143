"""Gated recurrent units: a layer, and what a single step does with its gates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from neuronix.autograd import primitive
from neuronix.nn.functional.recurrence.sweep import Gates, Gradients, State, Steps, given, products, sweep

__all__ = ["gru_layer", "gru_update"]

_sigmoid_backward = torch.ops.aten.sigmoid_backward.default
_tanh_backward = torch.ops.aten.tanh_backward.default


def gru_step(x: Any, h: Any, w_hh: Any, b_hh: Any) -> tuple[Any, Gates]:
    """A GRU's step: h' = (1 − z) · n + z · h with n = tanh(x_n + r · h_n), r = σ(x_r + h_r) and z = σ(x_z + h_z)."""
    gates = gru_gates(x, linear(h, w_hh, b_hh))
    _, z, n, _ = gates
    return torch.lerp(n, h, z), gates


def gru_gates(x: Any, h: Any) -> tuple[Any, Any, Any, Any]:
    """The r, z, n and h_n of W_ih x + b_ih and W_hh h + b_hh, each (rows, 3 · hidden)."""
    x_r, x_z, x_n = x.chunk(3, -1)
    h_r, h_z, h_n = h.chunk(3, -1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    return r, z, torch.tanh(torch.addcmul(x_n, r, h_n)), h_n


def gru_slopes(gates: Gates, before: Any) -> tuple[Any, Any, Any, Any]:
    """The derivatives of h' by h_r (and x_r), by h_z (and x_z), by h_n, and by x_n."""
    r, z, n, h_n = gates
    by_x_n = (1 - z) * (1 - n * n)
    return by_x_n * h_n * r * (1 - r), (before - n) * z * (1 - z), by_x_n * r, by_x_n


def gru_wrt_gates(by_h: Any, slopes: Gates) -> Any:
    """What h_r, h_z, h_n and x_n receive, side by side, (rows, 4 · hidden)."""
    return torch.cat([by_h * slope for slope in slopes], -1)


def gru_parts(by_gates: Any) -> tuple[Any, Any]:
    """What W_ih x + b_ih and W_hh h + b_hh receive: r and z add the two, n has them apart."""
    hidden = by_gates.shape[-1] // 4
    by_r_and_z, _, by_x_n = by_gates.split([2 * hidden, hidden, hidden], -1)
    return torch.cat([by_r_and_z, by_x_n], -1), by_gates[..., : 3 * hidden]


def gru_steps(
    rows: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, h: Any, batch_sizes: list[int], reverse: bool, keeping: bool
) -> tuple[Any, Steps, Any]:
    """The outputs of all rows, all steps (h before, and gates) if they are to be kept, and the final h."""

    def step(now: Any, state: State) -> tuple[tuple[Any, ...], State]:
        h, gates = gru_step(now[0], state[0], w_hh, b_hh)
        return (h, state[0], *gates) if keeping else (h,), (h,)

    (outputs, *steps), (h,) = sweep(step, [linear(rows, w_ih, b_ih)], batch_sizes, (h,), reverse)
    return outputs, steps, h


@primitive
def gru_layer(
    rows: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    h: Tensor,
    batch_sizes: list[int],
    reverse: bool,
    kept: list[Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """A GRU in one direction: the outputs of all rows, and the final h."""
    outputs, steps, h = gru_steps(rows, w_ih, w_hh, b_ih, b_hh, h, batch_sizes, reverse, kept is not None)
    if kept is not None:
        kept += steps
    return outputs, h


@gru_layer.vjp("rows", "w_ih", "w_hh", "b_ih", "b_hh", "h")
def gru_layer_wrt(
    grad: list[Tensor],
    rows: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    h: Tensor,
    batch_sizes: list[int],
    reverse: bool,
    needs: tuple[bool, ...],
) -> Gradients:
    _, steps, _ = gru_steps(rows, w_ih, w_hh, b_ih, b_hh, h, batch_sizes, reverse, True)
    return gru_layer_kernel(grad, rows, w_ih, w_hh, h, batch_sizes, reverse, steps, needs)


@gru_layer.fused("rows", "w_ih", "w_hh", "b_ih", "b_hh", "h")
def gru_layer_kernel(
    grad: list[Tensor],
    rows: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    h: Tensor,
    batch_sizes: list[int],
    reverse: bool,
    kept: Steps,
    needs: tuple[bool, ...],
) -> Gradients:
    before, *gates = kept
    by_outputs, by_final = given(grad, [before, h])

    def back(now: Any, state: State) -> tuple[tuple[Any, ...], State]:
        (by_output, z, *slopes), (by_h,) = now, state
        by_h = by_h + by_output
        by_gates = gru_wrt_gates(by_h, slopes)
        by_h_gates = by_gates[..., : 3 * z.shape[-1]]
        return (by_gates,), (torch.addcmul(by_h_gates @ w_hh, by_h, z),)

    (by_gates,), (by_first,) = sweep(
        back, [by_outputs, gates[1], *gru_slopes(gates, before)], batch_sizes, (by_final,), not reverse
    )
    return *products(*gru_parts(by_gates), rows, before, w_ih, needs), by_first


@primitive
def gru_update(x: Tensor, gates: Tensor, h: Tensor) -> Tensor:
    """The h' of a step, from W_ih x + b_ih, W_hh h + b_hh, and h."""
    _, z, n, _ = gru_gates(x, gates)
    return torch.lerp(n, h, z)


@gru_update.vjp("x", "gates", "h")
def gru_update_wrt(grad: Tensor, x: Tensor, gates: Tensor, h: Tensor) -> Gradients:
    found = gru_gates(x, gates)
    return *gru_parts(gru_wrt_gates(grad, gru_slopes(found, h))), grad * found[1]


@gru_update.fused("x", "gates", "h")
def gru_update_kernel(grad: Tensor, x: Tensor, gates: Tensor, h: Tensor) -> Gradients:
    r, z, n, h_n = gru_gates(x, gates)
    by_n = _tanh_backward(grad * (1 - z), n)
    by_r, by_z = _sigmoid_backward(by_n * h_n, r), _sigmoid_backward(grad * (h - n), z)
    return torch.cat([by_r, by_z, by_n], -1), torch.cat([by_r, by_z, by_n * r], -1), grad * z
