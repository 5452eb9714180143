"""The Kullback-Leibler divergence: how much one distribution says that another doesn't expect."""

from __future__ import annotations

import warnings

from neuronix.autograd import CustomTensor, composite
from neuronix.autograd.errors import DtypeError
from neuronix.losses.functional.arguments import TensorLike, legacy_reduction, lift
from neuronix.losses.functional.reduction import reduce as reduced

__all__ = ["kl_div"]


@composite(names="nn.functional.kl_div")
def kl_div(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> CustomTensor:
    """The Kullback-Leibler divergence of a target from log-probabilities.

    ``l = target · (log target − input)``, which is 0 where the target is 0; ``l = exp(target) · (target − input)``
    if the target is given as log-probabilities.

    Args:
        input: Log-probabilities, of any shape.
        target: Probabilities of the same shape, or their logarithms.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"``, ``"sum"``, or ``"batchmean"``: the sum divided by the size of the first axis,
            which is the divergence as mathematics defines it.
        log_target: Whether the target holds logarithms.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ShapeError: If the shapes can't be broadcast.
        DtypeError: If input or target isn't of a floating type.
        LossArgumentError: If the reduction is unknown.

    Warns:
        UserWarning: For ``"mean"``, which divides by the number of elements.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import kl_div
        >>> log_q = tensor([[0.5, 0.5]]).log()
        >>> round(kl_div(log_q, tensor([[1.0, 0.0]]), reduction="batchmean").item(), 4)
        0.6931
    """
    input, target = lift(input), lift(target)
    if not (input.is_floating_point() and target.is_floating_point()):
        raise DtypeError(
            f"kl_div: integral and complex inputs are not supported, got {input.dtype} and {target.dtype}",
            hint="convert them to a floating type",
        )
    if size_average is None and reduce is None and reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. 'batchmean' divides "
            "only by the batch size, and aligns with the KL div math definition.",
            stacklevel=2,
        )
    reduction = legacy_reduction(size_average, reduce, reduction)
    if log_target:
        divergence = target.exp() * (target - input)
    else:
        divergence = target.xlogy(target) - target * input
    if reduction != "batchmean":
        return reduced("kl_div", divergence, reduction)
    total: CustomTensor = divergence.sum()
    return total / input.shape[0] if input.ndim > 0 else total
