"""Dropout."""

from __future__ import annotations

from neuronix.autograd import CustomTensor
from neuronix.nn import functional
from neuronix.nn.checks import check_probability
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import TensorLike

__all__ = ["Dropout"]


class Dropout(Module):
    """In training, sets each element to zero with probability ``p`` and divides the others by 1 − p.

    Args:
        p: The probability of zero.
        inplace: Whether to change the input itself.

    Raises:
        LayerArgumentError: If ``p`` isn't between 0 and 1.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.Dropout(0.5).eval()
        >>> layer(torch.ones(3)).tolist()
        [1.0, 1.0, 1.0]

    References:
        Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability(self, p)
        self.p = p
        self.inplace = inplace

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer to any shape."""
        return functional.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"p={self.p}, inplace={self.inplace}"
