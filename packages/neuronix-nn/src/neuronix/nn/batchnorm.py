"""Batch normalisation."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.autograd.errors import ShapeError, UnsupportedError
from neuronix.nn import functional
from neuronix.nn.checks import check_sizes
from neuronix.nn.functional.arguments import rank
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.scale_and_shift import add_scale_and_shift, reset_scale_and_shift
from neuronix.nn.tensor_like import TensorLike

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "NormWithStatistics", "SyncBatchNorm"]


class NormWithStatistics(Module):
    """A normalisation by the statistics of channels, of inputs whose number of axes is one of `_ranks`.

    It has a weight and a bias for each channel if it is ``affine``, and running statistics if it tracks them.
    """

    _ranks: ClassVar[tuple[int, ...]]
    _version = 2  # since then, batches are counted

    weight: Parameter | None  # (num_features,)
    bias: Parameter | None  # (num_features,)
    running_mean: Tensor | None  # (num_features,)
    running_var: Tensor | None  # (num_features,)
    num_batches_tracked: Tensor | None  # ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(self, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats

        def empty() -> Tensor:
            return torch.empty(num_features, device=device, dtype=dtype)

        add_scale_and_shift(self, num_features, weight=affine, bias=affine and bias, device=device, dtype=dtype)
        count = torch.tensor(0, device=device)
        self.register_buffer("running_mean", empty() if track_running_stats else None)
        self.register_buffer("running_var", empty() if track_running_stats else None)
        self.register_buffer("num_batches_tracked", count if track_running_stats else None)
        self.reset_parameters()

    def _prepare_state(self, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
        if metadata.get("version", 1) < 2 and self.num_batches_tracked is not None:
            state.setdefault(f"{prefix}num_batches_tracked", self.num_batches_tracked)

    def reset_running_stats(self) -> None:
        """Forget the batches: mean 0, variance 1, none counted."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set weights to one, biases to zero, and forget the batches."""
        self.reset_running_stats()
        reset_scale_and_shift(self)

    def _check_rank(self, input: TensorLike) -> None:
        if rank(input, type(self).__name__) not in self._ranks:
            wanted = " or ".join(f"{ndim}D" for ndim in self._ranks)
            raise ShapeError(f"{type(self).__name__}: expected {wanted} input, got shape {tuple(input.shape)}")

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(NormWithStatistics):
    """Batch normalisation."""

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer; in training, move the running statistics."""
        self._check_rank(input)
        counted = self.num_batches_tracked if self.training else None
        momentum = self.momentum
        if momentum is None:  # the mean of all batches so far: the n-th one has the weight 1/n
            momentum = 0.0 if counted is None else 1.0 / (float(counted) + 1)
        out = functional.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum,
            self.eps,
        )
        if counted is not None:
            counted.add_(1)  # last, so that nothing has changed if the input doesn't fit
        return out


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); see [`BatchNorm2d`][neuronix.nn.BatchNorm2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.BatchNorm1d(3)(torch.randn(8, 3)).shape
        torch.Size([8, 3])
    """

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W): each channel gets mean 0 and variance 1, then a scale and a shift.

    In training the statistics are the batch's, and running ones follow them; in evaluation (``eval()``) the running
    ones are used.  See [`functional.batch_norm`][neuronix.nn.functional.batch_norm].

    Args:
        num_features: C.
        eps: Added to the variance.
        momentum: How far the running statistics move to each batch's; ``None`` for the mean of all batches.
        affine: Whether there are a weight and a bias.
        track_running_stats: Whether there are running statistics; without them the batch's are always used.
        device: Where parameters and buffers live.
        dtype: Their element type.
        bias: Whether there is a bias, if ``affine``.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.BatchNorm2d(2)
        >>> layer(torch.randn(4, 2, 3, 3)).shape
        torch.Size([4, 2, 3, 3])
        >>> layer.num_batches_tracked
        tensor(1)

    References:
        Ioffe & Szegedy 2015, Batch normalization.

    Differs from torch:
        A batch that is refused isn't counted.
    """

    _ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes (N, C, D, H, W); see [`BatchNorm2d`][neuronix.nn.BatchNorm2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.BatchNorm3d(1)(torch.randn(2, 1, 2, 2, 2)).shape
        torch.Size([2, 1, 2, 2, 2])
    """

    _ranks = (5,)


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of (N, C, …), for models that were written for several processes.

    In one process, and in evaluation, it is what [`BatchNorm2d`][neuronix.nn.BatchNorm2d] is, for inputs of two axes or
    more.  In training in several processes it would normalise by the statistics of all their batches.  Neuronix doesn't
    exchange them, and raises.

    Args:
        num_features: C.
        eps: Added to the variance.
        momentum: How far the running statistics move to each batch's; ``None`` for the mean of all batches.
        affine: Whether there are a weight and a bias.
        track_running_stats: Whether there are running statistics; without them the batch's are always used.
        process_group: The processes; by default all.
        device: Where parameters and buffers live.
        dtype: Their element type.
        bias: Whether there is a bias, if ``affine``.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
        >>> nn.SyncBatchNorm.convert_sync_batchnorm(model)
        Sequential(
          (0): Conv1d(2, 3, kernel_size=(1,), stride=(1,))
          (1): SyncBatchNorm(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
        )
        >>> model(torch.randn(4, 2, 5)).shape
        torch.Size([4, 3, 5])

    Differs from torch:
        torch's works in several processes, on GPUs.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_rank(self, input: TensorLike) -> None:
        if rank(input, "SyncBatchNorm") < 2:
            raise ShapeError(f"SyncBatchNorm: expected at least 2D input, got shape {tuple(input.shape)}")

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer; in training, move the running statistics.

        Raises:
            UnsupportedError: In training in several processes.
            ShapeError: If the input has fewer than two axes, or another number of channels.
        """
        if self.training and torch.distributed.is_available() and torch.distributed.is_initialized():
            processes = torch.distributed.get_world_size(self.process_group)
            if processes > 1:
                raise UnsupportedError(
                    f"SyncBatchNorm: {processes} processes would have to exchange statistics, which isn't offered",
                    hint="use BatchNorm, by each process's own statistics, or GroupNorm, which needs none of others",
                )
        return super().forward(input)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any | None = None) -> Module:
        """Put a `SyncBatchNorm` in the place of each batch normalisation in a module, with its parameters and buffers.

        Args:
            module: The module; it is changed.
            process_group: The processes.

        Returns:
            The module, or a new one if it is a batch normalisation itself.
        """
        made = module
        if isinstance(module, _BatchNorm):
            made = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
                bias=module.bias is not None,
            )
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked", "training"):
                setattr(made, name, getattr(module, name))
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made
