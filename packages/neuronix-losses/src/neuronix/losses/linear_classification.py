"""A classifier and its loss in one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.losses import functional
from neuronix.losses.errors import LossArgumentError
from neuronix.losses.functional.arguments import TensorLike
from neuronix.losses.loss import Loss
from neuronix.nn import Linear

__all__ = ["LinearCrossEntropyLoss"]


class LinearCrossEntropyLoss(Loss):
    """A linear layer, and the cross entropy of the logits that it gives.

    See [`functional.linear_cross_entropy`][neuronix.losses.functional.linear_cross_entropy].

    Args:
        in_features: The size of the input's last axis.
        num_classes: C.
        out_features: Further axes of the logits, (N, C, *out_features).
        bias: Whether the linear layer has a bias.
        device: Where the parameters live.
        dtype: Their element type.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        weight: A weight for each class, (C,): a buffer, so part of the ``state_dict``.
        ignore_index: A class index that counts for nothing.
        label_smoothing: Which part of the target is spread evenly over all classes, between 0 and 1.
        options: How torch saves memory; without effect here.

    Raises:
        LossArgumentError: If the reduction is unknown, the weight isn't (C,), or ``label_smoothing`` is out of range.

    Example:
        >>> import torch
        >>> from neuronix.losses import LinearCrossEntropyLoss
        >>> LinearCrossEntropyLoss(8, 3)(torch.randn(5, 8), torch.tensor([0, 1, 2, 1, 0])).shape
        torch.Size([])

    Differs from torch:
        The logits are always made whole: ``options``, which make torch compute them in pieces, change nothing.
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        reduction: str = "mean",
        weight: TensorLike | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        super().__init__(reduction=reduction)
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise LossArgumentError(
                f"LinearCrossEntropyLoss: expected weight shape ({num_classes},), got {tuple(weight.shape)}"
            )
        if not 0 <= label_smoothing <= 1:
            raise LossArgumentError(
                f"LinearCrossEntropyLoss: expected label_smoothing in range [0, 1], got {label_smoothing}"
            )
        self.register_buffer("weight", weight)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.linear = Linear(in_features, num_classes * math.prod(out_features), bias, device, dtype)
        self.options = options

    def forward(self, input: TensorLike, target: TensorLike) -> CustomTensor:
        """Compute the loss of (N, in_features) and a target as of `CrossEntropyLoss`."""
        classes = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return functional.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*classes, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(classes),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )
