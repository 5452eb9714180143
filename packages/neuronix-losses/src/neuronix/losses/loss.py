"""What the loss classes share."""

from __future__ import annotations

from typing import ClassVar

from neuronix.losses.errors import LossArgumentError
from neuronix.losses.functional.arguments import legacy_reduction
from neuronix.nn import Module

__all__ = ["Loss"]


class Loss(Module):
    """A module that compares an input with a target; subclasses say how, in ``forward(input, target)``."""

    reduction: str
    reductions: ClassVar[tuple[str, ...]] = ("none", "mean", "sum")

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = legacy_reduction(size_average, reduce, reduction)
        if self.reduction not in self.reductions:
            raise LossArgumentError(
                f"{type(self).__name__}: {reduction!r} is not a valid value for reduction",
                hint=f"use {' or '.join(map(repr, self.reductions))}",
            )
