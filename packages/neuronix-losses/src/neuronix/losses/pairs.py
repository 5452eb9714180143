"""Losses of pairs and triples of vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neuronix import nn
from neuronix.autograd import CustomTensor
from neuronix.losses import functional
from neuronix.losses.errors import LossArgumentError
from neuronix.losses.functional.arguments import TensorLike
from neuronix.losses.loss import Loss

__all__ = ["CosineEmbeddingLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss"]


class CosineEmbeddingLoss(Loss):
    """Similar pairs of vectors should have the same direction, dissimilar ones not.

    See [`functional.cosine_embedding_loss`][neuronix.losses.functional.cosine_embedding_loss].

    Args:
        margin: Which cosine of dissimilar pairs costs nothing, between −1 and 1.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import CosineEmbeddingLoss
        >>> CosineEmbeddingLoss()(tensor([[1.0, 0.0]]), tensor([[0.0, 2.0]]), tensor([1])).item()
        1.0

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.cosine_embedding_loss)
    _options = ("margin",)

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: TensorLike, input2: TensorLike, target: TensorLike) -> CustomTensor:
        """Compute the loss of pairs of vectors; the target is 1 for similar ones and −1 for others."""
        return self._loss(input1, input2, target)


class TripletMarginLoss(Loss):
    """A vector should be nearer to a similar than to a dissimilar one, by a margin.

    See [`functional.triplet_margin_loss`][neuronix.losses.functional.triplet_margin_loss].

    Args:
        margin: By how much; positive.
        p: Of which norm the distances are.
        eps: Added to each difference.
        swap: Whether the distance of the other two counts too, if it is smaller.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown, or the margin not positive.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import TripletMarginLoss
        >>> TripletMarginLoss(eps=0.0)(tensor([[0.0]]), tensor([[2.0]]), tensor([[-1.0]])).item()
        2.0

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.triplet_margin_loss)
    _options = (
        "margin",
        "p",
        "eps",
        "swap",
    )

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        _check_margin(self, margin)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: TensorLike, positive: TensorLike, negative: TensorLike) -> CustomTensor:
        """Compute the loss of triples of vectors."""
        return self._loss(anchor, positive, negative)


class TripletMarginWithDistanceLoss(Loss):
    """[`TripletMarginLoss`][neuronix.losses.TripletMarginLoss] with a distance of one's own.

    See [`functional.triplet_margin_with_distance_loss`][neuronix.losses.functional.triplet_margin_with_distance_loss].

    Args:
        distance_function: Of two tensors; by default ``pairwise_distance``.
        margin: By how much nearer; positive.
        swap: Whether the distance of the other two counts too, if it is smaller.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown, or the margin not positive.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import TripletMarginWithDistanceLoss
        >>> loss = TripletMarginWithDistanceLoss(distance_function=lambda a, b: (a - b).abs())
        >>> loss(tensor([0.0]), tensor([2.0]), tensor([-1.0])).item()
        2.0

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.triplet_margin_with_distance_loss)
    _options = (
        "distance_function",
        "margin",
        "swap",
    )

    def __init__(
        self,
        *,
        distance_function: Callable[[Any, Any], Any] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        _check_margin(self, margin)
        self.distance_function: Any = nn.PairwiseDistance() if distance_function is None else distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: TensorLike, positive: TensorLike, negative: TensorLike) -> CustomTensor:
        """Compute the loss of triples of vectors."""
        return self._loss(anchor, positive, negative)


def _check_margin(loss: Loss, margin: float) -> None:
    if margin <= 0:
        raise LossArgumentError(f"{type(loss).__name__}: margin must be greater than 0, got {margin}")
