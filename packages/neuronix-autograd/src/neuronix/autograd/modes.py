"""Whether operations are recorded, who watches that, and which rules a backward pass uses.

All are context variables: each thread, and each asyncio task, has its own value.  They are independent of
``torch.no_grad``; Neuronix records under that, because it never uses PyTorch's autograd.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from torch.utils._contextlib import context_decorator

if TYPE_CHECKING:
    from neuronix.autograd.watching.watcher import Watcher

__all__ = ["enable_grad", "is_grad_enabled", "no_grad", "rules_only", "set_grad_enabled"]

P = ParamSpec("P")
R = TypeVar("R")

# False, True, or the watchers of this thread: one look-up tells an operation both whether it is recorded and whether
# anybody wants to see that.
_recording: ContextVar[Any] = ContextVar("recording", default=True)
_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())
_rules_only: ContextVar[bool] = ContextVar("rules_only", default=False)

_in_plain_pass: ContextVar[bool] = ContextVar("in_plain_pass", default=False)

# The bound methods are what every recorded operation calls: a look-up of 10 ns.
recording_mode = _recording.get
watchers = _watchers.get


def is_grad_enabled() -> bool:
    """Whether operations are recorded here: not inside [`no_grad`][neuronix.autograd.no_grad]."""
    return recording_mode() is not False


class _Mode:
    """A value of a context variable for the length of a ``with`` block or of a decorated call."""

    variable: ContextVar[Any]

    def __init__(self, value: bool) -> None:
        self.value = value
        self._tokens: list[Token[Any]] = []  # a stack: one mode object may be entered again inside itself

    def __enter__(self) -> None:
        self._tokens.append(self._set())

    def _set(self) -> Token[Any]:
        value: Any = self.value
        if value and self.variable is _recording:
            value = watchers() or True
        return self.variable.set(value)

    def __exit__(self, *exception: object) -> None:
        self.variable.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate ``function``: the mode holds during each of its calls."""
        kind, value = type(self), self.value

        def fresh() -> _Mode:
            # A new object for each call, because several threads may run the decorated function at once.
            mode = object.__new__(kind)
            _Mode.__init__(mode, value)
            return mode

        wrap: Callable[..., Callable[P, R]] = context_decorator
        if inspect.iscoroutinefunction(function):
            wrap = _coroutine_function
        elif inspect.isasyncgenfunction(function):
            wrap = _async_generator_function
        return wrap(fresh, function)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value})"


def _coroutine_function(mode: Callable[[], _Mode], function: Callable[..., Any]) -> Callable[..., Any]:
    """The coroutine function with the mode on until it has returned; other tasks have modes of their own."""

    @functools.wraps(function)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        with mode():
            return await function(*args, **kwargs)

    return inner


def _async_generator_function(mode: Callable[[], _Mode], function: Callable[..., Any]) -> Callable[..., Any]:
    """The generator function with the mode on while the generator itself runs, not while it waits for its caller.

    torch's `context_decorator` does the same for generators that don't await.
    """

    @functools.wraps(function)
    async def inner(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        resume: Callable[[Any], Any] = generator.asend
        sent: Any = None
        try:
            while True:
                try:
                    with mode():
                        item = await resume(sent)
                except StopAsyncIteration:
                    return
                try:
                    resume, sent = generator.asend, (yield item)
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001  # thrown in by the caller, for the generator to handle
                    resume, sent = generator.athrow, error
        finally:
            with mode():
                await generator.aclose()

    return inner


class _FixedMode(_Mode):
    """A mode whose name says its value; it also decorates without parentheses, as in PyTorch."""

    fixed: bool

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        if function is None:
            return self
        _Mode.__init__(self, cls.fixed)
        return self(function)

    def __init__(self) -> None:
        super().__init__(self.fixed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class no_grad(_FixedMode):
    """Record nothing: results don't require grad.  A context manager and a decorator.

    Example:
        >>> from neuronix.autograd import no_grad, tensor
        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> with no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """

    variable = _recording
    fixed = False


class enable_grad(_FixedMode):
    """Record again inside a [`no_grad`][neuronix.autograd.no_grad] block.  A context manager and a decorator.

    Example:
        >>> from neuronix.autograd import enable_grad, no_grad, tensor
        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> with no_grad(), enable_grad():
        ...     y = x * 2
        >>> y.requires_grad
        True
    """

    variable = _recording
    fixed = True


class set_grad_enabled(_Mode):
    """Turn recording on or off: at once when called, and back at the end when used as a context manager.

    Args:
        mode: ``True`` records, ``False`` doesn't.

    Example:
        >>> from neuronix.autograd import is_grad_enabled, set_grad_enabled
        >>> with set_grad_enabled(False):
        ...     is_grad_enabled()
        False
        >>> is_grad_enabled()
        True
    """

    variable = _recording

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        self._at_once: Token[Any] | None = self._set()

    def __enter__(self) -> None:
        # The constructor has set the value already; the token taken there is the one that restores it.
        if self._at_once is None:
            super().__enter__()
        else:
            self._tokens.append(self._at_once)
            self._at_once = None

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if self._at_once is not None:  # used as a decorator: nothing is to change at once
            self.variable.reset(self._at_once)
            self._at_once = None
        return (enable_grad if self.value else no_grad)()(function)


class rules_only(_FixedMode):
    """Use the rules that define the derivatives, not the fused kernels that stand in for some of them.

    Both give the same gradients (each kernel is tested equal to its rule).  The rules are what this project explains;
    the kernels are there for speed.

    Example:
        >>> from neuronix.autograd import rules_only, tensor
        >>> x = tensor([-1.0, 0.0, 2.0], requires_grad=True)
        >>> with rules_only():
        ...     x.relu().sum().backward()
        >>> x.grad
        tensor([0., 0., 1.])
    """

    variable = _rules_only
    fixed = True


def uses_rules_only() -> bool:
    """Whether a [`rules_only`][neuronix.autograd.rules_only] block is open."""
    return _rules_only.get()


class plain_pass(_FixedMode):
    """Holds while a backward pass runs that isn't recorded itself.

    Its rules are handed plain torch tensors, and an operation that a rule calls on them (an adjoint that is a primitive
    of its own, say) then gives a plain tensor too, not a constant `CustomTensor`.
    """

    variable = _in_plain_pass
    fixed = True


class outside_pass(_FixedMode):
    """Holds where a backward pass calls a function of the user's again: there everything is as in a forward pass."""

    variable = _in_plain_pass
    fixed = False


in_plain_pass = _in_plain_pass.get
