"""A learning rate that falls by the same part every epoch."""

from neuronix.optim import checks
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, copied


class ExponentialLR(LRScheduler):
    r"""Multiplies the learning rates by a factor every epoch.

    $$ \gamma_t = \gamma_0 \, g^t $$

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        gamma: g, the factor.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import ExponentialLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = ExponentialLR(optimizer, gamma=0.5)
        >>> for _ in range(3):
        ...     print(scheduler.get_last_lr())
        ...     optimizer.step()
        ...     scheduler.step()
        [1.0]
        [0.5]
        [0.25]
    """

    def __init__(self, optimizer: Scheduled, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = checks.at_least_zero(self._name, "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        groups = self.optimizer.param_groups
        return [copied(group["lr"]) if self._is_initial else group["lr"] * self.gamma for group in groups]

    def closed_form(self) -> list[LearningRate]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]
