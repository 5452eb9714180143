"""Losses of binary classification: yes or no."""

from __future__ import annotations

from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.losses import functional
from neuronix.losses.functional.arguments import TensorLike
from neuronix.losses.loss import Loss

__all__ = ["BCELoss", "BCEWithLogitsLoss"]


class BCEWithLogitsLoss(Loss):
    """The binary cross entropy of logits, finite for logits of any size.

    ``l = −weight · (pos_weight · y · log σ(x) + (1 − y) · log(1 − σ(x)))``

    Args:
        weight: A weight for each element; it is broadcast.  A buffer, so part of the ``state_dict``.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` over all elements, or ``"sum"``.
        pos_weight: What a positive counts in comparison with a negative; it is broadcast.  A buffer too.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import BCEWithLogitsLoss
        >>> logits = tensor([0.0, 1000.0], requires_grad=True)
        >>> loss = BCEWithLogitsLoss()(logits, tensor([1.0, 0.0]))
        >>> loss.backward()
        >>> logits.grad
        tensor([-0.2500,  0.5000])

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: TensorLike | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: TensorLike, target: TensorLike) -> CustomTensor:
        """Compute the loss of logits and probabilities of the same shape.

        See [`binary_cross_entropy_with_logits`][neuronix.losses.functional.binary_cross_entropy_with_logits].
        """
        return functional.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class BCELoss(Loss):
    """The binary cross entropy of probabilities, ``−weight · (y · log p + (1 − y) · log(1 − p))``.

    Args:
        weight: A weight for each element; it is broadcast.  A buffer, so part of the ``state_dict``.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` over all elements, or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import BCELoss
        >>> BCELoss(reduction="none")(tensor([0.5, 0.0]), tensor([1.0, 1.0])).data
        tensor([  0.6931, 100.0000])

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: TensorLike, target: TensorLike) -> CustomTensor:
        """Compute [`binary_cross_entropy`][neuronix.losses.functional.binary_cross_entropy]."""
        return functional.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)
