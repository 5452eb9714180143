"""Checks of what layers are made with."""

from __future__ import annotations

from typing import Any

from neuronix.nn.errors import LayerArgumentError, ModuleTypeError

__all__ = ["check_probability", "check_sizes"]


def check_sizes(layer: Any, **sizes: Any) -> None:
    """Refuse sizes that aren't integers, or are negative.

    Args:
        layer: The layer, for the error.
        sizes: The arguments by name; a tuple is a size for each axis.

    Raises:
        ModuleTypeError: For something else than an integer.
        LayerArgumentError: For a negative one.
    """
    for name, size in sizes.items():
        for number in size if isinstance(size, tuple) else (size,):
            if not hasattr(number, "__index__") or isinstance(number, bool):
                raise ModuleTypeError(f"{type(layer).__name__}: {name} must be an integer, got {number!r}")
            if number < 0:
                raise LayerArgumentError(f"{type(layer).__name__}: {name} must not be negative, got {number}")


def check_probability(layer: Any, p: Any) -> None:
    """Refuse what isn't a probability.

    Args:
        layer: The layer, for the error.
        p: The argument.

    Raises:
        ModuleTypeError: If it isn't a number.
        LayerArgumentError: If it isn't between 0 and 1.
    """
    if not isinstance(p, (int, float)):
        raise ModuleTypeError(f"{type(layer).__name__}: p must be a number, got {p!r}")
    if not 0 <= p <= 1:
        raise LayerArgumentError(f"{type(layer).__name__}: p is a probability and must lie between 0 and 1, got {p}")
