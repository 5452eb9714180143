"""Tables of vectors, looked up by number."""

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

__all__ = ["Embedding", "EmbeddingBag"]


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
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = _row("Embedding", padding_idx, num_embeddings)
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


class EmbeddingBag(Module):
    """The sum, mean or maximum of a table's vectors, over bags of numbers.

    See [`functional.embedding_bag`][neuronix.nn.functional.embedding_bag].

    Args:
        num_embeddings: The number of vectors.
        embedding_dim: Their length.
        max_norm: Vectors that are used and longer than this are first shortened to it, in place.
        norm_type: In which norm.
        scale_grad_by_freq: Divide each vector's gradient by how often it is used in the batch.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        sparse: Whether the table's gradient is a sparse tensor, which holds the rows that were used alone.
        _weight: The table, instead of normal draws.
        include_last_offset: Whether the offsets end with the number of indices.
        padding_idx: A number that counts for nothing, and whose vector begins as zeros.
        device: Where the table lives.
        dtype: Its element type.

    Raises:
        LayerArgumentError: If ``padding_idx``, ``mode`` or ``_weight`` doesn't fit.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.EmbeddingBag(10, 4)(torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1])).shape
        torch.Size([2, 4])

    Differs from torch:
        An unknown mode is refused here, not when the layer is first called.
    """

    weight: Parameter  # (num_embeddings, embedding_dim)

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: torch.Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if mode not in ("sum", "mean", "max"):
            raise LayerArgumentError(f"EmbeddingBag: mode has to be one of sum, mean or max, got {mode!r}")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.padding_idx = _row("EmbeddingBag", padding_idx, num_embeddings)
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        shape = (num_embeddings, embedding_dim)
        if _weight is None:
            self.weight = Parameter(torch.empty(shape, device=device, dtype=dtype))
            self.reset_parameters()
        elif tuple(_weight.shape) != shape:
            raise LayerArgumentError(f"EmbeddingBag: the weight has shape {tuple(_weight.shape)}, expected {shape}")
        else:
            self.weight = Parameter(_weight)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: torch.Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """Make a layer from a table (num_embeddings, embedding_dim), which ``freeze`` keeps as it is."""
        rows, columns = embeddings.shape
        layer = cls(
            rows,
            columns,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            embeddings,
            include_last_offset,
            padding_idx,
        )
        layer.weight = Parameter(embeddings, requires_grad=not freeze)
        return layer

    def reset_parameters(self) -> None:
        """Draw the table anew, from the standard normal distribution."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(
        self, input: TensorLike, offsets: TensorLike | None = None, per_sample_weights: TensorLike | None = None
    ) -> CustomTensor:
        """Look up bags: (B, N) of them, or (N,) with the bags' beginnings (B,); with a weight for each number."""
        return functional.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        """The constructor's arguments, those of them that aren't the default."""
        parts = [
            f"{self.num_embeddings}, {self.embedding_dim}",
            f"max_norm={self.max_norm}" if self.max_norm is not None else "",
            f"norm_type={self.norm_type}" if self.norm_type != 2 else "",
            f"scale_grad_by_freq={self.scale_grad_by_freq}" if self.scale_grad_by_freq else "",
            f"mode={self.mode!r}",
            f"padding_idx={self.padding_idx}" if self.padding_idx is not None else "",
        ]
        return ", ".join(filter(None, parts))


def _row(name: str, padding_idx: int | None, rows: int) -> int | None:
    """``padding_idx`` counted from the table's beginning."""
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise LayerArgumentError(f"{name}: padding_idx must be within num_embeddings ({rows}), got {padding_idx}")
    return None if padding_idx is None else padding_idx % rows
