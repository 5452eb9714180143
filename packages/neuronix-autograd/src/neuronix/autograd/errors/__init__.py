"""The exceptions that Neuronix raises.

Each one also subclasses the built-in exception that PyTorch raises in the same place, so that code written for
PyTorch catches it unchanged.  Every message says what happened, with the values, and what to do about it.
"""

from __future__ import annotations

import torch

__all__ = [
    "AnomalyError",
    "ArgumentError",
    "AxisError",
    "CompileError",
    "DeclarationError",
    "DrawingError",
    "DtypeError",
    "GradcheckError",
    "GradientError",
    "GraphError",
    "MatrixError",
    "NeuronixError",
    "RankError",
    "ShapeError",
    "UnsupportedError",
    "UnsupportedShapeError",
]


class NeuronixError(Exception):
    """The base of all errors that Neuronix raises on purpose.

    Args:
        message: One sentence with the operation's name and the values.
        hint: What to do; printed on a line of its own.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  hint: {hint}")


class GraphError(NeuronixError, RuntimeError):
    """The graph can't do what was asked: it is closed, foreign, freed, or has a cycle."""


class GradientError(NeuronixError, RuntimeError):
    """A gradient can't be computed, or wouldn't be the one that was meant."""


class AnomalyError(GradientError):
    """A value isn't finite ([`detect_anomaly`][neuronix.autograd.detect_anomaly])."""


class GradcheckError(GradientError):
    """A gradient isn't the one that finite differences give."""


class ShapeError(NeuronixError, RuntimeError, ValueError):
    """Shapes don't fit together."""


class DtypeError(NeuronixError, RuntimeError, TypeError):
    """An element type doesn't fit the operation."""


class ArgumentError(NeuronixError, RuntimeError):
    """An operation was given arguments that it can't work with."""


class MatrixError(ArgumentError, torch.linalg.LinAlgError):  # type: ignore[name-defined, misc]
    """A matrix is singular, or isn't positive definite, where it must not be."""


class AxisError(NeuronixError, IndexError):
    """An axis or an index is out of range."""


class RankError(ShapeError, AxisError):
    """A tensor has another number of axes than the operation is for: PyTorch says so by both classes."""


class CompileError(NeuronixError, RuntimeError):
    """A step can't be compiled ([`compile`][neuronix.autograd.compile])."""


class DrawingError(NeuronixError, RuntimeError):
    """A picture can't be drawn: the program that lays graphs out is missing or failed."""


class UnsupportedError(NeuronixError, NotImplementedError):
    """No rule is known for an operation on a tensor that requires grad, or torch has no kernel for an element type."""


class UnsupportedShapeError(ShapeError, UnsupportedError):
    """Nothing is offered for a tensor with that number of axes."""


class DeclarationError(NeuronixError, TypeError):
    """A primitive or one of its rules is declared in a way that can't work."""
