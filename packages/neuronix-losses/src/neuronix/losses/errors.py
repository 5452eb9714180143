"""The exceptions that losses add to those of `neuronix.autograd.errors`: each subclasses what torch raises there."""

from __future__ import annotations

from neuronix.autograd.errors import ArgumentError

__all__ = ["LossArgumentError", "LossTypeError"]


class LossArgumentError(ArgumentError, ValueError):
    """A loss was given an option that it doesn't know, such as ``reduction="avg"``.

    Example:
        >>> from neuronix.losses import MSELoss
        >>> MSELoss(reduction="avg")
        Traceback (most recent call last):
        ...
        neuronix.losses.errors.LossArgumentError: MSELoss: 'avg' is not a valid value for reduction
          hint: use 'none' or 'mean' or 'sum'
    """


class LossTypeError(ArgumentError, TypeError):
    """An option of a loss is of another type than a number, as in ``HuberLoss(delta="1")``."""
