"""A learning rate that falls along half a cosine."""

from math import cos, pi

from neuronix.optim import checks
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, copied


class CosineAnnealingLR(LRScheduler):
    r"""Lets the learning rates fall to `eta_min` along half a cosine, in `T_max` epochs.

    $$ \eta_t = \eta_{\min} + \tfrac12 (\eta_0 - \eta_{\min}) \left( 1 + \cos \frac{\pi t}{T_{\max}} \right) $$

    It is computed from the epoch before, as in torch, so that it can be chained with other schedules:
    $\eta_t - \eta_{\min}$ is $\eta_{t-1} - \eta_{\min}$ times the quotient of the two brackets. After `T_max` epochs
    the learning rates rise again along the same curve.

    Args:
        optimizer: The optimizer.
        T_max: The number of epochs of the fall.
        eta_min: The learning rate at its end.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.optim import CosineAnnealingLR, SGD
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = CosineAnnealingLR(optimizer, T_max=4)
        >>> for _ in range(5):
        ...     optimizer.step()
        ...     print(f"{optimizer.param_groups[0]['lr']:.3f}")
        ...     scheduler.step()
        1.000
        0.854
        0.500
        0.146
        0.000

    References:
        I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017, equation (5),
        without the restarts.

    Differs from torch:
        A `T_max` below 1 is refused.
    """

    def __init__(self, optimizer: Scheduled, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = checks.at_least_one(self._name, "T_max", T_max)
        self.eta_min = checks.number(self._name, "eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        if self._is_initial:
            return [copied(group["lr"]) for group in self.optimizer.param_groups]
        if (self.last_epoch - 1) % (2 * self.T_max) == self.T_max:
            # The epoch before was at the foot of the curve, where the quotient would be 0 / 0.
            rise = (1 - cos(pi / self.T_max)) / 2
            groups = self.optimizer.param_groups
            return [
                group["lr"] + (base - self.eta_min) * rise for group, base in zip(groups, self.base_lrs, strict=True)
            ]
        now = 1 + cos(pi * self.last_epoch / self.T_max)
        before = 1 + cos(pi * (self.last_epoch - 1) / self.T_max)
        return [now / before * (group["lr"] - self.eta_min) + self.eta_min for group in self.optimizer.param_groups]

    def closed_form(self) -> list[LearningRate]:
        part = (1 + cos(pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * part for base in self.base_lrs]
