"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from neuronix.autograd import CustomTensor
from neuronix.nn import functional
from neuronix.nn.checks import check_sizes
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.scale_and_shift import add_scale_and_shift, reset_scale_and_shift
from neuronix.nn.tensor_like import TensorLike

__all__ = ["LayerNorm"]


class LayerNorm(Module):
    """Each sample gets mean 0 and variance 1 over its last axes, then a learnt scale and shift.

    Args:
        normalized_shape: The sizes of the last axes, or the size of the last one.
        eps: Added to the variance.
        elementwise_affine: Whether there are a weight and a bias.
        bias: Whether there is a bias, if ``elementwise_affine``.
        device: Where the parameters live.
        dtype: Their element type.

    Input and result (…, normalized_shape).

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> out = nn.LayerNorm(4)(torch.arange(8.0).reshape(2, 4))
        >>> bool(out.mean(-1).abs().max() < 1e-6)
        True

    References:
        Ba, Kiros & Hinton 2016, Layer normalization.
    """

    weight: Parameter | None  # normalized_shape
    bias: Parameter | None  # normalized_shape

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        check_sizes(self, normalized_shape=self.normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        has_bias = elementwise_affine and bias
        shape = self.normalized_shape
        add_scale_and_shift(self, shape, weight=elementwise_affine, bias=has_bias, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weights to one and biases to zero."""
        reset_scale_and_shift(self)

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer."""
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )
