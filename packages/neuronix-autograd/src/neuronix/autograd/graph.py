"""The graph: which operation came from which, and in what order a backward pass visits them.

The nodes own the history (see ``node.py``); an `AutogradGraph` is an index over it, kept in a rustworkx ``PyDiGraph``
whose payloads are weak.  The index answers what a graph library is good at: ancestors, orders, cycles, pictures.

A node enters the index when it is recorded, and leaves it some time after it has died: dead nodes are swept out when
somebody reads the index (`AutogradGraph.sweep`), and when it has doubled since the last time.  (A weak reference's
callback could say when each one dies, but it may be called inside a call of rustworkx, which can't be called again
there; and it would cost every operation more than its share of the sweeps.)
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from contextvars import ContextVar
from functools import partial
from itertools import chain
from operator import attrgetter, call
from types import TracebackType
from typing import TYPE_CHECKING, Any

import rustworkx as rx

from neuronix.autograd import collector
from neuronix.autograd.errors import GraphError
from neuronix.autograd.node import NOT_INDEXED, LeafNode, Node, next_sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from neuronix.autograd.tensor import CustomTensor

__all__ = ["AutogradGraph"]

# So many recorded nodes apart it is asked whether the index has doubled.  One less than a power of two: the test is a
# bitwise and with the node's sequence number.
SWEEP_TEST = 4096 - 1

_by_sequence = attrgetter("sequence")
# The graph on which operations are recorded; `None` or unset if it has to be looked up (see `current_graph`).
_current: ContextVar[AutogradGraph | None] = ContextVar("current_graph")
# The open blocks, the innermost last.  Leaving one takes its graph out wherever it stands: blocks in generators needn't
# end in the order in which they began.
_blocks: ContextVar[tuple[AutogradGraph, ...]] = ContextVar("open_blocks", default=())
_of_thread = threading.local()
_all_graphs: weakref.WeakSet[AutogradGraph] = weakref.WeakSet()
_registering = threading.Lock()


class AutogradGraph:
    """A computation graph, and the ``with`` block in which operations are recorded on it.

    Outside any block operations are recorded on a default graph that each thread has, and which needs no care: a
    result that is dropped takes its history with it.  A block of one's own is for looking at the graph, for checking it
    and for an end at which everything is freed.

    Args:
        check_cycles: Look for a cycle when the block ends, and raise if there is one.
        auto_cleanup: Clear the graph when the block ends: saved values are freed, and what was computed inside can't
            be differentiated any more (its values stay usable).

    Raises:
        GraphError: At the end of the block, if `check_cycles` finds a cycle.

    Example:
        >>> from neuronix.autograd import AutogradGraph, tensor
        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> with AutogradGraph() as graph:
        ...     loss = (x * x).sum()
        ...     loss.backward()
        ...     [node.name for node in graph.reverse_toposort_from_tensor(loss)]
        ['sum', 'mul', 'leaf']
        >>> x.grad
        tensor([2., 4.])
    """

    def __init__(self, check_cycles: bool = True, auto_cleanup: bool = True) -> None:
        self.check_cycles = check_cycles
        self.auto_cleanup = auto_cleanup
        self.closed = False
        self.scoped = True
        self._index = rx.PyDiGraph()
        self._leaves: dict[int, weakref.ref[LeafNode]] = {}
        self._sweep_at = 2 * SWEEP_TEST  # nodes in the index
        self.has_foreign_parents = False
        self._open = 0  # the number of its blocks
        self._lock = threading.RLock()  # one thread may go backward through what another one recorded
        # What recording needs of a graph, bound once.
        self.add_child: Callable[[int, weakref.ref[Node], None], int] = self._index.add_child
        self.add_edge: Callable[[int, int, None], int] = self._index.add_edge
        with _registering:
            _all_graphs.add(self)

    # The block

    def __enter__(self) -> AutogradGraph:
        if self.closed:
            raise GraphError("this AutogradGraph is closed", hint="make a new one for a new `with` block")
        with self._lock:
            self._open += 1
        _blocks.set((*_blocks.get(), self))
        _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        blocks = _blocks.get()
        if self in blocks:  # not if a generator is closed by another thread or task than the one that ran it
            innermost = len(blocks) - 1 - blocks[::-1].index(self)
            blocks = blocks[:innermost] + blocks[innermost + 1 :]
            _blocks.set(blocks)
            _current.set(blocks[-1] if blocks else None)
        with self._lock:
            self._open -= 1
            if self._open:  # an inner block of the same graph, or one in another thread
                return
        has_cycle = error is None and self.check_cycles and self.check_cycle()
        if self.auto_cleanup:
            self.clear()
        if has_cycle:
            raise GraphError("Cycle detected in autograd graph")

    def clear(self) -> None:
        """Free every saved value, empty the index and close the graph (a thread's default graph stays open).

        Tensors that were computed on it keep their values; `backward` from them raises.
        """
        for reference in self._index.nodes():
            node = reference()
            if node is not None:
                node.release()
                node.hooks = None
                node._index = NOT_INDEXED
                node.graph = self if self.scoped else _CLEARED
        self._index.clear()
        self._leaves.clear()
        collector.adapt(self, 0)
        if self.scoped:
            self.closed = True
            self.add_child = self._refuse

    def _refuse(self, parent: int, reference: weakref.ref[Node], edge: None) -> int:
        """Takes the place of `add_child` in a closed graph."""
        node = reference()
        raise GraphError(
            f"{'this operation' if node is None else node.name}: can't be recorded, because the current AutogradGraph "
            "is closed",
            hint="don't clear() a graph inside its own block, or compute under no_grad()",
        )

    # Recording

    def leaf_node(self, leaf: CustomTensor) -> LeafNode:
        """The node that stands for ``leaf`` in this graph, made at its first use."""
        known = self._leaves.get(id(leaf))
        node = known() if known is not None else None
        if node is not None and node.leaf() is leaf:  # a leaf that died may have left its identity to another one
            return node
        node = LeafNode()
        node.leaf = weakref.ref(leaf)
        node.shape = leaf._data.shape
        node.dtype = leaf._data.dtype
        node.restore = None
        self.record(node)
        self._leaves[id(leaf)] = weakref.ref(node)
        return node

    def record(self, node: Node) -> None:
        """Register ``node``, whose parents, saved values, shape and dtype are set, as this graph's youngest node.

        Generated code does the same, written out, for operations with one or two differentiable arguments.
        """
        node.graph = self
        node.hooks = node.notes = None
        node.freed = False
        node.sequence = sequence = next_sequence()
        index, reference = NOT_INDEXED, weakref.ref(node)
        if self.closed:
            self._refuse(index, reference, None)
        for parent in node.parents:
            if parent is None or parent.graph is not self:
                continue
            if index == NOT_INDEXED:
                index = self.add_child(parent._index, reference, None)  # a node and its edge in one call
            else:
                self.add_edge(parent._index, index, None)
        node._index = self._index.add_node(reference) if index == NOT_INDEXED else index
        if not sequence & SWEEP_TEST:
            self.sweep_if_grown()

    def admit(self, parent: Node, operation: str) -> None:
        """Allow or refuse a parent that was recorded on another graph.

        Default graphs of different threads may be combined.  A graph with a block of its own may not: its end would
        free what the other still needs.
        """
        if parent.graph is _CLEARED:
            raise GraphError(
                f"{operation}: the history of an argument was cleared with its graph",
                hint="use its value alone, with .detach()",
            )
        if self.scoped or parent.graph.scoped:
            raise GraphError(
                f"{operation}: an argument was recorded on {parent.graph._describe()}, but this operation is recorded "
                f"on {self._describe()}",
                hint="compute it inside the same `with AutogradGraph()` block, or use its value alone with .detach()",
            )
        self.has_foreign_parents = True

    def _describe(self) -> str:
        if not self.scoped:
            return "the default graph"
        return f"{'a closed' if self.closed else 'an'} AutogradGraph (0x{id(self):x})"

    # The index

    def sweep_if_grown(self) -> None:
        """Sweep if the index has doubled since the last time: each node's share of all sweeps is then constant."""
        if self._index.num_nodes() > self._sweep_at:
            self.sweep()

    def sweep(self) -> None:
        """Bring the index up to date: remove the nodes that have died."""
        with self._lock:
            index = self._index
            dead = [position for position in index.node_indices() if index[position]() is None]
            if dead:
                self._cut_off(dead)
                index.remove_nodes_from(dead)
            for leaf in [leaf for leaf, reference in self._leaves.items() if reference() is None]:
                del self._leaves[leaf]
            self._sweep_at = 2 * (index.num_nodes() + SWEEP_TEST)
            collector.adapt(self, index.num_nodes())
            if not index.num_nodes():
                self.has_foreign_parents = False

    def _cut_off(self, dead: list[int]) -> None:
        """Remove all edges that begin or end at a dead node.

        Removing them one by one takes each out of the list of its other node's edges, and where that is long it is slow
        (quadratic in all).  So all edges go, and those come back that are to stay.
        """
        kept: list[tuple[int, int]] = []
        edges = chain.from_iterable(map(call, [self._index.edge_list]))  # asked for when `list_kept` is called
        list_kept = partial(kept.extend, filter(frozenset(dead).isdisjoint, edges))
        put_back = partial(self._index.add_edges_from_no_data, kept)
        # One call of C: no other thread records a node, and no Ctrl-C arrives, while there are no edges.
        calls: list[Callable[[], object]] = [list_kept, self._index.clear_edges, put_back]
        deque(map(call, calls), maxlen=0)

    @property
    def graph(self) -> rx.PyDiGraph[Any, Any]:
        """The rustworkx graph, up to date.  Edges go from an argument to its result; payloads are weak references."""
        self.sweep()
        return self._index

    def nodes(self) -> list[Node]:
        """All live nodes, in the order in which they were recorded."""
        nodes = [node for reference in self.graph.nodes() if (node := reference()) is not None]
        nodes.sort(key=_by_sequence)
        return nodes

    def children(self, node: Node) -> list[Node]:
        """The live nodes that have ``node`` as a parent."""
        return [child for reference in self._index.successors(node.index) if (child := reference()) is not None]

    def num_nodes(self) -> int:
        """The number of live nodes."""
        return self.graph.num_nodes()

    def num_edges(self) -> int:
        """The number of edges between live nodes."""
        return self.graph.num_edges()

    # Orders and checks

    def reverse_toposort_from_tensor(self, tensor: CustomTensor | Node | int) -> list[Node]:
        """The nodes that a backward pass from ``tensor`` visits, in its order: each node before its parents.

        Where several nodes are ready the youngest comes first, which makes the order, and so every rounding error,
        the same for equal programs.

        Args:
            tensor: A tensor recorded on this graph, its node, or its node's index.

        Returns:
            The nodes; the tensor's own comes first.

        Raises:
            GraphError: If it wasn't recorded on this graph, or if its history contains a cycle.

        Example:
            >>> from neuronix.autograd import AutogradGraph, tensor
            >>> with AutogradGraph() as graph:
            ...     x = tensor([1.0], requires_grad=True)
            ...     y = (x * 2).exp()
            ...     graph.reverse_toposort_from_tensor(y)
            [<exp(mul) -> (1,)>, <mul(leaf, constant) -> (1,)>, <leaf (1,)>]
        """
        node = self._node_of(tensor)
        if self.check_cycle():
            raise GraphError("Cycle detected in autograd graph")
        return self.backward_order([node])

    def backward_order(self, roots: Iterable[Node]) -> list[Node]:
        """As `reverse_toposort_from_tensor`, for several nodes at once."""
        roots = list(roots)
        if self.has_foreign_parents or any(root.graph is not self for root in roots):
            return _order_by_walking(roots)
        with self._lock:
            index = self._index
            found: set[int] = set()
            for position in {root.index for root in roots}:
                if position not in found:
                    ancestors = rx.ancestors(index, position)
                    ancestors.add(position)
                    found = found | ancestors if found else ancestors
            nodes = [index[position]() for position in found]
        nodes.sort(key=_by_sequence, reverse=True)
        return nodes

    def check_cycle(self) -> bool:
        """Whether the index contains a cycle (recording can't make one; an edge added by hand can)."""
        return not rx.is_directed_acyclic_graph(self.graph)

    # Pictures

    def to_dot(self, **options: Any) -> str:
        """The graph in the DOT language; see [`drawing.to_dot`][neuronix.autograd.drawing.to_dot] for the options."""
        from neuronix.autograd import drawing

        return drawing.to_dot(self, **options)

    def to_svg(self, path: str | os.PathLike[str] | None = None, **options: Any) -> str:
        """The graph as an SVG picture; see [`drawing.to_svg`][neuronix.autograd.drawing.to_svg] for the options."""
        from neuronix.autograd import drawing

        return drawing.to_svg(self, path, **options)

    def _node_of(self, tensor: CustomTensor | Node | int) -> Node:
        if isinstance(tensor, int):
            index = self.graph
            if not index.has_node(tensor):
                raise GraphError(f"this graph has no node with the index {tensor}")
            node: Node | None = index[tensor]()
        elif isinstance(tensor, Node):
            node = tensor
        else:
            node = tensor.node_in(self)
        if node is None or node.graph is not self:
            raise GraphError(
                f"{tensor!r} wasn't recorded on {self._describe()}",
                hint="only results of operations on tensors with requires_grad=True, and such tensors once used, are",
            )
        return node

    def __repr__(self) -> str:
        if self.closed:
            return "AutogradGraph(closed)"
        return f"AutogradGraph(nodes={self.num_nodes()}, edges={self.num_edges()})"


# Where nodes belong whose default graph, which itself stays open, was cleared.
_CLEARED = AutogradGraph()
_CLEARED.clear()


def _order_by_walking(roots: Iterable[Node]) -> list[Node]:
    """The same order where the history spans the default graphs of several threads, which no single index covers."""
    nodes = set(roots)
    stack = list(nodes)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in nodes:
                nodes.add(parent)
                stack.append(parent)
    return sorted(nodes, key=_by_sequence, reverse=True)


# `graph_of_block(None)` is what every recorded operation calls first: the bound method is three times as quick as
# `current_graph`, which makes a default graph where there is none yet.
graph_of_block = _current.get


def current_graph() -> AutogradGraph:
    """The graph on which operations are recorded here: that of the innermost block, else the thread's default."""
    graph = graph_of_block(None)
    if graph is None:
        graph = getattr(_of_thread, "graph", None)
        if graph is None:
            graph = _of_thread.graph = AutogradGraph(check_cycles=False, auto_cleanup=False)
            graph.scoped = False
        _current.set(graph)
    return graph


def forget_leaf(leaf: CustomTensor) -> None:
    """Let no graph use the node that stands for ``leaf`` again: its values have another shape from now on."""
    with _registering:
        graphs = list(_all_graphs)
    for graph in graphs:
        graph._leaves.pop(id(leaf), None)
