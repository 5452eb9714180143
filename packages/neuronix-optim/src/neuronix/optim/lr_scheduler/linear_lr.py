"""A learning rate that changes along a line: a warm-up."""

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, copied


class LinearLR(LRScheduler):
    r"""Changes the factor of the learning rates along a line, until an epoch.

    $$ \gamma_t = \gamma_0 \, c_t, \qquad c_t = a + (b - a) \, \min(t, T) / T $$

    It is computed from the epoch before, as in torch, so that it can be chained with other schedules: the quotient
    $c_t / c_{t-1}$ is $1 + (b - a) / (T a + (t - 1)(b - a))$.

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        start_factor: a, above 0 and up to 1.
        end_factor: b, from 0 to 1.
        total_iters: T, the epoch at which the line ends.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import LinearLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = LinearLR(optimizer, start_factor=0.25, total_iters=3)
        >>> for _ in range(5):
        ...     print(f"{scheduler.get_last_lr()[0]:.2f}")
        ...     optimizer.step()
        ...     scheduler.step()
        0.25
        0.50
        0.75
        1.00
        1.00

    Differs from torch:
        A negative `total_iters` is refused.
    """

    def __init__(
        self,
        optimizer: Scheduled,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = checks.within(self._name, "start_factor", start_factor, 0, 1)
        if self.start_factor == 0:
            raise OptimizerError(f"{self._name}: `start_factor` must be greater than 0, got 0.")
        self.end_factor = checks.within(self._name, "end_factor", end_factor, 0, 1)
        self.total_iters = checks.count(self._name, "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        groups = self.optimizer.param_groups
        if self.last_epoch == 0:
            return [group["lr"] * self.start_factor for group in groups]
        if self._is_initial or self.last_epoch > self.total_iters:
            return [copied(group["lr"]) for group in groups]
        rise = self.end_factor - self.start_factor
        factor = 1 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)
        return [group["lr"] * factor for group in groups]

    def closed_form(self) -> list[LearningRate]:
        part = min(self.last_epoch / self.total_iters, 1.0) if self.total_iters and self.last_epoch else 0.0
        factor = self.start_factor + (self.end_factor - self.start_factor) * part
        return [base * factor for base in self.base_lrs]
