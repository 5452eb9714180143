"""Schedules at the same time."""

from collections.abc import Sequence
from typing import Any, ClassVar

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError, OptimizerTypeError
from neuronix.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateau
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, current_lrs, write


class ChainedScheduler(LRScheduler):
    """Runs schedules at the same time: each changes the learning rates that the one before has written.

    Args:
        schedulers: The schedules, all of one optimizer.
        optimizer: The optimizer; `None` for that of the first schedule.

    Raises:
        OptimizerError: No schedules, or some of another optimizer.
        OptimizerTypeError: Something isn't a schedule, or one that goes by a measure.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import ChainedScheduler, ConstantLR, ExponentialLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = ChainedScheduler([ConstantLR(optimizer, 0.25, total_iters=2), ExponentialLR(optimizer, 0.5)])
        >>> for _ in range(4):
        ...     print(scheduler.get_last_lr())
        ...     optimizer.step()
        ...     scheduler.step()
        [0.25]
        [0.125]
        [0.25]
        [0.125]
    """

    fixed_entries: ClassVar[dict[str, Any]] = {}

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Scheduled | None = None) -> None:
        check_members(self._name, schedulers, optimizer)
        self._schedulers = list(schedulers)
        self.optimizer = self._schedulers[0].optimizer
        self._last_lr = current_lrs(self.optimizer)

    def get_lr(self) -> list[LearningRate]:
        """Return the present learning rates: the schedules write them."""
        return current_lrs(self.optimizer)

    def step(self) -> None:  # type: ignore[override]  # torch's signature
        """Go on to the next epoch."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = current_lrs(self.optimizer)

    def _restart(self) -> None:
        for group in self.optimizer.param_groups:
            write(group, "lr", group["initial_lr"])
        for scheduler in self._schedulers:
            scheduler.last_epoch = -1
            scheduler._initial_step()
        self._last_lr = current_lrs(self.optimizer)


def check_members(owner: str, schedulers: Any, optimizer: Scheduled | None) -> None:
    """Raise unless `schedulers` are schedules of `optimizer`, or of one optimizer."""
    if not isinstance(schedulers, (list, tuple)):
        raise OptimizerTypeError(f"{owner}: `schedulers` must be a list, got {checks.described(schedulers)}.")
    if not schedulers:
        raise OptimizerError(f"{owner}: `schedulers` is empty.")
    for position, scheduler in enumerate(schedulers):
        if not isinstance(scheduler, LRScheduler):
            raise OptimizerTypeError(
                f"{owner}: schedule number {position} must be one of neuronix.optim.lr_scheduler, got "
                f"{checks.described(scheduler)}."
            )
        if isinstance(scheduler, ReduceLROnPlateau):
            raise OptimizerTypeError(
                f"{owner}: schedule number {position} is a ReduceLROnPlateau, whose step needs a measure.",
                hint="step it by itself, after this one.",
            )
        if scheduler.optimizer is not (schedulers[0].optimizer if optimizer is None else optimizer):
            raise OptimizerError(f"{owner}: schedule number {position} is of another optimizer.")
