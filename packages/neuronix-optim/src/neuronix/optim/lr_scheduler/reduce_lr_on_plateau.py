"""A learning rate that falls when a measure stops improving."""

from math import inf
from typing import Any, ClassVar, Literal, SupportsFloat

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError, OptimizerRuntimeError
from neuronix.optim.lr_scheduler.scheduler import LRScheduler, Scheduled, check_optimizer, current_lrs, write


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the learning rates by a factor when a measure hasn't improved for more than `patience` epochs.

    Args:
        optimizer: The optimizer.
        mode: `"min"` if a smaller measure is better (a loss), `"max"` if a larger one is (an accuracy).
        factor: What the learning rates are multiplied by; below 1.
        patience: How many epochs without improvement are let pass.
        threshold: By how much the best measure must be passed for it to count.
        threshold_mode: Whether the threshold is a part of the best measure, `"rel"`, or a difference from it, `"abs"`.
        cooldown: How many epochs after a fall aren't counted.
        min_lr: What no learning rate falls below; one for all groups, or a list with one for each.
        eps: A fall of less than this isn't made.

    Raises:
        OptimizerError: An impossible value.
        OptimizerTypeError: `optimizer` has no groups with learning rates.

    Example:
        >>> import torch
        >>> from neuronix.optim import ReduceLROnPlateau, SGD
        >>> optimizer = SGD([torch.zeros(2)], lr=1.0)
        >>> scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        >>> for loss in [3.0, 2.0, 2.0, 2.0, 1.0]:
        ...     optimizer.step()
        ...     scheduler.step(loss)
        ...     print(scheduler.get_last_lr())
        [1.0]
        [1.0]
        [1.0]
        [0.5]
        [0.5]

    Differs from torch:
        No deprecated `epoch` argument of `step`. NaN and infinite options, a negative `factor`, `patience` or
        `cooldown` are refused. As in torch `base_lrs` isn't set: only the present learning rates matter.
    """

    fixed_entries: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        optimizer: Scheduled,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | tuple[float, ...] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        check_optimizer(self._name, optimizer)
        checks.one_of(self._name, "mode", mode, ("min", "max"))
        checks.one_of(self._name, "threshold_mode", threshold_mode, ("rel", "abs"))
        if checks.at_least_zero(self._name, "factor", factor) >= 1:
            raise OptimizerError(f"{self._name}: `factor` must be less than 1, got {factor:g}.")
        for name, value in {"patience": patience, "cooldown": cooldown, "eps": eps}.items():
            checks.at_least_zero(self._name, name, value)
        checks.number(self._name, "threshold", threshold)
        self.optimizer = optimizer
        self.factor = factor
        self.default_min_lr, self.min_lrs = self._floors(min_lr)
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self._last_lr = current_lrs(optimizer)
        self.mode_worse = inf if mode == "min" else -inf
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    def get_lr(self) -> list[Any]:
        """Return the present learning rates: this schedule goes by the measure, not by the epoch."""
        return current_lrs(self.optimizer)

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]  # torch's signature
        """Note the measure of an epoch, and lower the learning rates if it is time.

        Args:
            metrics: The measure: a number, or a tensor of one element (Neuronix's or torch's).

        Raises:
            OptimizerTypeError: `metrics` isn't a number.
            OptimizerRuntimeError: A group was added, and the list `min_lr` doesn't know it.
        """
        current = checks.measure(self._name, "metrics", metrics)
        better = self.is_better(current)
        bad_epochs = 0 if better or self.in_cooldown else self.num_bad_epochs + 1
        due = bad_epochs > self.patience
        if due:
            self._reduce()
        self.last_epoch += 1
        if better:
            self.best = current
        self.num_bad_epochs = 0 if due else bad_epochs
        self.cooldown_counter = self.cooldown if due else max(0, self.cooldown_counter - 1)
        self._last_lr = current_lrs(self.optimizer)

    @property
    def in_cooldown(self) -> bool:
        """Whether epochs without improvement aren't counted at present."""
        return self.cooldown_counter > 0

    def is_better(self, measure: float) -> bool:
        """Return whether `measure` passes the best one by more than the threshold."""
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * measure > sign * self.best * (1 + sign * self.threshold)
        return sign * measure > sign * self.best + self.threshold

    def _floors(self, min_lr: Any) -> tuple[float | None, list[float]]:
        """Return the floor that groups added later get, if there is one for all, and the floor of each group."""
        count = len(self.optimizer.param_groups)
        if not isinstance(min_lr, (list, tuple)):
            checks.at_least_zero(self._name, "min_lr", min_lr)
            return min_lr, [min_lr] * count
        for index, floor in enumerate(min_lr):
            checks.at_least_zero(self._name, f"min_lr[{index}]", floor)
        if len(min_lr) != count:
            raise OptimizerError(
                f"{self._name}: `min_lr` must be one number or one for each of the {count} parameter groups, got "
                f"{len(min_lr)}."
            )
        return None, list(min_lr)

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise OptimizerRuntimeError(
                    f"{self._name}: the optimizer has {len(groups)} parameter groups, `min_lrs` has "
                    f"{len(self.min_lrs)}.",
                    hint="append the new groups' floors to `min_lrs` after `add_param_group`.",
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, floor in zip(groups, self.min_lrs, strict=True):
            old = float(group["lr"])
            new = max(old * self.factor, floor)
            if old - new > self.eps:
                write(group, "lr", new)
