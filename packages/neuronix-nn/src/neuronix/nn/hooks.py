"""Hooks: functions that are called around a module's `forward`, its part of a backward pass, and its state."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from neuronix.autograd.errors import ArgumentError
from neuronix.nn.backward_hooks import Passage

if TYPE_CHECKING:
    from neuronix.nn.module import Module

__all__ = ["TABLES", "Hook", "call_with_hooks"]


class Hook(NamedTuple):
    """A hook, and how it is called."""

    function: Callable[..., Any]
    with_kwargs: bool = False
    always_call: bool = False


TABLES = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
"""The names of a module's tables of hooks, each in the order in which its hooks are called."""


def call_with_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a module's ``forward`` between its hooks.

    If something raises, the forward hooks that are always called and haven't been are called with what there is; an
    error of theirs becomes a warning, and the first one passes on.
    """
    called: set[int] = set()
    result = None
    try:
        args, kwargs = _before(module, args, kwargs)
        passage = None
        if module._backward_hooks or module._backward_pre_hooks:
            passage = Passage(module, _functions(module._backward_hooks), _functions(module._backward_pre_hooks))
            args = passage.enter(args)
        result = module.forward(*args, **kwargs)
        for key, hook in list(module._forward_hooks.items()):
            called.add(key)
            changed = _after(module, hook, args, kwargs, result)
            result = result if changed is None else changed
        return result if passage is None else passage.leave(result)
    except Exception:
        for key, hook in list(module._forward_hooks.items()):
            if hook.always_call and key not in called:
                try:
                    _after(module, hook, args, kwargs, result)
                except Exception as error:  # noqa: BLE001  (whatever it is, the first error is the one to be seen)
                    warnings.warn(
                        f"a forward hook of {type(module).__name__} with always_call=True raised {error!r}, which was "
                        "silenced because forward had raised already",
                        stacklevel=3,
                    )
        raise


def _functions(table: dict[int, Hook]) -> list[Callable[..., Any]]:
    return [hook.function for hook in table.values()]


def _before(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments as the pre-hooks leave them."""
    for hook in list(module._forward_pre_hooks.values()):
        if not hook.with_kwargs:
            changed = hook.function(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
            continue
        changed = hook.function(module, args, kwargs)
        if changed is None:
            continue
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise ArgumentError(
                f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed!r}"
            )
        args, kwargs = changed
    return args, kwargs


def _after(module: Module, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
    if hook.with_kwargs:
        return hook.function(module, args, kwargs, result)
    return hook.function(module, args, result)
