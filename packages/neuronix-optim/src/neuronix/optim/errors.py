"""The errors of this package: each subclasses what torch raises in the same place.

All are `OptimizerError`, hence `ValueError`, which is what `torch.optim` raises for a bad hyper-parameter. Every check
runs before anything is changed, so after an error the optimizer, its scheduler and the parameters are as they were.
"""

from neuronix.autograd.errors import NeuronixError

__all__ = ["OptimizerError", "OptimizerKeyError", "OptimizerRuntimeError", "OptimizerTypeError"]


class OptimizerError(NeuronixError, ValueError):
    """An optimizer or a scheduler was given a value that it can't work with.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> SGD([torch.zeros(2)], lr=-0.1)
        Traceback (most recent call last):
        ...
        neuronix.optim.errors.OptimizerError: SGD: `lr` must be at least 0, got -0.1.
    """


class OptimizerTypeError(OptimizerError, TypeError):
    """Something that should be a parameter, a number, a group or an optimizer is of another kind."""


class OptimizerKeyError(OptimizerError, KeyError):
    """A parameter group or a saved state lacks an entry."""

    # KeyError shows the repr of its message, quotes and escaped newlines included.
    __str__ = Exception.__str__


class OptimizerRuntimeError(OptimizerError, RuntimeError):
    """A step can't be taken: a gradient doesn't fit its parameter, or the groups aren't those that were known."""
