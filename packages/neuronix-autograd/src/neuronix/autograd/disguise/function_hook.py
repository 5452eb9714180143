"""How a model's ``MyFunction.apply(x)`` arrives here instead of at torch's own differentiation.

A ``torch.autograd.Function`` is a pair of plain functions, ``forward`` and ``backward``, and ``apply`` is what hands
them to torch's autograd.  Models often hold the bound method from their import on (``swish = Swish.apply``), so putting
another ``apply`` into the class would come too late for them.  What all of them share is the code of that one
function.  While code of torch's runs on disguised tensors, its code is another one, which asks who is to answer.  In
other threads, and afterwards, nobody is, and torch's own answers as ever.

Functions that ``torch.jit.script`` or ``trace`` has compiled are exchanged likewise: for the Python functions that they
were compiled from.  The interpreter of scripts doesn't ask a tensor what it is, and would look for its memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any

import torch

from neuronix.autograd.errors import UnsupportedError

__all__ = ["answered_by", "is_once_differentiable", "user_functions"]

Answer = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]

_answer: ContextVar[Answer | None] = ContextVar("answer", default=None)
_open_blocks = 0  # in all threads
_lock = threading.Lock()


@contextmanager
def answered_by(answer: Answer) -> Iterator[None]:
    """Let ``answer(function, args, kwargs)`` be what ``function.apply(*args, **kwargs)`` gives, in this context.

    Args:
        answer: Gets the subclass of ``torch.autograd.Function``.
    """
    global _open_blocks
    token = _answer.set(answer)
    with _lock:
        _open_blocks += 1
        _apply.__code__ = _asking_code
        _scripts.__call__ = _call_script
    try:
        yield
    finally:
        with _lock:
            _open_blocks -= 1
            if not _open_blocks:
                _apply.__code__ = _torchs_code
                _scripts.__call__ = _torchs_call_script
        _answer.reset(token)


def user_functions(function: Any) -> tuple[Callable[..., Any], Callable[..., Any] | None, Callable[..., Any]]:
    """A Function's ``forward``, its ``setup_context`` if it has one, and its ``backward``, or ``vjp``."""
    setup_context = None if function.setup_context is _Function.setup_context else function.setup_context
    return function.forward, setup_context, function.backward if function.vjp is _Function.vjp else function.vjp


def is_once_differentiable(backward: Any) -> bool:
    """Whether a ``backward`` was made by torch's ``once_differentiable``."""
    code = getattr(backward, "__code__", None)
    return getattr(code, "co_qualname", "") == "once_differentiable.<locals>.wrapper"


def applied(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the exchanged code gives."""
    answer = _answer.get()
    return _torchs(function, *args, **kwargs) if answer is None else answer(function, args, kwargs)


def _call_script(script: Any, *args: Any, **kwargs: Any) -> Any:
    if _answer.get() is None:
        return _torchs_call_script(script, *args, **kwargs)
    original = getattr(script, "_torchdynamo_inline", None)  # where torch's own compiler looks for it
    if original is None:
        raise UnsupportedError(
            f"{script.name}: compiled by torch.jit from a function that isn't known: what it computes can't be seen",
            hint="call the function that it was made from",
        )
    return original(*args, **kwargs)


class _Asking:
    """Where the exchanged code is compiled: torch's closes over ``__class__``, so this must, too."""

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        from neuronix.autograd.disguise import function_hook  # the code runs among the names of torch's module

        return function_hook.applied(cls, args, kwargs) if __class__ else None  # type: ignore[name-defined]


def _base_of_functions() -> Any:
    """The class that all Functions derive from, torch's reentrant checkpoint among them."""
    from torch.utils.checkpoint import CheckpointFunction

    return next(base for base in CheckpointFunction.__mro__ if base.__name__ == "Function")


_Function = _base_of_functions()
_apply: FunctionType = _Function.apply.__func__
_torchs_code, _asking_code = _apply.__code__, _Asking.apply.__code__
_torchs = FunctionType(_torchs_code, _apply.__globals__, _apply.__name__, _apply.__defaults__, _apply.__closure__)
_scripts: Any = torch.jit.ScriptFunction
_torchs_call_script = _scripts.__call__
