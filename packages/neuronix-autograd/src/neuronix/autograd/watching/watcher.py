"""Watchers: whoever wants to see every operation."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

from neuronix.autograd.modes import _recording, _watchers, is_grad_enabled, watchers

if TYPE_CHECKING:
    from neuronix.autograd.node import Node
    from neuronix.autograd.primitive import Primitive
    from neuronix.autograd.tensor import CustomTensor

__all__ = ["Watcher", "watch_computed", "watch_recorded"]


class Watcher:
    """Sees every operation that is computed while its ``with`` block is open in this thread.

    This is how everything that costs time works that is off by default: `detect_anomaly`, `record_lines`,
    `saved_tensors_hooks`.  Operations that nobody watches pay nothing for it.
    """

    def __init__(self) -> None:
        self._tokens: list[tuple[Token[Any], Token[Any]]] = []

    def recorded(self, node: Node, value: Any, arguments: Sequence[Any]) -> None:
        """See an operation that was recorded: its node, its result and its arguments as torch tensors."""

    def computed(self, op: Primitive, value: Any, arguments: Sequence[Any]) -> None:
        """See an operation that was computed and not recorded."""

    def differentiated(self, node: Node, grad: Any, handed_on: Sequence[tuple[Node, Any]]) -> None:
        """See what the rules of a node made of the gradient of its result: pairs of parent and gradient."""

    def arrived(self, leaf: CustomTensor, grad: Any) -> None:
        """See the gradient that is to be a leaf's, the sum of all, after the leaf's hooks."""

    def __enter__(self) -> Any:
        watching = _watchers.set((*watchers(), self))
        self._tokens.append((watching, _recording.set(watchers() if is_grad_enabled() else False)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        watching, recording = self._tokens.pop()
        _recording.reset(recording)
        _watchers.reset(watching)


def watch_recorded(watching: Sequence[Watcher], node: Node, value: Any, arguments: Sequence[Any]) -> None:
    """Show a recorded operation to all watchers, the innermost first."""
    for watcher in reversed(watching):
        watcher.recorded(node, value, arguments)


def watch_computed(op: Primitive, value: Any, arguments: Sequence[Any]) -> None:
    """Show an operation that wasn't recorded to all watchers, the innermost first."""
    for watcher in reversed(watchers()):
        watcher.computed(op, value, arguments)
