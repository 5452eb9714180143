"""Losses that are negative log likelihoods of numbers: of counts, and of measurements with an uncertainty."""

from __future__ import annotations

import math

from neuronix.autograd import CustomTensor, composite
from neuronix.autograd.errors import ShapeError, UnsupportedError
from neuronix.losses.errors import LossArgumentError
from neuronix.losses.functional.arguments import TensorLike, any_of, choose, legacy_reduction, lift
from neuronix.losses.functional.reduction import reduce as reduced

__all__ = ["gaussian_nll_loss", "poisson_nll_loss"]


@composite(names="nn.functional.poisson_nll_loss")
def poisson_nll_loss(
    input: TensorLike,
    target: TensorLike,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """Of counts y from Poisson distributions: ``exp(x) − y x``, where x is the logarithm of the expected count.

    Args:
        input: x, of any shape; with ``log_input=False`` the expected count λ itself, and ``l = λ − y log(λ + eps)``.
        target: y, of the same shape.
        log_input: Which of the two it is.
        full: Whether Stirling's approximation of log y! is added, ``y log y − y + ½ log(2 π y)`` where y > 1.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        eps: Keeps the logarithm of 0 finite.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import poisson_nll_loss
        >>> poisson_nll_loss(tensor([0.0]), tensor([3.0])).item()
        1.0
    """
    x, y = lift(input), lift(target)
    loss = x.exp() - y * x if log_input else x - y * (x + eps).log()
    if full:
        many = choose(y > 1, y, 1.0)  # where it isn't used, a number whose logarithm is harmless
        factorial = many * many.log() - many + 0.5 * (2 * math.pi * many).log()
        loss = loss + choose(y > 1, factorial, 0.0)
    return reduced("poisson_nll_loss", loss, legacy_reduction(size_average, reduce, reduction))


@composite(names="nn.functional.gaussian_nll_loss")
def gaussian_nll_loss(
    input: TensorLike,
    target: TensorLike,
    var: TensorLike | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> CustomTensor:
    """Of measurements from normal distributions whose mean and variance are predicted.

    ``l = ½ (log v + (x − y)² / v)`` with v = max(var, eps)

    Args:
        input: Means x, of any shape.
        target: Measurements y, which broadcast against it.
        var: Variances: of the same shape, with 1 for the last axis or without it (one for all of it), or one number.
        full: Whether the constant ½ log 2π is added.
        eps: The least variance; the gradient takes no notice of it.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ShapeError: If the variances' shape doesn't fit.
        UnsupportedError: If they aren't of a floating type.
        LossArgumentError: If a variance is negative, or the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import gaussian_nll_loss
        >>> gaussian_nll_loss(tensor([1.0]), tensor([3.0]), tensor([1.0])).item()
        2.0

    References:
        Nix & Weigend 1994, Estimating the mean and variance of the target probability distribution.
    """
    x, y = lift(input), lift(target)
    variance = x.detach() * 0 + var if isinstance(var, (int, float)) else lift(var)
    if variance.shape != x.shape:
        if tuple(variance.shape) == tuple(x.shape[:-1]):
            variance = variance.unsqueeze(-1)
        elif not _fits(tuple(variance.shape), tuple(x.shape)):
            raise ShapeError(
                f"gaussian_nll_loss: var is of incorrect size: {tuple(variance.shape)} for an input of shape "
                f"{tuple(x.shape)}"
            )
    if not variance.is_floating_point():
        raise UnsupportedError(f"gaussian_nll_loss: var must be of a floating type, not {variance.dtype}")
    if any_of(variance < 0):
        raise LossArgumentError("gaussian_nll_loss: var has negative entries", hint="a variance is 0 or more")
    # The bound is a constant shift, so that the gradient of a small variance isn't cut off.
    v = variance + (variance.detach().clamp_min(eps) - variance.detach())
    loss = 0.5 * (v.log() + (x - y) ** 2 / v)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced("gaussian_nll_loss", loss, reduction)


def _fits(variance: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether variances broadcast against an input without making it larger."""
    return len(variance) == len(shape) and all(a in (1, b) for a, b in zip(variance, shape, strict=True))
