"""The graph: which operation came from which, and in what order a backward pass visits them.

The nodes own the history (see ``node.py``); an `AutogradGraph` is an index over it, kept in a rustworkx ``PyDiGraph``
whose payloads are weak.  The index answers what a graph library is good at: ancestors, orders, cycles, pictures.

Recording a node only appends it to a list.  The index is brought up to date in one batch when somebody reads it
(`AutogradGraph.synchronize`), which costs about half of adding nodes and edges one by one, and nothing at all for
nodes that died in between.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter, deque
from contextvars import ContextVar
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import rustworkx as rx

from neuronix.autograd.errors import GraphError
from neuronix.autograd.node import NOT_INDEXED, Entry, LeafNode, Node, next_sequence, pull_back_leaf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from neuronix.autograd.tensor import CustomTensor

__all__ = ["AutogradGraph"]

# After so many recorded nodes the index is brought up to date even if nobody reads it, so that forward passes whose
# results are thrown away don't fill the list of pending entries.  A power of two: the test is one bitwise and.
SYNCHRONIZE_EVERY = 8192

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
        self._pending: deque[Entry] = deque()
        self._dead: deque[Entry] = deque()
        self._leaves: dict[int, Entry] = {}
        self._has_foreign_parents = False
        self._open = 0  # the number of its blocks
        self._lock = threading.RLock()  # one thread may go backward through what another one recorded
        # What recording needs of a graph, bound once.
        self.add_pending = self._pending.append
        self.add_dead = self._dead.append
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
        self.synchronize()
        for entry in self._index.nodes():
            node = entry()
            if node is not None:
                node.saved = None
                node.parents = ()
                node.entry.index = NOT_INDEXED
        self._index.clear()
        self._pending.clear()
        self._leaves.clear()
        if self.scoped:
            self.closed = True
            self.add_pending = self._refuse

    def _refuse(self, entry: Entry) -> None:
        """Takes the place of `add_pending` in a closed graph."""
        node = entry()
        raise GraphError(
            f"{'this operation' if node is None else node.name}: can't be recorded, because the current AutogradGraph "
            "is closed",
            hint="don't clear() a graph inside its own block, or compute under no_grad()",
        )

    # Recording

    def leaf_node(self, leaf: CustomTensor) -> LeafNode:
        """The node that stands for ``leaf`` in this graph, made at its first use."""
        entry = self._leaves.get(id(leaf))
        if entry is not None:
            node = entry()
            # A leaf that died may have left its identity to another one.
            if isinstance(node, LeafNode) and node.leaf() is leaf:
                return node
        node = LeafNode.__new__(LeafNode)
        node.op = _LEAF
        node.leaf = weakref.ref(leaf)
        node.parents = ()
        node.saved = ()
        node.shape = leaf.data.shape
        node.restore = None
        node.pullback = pull_back_leaf
        self.record(node)
        node.entry.leaf_key = id(leaf)
        self._leaves[id(leaf)] = node.entry
        return node

    def record(self, node: Node) -> None:
        """Register ``node``, whose operation, parents and saved values are set, as this graph's youngest node."""
        node.graph = self
        node.hooks = None
        node.notes = None
        node.sequence = sequence = next_sequence()
        node.entry = entry = Entry(node, self.add_dead)
        entry.leaf_key = None
        entry.index = NOT_INDEXED
        self.add_pending(entry)
        if not sequence & (SYNCHRONIZE_EVERY - 1):
            self.synchronize()

    def admit(self, parent: Node, operation: str) -> None:
        """Allow or refuse a parent that was recorded on another graph.

        Default graphs of different threads may be combined.  A graph with a block of its own may not: its end would
        free what the other still needs.
        """
        if self.scoped or parent.graph.scoped:
            raise GraphError(
                f"{operation}: an argument was recorded on {parent.graph._describe()}, but this operation is recorded "
                f"on {self._describe()}",
                hint="compute it inside the same `with AutogradGraph()` block, or use its value alone with .detach()",
            )
        self._has_foreign_parents = True

    def _describe(self) -> str:
        if not self.scoped:
            return "the default graph"
        return f"{'a closed' if self.closed else 'an'} AutogradGraph (0x{id(self):x})"

    # The index

    def synchronize(self) -> None:
        """Bring the index up to date: add the nodes recorded since the last time, remove those that died."""
        with self._lock:
            self._remove_dead()
            self._add_pending()
            if not self._index.num_nodes():
                self._has_foreign_parents = False

    def _add_pending(self) -> None:
        pending, added = self._pending, []
        while pending:
            entry = pending.popleft()
            node = entry()
            if node is not None:
                added.append((entry, node))
        if added:
            for (entry, _), index in zip(added, self._index.add_nodes_from([entry for entry, _ in added]), strict=True):
                entry.index = index
            self._index.add_edges_from_no_data(
                [
                    (parent.entry.index, entry.index)
                    for entry, node in added
                    for parent in node.parents
                    if parent is not None and parent.graph is self
                ]
            )

    def _remove_dead(self) -> None:
        dead, removed = self._dead, []
        while dead:
            entry = dead.popleft()
            if entry.index != NOT_INDEXED:
                removed.append(entry.index)
                entry.index = NOT_INDEXED
            if entry.leaf_key is not None and self._leaves.get(entry.leaf_key) is entry:
                del self._leaves[entry.leaf_key]
        if len(removed) == self._index.num_nodes():  # the usual case: the last training step has gone as a whole
            self._index.clear()
        else:
            self._index.remove_nodes_from(removed)

    @property
    def graph(self) -> rx.PyDiGraph[Any, Any]:
        """The rustworkx graph, up to date.  Edges go from an argument to its result; payloads are weak references."""
        self.synchronize()
        return self._index

    def nodes(self) -> list[Node]:
        """All live nodes, in the order in which they were recorded."""
        nodes = [node for entry in self.graph.nodes() if (node := entry()) is not None]
        nodes.sort(key=_by_sequence)
        return nodes

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
        if self._has_foreign_parents or any(root.graph is not self for root in roots):
            return _order_by_walking(roots)
        with self._lock:
            self.synchronize()
            index = self._index
            found: set[int] = set()
            for root in roots:
                position = root.index
                if position not in found:
                    found |= rx.ancestors(index, position)
                    found.add(position)
            # Reading all payloads at once is cheaper, and the usual case: the graph holds one loss and its history.
            entries = index.nodes() if len(found) == index.num_nodes() else [index[i] for i in found]
            nodes = [entry() for entry in entries]
        nodes.sort(key=_by_sequence, reverse=True)
        return nodes

    def check_cycle(self) -> bool:
        """Whether the index contains a cycle (recording can't make one; an edge added by hand can)."""
        return not rx.is_directed_acyclic_graph(self.graph)

    def validate(self) -> None:
        """Compare the index with what the nodes themselves say.

        Raises:
            GraphError: If an edge is missing or is there too much, or a node is missing, or there is a cycle.
        """
        index = self.graph
        wanted: Counter[tuple[int, int]] = Counter()
        for node in self.nodes():
            for parent in node.parents:
                if parent is not None and parent.graph is self:
                    if parent.entry.index == NOT_INDEXED or index[parent.entry.index] is not parent.entry:
                        raise GraphError(f"the index has lost {parent!r}, a parent of {node!r}")
                    wanted[parent.entry.index, node.entry.index] += 1
        present = Counter((source, target) for source, target in index.edge_list())
        for edge in wanted.keys() | present.keys():
            if wanted[edge] != present[edge]:
                source, target = (index[position]() for position in edge)
                raise GraphError(
                    f"the index has {present[edge]} edge(s) from {source!r} to {target!r}, the nodes say {wanted[edge]}"
                )
        if self.check_cycle():
            raise GraphError("Cycle detected in autograd graph")

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


class _LeafOperation:
    """Stands where a recorded operation's primitive stands."""

    name = "leaf"


_LEAF: Any = _LeafOperation()


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
