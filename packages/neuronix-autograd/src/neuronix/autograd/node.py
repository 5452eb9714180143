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
from torch import Tensor

from neuronix.autograd.errors import GraphError
from neuronix.autograd.gradients import Restore, added
from neuronix.autograd.watching.hooks import AfterRule, BeforeRule, RemovableHandle, RuleHook

if TYPE_CHECKING:
    from neuronix.autograd.graph import AutogradGraph
    from neuronix.autograd.primitive import Primitive
    from neuronix.autograd.tensor import CustomTensor

__all__ = ["LeafNode", "Node", "OutputNode"]

# Creation order, over all graphs and threads.  A node's parents exist before it does, so going from the highest number
# down is always a valid order for a backward pass, and the same one for equal programs.
next_sequence = count().__next__


NOT_INDEXED = -1


def saved_slot(name: str) -> str:
    """Where a node keeps what a rule calls ``name``; ``x.shape`` is a name, too, beside a ``x`` that is kept whole."""
    return f"{name.replace('.', '_')}_saved"


def versions_of(values: Any) -> list[int | None] | None:
    """How often torch has changed each of several tensors in place; ``None`` where there is none."""
    if not isinstance(values, (tuple, list)):
        return None
    versions = [value._version if isinstance(value, Tensor) else None for value in values]
    return versions if versions.count(None) < len(versions) else None


class Node:
    """One recorded operation.

    Each primitive has a subclass of its own, generated with its call (see ``primitive/codegen.py``).  What the node
    must remember is known when the operation is declared, so it has a place for each parent (``x_parent``), each saved
    value (``x_saved``) and that value's version (``x_version``), and a `pullback` that reads them.

    Attributes:
        op: The primitive that was called.
        is_leaf: Whether gradients that reach this node go into a leaf's ``.grad``.
        freed: Whether the saved values are gone.
        shape: The shape of the result (``None`` if the operation has several results).
        dtype: The element type of the result, or of the first one.
        restore: ``None``, or for each parent ``None`` or the (shape, dtype) that its gradient is to be brought back to.
        graph: The graph on which it was recorded.
        sequence: Its place in the order of creation.
        hooks: ``None``, or functions ``hook(grad) -> grad or None`` on the gradient of the result, and `RuleHook`s.
        notes: ``None``, or what `note` was given.
    """

    __slots__ = ("__weakref__", "_index", "dtype", "freed", "graph", "hooks", "notes", "restore", "sequence", "shape")

    is_leaf = False  # whether gradients that reach it go into a leaf's .grad
    selects = False  # whether it stands for one result of several, and so has no rules
    op: Primitive  # a subclass's own, but an `OutputNode` has that of its parent
    freed: bool
    shape: torch.Size | None
    dtype: torch.dtype
    restore: tuple[Restore | None, ...] | None
    graph: AutogradGraph
    sequence: int
    _index: int  # in the graph's index; NOT_INDEXED once that was cleared
    hooks: dict[int, Any] | None
    notes: dict[str, Any] | None

    @property
    def parents(self) -> tuple[Node | None, ...]:
        """For each tensor argument the node of that argument, or ``None`` if it doesn't require grad."""
        return ()

    def pullback(self, grad: Any, grads: dict[Node, Any], recording: bool, retain_graph: bool) -> None:
        """Turn ``grad``, the gradient of the result, into gradients of the arguments, and add them to ``grads``.

        Args:
            grad: The gradient; a list of them if the operation has several results.
            grads: For each node that was reached the sum so far.
            recording: Whether the rules are handed `CustomTensor`s, so that they are recorded themselves.
            retain_graph: Whether the saved values stay.
        """
        raise NotImplementedError(f"{type(self).__name__} has no pullback")

    def release(self) -> None:
        """Let go of parents and saved values."""
        self.freed = True

    @property
    def name(self) -> str:
        """The operation's name, as in ``mul``."""
        return self.op.name

    @property
    def index(self) -> int:
        """The node's index in its graph's rustworkx ``PyDiGraph``."""
        if self._index == NOT_INDEXED:
            raise GraphError(f"the node {self.name!r} isn't in its graph any more: the graph was cleared")
        return self._index

    @property
    def saved_values(self) -> dict[str, Any]:
        """The saved values by name; empty once they have been freed."""
        if self.freed:
            return {}
        values = {name: getattr(self, saved_slot(name)) for name in self.op.saved_names}
        for hook in (self.hooks or {}).values():
            if isinstance(hook, RuleHook):
                values |= hook.saved_values()
        return values

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The parents in PyTorch's form: pairs of node and output number."""
        return tuple((parent, 0) for parent in self.parents)

    def note(self, key: str, value: Any) -> None:
        """Keep ``value`` under ``key`` for whoever draws or inspects the graph."""
        if self.notes is None:
            self.notes = {}
        self.notes[key] = value

    def add_hook(self, hook: Any) -> RemovableHandle:
        """Keep a hook of any kind; see ``hooks`` above."""
        if self.hooks is None:
            self.hooks = {}
        return RemovableHandle(self.hooks, hook)

    def register_prehook(self, hook: Callable[[tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call ``hook(grad_outputs)`` before the rules of this node run.

        Args:
            hook: Takes a tuple with the gradient of each result (``None`` for one that wasn't used); what it returns,
                if anything, takes the gradients' place.

        Returns:
            A handle whose ``remove()`` takes the hook away.

        Example:
            >>> from neuronix.autograd import tensor
            >>> x = tensor(3.0, requires_grad=True)
            >>> y = x * x
            >>> handle = y.grad_fn.register_prehook(lambda grad_outputs: (10 * grad_outputs[0],))
            >>> y.backward()
            >>> x.grad
            tensor(60.)
        """
        return self.add_hook(BeforeRule(hook))

    def register_hook(self, hook: Callable[[tuple[Any, ...], tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call ``hook(grad_inputs, grad_outputs)`` after the rules of this node have run.

        Args:
            hook: Takes a tuple with the gradient of each differentiable argument (``None`` where none is wanted) and
                one with the gradient of each result; what it returns, if anything, takes the place of the first.

        Returns:
            A handle whose ``remove()`` takes the hook away.

        Example:
            >>> from neuronix.autograd import tensor
            >>> x = tensor(3.0, requires_grad=True)
            >>> y = x * 2
            >>> handle = y.grad_fn.register_hook(lambda grad_inputs, grad_outputs: print(grad_inputs, grad_outputs))
            >>> y.backward()
            (tensor(2.), None) (tensor(1.),)
        """
        return self.add_hook(AfterRule(hook))

    def __repr__(self) -> str:
        parents = ", ".join("constant" if parent is None else parent.name for parent in self.parents)
        shape = "" if self.shape is None else f" -> {tuple(self.shape)}"
        freed = ", freed" if self.freed else ""
        return f"<{self.name}({parents}){shape}{freed}>"


class _LeafOperation:
    """Stands where a recorded operation's primitive stands."""

    name = "leaf"
    saved_names = ()


class LeafNode(Node):
    """Stands for a leaf in one graph; its gradient is added to the leaf's ``.grad``.

    It knows its leaf weakly: once nobody holds the leaf, nobody can ask for its gradient.
    """

    __slots__ = ("leaf",)

    is_leaf = True
    op: Any = _LeafOperation()
    leaf: weakref.ref[CustomTensor]

    def pullback(self, grad: Any, grads: dict[Node, Any], recording: bool, retain_graph: bool) -> None:
        """Do nothing: a leaf has no parents to hand a gradient on to."""

    def add_hook(self, hook: Any) -> RemovableHandle:
        """Refuse: a leaf has no rule, and each graph stands for it by another node."""
        raise GraphError(
            "a leaf's node takes no hooks",
            hint="register a hook on the leaf itself: x.register_hook(), or x.register_post_accumulate_grad_hook()",
        )

    def __repr__(self) -> str:
        return f"<leaf {tuple(self.shape or ())}>"


class OutputNode(Node):
    """Selects one result of an operation that has several.

    The operation's own node then receives a list with a gradient for each result, ``None`` where there is none.
    """

    __slots__ = ("operation", "position", "results")

    operation: Node | None
    position: int
    results: int

    @property
    def op(self) -> Primitive:  # type: ignore[override]
        """The primitive that was called."""
        if self.operation is None:
            raise GraphError("the operation of this result was cleared with its graph")
        return self.operation.op

    @property
    def name(self) -> str:
        """The operation's name with the number of the result, as in ``max_dim[0]``."""
        return f"{'output' if self.operation is None else self.operation.name}[{self.position}]"

    @property
    def parents(self) -> tuple[Node | None, ...]:
        """The operation's own node."""
        return () if self.operation is None else (self.operation,)

    @property
    def saved_values(self) -> dict[str, Any]:
        """Selecting saves nothing."""
        return {}

    selects = True

    def pullback(self, grad: Any, grads: dict[Node, Any], recording: bool, retain_graph: bool) -> None:
        """Put ``grad`` at its place in the list that the operation's node receives."""
        if self.operation is not None:
            gradients = grads.setdefault(self.operation, [None] * self.results)
            held = gradients[self.position]  # a recorded pass may have made a second node for the same result
            gradients[self.position] = grad if held is None else added(held, grad)
        self.freed = not retain_graph

    def add_hook(self, hook: Any) -> RemovableHandle:
        """Hand a hook on rules to the operation's node, which has them; keep one on this result's gradient."""
        if isinstance(hook, RuleHook) and self.operation is not None:
            return self.operation.add_hook(hook)
        return super().add_hook(hook)

    def release(self) -> None:
        """Let go of the operation's node."""
        self.freed = True
        self.operation = None
