"""A learning rate that falls to zero along a power of the remaining time."""

from neuronix.optim import checks
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, copied


class PolynomialLR(LRScheduler):
    r"""Lets the learning rates fall to zero as a power of the time that remains.

    $$ \gamma_t = \gamma_0 \left( 1 - \min(t, T) / T \right)^p $$

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        total_iters: T, the epoch at which the learning rates are zero.
        power: p; 1 is a line.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import PolynomialLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = PolynomialLR(optimizer, total_iters=4, power=2)
        >>> for _ in range(5):
        ...     print(f"{scheduler.get_last_lr()[0]:.4f}")
        ...     optimizer.step()
        ...     scheduler.step()
        1.0000
        0.5625
        0.2500
        0.0625
        0.0000

    Differs from torch:
        A negative `total_iters` is refused.
    """

    def __init__(self, optimizer: Scheduled, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = checks.count(self._name, "total_iters", total_iters)
        self.power = checks.number(self._name, "power", power)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        groups = self.optimizer.param_groups
        t, total = self.last_epoch, self.total_iters
        if self._is_initial or t > total:
            return [copied(group["lr"]) for group in groups]
        factor = ((1 - t / total) / (1 - (t - 1) / total)) ** self.power
        return [group["lr"] * factor for group in groups]

    def closed_form(self) -> list[LearningRate]:
        remains = 1 - min(self.last_epoch / self.total_iters, 1.0) if self.total_iters and self.last_epoch else 1.0
        return [base * remains**self.power for base in self.base_lrs]
