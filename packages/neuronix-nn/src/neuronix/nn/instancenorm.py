"""Instance normalisation."""

from __future__ import annotations

import warnings

import torch

from neuronix.autograd import CustomTensor
from neuronix.autograd.errors import ShapeError
from neuronix.nn import functional
from neuronix.nn.batchnorm import NormWithStatistics
from neuronix.nn.functional.arguments import lift
from neuronix.nn.tensor_like import TensorLike

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class _InstanceNorm(NormWithStatistics):
    """Instance normalisation, of batches or of one sample."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer; in training, move the running statistics if there are any."""
        self._check_rank(input)
        x = lift(input)
        unbatched = x.ndim == self._ranks[0]
        channels = x.shape[0 if unbatched else 1]
        if channels != self.num_features:
            message = (
                f"{type(self).__name__}: expected num_features ({self.num_features}) channels, got input of shape "
                f"{tuple(x.shape)}"
            )
            if self.affine or self.running_mean is not None:
                raise ShapeError(message)
            warnings.warn(f"{message}; without affine=True this has no effect", stacklevel=3)
        out = functional.instance_norm(
            x.unsqueeze(0) if unbatched else x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum if self.momentum is not None else 0.0,
            self.eps,
        )
        return out.squeeze(0) if unbatched else out


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L); see [`InstanceNorm2d`][neuronix.nn.InstanceNorm2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.InstanceNorm1d(1, eps=1e-12)(torch.tensor([[1.0, 3.0]])).tolist()
        [[-1.0, 1.0]]
    """

    _ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each image, (N, C, H, W) or (C, H, W), gets mean 0 and variance 1.

    See [`functional.instance_norm`][neuronix.nn.functional.instance_norm].

    Args:
        num_features: C.
        eps: Added to the variance.
        momentum: How far the running statistics move to each batch's.
        affine: Whether there are a weight and a bias for each channel.
        track_running_stats: Whether there are running statistics, which are used in evaluation.
        device: Where parameters and buffers live.
        dtype: Their element type.
        bias: Whether there is a bias, if ``affine``.

    Raises:
        ShapeError: If the input has another number of axes, or of channels where that matters.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> out = nn.InstanceNorm2d(3)(torch.randn(2, 3, 4, 4))
        >>> bool(out.mean((2, 3)).abs().max() < 1e-6)
        True

    References:
        Ulyanov, Vedaldi & Lempitsky 2016, Instance normalization.
    """

    _ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of volumes; see [`InstanceNorm2d`][neuronix.nn.InstanceNorm2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.InstanceNorm3d(3)(torch.randn(2, 3, 4, 4, 4)).shape
        torch.Size([2, 3, 4, 4, 4])
    """

    _ranks = (4, 5)
