"""The exceptions that losses add to those of `neuronix.autograd.errors`: each subclasses what torch raises there."""

from __future__ import annotations

from neuronix.autograd.errors import ArgumentError, AxisError

__all__ = ["ClassIndexError", "LossArgumentError", "LossTypeError"]


class ClassIndexError(ArgumentError, AxisError):
    """A target names a class that isn't there.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import nll_loss
        >>> nll_loss(tensor([[-1.0, -2.0]]), tensor([2]))
        Traceback (most recent call last):
        ...
        neuronix.losses.errors.ClassIndexError: nll_loss: Target 2 is out of bounds. The input of shape (1, 2) has \
classes 0 to 1, and ignore_index is -100
          hint: count classes from 0
    """


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
