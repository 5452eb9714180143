"""What all schedulers share: the epoch, the learning rates at the start, and the exchange of state."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypeAlias

from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError, OptimizerKeyError, OptimizerTypeError
from neuronix.optim.optimizer import Optimizer

LearningRate: TypeAlias = float | Tensor


class LRScheduler(ABC):
    """Changes the learning rates of an optimizer's groups, one `step` an epoch.

    A subclass is one schedule: its `get_lr` returns the learning rates of `self.last_epoch`, from those of the epoch
    before, so that schedules can be chained. Making one takes a first step, to epoch 0, and writes the learning rates.

    Args:
        optimizer: The optimizer.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Attributes:
        optimizer: The optimizer.
        base_lrs: The learning rate of each group at the start.
        last_epoch: The epoch that the learning rates are for.

    Raises:
        OptimizerTypeError: `optimizer` isn't a Neuronix optimizer.
        OptimizerKeyError: Training is resumed with groups that have no `initial_lr`.

    Example:
        >>> import torch
        >>> from neuronix.optim import LRScheduler, SGD
        >>> class Warmup(LRScheduler):
        ...     def get_lr(self):
        ...         return [base * min(1, (self.last_epoch + 1) / 2) for base in self.base_lrs]
        >>> optimizer = SGD([torch.zeros(2)], lr=0.4)
        >>> scheduler = Warmup(optimizer)
        >>> for _ in range(3):
        ...     optimizer.step()
        ...     print(scheduler.get_last_lr())
        ...     scheduler.step()
        [0.2]
        [0.4]
        [0.4]

    Differs from torch:
        No deprecated `epoch` argument of `step`. `get_lr` doesn't warn when it is called from outside; what was set
        last is `get_last_lr()`. A group that is added later starts from the learning rate that it has at the next step.
        A loaded state is checked, and copied, before it replaces anything.
    """

    _is_initial = False  # true during the step that `__init__` takes

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(self._name, optimizer)
        if isinstance(last_epoch, bool) or not isinstance(last_epoch, int):
            raise OptimizerTypeError(
                f"{self._name}: `last_epoch` must be an integer, got {checks.described(last_epoch)}."
            )
        if last_epoch < -1:
            raise OptimizerError(f"{self._name}: `last_epoch` must be at least -1, got {last_epoch}.")
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch != -1 and "initial_lr" not in group:
                raise OptimizerKeyError(
                    f"{self._name}: group {index} has no 'initial_lr', which "
                    f"resuming at last_epoch={last_epoch} needs.",
                    hint="load the optimizer's saved state first, or start with last_epoch=-1.",
                )
        self.optimizer = optimizer
        self.base_lrs: list[LearningRate] = []
        self.last_epoch = last_epoch
        self._step_count = 0
        self._is_initial = True
        self.step()
        del self._is_initial

    @abstractmethod
    def get_lr(self) -> list[LearningRate]:
        """Return the learning rate of each group for `self.last_epoch`, from those of the epoch before."""

    def step(self) -> None:
        """Go on to the next epoch and write its learning rates; call it after the epoch's last `optimizer.step()`."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                f"{self._name}.step() was called before {type(self.optimizer).__name__}.step(): the first learning "
                "rate of the schedule is skipped. Call the optimizer's first.",
                UserWarning,
                stacklevel=2,
            )
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(copied(group.setdefault("initial_lr", copied(group["lr"]))))
        self._step_count += 1
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            write_lr(group, lr)
        self._last_lr = current_lrs(self.optimizer)

    def get_last_lr(self) -> list[LearningRate]:
        """Return the learning rate of each group that was written last."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Return the state in torch's format: everything but the optimizer, copied."""
        return {name: deepcopy(value) for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of another scheduler of this kind, Neuronix's or torch's.

        The learning rates themselves are the optimizer's: load its state too.

        Args:
            state_dict: What `state_dict()` of either library returned.

        Raises:
            OptimizerKeyError: An entry is missing; nothing was changed.
        """
        own = [name for name in self.__dict__ if name != "optimizer"]
        checks.holds(self._name, "the loaded state", state_dict, own)
        self.__dict__.update({name: deepcopy(state_dict[name]) for name in own})

    @property
    def _name(self) -> str:
        return type(self).__name__


def check_optimizer(owner: str, optimizer: Any) -> None:
    """Raise unless `optimizer` is a Neuronix optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise OptimizerTypeError(
            f"{owner}: `optimizer` must be an optimizer of neuronix.optim, got {checks.described(optimizer)}."
        )


def copied(lr: LearningRate) -> LearningRate:
    """Return `lr`, or its copy if it is a tensor: a tensor is written in place."""
    return lr.detach().clone() if isinstance(lr, Tensor) else lr


def current_lrs(optimizer: Optimizer) -> list[LearningRate]:
    """Return the learning rate of each group."""
    return [copied(group["lr"]) for group in optimizer.param_groups]


def write_lr(group: dict[str, Any], lr: LearningRate) -> None:
    """Set the learning rate of `group`, in place if it is a tensor, because others may hold that tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(float(lr))
    else:
        group["lr"] = lr
