"""Distances as layers."""

from __future__ import annotations

from neuronix.autograd import CustomTensor
from neuronix.nn import functional
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import TensorLike

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class CosineSimilarity(Module):
    """The cosine of the angle between vectors.

    See [`functional.cosine_similarity`][neuronix.nn.functional.cosine_similarity].

    Args:
        dim: The axis along which the vectors are.
        eps: The least length that is divided by.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.CosineSimilarity(dim=0)(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0]))
        CustomTensor(0.7071)
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: TensorLike, x2: TensorLike) -> CustomTensor:
        """Compare vectors; the shapes are broadcast."""
        return functional.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The distance between vectors, ``‖x1 − x2 + eps‖ₚ``.

    Args:
        p: In which norm.
        eps: Added to each difference.
        keepdim: Whether the last axis stays, with size 1.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.PairwiseDistance()(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
        CustomTensor(5.)
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: TensorLike, x2: TensorLike) -> CustomTensor:
        """Compare vectors (…, D); the shapes are broadcast."""
        return functional.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
