"""Embedding."""

from __future__ import annotations

import torch

from neuronix.autograd import CustomTensor
from neuronix.autograd.errors import UnsupportedError
from neuronix.nn import functional, init
from neuronix.nn.checks import check_sizes
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import TensorLike

__all__ = ["Embedding"]


class Embedding(Module):
    """A table of vectors, looked up by number.

    Args:
        num_embeddings: The number of vectors.
        embedding_dim: Their length.
        padding_idx: A number whose vector begins as zeros and gets no gradient.
        max_norm: Vectors that are used and longer than this are first shortened to it, in place.
        norm_type: In which norm.
        scale_grad_by_freq: Divide each vector's gradient by how often it is used in the batch.
        sparse: Whether the table's gradient is a sparse tensor, which holds the rows that were used alone.
            [`SGD`][neuronix.optim.SGD], [`Adagrad`][neuronix.optim.Adagrad] and
            [`SparseAdam`][neuronix.optim.SparseAdam] take it.
        _weight: The table, instead of normal draws.
        _freeze: Whether the table stays as it is.
        device: Where the table lives.
        dtype: Its element type.

    Input (…), integers; result (…, embedding_dim).

    Raises:
        LayerArgumentError: If ``padding_idx`` or ``_weight`` doesn't fit.
        UnsupportedError: For ``scale_grad_by_freq`` with ``sparse``.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Embedding(10, 4)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 4])
    """

    weight: Parameter  # (num_embeddings, embedding_dim)

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: torch.Tensor | None = None,
        _freeze: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if sparse and scale_grad_by_freq:
            raise UnsupportedError(
                "Embedding: scale_grad_by_freq isn't supported with sparse gradients", hint="leave out one of the two"
            )
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise LayerArgumentError(
                    f"Embedding: padding_idx must be within num_embeddings ({num_embeddings}), got {padding_idx}"
                )
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is None:
            table = torch.empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
            self.weight = Parameter(table, requires_grad=not _freeze)
            self.reset_parameters()
        elif tuple(_weight.shape) != (num_embeddings, embedding_dim):
            raise LayerArgumentError(
                f"Embedding: the weight has shape {tuple(_weight.shape)}, expected ({num_embeddings}, {embedding_dim})"
            )
        else:
            self.weight = Parameter(_weight, requires_grad=not _freeze)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: torch.Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """Make a layer from a table (num_embeddings, embedding_dim), which ``freeze`` keeps as it is."""
        rows, columns = embeddings.shape
        return cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings, freeze)

    def reset_parameters(self) -> None:
        """Draw the table anew, from the standard normal distribution."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, input: TensorLike) -> CustomTensor:
        """Look up integers (…)."""
        return functional.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )

    def extra_repr(self) -> str:
        """The constructor's arguments, those of them that aren't the default."""
        parts = [
            f"{self.num_embeddings}, {self.embedding_dim}",
            f"padding_idx={self.padding_idx}" if self.padding_idx is not None else "",
            f"max_norm={self.max_norm}" if self.max_norm is not None else "",
            f"norm_type={self.norm_type}" if self.norm_type != 2 else "",
            f"scale_grad_by_freq={self.scale_grad_by_freq}" if self.scale_grad_by_freq else "",
            "sparse=True" if self.sparse else "",
        ]
        return ", ".join(filter(None, parts))
