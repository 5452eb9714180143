"""The simple recurrent network of Elman."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from neuronix.autograd import primitive
from neuronix.nn.functional.recurrence.sweep import Gradients, State, Steps, given, products, sweep, total

__all__ = ["elman_layer"]


def elman_step(x: Any, h: Any, w_hh: Any, relu: bool) -> Any:
    """Elman's step: h' = tanh(x + W_hh h), or relu instead, where x is W_ih x + b_ih + b_hh."""
    gate = torch.addmm(x, h, w_hh.mT)
    return torch.relu(gate) if relu else torch.tanh(gate)


def elman_slopes(h: Any, relu: bool) -> Any:
    """The derivatives of h' by what is under tanh or relu."""
    return (h > 0).to(h.dtype) if relu else 1 - h * h


def elman_steps(
    rows: Any, w_ih: Any, w_hh: Any, bias: Any, h: Any, batch_sizes: list[int], reverse: bool, relu: bool
) -> tuple[Any, Any]:
    """The outputs of all rows, and the final h."""

    def step(now: Any, state: State) -> tuple[State, State]:
        h = elman_step(now[0], state[0], w_hh, relu)
        return (h,), (h,)

    (outputs,), (h,) = sweep(step, [linear(rows, w_ih, bias)], batch_sizes, (h,), reverse)
    return outputs, h


@primitive
def elman_layer(
    rows: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    h: Tensor,
    batch_sizes: list[int],
    reverse: bool,
    relu: bool,
    kept: list[Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Elman's network in one direction: the outputs of all rows, and the final h."""
    outputs, h = elman_steps(rows, w_ih, w_hh, total(b_ih, b_hh), h, batch_sizes, reverse, relu)
    if kept is not None:
        kept.append(outputs.clone())  # whoever gets the outputs may change them in place
    return outputs, h


@elman_layer.vjp("rows", "w_ih", "w_hh", "b_ih", "b_hh", "h")
def elman_layer_wrt(
    grad: list[Tensor],
    rows: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    h: Tensor,
    batch_sizes: list[int],
    reverse: bool,
    relu: bool,
    needs: tuple[bool, ...],
) -> Gradients:
    outputs, _ = elman_steps(rows, w_ih, w_hh, total(b_ih, b_hh), h, batch_sizes, reverse, relu)
    return elman_layer_kernel(grad, rows, w_ih, w_hh, h, batch_sizes, reverse, relu, [outputs], needs)


@elman_layer.fused("rows", "w_ih", "w_hh", "b_ih", "b_hh", "h")
def elman_layer_kernel(
    grad: list[Tensor],
    rows: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    h: Tensor,
    batch_sizes: list[int],
    reverse: bool,
    relu: bool,
    kept: Steps,
    needs: tuple[bool, ...],
) -> Gradients:
    (outputs,) = kept
    by_outputs, by_final = given(grad, [outputs, h])

    def back(now: Any, state: State) -> tuple[tuple[Any, ...], State]:
        (by_output, slope), (by_h,) = now, state
        by_gate = (by_h + by_output) * slope
        return (by_gate,), (by_gate @ w_hh,)

    (by_gates,), (by_h,) = sweep(back, [by_outputs, elman_slopes(outputs, relu)], batch_sizes, (by_final,), not reverse)
    (before,), _ = sweep(lambda now, state: (state, now), [outputs], batch_sizes, (h,), reverse)
    return *products(by_gates, by_gates, rows, before, w_ih, needs), by_h
