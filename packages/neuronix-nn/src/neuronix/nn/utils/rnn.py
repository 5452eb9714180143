"""Sequences of different lengths in one batch: padded, packed and back.  Names and arguments of ``torch.nn.utils.rnn``.

A ``PackedSequence`` is torch's own: a named tuple that holds no gradient code, here with a `CustomTensor` in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from neuronix.autograd import ops
from neuronix.autograd.errors import ArgumentError
from neuronix.nn.errors import ModuleTypeError
from neuronix.nn.functional.packing import pack_rows, pad_rows
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "PackedSequence",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


def _as_lengths(lengths: Any) -> Tensor:
    return torch.as_tensor(lengths, dtype=torch.int64, device="cpu")


def pack_padded_sequence(
    input: TensorLike, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch: leave the padding out.

    Args:
        input: (time, batch, …), or (batch, time, …) with ``batch_first``.
        lengths: How many steps of each sequence are real.
        batch_first: Which of them it is.
        enforce_sorted: Whether the lengths must fall from the first to the last; otherwise the sequences are sorted
            here, and ``sorted_indices`` and ``unsorted_indices`` remember how.

    Returns:
        The packed sequence, which recurrent layers accept.

    Raises:
        ArgumentError: If a length isn't positive, or the lengths should be sorted and aren't.
        ShapeError: If there is another number of lengths, or the input is too short.

    Example:
        >>> import torch
        >>> from neuronix.nn.utils.rnn import pack_padded_sequence
        >>> packed = pack_padded_sequence(torch.tensor([[1, 2, 3], [4, 0, 0]]), [3, 1], batch_first=True)
        >>> packed.data.tolist(), packed.batch_sizes.tolist()
        ([1, 4, 2, 3], [2, 1, 1])
    """
    lengths = _as_lengths(lengths)
    order = None
    if not enforce_sorted:
        lengths, order = lengths.sort(descending=True)
        order = order.to(input.device)
        input = ops.index_select(input, 0 if batch_first else 1, order)
    data, batch_sizes = pack_rows(input, lengths, batch_first)
    return PackedSequence(data, batch_sizes, order, None)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Any, Tensor]:
    """Pad a packed batch.

    Args:
        sequence: The packed batch.
        batch_first: Whether the result is (batch, time, …) instead of (time, batch, …).
        padding_value: What stands where a sequence has no step.
        total_length: How many times the result has, if not those of the longest sequence.

    Returns:
        The padded batch in its original order, and the lengths.

    Raises:
        ArgumentError: If ``total_length`` is less than the longest length.

    Example:
        >>> import torch
        >>> from neuronix.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
        >>> packed = pack_padded_sequence(torch.tensor([[1, 2, 3], [4, 0, 0]]), [3, 1], batch_first=True)
        >>> padded, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=-1)
        >>> padded.tolist(), lengths.tolist()
        ([[1, 2, 3], [4, -1, -1]], [3, 1])
    """
    data, batch_sizes, _, unsorted = sequence
    padded, lengths = pad_rows(data, batch_sizes, batch_first, padding_value, total_length or 0)
    if unsorted is None:
        return padded, lengths
    return ops.index_select(padded, 0 if batch_first else 1, unsorted), lengths[unsorted.cpu()]


def pad_sequence(
    sequences: Sequence[TensorLike], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Any:
    """Stack sequences of different lengths, filled up to the longest.

    Args:
        sequences: Each (its length, …).
        batch_first: Whether the result is (batch, time, …) instead of (time, batch, …).
        padding_value: What they are filled with.
        padding_side: ``"right"`` fills behind their ends, ``"left"`` before their beginnings.

    Returns:
        The batch.

    Raises:
        ArgumentError: For no sequences, or another side.

    Example:
        >>> import torch
        >>> from neuronix.nn.utils.rnn import pad_sequence
        >>> pad_sequence([torch.ones(3), torch.ones(1)], batch_first=True, padding_side="left").tolist()
        [[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    """
    if padding_side not in ("left", "right"):
        raise ArgumentError(f"pad_sequence: padding_side must be 'left' or 'right', got {padding_side!r}")
    sequences = list(sequences)
    if not sequences:
        raise ArgumentError("pad_sequence: expected at least one sequence, got none")
    longest = max(len(sequence) for sequence in sequences)
    filled = []
    for sequence in sequences:
        missing = longest - len(sequence)
        # `pad` counts axes from the last: the pair of the first one stands at the end.
        sides = (missing, 0) if padding_side == "left" else (0, missing)
        filled.append(ops.pad(sequence, (*(0, 0) * (sequence.ndim - 1), *sides), value=padding_value))
    return ops.stack(filled, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: TensorLike, lengths: Tensor | Sequence[int], batch_first: bool = False) -> Any:
    """The sequences of a padded batch, each of its own length.

    Args:
        padded_sequences: (time, batch, …), or (batch, time, …) with ``batch_first``.
        lengths: The lengths.
        batch_first: Which of them it is.

    Returns:
        A list with a tensor for each sequence.
    """
    rows = padded_sequences if batch_first else ops.transpose(padded_sequences, 0, 1)
    return [row[:length] for row, length in zip(ops.unbind(rows), _as_lengths(lengths).tolist(), strict=True)]


def pack_sequence(sequences: Sequence[TensorLike], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences of different lengths.

    Args:
        sequences: Each (its length, …).
        enforce_sorted: Whether they must come from the longest to the shortest.

    Returns:
        The packed batch.

    Raises:
        ArgumentError: If they should be sorted and aren't.
    """
    lengths = [len(sequence) for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> Any:
    """The sequences of a packed batch, in their original order.

    Args:
        packed_sequences: The packed batch.

    Returns:
        A list with a tensor for each sequence.

    Raises:
        ModuleTypeError: If it isn't a packed batch.
    """
    if not isinstance(packed_sequences, PackedSequence):
        raise ModuleTypeError(f"expected a PackedSequence, got {type(packed_sequences).__name__}")
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
