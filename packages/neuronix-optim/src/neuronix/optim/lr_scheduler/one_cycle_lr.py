"""A learning rate that rises once and falls far: super-convergence."""

from math import cos, pi
from typing import Any, Literal

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError, OptimizerKeyError
from neuronix.optim.lr_scheduler.groups import numbers, start_momenta
from neuronix.optim.lr_scheduler.scheduler import (
    LearningRate,
    LRScheduler,
    Scheduled,
    check_last_epoch,
    copied,
    write_momentum,
)


class OneCycleLR(LRScheduler):
    r"""Lets the learning rates rise to `max_lr` and fall far below where they began; a step comes after each batch.

    They rise from `max_lr / div_factor` in the part `pct_start` of all steps, and fall to
    `max_lr / (div_factor * final_div_factor)` in the others. From a to b they go, with the part x of a phase,

    $$ b + \tfrac12 (a - b)(1 + \cos \pi x) \qquad \text{or} \qquad a + (b - a) x $$

    The momentum goes the other way, if it is cycled.

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        max_lr: The highest learning rate; one for all groups, or a list with one for each.
        total_steps: The number of steps; `None` if it is `epochs * steps_per_epoch`.
        epochs: The number of epochs.
        steps_per_epoch: The number of steps of an epoch.
        pct_start: The part of the steps in which the learning rates rise, from 0 to 1.
        anneal_strategy: `"cos"` or `"linear"`.
        cycle_momentum: Whether to cycle the momentum, or β₁, too.
        base_momentum: Its lower bound; one for all groups, or a list with one for each.
        max_momentum: Its upper bound; likewise.
        div_factor: By which the learning rates are smaller than `max_lr` at the start.
        final_div_factor: By which they are smaller in the end than at the start.
        three_phase: Whether to fall to the start as fast as they rose, and only then to the end.
        last_epoch: The last step that has been made, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value, or an optimizer without momentum that is to be cycled.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import OneCycleLR
        >>> optimizer = SGD([torch.zeros(2)], momentum=0.9)
        >>> scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=6, pct_start=0.5, anneal_strategy="linear")
        >>> for _ in range(6):
        ...     print(f"{scheduler.get_last_lr()[0]:.3f} {optimizer.param_groups[0]['momentum']:.3f}")
        ...     optimizer.step()
        ...     if scheduler.last_epoch < 5:
        ...         scheduler.step()
        0.040 0.950
        0.520 0.900
        1.000 0.850
        0.667 0.883
        0.333 0.917
        0.000 0.950

    References:
        L. Smith, N. Topin, "Super-convergence: very fast training of neural networks using large learning rates",
        2018.

    Differs from torch:
        Divisors must be positive. A phase of no length is at its end, where torch divides by zero.
    """

    def __init__(
        self,
        optimizer: Scheduled,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 10000.0,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        owner = self._name
        highest = numbers(owner, "max_lr", optimizer, max_lr)
        self.total_steps = _total_steps(owner, total_steps, epochs, steps_per_epoch)
        part = checks.within(owner, "pct_start", pct_start, 0, 1)
        self._schedule_phases = _phases(part, self.total_steps, three_phase)
        checks.one_of(owner, "anneal_strategy", anneal_strategy, ("cos", "linear"))
        self._anneal_func_type = anneal_strategy
        first, last = (
            checks.positive(owner, name, value)
            for name, value in {"div_factor": div_factor, "final_div_factor": final_div_factor}.items()
        )
        self.cycle_momentum = cycle_momentum
        momenta = start_momenta(owner, optimizer, base_momentum, max_momentum) if cycle_momentum else None
        check_last_epoch(owner, optimizer, last_epoch)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, highest, strict=True):
                group.update(initial_lr=lr / first, max_lr=lr, min_lr=lr / first / last)
        if momenta is not None:
            self.use_beta1 = "betas" in optimizer.param_groups[0]
            if last_epoch == -1:
                for group, low, high in zip(optimizer.param_groups, *momenta, strict=True):
                    write_momentum(group, high)
                    group.update(base_momentum=low, max_momentum=high)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[LearningRate]:
        if self.last_epoch > self.total_steps:
            raise OptimizerError(
                f"{self._name}: {self.last_epoch} steps are more than the {self.total_steps} of the schedule.",
                hint="`total_steps` is the number of batches of all epochs together.",
            )
        groups = self.optimizer.param_groups
        return [self._between("lr", group) if "max_lr" in group else copied(group["lr"]) for group in groups]

    def get_momentum(self) -> list[float] | None:
        if not self.cycle_momentum:
            return None
        known = [group for group in self.optimizer.param_groups if "max_momentum" in group]
        return [self._between("momentum", group) for group in known]

    def _between(self, quantity: str, group: dict[str, Any]) -> float:
        """Return where a quantity of a group is in the present phase, between its start and its end."""
        begin = 0.0
        for phase in self._schedule_phases:
            if self.last_epoch <= phase["end_step"]:
                break
            begin = phase["end_step"] if phase is not self._schedule_phases[-1] else begin
        try:
            start, end = group[phase[f"start_{quantity}"]], group[phase[f"end_{quantity}"]]
        except KeyError as error:
            raise OptimizerKeyError(f"{self._name}: a parameter group has no {error}.") from error
        length = phase["end_step"] - begin
        x = (self.last_epoch - begin) / length if length else 1.0
        if self._anneal_func_type == "cos":
            return float(end + (start - end) / 2 * (1 + cos(pi * x)))
        return float(start + (end - start) * x)


def _total_steps(owner: str, total: Any, epochs: Any, steps_per_epoch: Any) -> int:
    if total is not None:
        return checks.at_least_one(owner, "total_steps", total)
    if epochs is None or steps_per_epoch is None:
        raise OptimizerError(f"{owner}: `total_steps` is missing, and so is `epochs` or `steps_per_epoch`.")
    return checks.at_least_one(owner, "epochs", epochs) * checks.at_least_one(owner, "steps_per_epoch", steps_per_epoch)


def _phases(part: float, total: int, three: bool) -> list[dict[str, Any]]:
    """Return the phases: the step at which each ends, and the options of a group between which it goes."""
    rise, turn = ("initial_lr", "max_lr"), ("max_momentum", "base_momentum")
    if three:
        plan = [
            (float(part * total) - 1, rise, turn),
            (float(2 * part * total) - 2, rise[::-1], turn[::-1]),
            (total - 1, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")),
        ]
    else:
        plan = [(float(part * total) - 1, rise, turn), (total - 1, ("max_lr", "min_lr"), turn[::-1])]
    return [
        {"end_step": end, "start_lr": a, "end_lr": b, "start_momentum": c, "end_momentum": d}
        for end, (a, b), (c, d) in plan
    ]
