"""Losses with a margin."""

from __future__ import annotations

from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.losses import functional
from neuronix.losses.errors import LossArgumentError
from neuronix.losses.functional.arguments import TensorLike
from neuronix.losses.loss import Loss, TargetLoss

__all__ = [
    "HingeEmbeddingLoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "SoftMarginLoss",
]


class HingeEmbeddingLoss(TargetLoss):
    """Similar pairs should be near, dissimilar ones farther apart than a margin.

    See [`functional.hinge_embedding_loss`][neuronix.losses.functional.hinge_embedding_loss].

    Args:
        margin: How far.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import HingeEmbeddingLoss
        >>> HingeEmbeddingLoss()(tensor([0.5, 0.25]), tensor([1, -1])).item()
        0.625

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.hinge_embedding_loss)
    _options = ("margin",)

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin


class MarginRankingLoss(Loss):
    """One of two scores should be higher by a margin.

    See [`functional.margin_ranking_loss`][neuronix.losses.functional.margin_ranking_loss].

    Args:
        margin: By how much.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import MarginRankingLoss
        >>> MarginRankingLoss()(tensor([1.0, 1.0]), tensor([3.0, 0.0]), tensor([1, 1])).item()
        1.0

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.margin_ranking_loss)
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
        """Compute the loss of pairs; a target of 1 says that the first should be higher, −1 the second."""
        return self._loss(input1, input2, target)


class MultiLabelMarginLoss(TargetLoss):
    """The scores of several classes should be higher than the others' by 1.

    See [`functional.multilabel_margin_loss`][neuronix.losses.functional.multilabel_margin_loss].

    Args:
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import MultiLabelMarginLoss
        >>> round(MultiLabelMarginLoss()(tensor([[1.0, 0.5, 0.0]]), tensor([[0, -1, -1]])).item(), 4)
        0.1667

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.multilabel_margin_loss)
    _options = ()


class SoftMarginLoss(TargetLoss):
    """Two classes, 1 and −1: ``log(1 + exp(−y x))``.

    See [`functional.soft_margin_loss`][neuronix.losses.functional.soft_margin_loss].

    Args:
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import SoftMarginLoss
        >>> SoftMarginLoss()(tensor([0.0]), tensor([1.0]))
        CustomTensor(0.6931)

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.soft_margin_loss)
    _options = ()


class MultiLabelSoftMarginLoss(TargetLoss):
    """Several classes at once: the mean over the classes of their binary cross entropies.

    See [`functional.multilabel_soft_margin_loss`][neuronix.losses.functional.multilabel_soft_margin_loss].

    Args:
        weight: A weight for each class, (C,): a buffer, so part of the ``state_dict``.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import MultiLabelSoftMarginLoss
        >>> MultiLabelSoftMarginLoss()(tensor([[0.0, 0.0]]), tensor([[1.0, 0.0]]))
        CustomTensor(0.6931)

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.multilabel_soft_margin_loss)
    _options = ("weight",)

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


class MultiMarginLoss(TargetLoss):
    """The score of one class should be higher than each other by a margin.

    See [`functional.multi_margin_loss`][neuronix.losses.functional.multi_margin_loss].

    Args:
        p: 1 or 2: what each shortfall is raised to.
        margin: By how much.
        weight: A weight for each class, (C,): a buffer, so part of the ``state_dict``.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown, ``p`` neither 1 nor 2, or the weight not (C,).

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import MultiMarginLoss
        >>> round(MultiMarginLoss()(tensor([[0.5, 0.0, -1.0]]), tensor([0])).item(), 4)
        0.1667

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.multi_margin_loss)
    _options = (
        "p",
        "margin",
        "weight",
    )

    weight: Tensor | None

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if p not in (1, 2):
            raise LossArgumentError(f"MultiMarginLoss: only p == 1 and p == 2 are supported, got {p}")
        if weight is not None and weight.ndim != 1:
            raise LossArgumentError(f"MultiMarginLoss: the weight must have one axis, got shape {tuple(weight.shape)}")
        self.p = p
        self.margin = margin
        self.register_buffer("weight", weight)
