"""Functions that are called around a step, and around saving and loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from neuronix.autograd import RemovableHandle
from neuronix.optim import checks
from neuronix.optim.errors import OptimizerRuntimeError, OptimizerTypeError

Hook = Callable[..., Any]


class Hooks:
    """Hooks of several kinds, each in the order in which they are to be called. Copies and pickles are empty."""

    def __init__(self) -> None:
        self._of_kind: dict[str, dict[int, Hook]] = {}

    def add(self, owner: str, kind: str, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Add a hook behind the others, or before them, and return what removes it."""
        if not callable(hook):
            raise OptimizerTypeError(f"{owner}: a hook must be a function, got {checks.described(hook)}.")
        return RemovableHandle(self._of_kind.setdefault(kind, {}), hook, prepend)

    def __call__(self, kind: str) -> Iterator[Hook]:
        """Yield the hooks of a kind; one that removes itself meanwhile is no trouble."""
        yield from list(self._of_kind.get(kind, {}).values())

    def __reduce__(self) -> tuple[type[Hooks], tuple[()]]:
        return Hooks, ()


def arguments(owner: str, changed: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a step that a hook has returned."""
    if not isinstance(changed, tuple) or len(changed) != 2:
        raise OptimizerRuntimeError(
            f"{owner}.step: a hook before a step must return None or (args, kwargs), got {checks.described(changed)}."
        )
    args, kwargs = changed
    return tuple(args), dict(kwargs)
