"""Which of our operations answers for which torch function, method and ATen overload.

One declaration (see ``primitive/``) fills all three tables; ``torch_function.py`` and ``fallback.py`` read them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch.nn import functional as F

from neuronix.autograd.dispatch import inplace
from neuronix.autograd.errors import DeclarationError
from neuronix.autograd.tensor import CustomTensor

__all__ = ["ATEN", "TORCH_FUNCTIONS", "register"]

# torch.mul, torch.Tensor.mul, torch.nn.functional.relu, ... -> our function
TORCH_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {}
# "mul.Tensor" -> our function; its parameters are in ATen's order
ATEN: dict[str, Callable[..., Any]] = {}
# Our functions, by the name of their declaration: what a test of completeness goes through.
OPERATIONS: dict[str, Callable[..., Any]] = {}

_PLACES = (torch, F, torch.special, torch.linalg)


def register(function: Callable[..., Any], name: str, names: str | None, aten: str) -> None:
    """Enter ``function`` under its torch names and ATen overloads, and make it a method where torch has one.

    Args:
        function: Our operation.
        name: Its own name.
        names: Names among torch's functions and methods, separated by blanks; one with a dot, as in
            ``nn.functional.embedding``, ``torch.where`` or ``Tensor.where``, means that function alone
            (``torch.embedding`` and ``Tensor.where`` take their arguments in another order).
        aten: ATen overloads, separated by blanks.

    Raises:
        DeclarationError: If a name is unknown to torch, or is taken by another operation.
    """
    if names is not None or aten:
        OPERATIONS[f"{function.__module__}.{name}"] = function
    for torch_name in (names or "").split():
        if "." in torch_name:
            path = torch_name.removeprefix("torch.")
            _enter(TORCH_FUNCTIONS, attrgetter(path)(torch), function, f"torch.{path}")
            place, _, last = path.rpartition(".")
            if place == "Tensor":
                setattr(CustomTensor, last, function)
            _derive_in_place(last, function, (torch.Tensor,) if place == "Tensor" else _PLACES)
            continue
        spelled = [getattr(place, torch_name) for place in _PLACES if callable(getattr(place, torch_name, None))]
        method = getattr(torch.Tensor, torch_name, None)
        if method is None and not spelled:
            raise DeclarationError(f"{name}: torch has no function or method called {torch_name!r}")
        is_attribute = method is not None and not callable(method)  # as x.real: torch looks it up by its __get__
        methods = [] if method is None else [method.__get__ if is_attribute else method]
        for torch_function in dict.fromkeys([*spelled, *methods]):
            _enter(TORCH_FUNCTIONS, torch_function, function, f"torch's {torch_name}")
        if method is not None:
            setattr(CustomTensor, torch_name, property(function) if is_attribute else function)
        _derive_in_place(torch_name, function, (torch.Tensor, *_PLACES))
    for overload in aten.split():
        _enter(ATEN, overload, function, f"aten.{overload}")


def _enter(table: dict[Any, Callable[..., Any]], key: Any, function: Callable[..., Any], what: str) -> None:
    taken = table.get(key)
    if taken is not None and taken is not function:
        raise DeclarationError(
            f"{what} is registered twice: by {taken.__module__}.{taken.__name__} and by "
            f"{function.__module__}.{function.__name__}"
        )
    table[key] = function


def _derive_in_place(name: str, function: Callable[..., Any], places: Sequence[Any]) -> None:
    """Derive the in-place functions and the in-place method that torch has beside ``name``, in the same places."""
    if name.startswith("__r"):
        return
    in_place = f"__i{name[2:]}" if name.startswith("__") else f"{name}_"
    twins = [twin for place in places if callable(twin := getattr(place, in_place, None))]
    if not twins or in_place in CustomTensor.__dict__:
        return
    method = inplace.method(function, in_place)
    for twin in twins:
        TORCH_FUNCTIONS.setdefault(twin, method)
    if torch.Tensor in places and hasattr(torch.Tensor, in_place):
        setattr(CustomTensor, in_place, method)
