"""The errors of this package: each subclasses what torch raises in the same place.

Every check runs before anything is changed: after an error, parameters, buffers and the graph are as they were.
"""

from neuronix.autograd.errors import ArgumentError, NeuronixError, ShapeError

__all__ = [
    "AssertedError",
    "CheckpointError",
    "LayerArgumentError",
    "MissingPackageError",
    "ModuleAttributeError",
    "ModuleIndexError",
    "ModuleKeyError",
    "ModuleTypeError",
    "ModuleValueError",
    "StateDictError",
]


class AssertedError(ShapeError, ArgumentError, AssertionError):
    """Arguments of an attention or an embedding don't fit together, which torch asserts."""


class CheckpointError(NeuronixError, RuntimeError, ValueError):
    """A file can't be written or loaded, or its state doesn't fit; nothing has been loaded."""


class MissingPackageError(NeuronixError, ImportError):
    """A package is needed that an extra of this one installs."""


class LayerArgumentError(NeuronixError, ValueError, RuntimeError):
    """A layer was asked for with arguments that make no layer.

    Example:
        >>> from neuronix import nn
        >>> nn.Dropout(p=2.0)
        Traceback (most recent call last):
        ...
        neuronix.nn.errors.LayerArgumentError: Dropout: p is a probability and must lie between 0 and 1, got 2.0
    """


class ModuleAttributeError(NeuronixError, AttributeError):
    """A module has no attribute, or no submodule, of that name."""


class ModuleIndexError(NeuronixError, IndexError):
    """A container has no entry at that position."""


class ModuleKeyError(NeuronixError, KeyError):
    """A name can't be used for a parameter, buffer or submodule."""

    # KeyError shows the repr of its message, quotes and escaped newlines included.
    __str__ = Exception.__str__


class ModuleTypeError(NeuronixError, TypeError):
    """Something that should be a parameter, a buffer, a module or a mode is of another kind."""


class ModuleValueError(NeuronixError, ValueError):
    """A submodule was to be put under no name, or something else in its place."""


class StateDictError(NeuronixError, RuntimeError):
    """A state doesn't fit the module that is to load it; nothing has been loaded."""
