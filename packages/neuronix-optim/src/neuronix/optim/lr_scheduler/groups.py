"""Arguments of schedules that may be one for all groups, or a list with one for each."""

from collections.abc import Callable
from typing import Any

from neuronix.optim import checks
from neuronix.optim.errors import OptimizerError, OptimizerTypeError
from neuronix.optim.lr_scheduler.scheduler import Scheduled, check_optimizer


def one_for_each(owner: str, name: str, optimizer: Scheduled, given: Any) -> list[Any]:
    """Return `given` as a list with one entry for each group."""
    check_optimizer(owner, optimizer)
    count = len(optimizer.param_groups)
    if not isinstance(given, (list, tuple)):
        return [given] * count
    if len(given) != count:
        raise OptimizerError(
            f"{owner}: `{name}` must be one or one for each of the {count} parameter groups, got {len(given)}."
        )
    return list(given)


def numbers(owner: str, name: str, optimizer: Scheduled, given: Any) -> list[float]:
    """Return `given`, a number or a list of them, as one finite number for each group."""
    return [
        checks.number(owner, f"{name}[{index}]" if isinstance(given, (list, tuple)) else name, value)
        for index, value in enumerate(one_for_each(owner, name, optimizer, given))
    ]


def functions_of_epochs(owner: str, optimizer: Scheduled, given: Any) -> list[Callable[[int], float]]:
    """Return `given`, a function or a list of them, as one for each group."""
    functions = one_for_each(owner, "lr_lambda", optimizer, given)
    for function in functions:
        if not callable(function):
            raise OptimizerTypeError(
                f"{owner}: `lr_lambda` must be a function of the epoch, got {checks.described(function)}."
            )
    return functions


def start_momenta(owner: str, optimizer: Scheduled, low: Any, high: Any) -> tuple[list[float], list[float]]:
    """Return the lowest and the highest momentum of each group; raise if the optimizer has none."""
    for group in optimizer.param_groups:
        if "momentum" not in group and "betas" not in group:
            raise OptimizerError(
                f"{owner}: `cycle_momentum` needs an optimizer with momentum or betas, "
                f"{type(optimizer).__name__} has neither.",
                hint="pass cycle_momentum=False.",
            )
    bounds = numbers(owner, "base_momentum", optimizer, low), numbers(owner, "max_momentum", optimizer, high)
    for name, values in zip(("base_momentum", "max_momentum"), bounds, strict=True):
        for value in values:
            if not 0 <= value < 1:
                raise OptimizerError(f"{owner}: `{name}` must be at least 0 and less than 1, got {value:g}.")
    return bounds
