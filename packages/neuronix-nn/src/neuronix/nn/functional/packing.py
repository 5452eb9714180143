"""Packed sequences: a batch of sequences of different lengths, time by time and without padding.

The longest sequence stands first, so the sequences that go on at a time are always the first few, and their rows stand
together: those of the first time, then those of the second, …  Packing and padding are one table of places, read in the
two directions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import composite, ops
from neuronix.autograd.errors import ArgumentError, ShapeError

__all__ = ["pack_rows", "pad_rows"]


def goes_on(batch_sizes: Tensor, batch: int) -> Tensor:
    """(time, batch): whether a sequence has a step at that time."""
    return torch.arange(batch) < batch_sizes.unsqueeze(1)


@composite(names="torch._pack_padded_sequence")
def pack_rows(input: Any, lengths: Tensor, batch_first: bool = False) -> tuple[Any, Tensor]:
    """The rows of the steps that there are, time by time.

    Args:
        input: (time, batch, …), or (batch, time, …) with ``batch_first``.
        lengths: (batch,), none of them smaller than the next.
        batch_first: Which of them it is.

    Returns:
        The rows (sum of lengths, …), and how many there are at each time.

    Raises:
        ShapeError: If there is another number of lengths, or if the input is shorter than the longest.
        ArgumentError: If a length isn't positive, or they aren't sorted.
    """
    padded = ops.transpose(input, 0, 1) if batch_first else input
    times, batch = padded.shape[:2]
    if lengths.shape != (batch,):
        raise ShapeError(f"expected {batch} lengths, one for each sequence, got shape {tuple(lengths.shape)}")
    if bool((lengths <= 0).any()):
        raise ArgumentError(f"Length of all samples has to be greater than 0, but found {int(lengths.min())}")
    if bool((lengths[:-1] < lengths[1:]).any()):
        raise ArgumentError(
            f"`lengths` must be sorted in decreasing order when `enforce_sorted` is True, got {lengths.tolist()}",
            hint="give enforce_sorted=False",
        )
    longest = int(lengths[0])
    if longest > times:
        raise ShapeError(f"Expected `len(lengths)` and lengths of at most {times}, the input's times; got {longest}")
    batch_sizes = (lengths > torch.arange(longest).unsqueeze(1)).sum(1)
    places = goes_on(batch_sizes, batch).flatten().nonzero().squeeze(1)
    rows = ops.reshape(padded, (times * batch, *padded.shape[2:]))
    return ops.index_select(rows, 0, places.to(input.device)), batch_sizes


@composite(names="torch._pad_packed_sequence")
def pad_rows(
    data: Any, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int
) -> tuple[Any, Tensor]:
    """Undo `pack_rows`.

    Args:
        data: The rows.
        batch_sizes: How many there are at each time.
        batch_first: Which of the first two axes comes first in the result.
        padding_value: What stands where a sequence has no step.
        total_length: How many times the result has; 0 or less for those that there are.

    Returns:
        The padded tensor, and the lengths.

    Raises:
        ArgumentError: If ``total_length`` is too small.
    """
    times, batch = len(batch_sizes), int(batch_sizes[0])
    if 0 < total_length < times:
        raise ArgumentError(
            f"Expected total_length to be at least the length of the longest sequence in input, but got {total_length} "
            f"for {times} steps"
        )
    there = goes_on(batch_sizes, batch)
    places = torch.full((max(times, total_length), batch), data.shape[0])  # the row behind the last is the padding
    places[:times][there] = torch.arange(data.shape[0])
    padding = torch.full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
    rows = ops.index_select(ops.cat([data, padding]), 0, places.flatten().to(data.device))
    padded = ops.reshape(rows, (*places.shape, *data.shape[1:]))
    return (ops.transpose(padded, 0, 1) if batch_first else padded), there.sum(0)
