"""A learning rate that is small at first."""

from neuronix.optim import checks
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, copied


class ConstantLR(LRScheduler):
    r"""Multiplies the learning rates by a constant factor until an epoch.

    $$ \gamma_t = \gamma_0 \cdot \begin{cases} c & t < T \\ 1 & t \ge T \end{cases} $$

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        factor: c, from 0 to 1.
        total_iters: T, the epoch from which on the learning rates are whole.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import ConstantLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = ConstantLR(optimizer, factor=0.25, total_iters=2)
        >>> for _ in range(4):
        ...     print(scheduler.get_last_lr())
        ...     optimizer.step()
        ...     scheduler.step()
        [0.25]
        [0.25]
        [1.0]
        [1.0]

    Differs from torch:
        With `factor=0` the learning rates come back after `total_iters`; torch divides by zero there. A negative
        `total_iters` is refused.
    """

    def __init__(self, optimizer: Scheduled, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        self.factor = checks.within(self._name, "factor", factor, 0, 1)
        self.total_iters = checks.count(self._name, "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        groups = self.optimizer.param_groups
        if self.last_epoch == 0:
            return [group["lr"] * self.factor for group in groups]
        if self.last_epoch != self.total_iters:
            return [copied(group["lr"]) for group in groups]
        # Undo the factor, and leave what schedules that are chained with this one have done.
        return self.closed_form() if self.factor == 0 else [group["lr"] * (1 / self.factor) for group in groups]

    def closed_form(self) -> list[LearningRate]:
        factor = self.factor if self.last_epoch < self.total_iters else 1.0
        return [base * factor for base in self.base_lrs]
