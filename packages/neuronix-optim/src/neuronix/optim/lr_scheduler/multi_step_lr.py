"""A learning rate that falls at given epochs."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerTypeError
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled


class MultiStepLR(LRScheduler):
    r"""Multiplies the learning rates by a factor at each milestone.

    $$ \gamma_t = \gamma_0 \, g^{n}, \qquad n = \text{the number of milestones} \le t $$

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        milestones: The epochs of the changes; one that stands twice counts twice.
        gamma: g, the factor.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import MultiStepLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
        >>> for _ in range(4):
        ...     print(scheduler.get_last_lr())
        ...     optimizer.step()
        ...     scheduler.step()
        [1.0]
        [0.5]
        [0.5]
        [0.25]

    Differs from torch:
        Milestones that aren't integers are refused.
    """

    def __init__(
        self, optimizer: Scheduled, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        epochs = list(milestones)
        for epoch in epochs:
            if isinstance(epoch, bool) or not isinstance(epoch, int):
                raise OptimizerTypeError(f"{self._name}: `milestones` must be integers, got {checks.described(epoch)}.")
        self.milestones = Counter(epochs)
        self.gamma = checks.at_least_zero(self._name, "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        factor = self.gamma ** self.milestones[self.last_epoch]
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def closed_form(self) -> list[LearningRate]:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [base * self.gamma**passed for base in self.base_lrs]
