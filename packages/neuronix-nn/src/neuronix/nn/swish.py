"""Swish."""

from __future__ import annotations

import torch

from neuronix.autograd import CustomTensor, ops
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import TensorLike

__all__ = ["Swish"]


class Swish(Module):
    """x · σ(β · x) with a learnt β: half the identity at β = 0, [`SiLU`][neuronix.nn.SiLU] at 1, near ReLU for large β.

    Args:
        beta: Where β begins.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.Swish()
        >>> layer(torch.tensor([0.0, 1.0])).detach()
        CustomTensor([0.0000, 0.7311])
        >>> [name for name, _ in layer.named_parameters()]
        ['beta']

    References:
        Ramachandran, Zoph & Le 2017, Searching for activation functions.
    """

    beta: Parameter  # ()

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = Parameter(torch.tensor(float(beta)))

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply it elementwise."""
        x = input if isinstance(input, CustomTensor) else CustomTensor(input)
        out: CustomTensor = x * ops.sigmoid(self.beta * x)
        return out
