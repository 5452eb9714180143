"""Python's cyclic collector, while many operations are alive.

The collector looks at every container object again each time their number has grown by a quarter.  So it looks at each
node of a growing history about five times, and a million nodes take twice as long to build as they would without it,
although it never finds any garbage among them: what nobody needs is freed by reference counting (see ``node.py``).

Its full rounds are the ones that cost.  While a graph is large they are put off until it is several times as large; its
small rounds, which find young garbage, come as always.  Whoever has set thresholds of their own in the meantime, or has
turned the collector off, is left alone, and what was set before is put back when the graphs are small again.
"""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuronix.autograd.graph import AutogradGraph

__all__ = ["adapt"]

MANY = 4096  # live nodes from which on a graph is large
GROWTH = 8  # full rounds come when it has grown by as much again, so many times
CONTAINERS = 3  # objects that the collector sees for each operation: the node, a weak reference, a saved value

_live: weakref.WeakKeyDictionary[AutogradGraph, int] = weakref.WeakKeyDictionary()  # of large graphs
_given: tuple[int, int, int] | None = None  # the thresholds that we replaced
_ours: tuple[int, int, int] | None = None
_lock = threading.Lock()


def adapt(graph: AutogradGraph, live: int) -> None:
    """Set the collector's last threshold for graphs of which ``graph`` has ``live`` nodes."""
    global _given, _ours
    if live < MANY and graph not in _live:
        return
    with _lock:
        if live < MANY:
            _live.pop(graph, None)
        else:
            _live[graph] = live
        now = gc.get_threshold()
        if now != _ours:  # somebody else's, from now on
            _given, _ours = now, None
        if _given is None or 0 in _given[:2]:
            return
        young, middle, old = _given
        rounds = GROWTH * CONTAINERS * sum(_live.values()) // (young * middle)
        _ours = (young, middle, max(old, rounds))
        gc.set_threshold(*_ours)
