"""Losses of regression."""

from __future__ import annotations

from neuronix.losses import functional
from neuronix.losses.errors import LossTypeError
from neuronix.losses.loss import TargetLoss

__all__ = ["HuberLoss", "L1Loss", "MSELoss", "SmoothL1Loss"]


class MSELoss(TargetLoss):
    """The mean squared error, ``(input − target)²``.

    See [`functional.mse_loss`][neuronix.losses.functional.mse_loss]; input and target have the same shape.

    Args:
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` over all elements, or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import MSELoss
        >>> prediction = tensor([1.0, 2.0, 4.0], requires_grad=True)
        >>> loss = MSELoss()(prediction, tensor([1.0, 2.0, 1.0]))
        >>> loss.item()
        3.0
        >>> loss.backward()
        >>> prediction.grad
        tensor([0., 0., 2.])

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.mse_loss)


class L1Loss(TargetLoss):
    """The mean absolute error, ``|input − target|``.

    See [`functional.l1_loss`][neuronix.losses.functional.l1_loss]; input and target have the same shape.

    Args:
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` over all elements, or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import L1Loss
        >>> L1Loss()(tensor([1.0, 2.0, 4.0]), tensor([1.0, 2.0, 1.0])).item()
        1.0

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.l1_loss)


class SmoothL1Loss(TargetLoss):
    """The absolute error, rounded off to a parabola where it is smaller than ``beta``.

    See [`functional.smooth_l1_loss`][neuronix.losses.functional.smooth_l1_loss]; input and target have the same shape.

    Args:
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` over all elements, or ``"sum"``.
        beta: Where the parabola ends; 0 makes it `L1Loss`.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import SmoothL1Loss
        >>> SmoothL1Loss(reduction="none")(tensor([0.5, 3.0]), tensor([0.0, 0.0])).data
        tensor([0.1250, 2.5000])

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.smooth_l1_loss)
    _options = ("beta",)

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta


class HuberLoss(TargetLoss):
    """The squared error, continued as a straight line where the error is larger than ``delta``.

    See [`functional.huber_loss`][neuronix.losses.functional.huber_loss]; input and target have the same shape.

    Args:
        reduction: ``"none"``, ``"mean"`` over all elements, or ``"sum"``.
        delta: Where the parabola ends.

    Raises:
        LossArgumentError: If the reduction is unknown.
        LossTypeError: If ``delta`` isn't a number.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import HuberLoss
        >>> HuberLoss(delta=2.0, reduction="none")(tensor([1.0, 3.0]), tensor([0.0, 0.0])).data
        tensor([0.5000, 4.0000])

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.huber_loss)
    _options = ("delta",)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        if not isinstance(delta, (float, int)):
            raise LossTypeError(f"HuberLoss: delta must be a float or int, got {type(delta).__name__} {delta!r}")
        self.delta = delta
