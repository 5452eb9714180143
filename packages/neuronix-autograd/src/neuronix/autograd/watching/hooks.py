"""Hooks: functions of the user's, and of the library's own, that a backward pass calls on its way.

A hook on a gradient is a plain function ``hook(grad) -> grad or None``.  The others are marked by a class of their own:
`RuleHook`s stand around a node's rules, `KeepGradient` is what ``retain_grad`` leaves, and `AfterAccumulation` waits
until a leaf's ``.grad`` is written.  A pass without hooks and watchers does nothing of what stands here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from neuronix.autograd.errors import DtypeError, ShapeError
from neuronix.autograd.gradients import added

if TYPE_CHECKING:
    from neuronix.autograd.node import Node
    from neuronix.autograd.tensor import CustomTensor
    from neuronix.autograd.watching.watcher import Watcher

__all__ = [
    "AfterAccumulation",
    "AfterRule",
    "BeforeRule",
    "RemovableHandle",
    "KeepGradient",
    "RuleHook",
    "call_hooks",
    "watched_pullback",
]


class RemovableHandle:
    """Removes a hook; also a context manager that removes it at the end of its block.

    Args:
        hooks: The table that the hook is entered in, under a key of its own.
        hook: What is entered.
        prepend: Whether it comes before the hooks that are there.
    """

    _next_id = count().__next__

    def __init__(self, hooks: dict[int, Any], hook: Any, prepend: bool = False) -> None:
        self._hooks = hooks
        self.id = RemovableHandle._next_id()
        earlier = dict(hooks) if prepend else {}
        if prepend:
            hooks.clear()
        hooks[self.id] = hook
        hooks.update(earlier)

    def remove(self) -> None:
        """Remove the hook; doing it twice does no harm."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class KeepGradient:
    """Stands among a node's hooks for a result whose gradient is to be kept in ``.grad`` (``retain_grad``).

    The backward pass sees to it after all other hooks, wherever it stands among them.
    """

    def __init__(self, tensor: CustomTensor) -> None:
        self.tensor = weakref.ref(tensor)

    def __call__(self, grad: Any) -> None:
        """Leave the gradient as it is."""


class AfterAccumulation:
    """Stands among a leaf's hooks for a function to call once its ``.grad`` has been written."""

    def __init__(self, hook: Callable[[CustomTensor], None]) -> None:
        self.hook = hook


class RuleHook:
    """Stands among a node's hooks for something to do just before or just after its rules run."""

    def before(self, node: Node, grad: Any) -> Any:
        """Return the gradient of the result (a list, of several) that the rules are to be given."""
        return grad

    def after(self, node: Node, grad: Any, handed_on: list[tuple[Node, Any]]) -> list[tuple[Node, Any]]:
        """Return the gradients to hand on to the parents, given those that the rules gave."""
        return handed_on

    def saved_values(self) -> dict[str, Any]:
        """Saved values that this hook keeps in the node's stead."""
        return {}


class BeforeRule(RuleHook):
    def __init__(self, hook: Callable[[tuple[Any, ...]], Any]) -> None:
        self.hook = hook

    def before(self, node: Node, grad: Any) -> Any:
        given = as_tuple(grad)
        replaced = self.hook(given)
        if replaced is None:
            return grad
        checked = checked_replacement(replaced, given, f"a prehook of {node.name!r}")
        return list(checked) if isinstance(grad, list) else checked[0]


class AfterRule(RuleHook):
    def __init__(self, hook: Callable[[tuple[Any, ...], tuple[Any, ...]], Any]) -> None:
        self.hook = hook

    def after(self, node: Node, grad: Any, handed_on: list[tuple[Node, Any]]) -> list[tuple[Node, Any]]:
        given = by_argument(node, handed_on)
        replaced = self.hook(given, as_tuple(grad))
        if replaced is None:
            return handed_on
        checked = checked_replacement(replaced, given, f"a hook of {node.name!r}")
        pairs = zip(node.parents, checked, strict=True)
        return [(parent, item) for parent, item in pairs if parent is not None and item is not None]


# What the backward pass calls


def call_hooks(hooks: dict[int, Any] | None, grad: Any, name: str) -> Any:
    """The gradient after all hooks; each is shown a tensor, and may return another one in its place."""
    for hook in tuple((hooks or {}).values()):
        if isinstance(hook, (AfterAccumulation, KeepGradient, RuleHook)):
            continue
        replaced = hook(grad)
        if replaced is not None:
            (grad,) = checked_replacement((replaced,), (grad,), f"a hook of {name!r}")
    return grad


class _HandedOn(dict["Node", Any]):
    """Takes the place of the sums while one node's rules run, and notes each gradient by itself."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Node, Any]] = []

    def get(self, parent: Node, default: Any = None) -> Any:
        return default

    def __setitem__(self, parent: Node, grad: Any) -> None:
        self.pairs.append((parent, grad))


def watched_pullback(
    node: Node, watching: Sequence[Watcher], grad: Any, grads: dict[Node, Any], recording: bool, retain_graph: bool
) -> None:
    """``node.pullback`` between its `RuleHook`s, under the eyes of whoever watches."""
    hooks = [hook for hook in (node.hooks or {}).values() if isinstance(hook, RuleHook)]
    if node.selects or not (hooks or watching):
        node.pullback(grad, grads, recording, retain_graph)
        return
    for hook in hooks:
        grad = hook.before(node, grad)
    handed_on = _HandedOn()
    node.pullback(grad, handed_on, recording, retain_graph)
    pairs = handed_on.pairs
    for watcher in watching:
        watcher.differentiated(node, grad, pairs)
    for hook in hooks:
        pairs = hook.after(node, grad, pairs)
    for parent, gradient in pairs:
        held = grads.get(parent)
        grads[parent] = gradient if held is None else added(held, gradient)


# The gradients of several results or arguments, as a user sees them


def as_tuple(grad: Any) -> tuple[Any, ...]:
    """The gradients of an operation's results."""
    return tuple(grad) if isinstance(grad, list) else (grad,)


def by_argument(node: Node, handed_on: list[tuple[Node, Any]]) -> tuple[Any, ...]:
    """For each differentiable argument its gradient, or ``None``."""
    left = list(handed_on)
    found: list[Any] = []
    for parent in node.parents:
        position = next((place for place, (to, _) in enumerate(left) if to is parent), None)
        found.append(None if position is None else left.pop(position)[1])
    return tuple(found)


def checked_replacement(replaced: Any, given: tuple[Any, ...], who: str) -> tuple[Any, ...]:
    """What a hook returned, if it has as many gradients as it was given, of the same shapes and element types."""
    items = tuple(replaced) if isinstance(replaced, (tuple, list)) else (replaced,)
    hint = "return None to leave them as they are, or as many, of the same shapes and element types"
    for item in items:
        if item is not None and not isinstance(getattr(item, "_data", item), torch.Tensor):
            raise DtypeError(f"{who} returned {type(item).__name__}; a gradient must be a tensor", hint=hint)
    shapes = [None if item is None else tuple(item.shape) for item in given]
    received = [None if item is None else tuple(item.shape) for item in items]
    if len(items) != len(given) or any(
        new is not None and old is not None and new != old for old, new in zip(shapes, received, strict=True)
    ):
        raise ShapeError(f"{who} returned gradients of the shapes {received} for {shapes}", hint=hint)
    for new, old in zip(items, given, strict=True):
        if new is not None and old is not None and new.dtype is not old.dtype:
            raise DtypeError(f"{who} returned a gradient of {new.dtype} for one of {old.dtype}", hint=hint)
    return tuple(
        item._data if hasattr(item, "_data") and isinstance(old, torch.Tensor) else item
        for item, old in zip(items, given, strict=True)
    )
