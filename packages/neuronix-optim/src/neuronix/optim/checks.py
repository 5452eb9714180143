"""Checks of arguments, shared by the algorithms and the schedulers.

Each takes the name of who asks and of the argument, so that the error names both, with the value.
"""

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, SupportsFloat, SupportsIndex

from torch import Tensor

from neuronix.optim.errors import OptimizerError, OptimizerKeyError, OptimizerRuntimeError, OptimizerTypeError


def described(thing: Any) -> str:
    """Return a short description of something that was given by mistake."""
    text = repr(thing).replace("\n", " ")
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(thing).__name__})"


def number(owner: str, name: str, value: Any) -> float:
    """Return `value`, a Python number or a tensor of one element, as a float; raise if it isn't a finite number."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise OptimizerError(f"{owner}: `{name}` as a tensor must have one element, got shape {tuple(value.shape)}.")
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        raise OptimizerTypeError(f"{owner}: `{name}` must be a number, got {described(value)}.")
    result = float(value)
    if not math.isfinite(result):
        raise OptimizerError(f"{owner}: `{name}` must be finite, got {result}.")
    return result


def at_least_zero(owner: str, name: str, value: Any) -> float:
    """Return `value` as a float; raise unless it is a finite number of at least zero."""
    result = number(owner, name, value)
    if result < 0:
        raise OptimizerError(f"{owner}: `{name}` must be at least 0, got {result:g}.")
    return result


def within(owner: str, name: str, value: Any, low: float, high: float) -> float:
    """Return `value` as a float; raise unless it is at least `low` and at most `high`."""
    result = number(owner, name, value)
    if not low <= result <= high:
        raise OptimizerError(f"{owner}: `{name}` must be at least {low:g} and at most {high:g}, got {result:g}.")
    return result


def pair(owner: str, name: str, value: Any) -> tuple[float, float]:
    """Return `value` as two floats; raise unless it is a pair of finite numbers."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise OptimizerError(f"{owner}: `{name}` must be a pair of numbers, got {described(value)}.")
    return number(owner, f"{name}[0]", value[0]), number(owner, f"{name}[1]", value[1])


def decay_rates(owner: str, betas: Any) -> None:
    """Raise unless `betas` is a pair in [0, 1), two numbers or two tensors of one element as in torch."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise OptimizerError(f"{owner}: `betas` must be a pair such as (0.9, 0.99), got {described(betas)}.")
    for index, beta in enumerate(betas):
        if not 0 <= number(owner, f"betas[{index}]", beta) < 1:
            raise OptimizerError(f"{owner}: `betas[{index}]` must be at least 0 and less than 1, got {float(beta):g}.")
    if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
        raise OptimizerError(f"{owner}: `betas` must be two numbers or two tensors, got {described(betas)}.")


def flag(owner: str, name: str, value: Any) -> None:
    """Raise unless `value` is `True` or `False`."""
    if not isinstance(value, bool):
        raise OptimizerTypeError(f"{owner}: `{name}` must be True or False, got {described(value)}.")


def at_least_one(owner: str, name: str, value: Any) -> int:
    """Return `value` as an integer; raise unless it is an integer of at least one."""
    return integer(owner, name, value, 1)


def integer(owner: str, name: str, value: Any, least: int) -> int:
    """Return `value` as an integer; raise unless it is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise OptimizerTypeError(f"{owner}: `{name}` must be an integer, got {described(value)}.")
    result = operator.index(value)
    if result < least:
        raise OptimizerError(f"{owner}: `{name}` must be at least {least}, got {result}.")
    return result


def count(owner: str, name: str, value: Any) -> int:
    """Return `value` as an integer; raise unless it is an integer of at least zero."""
    return integer(owner, name, value, 0)


def positive(owner: str, name: str, value: Any) -> float:
    """Return `value` as a float; raise unless it is a finite number above zero."""
    result = number(owner, name, value)
    if result <= 0:
        raise OptimizerError(f"{owner}: `{name}` must be greater than 0, got {result:g}.")
    return result


def one_of(owner: str, name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raise unless `value` is one of `allowed`."""
    if value not in allowed:
        raise OptimizerError(f"{owner}: `{name}` must be {' or '.join(map(repr, allowed))}, got {described(value)}.")


def holds(owner: str, what: str, saved: Any, names: Iterable[str]) -> None:
    """Raise unless `saved` is a mapping that has every one of `names`."""
    if not isinstance(saved, Mapping):
        raise OptimizerTypeError(f"{owner}: {what} must be a dict, got {described(saved)}.")
    missing = [name for name in names if name not in saved]
    if missing:
        found = ", ".join(map(repr, saved)) or "nothing"
        raise OptimizerKeyError(
            f"{owner}: {what} lacks {', '.join(map(repr, missing))}; it holds {found}.",
            hint="is it the state of another algorithm?",
        )


def measure(owner: str, name: str, value: Any) -> float:
    """Return `value`, a number or anything that becomes one, as a float; NaN and infinity are measures too."""
    try:
        return float(value.detach() if hasattr(value, "detach") else value)  # a loss may be tracked
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptimizerTypeError(f"{owner}: `{name}` must be a number, got {described(value)}.") from error


IMPLEMENTATIONS = ("foreach", "fused", "capturable", "differentiable")
"""Options that choose among implementations of an algorithm."""


def common_options(owner: str, h: Mapping[str, Any]) -> None:
    """Raise if an option that means the same for every algorithm is impossible."""
    for name in ("lr", "weight_decay", "momentum"):
        if name in h:
            at_least_zero(owner, name, h[name])
    if "betas" in h:
        decay_rates(owner, h["betas"])
    for name in ("maximize", "capturable", "differentiable"):
        if name in h:
            flag(owner, name, h[name])
    for name in ("foreach", "fused"):
        if h.get(name) is not None:
            flag(owner, name, h[name])
    if h.get("foreach") and h.get("fused"):
        raise OptimizerRuntimeError(f"{owner}: `foreach` and `fused` can't both be True.")
    if h.get("differentiable"):
        raise OptimizerRuntimeError(
            f"{owner}: `differentiable` must be False: parameters are changed in place, and a step isn't recorded.",
            hint="write such a step out, with the gradients of `neuronix.autograd.grad(..., create_graph=True)`.",
        )
