"""Normalisation over groups of channels, by the root mean square, and by neighbouring channels."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from neuronix.autograd import CustomTensor
from neuronix.autograd.errors import ShapeError
from neuronix.nn import functional, init
from neuronix.nn.applied import Applied
from neuronix.nn.checks import check_sizes
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import lift
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.scale_and_shift import add_scale_and_shift, reset_scale_and_shift
from neuronix.nn.tensor_like import TensorLike

__all__ = ["CrossMapLRN2d", "GroupNorm", "LocalResponseNorm", "RMSNorm"]


class GroupNorm(Module):
    """Each group of channels of each sample gets mean 0 and variance 1, then each channel a learnt scale and shift.

    See [`functional.group_norm`][neuronix.nn.functional.group_norm].

    Args:
        num_groups: The number of groups; it divides ``num_channels``.
        num_channels: C.
        eps: Added to the variance.
        affine: Whether there are a weight and a bias.
        device: Where the parameters live.
        dtype: Their element type.
        bias: Whether there is a bias, if ``affine``.

    Input and result (N, C, …).

    Raises:
        LayerArgumentError: If ``num_groups`` doesn't divide ``num_channels``.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.GroupNorm(3, 6)(torch.randn(2, 6, 5)).shape
        torch.Size([2, 6, 5])

    References:
        Wu & He 2018, Group normalization.
    """

    weight: Parameter | None  # (num_channels,)
    bias: Parameter | None  # (num_channels,)

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(self, num_groups=num_groups, num_channels=num_channels)
        if num_groups == 0 or num_channels % num_groups:
            raise LayerArgumentError(
                f"GroupNorm: num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        add_scale_and_shift(self, num_channels, weight=affine, bias=affine and bias, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weights to one and biases to zero."""
        reset_scale_and_shift(self)

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer."""
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Each sample is divided by its root mean square over its last axes, then scaled by learnt numbers.

    Args:
        normalized_shape: The sizes of the last axes, or the size of the last one.
        eps: Added to the mean of squares; by default the dtype's machine epsilon.
        elementwise_affine: Whether there is a weight.
        device: Where the parameter lives.
        dtype: Its element type.

    Input and result (…, normalized_shape).

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.RMSNorm(2)(torch.tensor([[3.0, 4.0]]))
        CustomTensor([[0.8485, 1.1314]], grad_fn=<mul>)

    References:
        Zhang & Sennrich 2019, Root mean square layer normalization.
    """

    weight: Parameter | None  # normalized_shape

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        check_sizes(self, normalized_shape=self.normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        weight = Parameter(torch.empty(self.normalized_shape, device=device, dtype=dtype))
        self.register_parameter("weight", weight if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weights to one."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: TensorLike) -> CustomTensor:
        """Apply the layer."""
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Applied):
    """Divides by the activity of neighbouring channels at the same place, of (N, C, spatial axes …).

    See [`functional.local_response_norm`][neuronix.nn.functional.local_response_norm].

    Args:
        size: The number of channels.
        alpha: The weight of their mean of squares.
        beta: The exponent of the divisor.
        k: What is added to it first.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.LocalResponseNorm(3, alpha=3.0, beta=1.0)(torch.ones(1, 3, 1)).flatten()
        CustomTensor([0.3333, 0.2500, 0.3333])

    References:
        Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep convolutional neural networks, 3.3.
    """

    _function = staticmethod(functional.local_response_norm)
    _arguments = ("size", "alpha", "beta", "k")

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """[`LocalResponseNorm`][neuronix.nn.LocalResponseNorm] of images (N, C, H, W), as an older layer of torch has it.

    For an even ``size`` the sum goes over size − 1 channels, so that it is symmetric, and is divided by ``size``.

    Args:
        size: The number of channels.
        alpha: The weight of their mean of squares.
        beta: The exponent of the divisor.
        k: What is added to it first.

    Raises:
        ShapeError: If the input has another number of axes than four.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.CrossMapLRN2d(3, alpha=3.0, beta=1.0)(torch.ones(1, 3, 1, 1)).flatten()
        CustomTensor([0.3333, 0.2500, 0.3333])

    Differs from torch:
        Torch's sums never lose the first channel, however far it is: they move from channel to channel, and its turn to
        be taken out is left out.  Here each sum goes over its own channels.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer."""
        x = lift(input)
        if x.ndim != 4:
            raise ShapeError(f"CrossMapLRN2d: expected input to be 4D, got shape {tuple(x.shape)}")
        width = self.size - 1 + self.size % 2
        return functional.local_response_norm(x, width, self.alpha * width / self.size, self.beta, self.k)
