"""Schedules one after another."""

from bisect import bisect_right
from typing import Any, ClassVar

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError
from neuronix.optim.lr_scheduler.chained_scheduler import check_members
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, current_lrs, write


class SequentialLR(LRScheduler):
    """Runs schedules one after another: each from its milestone on, as if training began there.

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        schedulers: The schedules, all of this optimizer.
        milestones: The epochs at which the next one takes over: one less than there are schedules.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: A number of milestones that doesn't fit, or schedules of another optimizer.
        OptimizerTypeError: Something isn't a schedule, or one that goes by a measure.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import ExponentialLR, LinearLR, SequentialLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> warmup, decay = LinearLR(optimizer, 0.25, total_iters=3), ExponentialLR(optimizer, gamma=0.5)
        >>> scheduler = SequentialLR(optimizer, [warmup, decay], milestones=[3])
        >>> for _ in range(6):
        ...     print(f"{scheduler.get_last_lr()[0]:.2f}")
        ...     optimizer.step()
        ...     scheduler.step()
        0.25
        0.50
        0.75
        1.00
        0.50
        0.25

    Differs from torch:
        Milestones must rise.
    """

    fixed_entries: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, optimizer: Scheduled, schedulers: list[LRScheduler], milestones: list[int], last_epoch: int = -1
    ) -> None:
        check_members(self._name, schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise OptimizerError(
                f"{self._name}: {len(schedulers)} schedules need {len(schedulers) - 1} milestones, got "
                f"{len(milestones)}."
            )
        for milestone in milestones:
            checks.integer(self._name, "milestones", milestone, 0)
        if sorted(milestones) != list(milestones):
            raise OptimizerError(f"{self._name}: `milestones` must rise, got {milestones}.")
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # All schedules have taken their first step: undo it, and let the one that begins take it again.
        for group in optimizer.param_groups:
            write(group, "lr", group["initial_lr"])
        for scheduler in schedulers:
            _undo_first_step(scheduler)
        begins = schedulers[bisect_right(milestones, 0)]
        begins._initial_step()
        self._last_lr = begins.get_last_lr()

    def get_lr(self) -> list[LearningRate]:
        """Return the present learning rates: the schedules write them."""
        return current_lrs(self.optimizer)

    def step(self) -> None:  # type: ignore[override]  # torch's signature
        """Go on to the next epoch."""
        index = bisect_right(self._milestones, self.last_epoch + 1)
        scheduler = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch + 1:
            scheduler._restart()
        else:
            scheduler.step()
        self.last_epoch += 1
        self._last_lr = scheduler.get_last_lr()


def _undo_first_step(scheduler: LRScheduler) -> None:
    members: list[LRScheduler] = getattr(scheduler, "_schedulers", [])
    for member in members:
        _undo_first_step(member)
    if not members:
        scheduler.last_epoch -= 1
