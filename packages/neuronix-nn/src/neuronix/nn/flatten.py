"""Flattening."""

from __future__ import annotations

from neuronix.autograd import CustomTensor, ops
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import TensorLike

__all__ = ["Flatten"]


class Flatten(Module):
    """Makes one axis of several: (N, C, H, W) to (N, C · H · W).

    Args:
        start_dim: The first axis of those.
        end_dim: The last one.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Flatten()(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 48])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer."""
        out: CustomTensor = ops.flatten(input, self.start_dim, self.end_dim)
        return out

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
