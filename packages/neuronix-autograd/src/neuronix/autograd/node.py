"""Nodes: the records that a forward pass leaves behind for the backward pass.

Ownership, which is all of the memory story: a tensor owns its node, a node owns its parents and its saved values,
and nothing owns a tensor or points forward.  So an abandoned result takes its whole history with it by reference
counting alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from neuronix.autograd.errors import GraphError

if TYPE_CHECKING:
    from neuronix.autograd.graph import AutogradGraph
    from neuronix.autograd.primitive import Primitive
    from neuronix.autograd.tensor import CustomTensor

__all__ = ["KeepGradient", "LeafNode", "Node", "OutputNode"]

# Creation order, over all graphs and threads.  A node's parents exist before it does, so going from the highest number
# down is always a valid order for a backward pass, and the same one for equal programs.
next_sequence = count().__next__


NOT_INDEXED = -1


class Entry(weakref.ref["Node"]):
    """A node as its graph's index knows it: weakly.

    When the node dies, the entry is appended to the graph's list of dead entries (the callback is that list's own
    ``append``, so no Python code runs inside a deallocation).
    """

    __slots__ = ("index", "leaf_key")

    index: int  # in the rustworkx graph; NOT_INDEXED before the node is added there and after it is removed
    leaf_key: int | None


class Node:
    """One recorded operation.

    Attributes:
        op: The primitive that was called.
        parents: For each tensor argument the node of that argument, or ``None`` if it doesn't require grad.
        saved: The values that the primitive's rules name, or ``None`` once they have been freed.
        shape: The shape of the result (``None`` if the operation has several results).
        restore: ``None``, or for each parent ``None`` or the (shape, dtype) that its gradient is to be brought back to.
        graph: The graph on which it was recorded.
        sequence: Its place in the order of creation.
        hooks: ``None``, or functions ``hook(grad) -> grad or None`` on the gradient of the result.
    """

    __slots__ = (
        "__weakref__",
        "entry",
        "graph",
        "hooks",
        "notes",
        "op",
        "parents",
        "pullback",
        "restore",
        "saved",
        "sequence",
        "shape",
    )

    op: Primitive
    parents: tuple[Node | None, ...]
    saved: tuple[Any, ...] | None
    shape: torch.Size | None
    restore: tuple[tuple[torch.Size, torch.dtype] | None, ...] | None
    graph: AutogradGraph
    sequence: int
    entry: Entry
    hooks: dict[int, Callable[..., Any]] | None
    notes: dict[str, Any] | None
    pullback: Callable[[Node, Any, dict[Node, Any], bool], None]

    @property
    def name(self) -> str:
        """The operation's name, as in ``mul``."""
        return self.op.name

    @property
    def index(self) -> int:
        """The node's index in its graph's rustworkx ``PyDiGraph``."""
        self.graph.synchronize()
        if self.entry.index == NOT_INDEXED:
            raise GraphError(f"the node {self.name!r} isn't in its graph any more: the graph was cleared")
        return self.entry.index

    @property
    def saved_values(self) -> dict[str, Any]:
        """The saved values by name; empty once they have been freed."""
        return {} if self.saved is None else self.op.name_saved(self.saved)

    @property
    def is_leaf(self) -> bool:
        """Whether gradients that reach this node go into a leaf's ``.grad``."""
        return False

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The parents in PyTorch's form: pairs of node and output number."""
        return tuple((parent, 0) for parent in self.parents)

    def note(self, key: str, value: Any) -> None:
        """Keep ``value`` under ``key`` for whoever draws or inspects the graph."""
        if self.notes is None:
            self.notes = {}
        self.notes[key] = value

    def register_hook(self, hook: Callable[[Any], Any]) -> HookHandle:
        """Call ``hook(grad)`` with the gradient of this node's result; what it returns, if anything, replaces it."""
        if self.hooks is None:
            self.hooks = {}
        return HookHandle(self.hooks, hook)

    def __repr__(self) -> str:
        parents = ", ".join("constant" if parent is None else parent.name for parent in self.parents)
        shape = "" if self.shape is None else f" -> {tuple(self.shape)}"
        freed = ", freed" if self.saved is None else ""
        return f"<{self.name}({parents}){shape}{freed}>"


class LeafNode(Node):
    """Stands for a leaf in one graph; its gradient is added to the leaf's ``.grad``.

    It knows its leaf weakly: once nobody holds the leaf, nobody can ask for its gradient.
    """

    __slots__ = ("leaf",)

    leaf: weakref.ref[CustomTensor]

    @property
    def saved_values(self) -> dict[str, Any]:
        """A leaf saves nothing."""
        return {}

    @property
    def is_leaf(self) -> bool:
        """``True``."""
        return True

    def __repr__(self) -> str:
        return f"<leaf {tuple(self.shape or ())}>"


class OutputNode(Node):
    """Selects one result of an operation that has several.

    The operation's own node then receives a list with a gradient for each result, ``None`` where there is none.
    """

    __slots__ = ("position", "results")

    position: int
    results: int

    @property
    def name(self) -> str:
        """The operation's name with the number of the result, as in ``max_dim[0]``."""
        parent = self.parents[0]
        return f"{'output' if parent is None else parent.name}[{self.position}]"

    @property
    def saved_values(self) -> dict[str, Any]:
        """Selecting saves nothing."""
        return {}


class HookHandle:
    """Removes a hook; also a context manager that removes it at the end of its block."""

    _next_key = count().__next__

    def __init__(self, hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._hooks = hooks
        self._key = HookHandle._next_key()
        hooks[self._key] = hook

    def remove(self) -> None:
        """Remove the hook; doing it twice does no harm."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> HookHandle:
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


def pull_back_output(node: Node, grad: Any, grads: dict[Node, Any], recording: bool) -> None:
    """An [`OutputNode`][]'s pullback: put ``grad`` at its place in the list that the operation's node receives."""
    del recording  # putting it there is the same in both cases
    parent = node.parents[0]
    if isinstance(node, OutputNode) and parent is not None:
        gradients = grads.setdefault(parent, [None] * node.results)
        held = gradients[node.position]  # a recorded pass may have made a second node for the same result
        gradients[node.position] = grad if held is None else held + grad


def pull_back_leaf(node: Node, grad: Any, grads: dict[Node, Any], recording: bool) -> None:
    """A [`LeafNode`][]'s pullback: it has no parents, so there is nothing to hand on."""
