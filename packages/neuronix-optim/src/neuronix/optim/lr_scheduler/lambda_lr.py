"""Learning rates by a function of the epoch."""

from collections.abc import Callable
from typing import Any

from neuronix.optim.lr_scheduler.groups import functions_of_epochs
from neuronix.optim.lr_scheduler.scheduler import LearningRate, LRScheduler, Scheduled, copied


class LambdaLR(LRScheduler):
    r"""Multiplies the learning rates at the start by a function of the epoch.

    $$ \gamma_t = \gamma_0 \, f(t) $$

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        lr_lambda: f, from the number of an epoch to a factor; or a list with one function for each group.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: A list of as many functions as there aren't groups.
        OptimizerTypeError: `lr_lambda` is neither a function nor a list of them.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import LambdaLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
        >>> for _ in range(3):
        ...     print(f"{scheduler.get_last_lr()[0]:.3f}")
        ...     optimizer.step()
        ...     scheduler.step()
        1.000
        0.500
        0.333

    Differs from torch:
        What isn't callable is refused when it is given.
    """

    def __init__(
        self,
        optimizer: Scheduled,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = functions_of_epochs(self._name, optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class MultiplicativeLR(LRScheduler):
    r"""Multiplies the learning rates of the epoch before by a function of the epoch.

    $$ \gamma_t = \gamma_{t-1} \, f(t) $$

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        lr_lambda: f, from the number of an epoch to a factor; or a list with one function for each group.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: A list of as many functions as there aren't groups.
        OptimizerTypeError: `lr_lambda` is neither a function nor a list of them.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import MultiplicativeLR
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = MultiplicativeLR(optimizer, lambda epoch: 0.5 if epoch % 2 else 1.0)
        >>> for _ in range(4):
        ...     print(scheduler.get_last_lr())
        ...     optimizer.step()
        ...     scheduler.step()
        [1.0]
        [0.5]
        [0.5]
        [0.25]

    Differs from torch:
        What isn't callable is refused when it is given.
    """

    def __init__(
        self,
        optimizer: Scheduled,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = functions_of_epochs(self._name, optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        if self._is_initial:
            return [copied(group["lr"]) for group in groups]
        return [group["lr"] * f(self.last_epoch) for group, f in zip(groups, self.lr_lambdas, strict=True)]
