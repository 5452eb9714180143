"""Losses that are negative log likelihoods of numbers."""

from __future__ import annotations

from neuronix.autograd import CustomTensor
from neuronix.losses import functional
from neuronix.losses.functional.arguments import TensorLike
from neuronix.losses.loss import Loss

__all__ = ["GaussianNLLLoss", "PoissonNLLLoss"]


class PoissonNLLLoss(Loss):
    """The negative log likelihood of counts from Poisson distributions.

    See [`functional.poisson_nll_loss`][neuronix.losses.functional.poisson_nll_loss].

    Args:
        log_input: Whether the input is the logarithm of the expected count.
        full: Whether Stirling's approximation of log y! is added.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        eps: Keeps the logarithm of 0 finite, without ``log_input``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import PoissonNLLLoss
        >>> PoissonNLLLoss()(tensor([0.0]), tensor([3.0])).item()
        1.0

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.poisson_nll_loss)
    _options = (
        "log_input",
        "full",
        "eps",
    )

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: TensorLike, target: TensorLike) -> CustomTensor:
        """Compute the loss of expected counts, or their logarithms, and counts of the same shape."""
        return self._loss(log_input, target)


class GaussianNLLLoss(Loss):
    """The negative log likelihood of measurements from normal distributions.

    See [`functional.gaussian_nll_loss`][neuronix.losses.functional.gaussian_nll_loss].

    Args:
        full: Whether the constant ½ log 2π is added.
        eps: The least variance.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses import GaussianNLLLoss
        >>> GaussianNLLLoss()(tensor([1.0]), tensor([3.0]), tensor([1.0])).item()
        2.0

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called.
    """

    _function = staticmethod(functional.gaussian_nll_loss)
    _options = (
        "full",
        "eps",
    )

    def __init__(
        self,
        *,
        full: bool = False,
        eps: float = 1e-6,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: TensorLike, target: TensorLike, var: TensorLike | float) -> CustomTensor:
        """Compute the loss of means, measurements and variances."""
        return self._loss(input, target, var)
