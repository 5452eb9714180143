"""The loop along sequences, and what the derivatives of all layers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch

__all__ = ["Gates", "Gradients", "State", "Step", "Steps", "given", "products", "sweep", "total"]

State: TypeAlias = tuple[Any, ...]
"""(h,), or (h, c) of an LSTM; each (rows, size)."""

Step: TypeAlias = Callable[[Any, State], tuple[tuple[Any, ...], State]]
"""From what there is at one time, and the state, to outputs and the next state."""

Gates: TypeAlias = Sequence[Any]
"""What `gru_gates` and `lstm_gates` give: four, each (rows, hidden)."""

Steps: TypeAlias = Sequence[Any]
"""What derivatives take of all rows: the h that each step began with, and its gates; each (rows, size)."""

Gradients: TypeAlias = tuple[Any, ...]


def sweep(
    step: Step, parts: Sequence[Any], batch_sizes: list[int], initial: State, reverse: bool
) -> tuple[tuple[Any, ...], State]:
    """Take a state along sequences.

    Args:
        step: What happens at one time.
        parts: What there is at each time, several (sum of batch_sizes, size), time by time; a step gets its rows.
        batch_sizes: How many of the sequences go on at each time; they never grow.
        initial: The state before the first step, a row for each sequence.
        reverse: Whether it goes from the last time to the first.

    Returns:
        The steps' outputs, of all rows, and the state of each sequence after its last step.
    """
    times = list(zip(*(part.split(batch_sizes) for part in parts), strict=True))
    outputs: list[Any] = [None] * len(times)
    finished: list[State] = []
    live = 0 if reverse else batch_sizes[0]
    state = tuple(part[:0] for part in initial) if reverse else initial
    for time in reversed(range(len(times))) if reverse else range(len(times)):
        size = batch_sizes[time]
        if size < live:  # forwards, the shortest sequences end
            finished.append(tuple(part[size:] for part in state))
            state = tuple(part[:size] for part in state)
        elif size > live:  # backwards, they begin
            begun = tuple(part[live:size] for part in initial)
            state = tuple(torch.cat([old, new]) for old, new in zip(state, begun, strict=True)) if live else begun
        live = size
        outputs[time], state = step(times[time], state)
    if finished:
        state = tuple(torch.cat(ends) for ends in zip(state, *reversed(finished), strict=True))
    del parts, times  # they are large, and no longer needed
    return tuple(torch.cat(output) for output in zip(*outputs, strict=True)), state


def given(grad: Sequence[Any], like: Sequence[Any]) -> list[Any]:
    """A gradient for each result, of which ``like`` has the shapes: zeros for those that nobody used."""
    return [torch.zeros_like(result) if g is None else g for g, result in zip(grad, like, strict=True)]


def products(
    by_x: Any, by_h: Any, rows: Any, before: Any, w_ih: Any, needs: tuple[bool, ...]
) -> tuple[Any, Any, Any, Any, Any]:
    """The gradients of the rows, W_ih, W_hh, b_ih and b_hh.

    Args:
        by_x: What W_ih x + b_ih receives, of all rows.
        by_h: What W_hh h + b_hh receives.
        rows: The x.
        before: The h.
        w_ih: The weight.
        needs: Which of the five are wanted.
    """
    return (
        by_x @ w_ih if needs[0] else None,
        by_x.mT @ rows if needs[1] else None,
        by_h.mT @ before if needs[2] else None,
        by_x.sum(0) if needs[3] else None,
        by_h.sum(0) if needs[4] else None,
    )


def total(b_ih: Any, b_hh: Any) -> Any:
    """b_ih + b_hh, each of which may be missing."""
    return b_hh if b_ih is None else b_ih if b_hh is None else b_ih + b_hh
