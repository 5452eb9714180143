"""A learning rate that falls along half a cosine, again and again."""

from math import cos, floor, pi

from neuronix.optim import checks
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled


class CosineAnnealingWarmRestarts(LRScheduler):
    r"""Lets the learning rates fall to `eta_min` along half a cosine, then starts again, each time for longer.

    $$ \eta_t = \eta_{\min} + \tfrac12 (\eta_0 - \eta_{\min}) \left( 1 + \cos \frac{\pi T_{cur}}{T_i} \right) $$

    The first fall takes `T_0` epochs, and each is `T_mult` times as long as the one before: $T_i = T_0 T_{mult}^i$.

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        T_0: The number of epochs of the first fall.
        T_mult: By which the number grows; 1 or more.
        eta_min: The learning rate at the end of each fall.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import CosineAnnealingWarmRestarts
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=2)
        >>> for _ in range(7):
        ...     print(f"{scheduler.get_last_lr()[0]:.3f}")
        ...     optimizer.step()
        ...     scheduler.step()
        1.000
        0.500
        1.000
        0.854
        0.500
        0.146
        1.000

    References:
        I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017, equation (5).

    Differs from torch:
        A jump to an epoch at which a fall starts always starts it; torch, which computes the number of the fall by a
        logarithm, ends the one before if that rounds down.
    """

    def __init__(
        self, optimizer: Scheduled, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_0 = checks.at_least_one(self._name, "T_0", T_0)
        self.T_i = self.T_0
        self.T_mult = checks.at_least_one(self._name, "T_mult", T_mult)
        self.eta_min = checks.number(self._name, "eta_min", eta_min)
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        part = (1 + cos(pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * part for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to any: a fraction is a part of an epoch, for a step after each batch.

        Args:
            epoch: The epoch to jump to, with a fraction; `None` for the next one.

        Raises:
            OptimizerError: `epoch` is negative.
        """
        self._take_in_new_groups()
        if epoch is None and self.last_epoch >= 0:
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
            self._go_to(self.last_epoch + 1)
            return
        epoch = 0 if epoch is None else checks.at_least_zero(self._name, "epoch", epoch)
        self.T_cur, self.T_i = self._place(epoch)
        self._go_to(floor(epoch))

    def _place(self, epoch: float) -> tuple[float, int]:
        """Return how far into its fall an epoch is, and how long that fall is."""
        if self.T_mult == 1:
            return epoch % self.T_0, self.T_0
        start, length = 0, self.T_0
        while epoch >= start + length:
            start, length = start + length, length * self.T_mult
        return epoch - start, length
