"""Python's cyclic collector, while many operations are alive.

The collector's full rounds look at every container object there is, and one comes each time their number has grown by a
quarter.  So it looks at each node of a growing history about five times, although it never finds any garbage among
them: what nobody needs is freed by reference counting (see ``node.py``).  An operation of a large graph would cost half
as much again as one of a small graph.

While a graph is large, full rounds are put off until as many objects have come anew as there are: the graph's, and
those of torch and everything else, which a full round looks through, too.  Then each node is looked at about once,
however large the graph.  That is all: garbage is found, only not as soon, and never lies about in more objects than
live ones.  The small rounds, which find young garbage, come as always.  Whoever has set thresholds of their own in the
meantime, or has turned the collector off, is left alone, and what was set before is put back when the graphs are small
again.  ``NEURONIX_COLLECTOR=python`` in the environment turns this off.
"""

from __future__ import annotations

import gc
import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuronix.autograd.graph import AutogradGraph

__all__ = ["adapt"]

MANY = 4096  # live nodes from which on a graph is large
CONTAINERS = 4  # objects that the collector sees for each operation: the node, a weak reference, two kinds of tensor

_is_off = os.environ.get("NEURONIX_COLLECTOR") == "python"
_live: weakref.WeakKeyDictionary[AutogradGraph, int] = weakref.WeakKeyDictionary()  # of large graphs
_others = 0  # objects that aren't a graph's, as of when the first graph became large
_given: tuple[int, int, int] | None = None  # the thresholds that we replaced
_ours: tuple[int, int, int] | None = None
_lock = threading.Lock()


def adapt(graph: AutogradGraph, live: int) -> None:
    """Set the collector's last threshold for graphs of which ``graph`` has ``live`` nodes.

    A graph says so when it sweeps its index, which is each time that it has doubled, and when it is cleared.
    """
    global _given, _others, _ours
    if _is_off or (live < MANY and _ours is None):
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
        rounds = 0
        if _live:
            recorded = CONTAINERS * sum(_live.values())
            _others = _others or max(1, len(gc.get_objects()) - recorded)
            rounds = (recorded + _others) // (young * middle)
        gc.set_threshold(young, middle, max(old, rounds))
        _ours = gc.get_threshold() if rounds > old else None
