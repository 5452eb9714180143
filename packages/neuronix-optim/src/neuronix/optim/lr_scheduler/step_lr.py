"""A learning rate that falls in steps."""

from neuronix.optim import checks
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, copied


class StepLR(LRScheduler):
    r"""Multiplies the learning rates by a factor every `step_size` epochs.

    $$ \gamma_t = \gamma_0 \, g^{\lfloor t / s \rfloor} $$

    Args:
        optimizer: The optimizer.
        step_size: s, the number of epochs from one change to the next.
        gamma: g, the factor.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD, StepLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = StepLR(optimizer, step_size=2, gamma=0.5)
        >>> for _ in range(5):
        ...     optimizer.step()
        ...     print(optimizer.param_groups[0]["lr"])
        ...     scheduler.step()
        1.0
        1.0
        0.5
        0.5
        0.25

    Differs from torch:
        A `step_size` below 1 is refused.
    """

    def __init__(self, optimizer: Scheduled, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = checks.at_least_one(self._name, "step_size", step_size)
        self.gamma = checks.at_least_zero(self._name, "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [group["lr"] * self.gamma if due else copied(group["lr"]) for group in self.optimizer.param_groups]

    def closed_form(self) -> list[LearningRate]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]
