"""What all schedulers share: the epoch, the learning rates at the start, and the exchange of state."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from types import FunctionType
from typing import Any, ClassVar, Protocol, TypeAlias

from torch import Tensor

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError, OptimizerKeyError, OptimizerTypeError

LearningRate: TypeAlias = float | Tensor


class Scheduled(Protocol):
    """An optimizer whose learning rates can be scheduled: one of this package, or of torch."""

    param_groups: list[dict[str, Any]]
    """One dict a group, with its learning rate under `"lr"`."""


class LRScheduler(ABC):
    """Changes the learning rates of an optimizer's groups, one `step` an epoch.

    A subclass is one schedule: its `get_lr` returns the learning rates of `self.last_epoch`, from those of the epoch
    before, so that schedules can be chained. Making one takes a first step, to epoch 0, and writes the learning rates.

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        last_epoch: The last epoch that has been run, when training is resumed; -1 at the start.

    Attributes:
        optimizer: The optimizer.
        base_lrs: The learning rate of each group at the start.
        last_epoch: The epoch that the learning rates are for.

    Raises:
        OptimizerTypeError: `optimizer` has no groups with learning rates.
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
        Optimizers of both libraries are scheduled. `step(epoch)` isn't deprecated, and `get_lr` doesn't warn when it is
        called from outside; what was set last is `get_last_lr()`. A group that is added later starts from the learning
        rate that it has at the next step. A step that fails changes nothing. A loaded state is checked, and copied,
        before it replaces anything.
    """

    fixed_entries: ClassVar[dict[str, Any]] = {"_is_initial": False, "_get_lr_called_within_step": False}
    """Entries that torch writes into its saved states, and that are the same in all."""

    _is_initial = False  # true during the step that `__init__` takes

    def __init__(self, optimizer: Scheduled, last_epoch: int = -1) -> None:
        check_optimizer(self._name, optimizer)
        check_last_epoch(self._name, optimizer, last_epoch)
        step_was_taken(optimizer)
        self.optimizer = optimizer
        self.base_lrs: list[LearningRate] = []
        self.last_epoch = last_epoch
        self._initial_step()

    @abstractmethod
    def get_lr(self) -> list[LearningRate]:
        """Return the learning rate of each group for `self.last_epoch`, from those of the epoch before."""

    def closed_form(self) -> list[LearningRate]:
        """Return the learning rates of `self.last_epoch` from those at the start, for a jump to that epoch."""
        return self.get_lr()

    def get_momentum(self) -> list[float] | None:
        """Return the momentum of each group for `self.last_epoch`, or `None` if the schedule leaves it alone."""
        return None

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch and write its learning rates; call it after the epoch's last `optimizer.step()`.

        Args:
            epoch: The epoch to jump to; `None` for the next one.
        """
        # An epoch of -1 stands for a first step that was undone, in a sequence of schedules.
        if self._step_count == 1 and self.last_epoch >= 0 and not step_was_taken(self.optimizer):
            warnings.warn(
                f"{self._name}.step() was called before {type(self.optimizer).__name__}.step(): the first learning "
                "rate of the schedule is skipped. Call the optimizer's first.",
                UserWarning,
                stacklevel=2,
            )
        self._take_in_new_groups()
        self._go_to(self.last_epoch + 1 if epoch is None else epoch, jumps=epoch is not None)
        self._step_count += 1

    def get_last_lr(self) -> list[LearningRate]:
        """Return the learning rate of each group that was written last."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Return the state in torch's format: everything but the optimizer, copied.

        A function can't be saved, and is `None`; of another callable object the attributes are saved.
        """
        return {**self.fixed_entries, **{name: _saved(value) for name, value in self._entries().items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of another scheduler of this kind, Neuronix's or torch's.

        The learning rates themselves are the optimizer's: load its state too.

        Args:
            state_dict: What `state_dict()` of either library returned.

        Raises:
            OptimizerKeyError: An entry is missing; nothing was changed.
            OptimizerError: There are as many functions or schedulers as this one doesn't have; nothing was changed.
        """
        self._check_state(state_dict)
        for name, value in self._entries().items():
            parts = _parts(value)
            if not parts:
                self.__dict__[name] = deepcopy(state_dict[name])
            for part, saved in zip(parts, _listed(state_dict[name]) if parts else [], strict=True):
                if isinstance(part, LRScheduler):
                    part.load_state_dict(saved)
                elif saved is not None:
                    part.__dict__.update(deepcopy(saved))

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            del self._is_initial

    def _restart(self) -> None:
        """Write the learning rates of epoch 0, when a sequence of schedules has come to this one."""
        self._take_in_new_groups()
        self._go_to(0, jumps=True)

    def _take_in_new_groups(self) -> None:
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(copied(group.setdefault("initial_lr", copied(group["lr"]))))

    def _go_to(self, epoch: int, jumps: bool = False) -> None:
        before, self.last_epoch = self.last_epoch, epoch
        try:
            lrs = self.closed_form() if jumps else self.get_lr()
            momenta = self.get_momentum()
        except BaseException:
            self.last_epoch = before
            raise
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            write(group, "lr", lr)
        for group, momentum in zip(self.optimizer.param_groups, momenta or [], strict=False):
            write_momentum(group, momentum)
        self._last_lr = current_lrs(self.optimizer)

    def _entries(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("optimizer", "_is_initial")}

    def _check_state(self, state_dict: Any) -> None:
        entries = self._entries()
        checks.holds(self._name, "the loaded state", state_dict, entries)
        for name, value in entries.items():
            parts = _parts(value)
            saved = _listed(state_dict[name])
            if parts and len(parts) != len(saved):
                raise OptimizerError(f"{self._name}: the loaded state has {len(saved)} of {name!r}, not {len(parts)}.")
            for part, kept in zip(parts, saved, strict=False):
                if isinstance(part, LRScheduler):
                    part._check_state(kept)


def check_optimizer(owner: str, optimizer: Any) -> None:
    """Raise unless `optimizer` has parameter groups with learning rates."""
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list) or not all(isinstance(group, dict) and "lr" in group for group in groups):
        raise OptimizerTypeError(
            f"{owner}: `optimizer` must be an optimizer of neuronix.optim or torch.optim, got "
            f"{checks.described(optimizer)}."
        )


def check_last_epoch(owner: str, optimizer: Scheduled, last_epoch: Any) -> None:
    """Raise unless `last_epoch` is an integer from -1, and -1 if the groups don't know how they started."""
    if isinstance(last_epoch, bool) or not isinstance(last_epoch, int):
        raise OptimizerTypeError(f"{owner}: `last_epoch` must be an integer, got {checks.described(last_epoch)}.")
    if last_epoch < -1:
        raise OptimizerError(f"{owner}: `last_epoch` must be at least -1, got {last_epoch}.")
    for index, group in enumerate(optimizer.param_groups):
        if last_epoch != -1 and "initial_lr" not in group:
            raise OptimizerKeyError(
                f"{owner}: group {index} has no 'initial_lr', which resuming at last_epoch={last_epoch} needs.",
                hint="load the optimizer's saved state first, or start with last_epoch=-1.",
            )


def step_was_taken(optimizer: Any) -> bool:
    """Return whether `optimizer` has taken a step since this was first asked."""
    if not hasattr(optimizer, "_opt_called"):  # an optimizer of torch, which notes it for torch's schedulers only
        if not hasattr(optimizer, "register_step_post_hook"):
            return True
        optimizer._opt_called = False
        optimizer.register_step_post_hook(lambda stepped, args, kwargs: setattr(stepped, "_opt_called", True))
    return bool(optimizer._opt_called)


def copied(lr: LearningRate) -> LearningRate:
    """Return `lr`, or its copy if it is a tensor: a tensor is written in place."""
    return lr.detach().clone() if isinstance(lr, Tensor) else lr


def current_lrs(optimizer: Scheduled) -> list[LearningRate]:
    """Return the learning rate of each group."""
    return [copied(group["lr"]) for group in optimizer.param_groups]


def write(group: dict[str, Any], name: str, value: LearningRate) -> None:
    """Set an option of `group`, in place if it is a tensor, because others may hold that tensor."""
    if isinstance(group.get(name), Tensor):
        group[name].fill_(float(value))
    else:
        group[name] = value


def write_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set the momentum of `group`, which is β₁ where there are two."""
    if "betas" in group:
        first, *others = group["betas"]
        group["betas"] = (first.fill_(momentum) if isinstance(first, Tensor) else momentum, *others)
    else:
        write(group, "momentum", momentum)


def _parts(value: Any) -> list[Any]:
    """Return the schedulers and functions that an attribute consists of, which save and load themselves."""
    listed = _listed(value)
    return listed if all(callable(part) or isinstance(part, LRScheduler) for part in listed) else []


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _saved(value: Any) -> Any:
    if not _parts(value):
        return deepcopy(value)
    if isinstance(value, (list, tuple)):
        return [_saved(part) for part in value]
    if isinstance(value, LRScheduler):
        return value.state_dict()
    return None if isinstance(value, FunctionType) else deepcopy(getattr(value, "__dict__", None))
