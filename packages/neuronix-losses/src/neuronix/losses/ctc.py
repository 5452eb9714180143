"""The loss of sequences whose labels aren't aligned with their inputs."""

from __future__ import annotations

from typing import Any

from neuronix.autograd import CustomTensor
from neuronix.losses import functional
from neuronix.losses.functional.arguments import TensorLike
from neuronix.losses.loss import Loss

__all__ = ["CTCLoss"]


class CTCLoss(Loss):
    """Connectionist temporal classification: −log of the probability of all alignments of labels with an input.

    See [`functional.ctc_loss`][neuronix.losses.functional.ctc_loss].

    Args:
        blank: The number of the blank.
        reduction: ``"none"``, ``"mean"`` (of the losses divided by the targets' lengths) or ``"sum"``.
        zero_infinity: Whether an input that is too short for its target counts as a loss of zero, with no gradient.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> import math
        >>> import torch
        >>> from neuronix.losses import CTCLoss
        >>> log_probs = torch.full((2, 1, 3), -math.log(3))
        >>> loss = CTCLoss()(log_probs, torch.tensor([[1]]), (2,), (1,))  # the paths 11, 01 and 10
        >>> print(f"{loss.item():.4f} = log 9/3 = {math.log(3):.4f}")
        1.0986 = log 9/3 = 1.0986

    References:
        A. Graves et al. (2006), Connectionist temporal classification: labelling unsegmented sequence data with
        recurrent neural networks, https://www.cs.toronto.edu/~graves/icml_2006.pdf.

    Differs from torch:
        An unknown reduction is refused here, not when the loss is first called; second derivatives are offered.
    """

    _function = staticmethod(functional.ctc_loss)
    _options = ("blank", "zero_infinity")

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: TensorLike, targets: TensorLike, input_lengths: Any, target_lengths: Any
    ) -> CustomTensor:
        """Compute the loss of (T, N, C) log-probabilities, and labels, given how long each input and target is."""
        return self._loss(log_probs, targets, input_lengths, target_lengths)
