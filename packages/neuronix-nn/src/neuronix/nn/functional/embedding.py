"""Embedding: rows of a table by their numbers, and sums, means or maxima of several rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, Shape, composite, ops, primitive
from neuronix.autograd.errors import ShapeError, UnsupportedError
from neuronix.nn.errors import AssertedError, LayerArgumentError
from neuronix.nn.functional.arguments import rank
from neuronix.nn.tensor_like import TensorLike

__all__ = ["embedding", "embedding_bag"]


@primitive(aten="embedding.default")
def embedding_rows(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """Rows of ``weight``; ``padding_idx`` and ``scale_grad_by_freq`` matter to the gradient only."""
    return torch.embedding(weight, indices, padding_idx, scale_grad_by_freq, sparse)


@embedding_rows.vjp("weight")
def embedding_rows_wrt_weight(
    grad: Tensor, weight: Shape, indices: Tensor, padding_idx: int, scale_grad_by_freq: bool, sparse: bool
) -> Tensor:
    return _table(grad, indices, weight, padding_idx, scale_grad_by_freq, sparse)


def _table(
    rows: Tensor, indices: Tensor, shape: torch.Size, padding_idx: int, scale_grad_by_freq: bool, sparse: bool
) -> Tensor:
    """A table of zeros to which each row is added at its place, dense or sparse."""
    table: Tensor = (
        sparse_rows(rows, indices, shape, padding_idx)
        if sparse
        else scatter_rows(rows, indices, shape[0], padding_idx, scale_grad_by_freq)
    )
    return table


@primitive(aten="embedding_dense_backward.default")
def scatter_rows(rows: Tensor, indices: Tensor, num_weights: int, padding_idx: int, scale_grad_by_freq: bool) -> Tensor:
    """Add each row to the place in a table of zeros that its index says: the adjoint of taking rows.

    Rows for ``padding_idx`` are left out; with ``scale_grad_by_freq`` each is divided by how often its index occurs.
    """
    table: Tensor = torch.ops.aten.embedding_dense_backward(rows, indices, num_weights, padding_idx, scale_grad_by_freq)
    return table


@scatter_rows.vjp("rows")
def scatter_rows_wrt_rows(
    grad: Tensor, indices: Tensor, num_weights: int, padding_idx: int, scale_grad_by_freq: bool
) -> Tensor:
    rows = grad[indices]
    factor = (indices != padding_idx).to(grad.dtype)
    if scale_grad_by_freq:
        counts = torch.bincount(indices.reshape(-1), minlength=num_weights)
        factor = factor / counts[indices]
    return rows * factor.unsqueeze(-1)


@primitive
def sparse_rows(rows: Tensor, indices: Tensor, shape: torch.Size, padding_idx: int) -> Tensor:
    """Rows with their indices, as a sparse table: what `scatter_rows` adds up, and no zeros beside it."""
    rows, indices = rows.reshape(-1, shape[1]), indices.reshape(-1).long()
    if padding_idx >= 0:
        wanted = (indices != padding_idx).nonzero().squeeze(-1)
        rows, indices = rows.index_select(0, wanted), indices.index_select(0, wanted)
    return torch.sparse_coo_tensor(indices.unsqueeze(0), rows, shape, check_invariants=False)


@sparse_rows.vjp("rows")
def sparse_rows_wrt_rows(grad: Tensor, rows: Shape, indices: Tensor, padding_idx: int) -> Tensor:
    table = grad.to_dense() if grad.is_sparse else grad
    return (table[indices] * (indices != padding_idx).unsqueeze(-1)).reshape(rows)


def _counted_from_the_start(padding_idx: int | None, rows: int, name: str) -> int:
    """The number of the padding row; −1, ATen's word for none, if there isn't one."""
    if padding_idx is None:
        return -1
    if not -rows <= padding_idx < rows:
        raise AssertedError(f"{name}: padding_idx must be within the {rows} rows of the table, got {padding_idx}")
    return padding_idx % rows


def _shorten(weight: TensorLike, input: TensorLike, max_norm: float, norm_type: float) -> None:
    """Shorten rows that are used and longer than ``max_norm`` to it, in place and outside the graph."""
    values, indices = (x.data if isinstance(x, CustomTensor) else torch.as_tensor(x) for x in (weight, input))
    torch.embedding_renorm_(values, indices.contiguous(), max_norm, norm_type)


@composite(names="nn.functional.embedding")
def embedding(
    input: TensorLike,
    weight: TensorLike,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> CustomTensor:
    """The rows of a table that indices name.

        out[…, :] = weight[input[…], :]

    Args:
        input: (…), integers.
        weight: (number of rows, length of a row).
        padding_idx: A row that gets no gradient; counted from the end if negative.
        max_norm: Rows that are used and longer than this are first shortened to it, in place and outside the graph.
        norm_type: In which norm.
        scale_grad_by_freq: Divide each row's gradient by how often the row is used.
        sparse: Whether the gradient of ``weight`` is a sparse tensor, which holds the rows that were used alone.

    Returns:
        (…, length of a row).

    Raises:
        AxisError: If an index is out of range.
        ArgumentError: If ``padding_idx`` is.
        DtypeError: If ``input`` isn't of an integer type.
        UnsupportedError: For ``scale_grad_by_freq`` with ``sparse``.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> table = torch.tensor([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]])
        >>> functional.embedding(torch.tensor([2, 0]), table).tolist()
        [[2.0, 2.5], [0.0, 0.5]]
    """
    if sparse and scale_grad_by_freq:
        raise UnsupportedError(
            "embedding: scale_grad_by_freq isn't supported with sparse gradients", hint="leave out one of the two"
        )
    rank(input, "embedding")
    if weight.ndim != 2:
        raise ShapeError(f"embedding: the table must have rows and columns, got shape {tuple(weight.shape)}")
    padding_idx = _counted_from_the_start(padding_idx, weight.shape[0], "embedding")
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    out: CustomTensor = embedding_rows(weight, input, padding_idx, scale_grad_by_freq, sparse)
    return out


# Bags: rows of one table, several at a time

_MODES = {"sum": 0, "mean": 1, "max": 2}


@primitive(
    aten="_embedding_bag.default _embedding_bag_forward_only.default", results="bags bag_of_each sizes rows_of_maxima"
)
def bags_of_rows(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Any:
    """Sums, means or maxima (mode 0, 1, 2) of the rows of ``weight`` in each bag, without the rows themselves.

    Returns also three constants: the bag of each index, how many count in each bag, and the rows of the maxima.
    """
    return torch._embedding_bag(
        weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset, padding_idx
    )


@bags_of_rows.vjp("weight")
def bags_of_rows_wrt_weight(
    grad: list[Tensor],
    sizes: Tensor,
    rows_of_maxima: Tensor,
    weight: Shape,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool,
    mode: int,
    sparse: bool,
    per_sample_weights: Tensor | None,
    padding_idx: int,
) -> Tensor:
    if mode == _MODES["max"]:  # each maximum follows the row that it is from; an empty bag's is 0 and follows none
        filled = (sizes > 0).unsqueeze(-1)
        return grad[0].new_zeros(weight).scatter_add(0, rows_of_maxima, grad[0] * filled)
    bags = _bag_of_each(indices, offsets)
    rows = grad[0][bags]
    if mode == _MODES["mean"]:
        counted = indices != padding_idx
        counts = torch.zeros_like(sizes).index_add(0, bags, counted.to(sizes.dtype))
        rows = rows / counts.clamp(min=1)[bags].unsqueeze(-1)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    return _table(rows, indices, weight, padding_idx, scale_grad_by_freq, sparse)


@bags_of_rows.vjp("per_sample_weights")
def bags_of_rows_wrt_per_sample_weights(
    grad: list[Tensor], weight: Tensor, indices: Tensor, offsets: Tensor, padding_idx: int
) -> Tensor:
    # each weight multiplies its row, of the bag that it is in; a padding row isn't there
    products = (grad[0][_bag_of_each(indices, offsets)] * weight[indices]).sum(-1)
    return products * (indices != padding_idx)


def _bag_of_each(indices: Tensor, offsets: Tensor) -> Tensor:
    """The bag in which each index is: the last one that begins at its place or before."""
    places = offsets.new_zeros(1) + torch.arange(indices.shape[0], device=indices.device, dtype=offsets.dtype)
    return torch.searchsorted(offsets, places, right=True) - 1


@composite(names="nn.functional.embedding_bag")
def embedding_bag(
    input: TensorLike,
    weight: TensorLike,
    offsets: TensorLike | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: TensorLike | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> CustomTensor:
    """Sums, means or maxima of the rows of a table that bags of indices name.

        out[b, :] = Σ_{i in bag b} per_sample_weights[i] · weight[input[i], :]

    Args:
        input: Integers: (B, N) for B bags of N, or (n,) for bags of any size one after the other.
        weight: (number of rows, length of a row).
        offsets: (B,), where in an ``input`` (n,) each bag begins; ascending, the first one 0.
        max_norm: Rows that are used and longer than this are first shortened to it, in place and outside the graph.
        norm_type: In which norm.
        scale_grad_by_freq: Divide each row's gradient by how often the row is used; not for maxima.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.  A bag without rows gives zeros.
        sparse: Whether the table's gradient is a sparse tensor; for sums and means.
        per_sample_weights: Of the shape of ``input``, for ``mode="sum"``: a factor for each row.
        include_last_offset: Whether ``offsets`` has one element more, the size of ``input``.
        padding_idx: A row that counts nowhere; counted from the end if negative.

    Returns:
        (B, length of a row).

    Raises:
        ShapeError: If the shapes don't fit.
        LayerArgumentError: If an option isn't one of those named, or is for another mode.
        ArgumentError: If ``padding_idx`` is out of range.
        UnsupportedError: For ``per_sample_weights`` in another mode, and for ``scale_grad_by_freq`` with sparse
            gradients.

    Differs from torch:
        ``scale_grad_by_freq`` divides each row's gradient by its own frequency; torch's kernel for the CPU takes some
        rows' frequencies for others'.  Second derivatives are offered.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> table = torch.tensor([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]])
        >>> functional.embedding_bag(torch.tensor([2, 0, 1]), table, torch.tensor([0, 2]), mode="sum").tolist()
        [[2.0, 3.0], [1.0, 1.5]]
    """
    _check_bags(input, weight, offsets, per_sample_weights)
    _check_mode(mode, scale_grad_by_freq, sparse, per_sample_weights)
    padding_idx = _counted_from_the_start(padding_idx, weight.shape[0], "embedding_bag")
    if input.ndim == 2:
        offsets = torch.arange(input.shape[0], device=input.device) * input.shape[1]
        include_last_offset = False
        input = ops.reshape(input, (-1,))
        per_sample_weights = None if per_sample_weights is None else ops.reshape(per_sample_weights, (-1,))
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    out: CustomTensor = bags_of_rows(
        weight,
        input,
        offsets,
        scale_grad_by_freq,
        _MODES[mode],
        sparse,
        per_sample_weights,
        include_last_offset,
        padding_idx,
    )[0]
    return out


def _check_bags(
    input: TensorLike, weight: TensorLike, offsets: TensorLike | None, per_sample_weights: TensorLike | None
) -> None:
    ndim = rank(input, "embedding_bag")
    if weight.ndim != 2:
        raise ShapeError(f"embedding_bag: the table must have two axes, got shape {tuple(weight.shape)}")
    if ndim not in (1, 2):
        raise ShapeError(f"embedding_bag: the indices must have one or two axes, got shape {tuple(input.shape)}")
    if ndim == 2 and offsets is not None:
        raise ShapeError(
            f"embedding_bag: indices of shape {tuple(input.shape)} are bags already, but offsets were given",
            hint="leave out offsets, or flatten the indices",
        )
    if ndim == 1 and (offsets is None or offsets.ndim != 1):
        raise ShapeError(
            "embedding_bag: indices with one axis need offsets with one axis, got "
            + ("none" if offsets is None else f"shape {tuple(offsets.shape)}")
        )
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ShapeError(
            f"embedding_bag: per_sample_weights must have the shape of the indices {tuple(input.shape)}, got "
            f"{tuple(per_sample_weights.shape)}"
        )


def _check_mode(mode: str, scale_grad_by_freq: bool, sparse: bool, per_sample_weights: TensorLike | None) -> None:
    if mode not in _MODES:
        raise LayerArgumentError(f"embedding_bag: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if mode == "max" and (scale_grad_by_freq or sparse):
        what = "scale_grad_by_freq" if scale_grad_by_freq else "sparse"
        raise LayerArgumentError(f"embedding_bag: {what} isn't for mode='max'")
    if sparse and scale_grad_by_freq:
        raise UnsupportedError(
            "embedding_bag: scale_grad_by_freq isn't supported with sparse gradients", hint="leave out one of the two"
        )
    if per_sample_weights is not None and mode != "sum":
        raise UnsupportedError(f"embedding_bag: per_sample_weights are for mode='sum', got mode={mode!r}")
