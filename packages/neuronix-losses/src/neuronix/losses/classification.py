"""Losses of classification: one class out of C."""

from __future__ import annotations

from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.losses import functional
from neuronix.losses.functional.arguments import TensorLike
from neuronix.losses.loss import Loss

__all__ = ["CrossEntropyLoss", "NLLLoss"]


class CrossEntropyLoss(Loss):
    """The cross entropy between a target and the softmax of logits.

    With p = softmax(input): ``l = −weight[target] · log p[target]``; see
    [`cross_entropy`][neuronix.losses.functional.cross_entropy] for class probabilities and label smoothing.

    Args:
        weight: A weight for each class, (C,): a buffer, so part of the ``state_dict``.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        ignore_index: A class index that counts for nothing.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        label_smoothing: Which part of the target is spread evenly over all classes, between 0 and 1.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import CrossEntropyLoss
        >>> logits = tensor([[0.0, 0.0], [1000.0, -1000.0]], requires_grad=True)
        >>> loss = CrossEntropyLoss()(logits, tensor([1, 0]))
        >>> round(loss.item(), 4)
        0.3466
        >>> loss.backward()
        >>> logits.grad
        tensor([[ 0.2500, -0.2500],
                [ 0.0000,  0.0000]])

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.  The weight is a constant, whether or
        not the tensor that was given requires grad.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: TensorLike, target: TensorLike) -> CustomTensor:
        """Compute [`cross_entropy`][neuronix.losses.functional.cross_entropy] of logits (N, C, …) and a target."""
        return functional.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(Loss):
    """The negative log likelihood: minus the log-probability of the target's class.

    ``l = −weight[target] · input[target]``

    Args:
        weight: A weight for each class, (C,): a buffer, so part of the ``state_dict``.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        ignore_index: A class index that counts for nothing.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import NLLLoss
        >>> NLLLoss()(tensor([[-0.5, -1.0], [-2.0, -0.25]]), tensor([0, 1])).item()
        0.375

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.  The weight is a constant, whether or
        not the tensor that was given requires grad.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: TensorLike, target: TensorLike) -> CustomTensor:
        """Compute [`nll_loss`][neuronix.losses.functional.nll_loss] of log-probabilities (N, C, …) and indices."""
        return functional.nll_loss(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )
