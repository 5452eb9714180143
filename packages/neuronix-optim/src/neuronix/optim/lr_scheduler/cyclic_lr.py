"""A learning rate that goes up and down."""

from collections.abc import Callable
from math import floor
from typing import Literal

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerTypeError
from neuronix.optim.lr_scheduler.groups import numbers, start_momenta
from neuronix.optim.lr_scheduler.scheduler import (
    LearningRate,
    LRScheduler,
    Scheduled,
    check_last_epoch,
    copied,
    write,
    write_momentum,
)


class CyclicLR(LRScheduler):
    r"""Lets the learning rates go up and down between two bounds; a step comes after each batch.

    $$
    \gamma_t = \gamma_{low} + (\gamma_{high} - \gamma_{low}) \, z(t) \, s
    $$

    with z the sides of a triangle, from 0 to 1 in `step_size_up` steps and back in `step_size_down`, and a scale s that
    may fall: 1 for `"triangular"`, $2^{1-n}$ in the n-th cycle for `"triangular2"`, $g^t$ for `"exp_range"`. The
    momentum goes the other way, if it is cycled.

    Args:
        optimizer: The optimizer, of Neuronix or of torch.
        base_lr: The lower bound; one for all groups, or a list with one for each.
        max_lr: The upper bound; likewise.
        step_size_up: The number of steps from the lower bound to the upper one.
        step_size_down: The number of steps back; `None` for as many.
        mode: Which scale.
        gamma: g, for `"exp_range"`.
        scale_fn: A scale of your own, instead of `mode`.
        scale_mode: Whether `scale_fn` is a function of the number of the cycle, from 1, or of the step.
        cycle_momentum: Whether to cycle the momentum, or β₁, too.
        base_momentum: Its lower bound; one for all groups, or a list with one for each.
        max_momentum: Its upper bound; likewise.
        last_epoch: The last step that has been made, when training is resumed; -1 at the start.

    Raises:
        OptimizerError: An impossible value, or an optimizer without momentum that is to be cycled.

    Example:
        >>> import torch
        >>> from neuronix.optim import SGD
        >>> from neuronix.optim.lr_scheduler import CyclicLR
        >>> optimizer = SGD([torch.zeros(2)], momentum=0.9)
        >>> scheduler = CyclicLR(optimizer, base_lr=0.0, max_lr=1.0, step_size_up=2, mode="triangular2")
        >>> for _ in range(8):
        ...     print(scheduler.get_last_lr(), f"{optimizer.param_groups[0]['momentum']:.3f}")
        ...     optimizer.step()
        ...     scheduler.step()
        [0.0] 0.900
        [0.5] 0.850
        [1.0] 0.800
        [0.5] 0.850
        [0.0] 0.900
        [0.25] 0.875
        [0.5] 0.850
        [0.25] 0.875

    References:
        L. Smith, "Cyclical learning rates for training neural networks", WACV 2017.

    Differs from torch:
        Bounds must be finite, and `step_size_up` above 0. `mode` is checked also beside a `scale_fn`. A group that is
        added later keeps its learning rate.
    """

    def __init__(
        self,
        optimizer: Scheduled,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        owner = self._name
        low = numbers(owner, "base_lr", optimizer, base_lr)
        self.max_lrs = numbers(owner, "max_lr", optimizer, max_lr)
        up, down = checks.positive(owner, "step_size_up", step_size_up), step_size_down
        self.total_size = up + (up if down is None else checks.at_least_zero(owner, "step_size_down", down))
        self.step_ratio = up / self.total_size
        checks.one_of(owner, "mode", mode, ("triangular", "triangular2", "exp_range"))
        checks.one_of(owner, "scale_mode", scale_mode, ("cycle", "iterations"))
        if scale_fn is not None and not callable(scale_fn):
            raise OptimizerTypeError(f"{owner}: `scale_fn` must be a function, got {checks.described(scale_fn)}.")
        self.mode = mode
        self.gamma = checks.number(owner, "gamma", gamma)
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode if scale_fn else "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        momenta = start_momenta(owner, optimizer, base_momentum, max_momentum) if cycle_momentum else None
        check_last_epoch(owner, optimizer, last_epoch)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, low, strict=True):
                write(group, "lr", lr)
        if momenta is not None:
            self.use_beta1 = "betas" in optimizer.param_groups[0]
            self.base_momentums, self.max_momentums = momenta
            for group, lowest, highest in zip(optimizer.param_groups, *momenta, strict=True):
                if last_epoch == -1:
                    write_momentum(group, highest)
                group["base_momentum"], group["max_momentum"] = lowest, highest
        super().__init__(optimizer, last_epoch)
        self.base_lrs = list(low)

    def get_lr(self) -> list[LearningRate]:
        bounds = zip(self.base_lrs, self.max_lrs, strict=False)
        lrs = [low + (high - low) * self._height() * self._scale() for low, high in bounds]
        return lrs + [copied(group["lr"]) for group in self.optimizer.param_groups[len(lrs) :]]  # added later

    def get_momentum(self) -> list[float] | None:
        if not self.cycle_momentum:
            return None
        bounds = zip(self.base_momentums, self.max_momentums, strict=True)
        return [high - (high - low) * self._height() * self._scale() for low, high in bounds]

    def _cycle(self) -> int:
        return floor(1 + self.last_epoch / self.total_size)

    def _height(self) -> float:
        """Return where the triangle is, from 0 to 1."""
        part = 1 + self.last_epoch / self.total_size - self._cycle()  # of the cycle that has passed
        return part / self.step_ratio if part <= self.step_ratio else (part - 1) / (self.step_ratio - 1)

    def _scale(self) -> float:
        at = self._cycle() if self.scale_mode == "cycle" else self.last_epoch
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(at)
        return {"triangular": 1.0, "triangular2": 0.5 ** (self._cycle() - 1), "exp_range": self.gamma**at}[self.mode]
