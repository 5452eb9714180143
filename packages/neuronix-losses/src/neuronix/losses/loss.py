"""What the loss classes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from neuronix.autograd import CustomTensor
from neuronix.losses.errors import LossArgumentError
from neuronix.losses.functional.arguments import TensorLike, legacy_reduction
from neuronix.nn import Module

__all__ = ["Loss", "TargetLoss"]


class Loss(Module):
    """A module that compares what a model says with what is so, by a function of `functional`.

    A subclass names the function and the options that it hands on to it, which are attributes of the same names, and
    says in its ``forward`` what the function takes; `TargetLoss` says so where that is an input and a target.
    """

    _function: ClassVar[Callable[..., CustomTensor]]
    _options: ClassVar[tuple[str, ...]] = ()

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

    def _loss(self, *args: Any, **kwargs: Any) -> CustomTensor:
        options = {name: getattr(self, name) for name in self._options}
        return type(self)._function(*args, **kwargs, **options, reduction=self.reduction)


class TargetLoss(Loss):
    """A loss of an input and a target."""

    def forward(self, input: TensorLike, target: TensorLike) -> CustomTensor:
        """Compute the loss of an input and a target."""
        return self._loss(input, target)
