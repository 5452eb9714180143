"""The Kullback-Leibler divergence."""

from __future__ import annotations

from typing import ClassVar

from neuronix.autograd import CustomTensor
from neuronix.losses import functional
from neuronix.losses.functional.arguments import TensorLike
from neuronix.losses.loss import Loss

__all__ = ["KLDivLoss"]


class KLDivLoss(Loss):
    """The Kullback-Leibler divergence of a target from log-probabilities, ``target · (log target − input)``.

    Args:
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` over all elements (which warns), ``"sum"``, or ``"batchmean"``, the divergence
            as mathematics defines it.
        log_target: Whether the target holds log-probabilities too.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import KLDivLoss
        >>> log_q = tensor([[0.5, 0.5]]).log()
        >>> round(KLDivLoss(reduction="batchmean")(log_q, tensor([[1.0, 0.0]])).item(), 4)
        0.6931

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    reductions: ClassVar[tuple[str, ...]] = ("none", "mean", "sum", "batchmean")

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: TensorLike, target: TensorLike) -> CustomTensor:
        """Compute [`kl_div`][neuronix.losses.functional.kl_div] of log-probabilities and a target of the same shape."""
        return functional.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
