"""Embedding: rows of a table by their numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, Shape, composite, primitive
from neuronix.autograd.errors import ArgumentError, UnsupportedError
from neuronix.nn.functional.arguments import rank
from neuronix.nn.tensor_like import TensorLike

__all__ = ["embedding"]


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
    if sparse:
        named: Tensor = sparse_rows(grad, indices, weight, padding_idx)
        return named
    table: Tensor = scatter_rows(grad, indices, weight[0], padding_idx, scale_grad_by_freq)
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
    rows = weight.shape[0]
    if padding_idx is None:
        padding_idx = -1  # ATen's word for none
    elif not -rows <= padding_idx < rows:
        raise ArgumentError(f"embedding: padding_idx must be within the {rows} rows of the table, got {padding_idx}")
    elif padding_idx < 0:
        padding_idx += rows
    if max_norm is not None:
        values = weight.data if isinstance(weight, CustomTensor) else torch.as_tensor(weight)
        indices = input.data if isinstance(input, CustomTensor) else torch.as_tensor(input)
        torch.embedding_renorm_(values, indices.contiguous(), max_norm, norm_type)
    out: CustomTensor = embedding_rows(weight, input, padding_idx, scale_grad_by_freq, sparse)
    return out
