"""Hooks: functions that are called around a module's `forward`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, TypeAlias

__all__ = ["RemovableHandle"]

Entry: TypeAlias = tuple[Callable[..., Any], bool]
"""A hook, and whether it takes keyword arguments."""


class RemovableHandle:
    """Removes a hook; also a context manager that removes it at the end of its block.

    Args:
        hooks: The table that the hook is entered in.
        hook: What is entered: the function and its options.
        prepend: Whether it comes before the hooks that are there.
    """

    _next_key = count().__next__

    def __init__(self, hooks: dict[int, Entry], hook: Entry, prepend: bool) -> None:
        self._hooks = hooks
        self._key = RemovableHandle._next_key()
        earlier = list(hooks.items())
        if prepend:
            hooks.clear()
        hooks[self._key] = hook
        if prepend:
            hooks.update(earlier)

    def remove(self) -> None:
        """Remove the hook; doing it twice does no harm."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
