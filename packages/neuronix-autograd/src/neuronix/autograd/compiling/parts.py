"""A graph is compiled in up to three parts, which run one after the other.

* *numbers*: what is computed of single numbers.  An optimizer computes a few of them a parameter, as 1 - βᵗ, and
  Inductor would put that into the loop over the parameter's entries, where a power costs more than all the rest.
* *passes*: forward and backward.
* *update*: what follows the last gradient.  Inductor lets whatever changes a parameter wait for all that reads it, and
  writes no result over its operand while something else waits for the operand.  In one graph with the update that is
  the case for each product with a parameter, and what follows the product needs new memory (a small GPT on one
  machine: 1,450 page faults a step in one graph, 3 in parts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuronix.autograd.compiling.passes import is_view, owner, shares_with, written

__all__ = ["compiled_in_parts"]


class _Part(NamedTuple):
    """A part, compiled.

    Attributes:
        run: Runs it.
        inputs: Where its inputs are among the graph's inputs and, after these, the results of earlier parts.
    """

    run: Callable[..., Any]
    inputs: list[int]


def compiled_in_parts(graph: Any, inputs: Sequence[Tensor], backend: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the parts of a graph by themselves.

    Args:
        graph: The graph.
        inputs: Its inputs, as examples.
        backend: Compiles a part: called with a ``torch.fx.GraphModule`` and a list of its inputs.

    Returns:
        What does the same as ``graph``.
    """
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    position = {node: number for number, node in enumerate(placeholders)}
    examples = list(inputs)
    parts: list[_Part] = []
    split = _split(graph)
    needed = [_needed(nodes) for nodes in split]
    for number, nodes in enumerate(split):
        wanted = set(chain.from_iterable(needed[number + 1 :]))
        results = [node for node in nodes if node in wanted]
        taken = [position[node] for node in needed[number]]
        parts.append(_Part(backend(_piece(nodes, needed[number], results), [examples[at] for at in taken]), taken))
        for node in results:
            position[node] = len(examples)
            examples.append(_example(node))

    def run(*inputs: Tensor) -> Any:
        values: list[Any] = [*inputs]
        for part in parts:
            results = part.run(*[values[at] for at in part.inputs])
            values += results
        return results

    return run


def _split(graph: Any) -> list[list[Any]]:
    """The nodes of each part, in the graph's order; the graph's output is in the last one."""
    numbers = _single_numbers(graph)
    nodes = [node for node in graph.graph.nodes if node.op != "placeholder"]
    backward = [n for n, node in enumerate(nodes) if getattr(node.meta.get("neuronix"), "part", None) == "backward"]
    end = backward[-1] + 1 if backward else len(nodes)
    first = [node for node in nodes if node in numbers]
    passes = [node for node in nodes[:end] if node not in numbers]
    update = [node for node in nodes[end:] if node not in numbers]
    if not any(node.op == "call_function" for node in update):  # the output alone
        passes, update = passes + update, []
    return [part for part in (first, passes, update) if part]


def _single_numbers(graph: Any) -> set[Any]:
    """The operations on single numbers, if all of them can be run before everything else."""
    nodes = list(graph.graph.nodes)
    single: set[Any] = set()
    for node in nodes:
        of_numbers = node.op == "placeholder" or (
            node.op == "call_function"
            and node.all_input_nodes
            and single.issuperset(node.all_input_nodes)
            and torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())
        )
        if of_numbers and _is_number(node):
            single.add(node)
    operations = {node for node in single if node.op != "placeholder"}
    # If nothing depends on them they may stay where they are: a count of batches, which is changed in place.
    passed_on = any(user not in single for node in operations for user in node.users)
    return operations if passed_on and _can_be_first(operations, nodes) else set()


def _can_be_first(some: set[Any], nodes: Sequence[Any]) -> bool:
    """Whether some operations of a graph read and leave the same when they are run before all others."""
    changes: dict[Any, list[int]] = {}
    for number, node in enumerate(nodes):
        for changed in written(node):
            changes.setdefault(changed, []).append(number)
    for number, node in enumerate(nodes):
        for read in {owner(taken) for taken in node.all_input_nodes} & changes.keys():
            by_others = any(nodes[writer] not in some for writer in changes[read])
            before_a_change = number < changes[read][-1]
            if (node in some and by_others) or (node not in some and not by_others and before_a_change):
                return False
    return True


def _is_number(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.ndim == 0 and value.device.type == "cpu"


def _needed(nodes: Sequence[Any]) -> list[Any]:
    """Those whose memory some nodes take and that aren't among them, each once."""
    owners = dict.fromkeys(owner(taken) for node in nodes for taken in node.all_input_nodes)
    inside = set(nodes)
    return [node for node in owners if node not in inside]


def _piece(nodes: Sequence[Any], needed: Sequence[Any], results: Sequence[Any]) -> Any:
    """A graph of some nodes of another one, from what they need to what later ones do."""
    piece = torch.fx.Graph()
    copies: dict[Any, Any] = {}
    for node in needed:
        copies[node] = piece.placeholder(node.name)
        copies[node].meta.update(node.meta)

    def copy_of(node: Any) -> Any:
        if node not in copies:
            # A view that an earlier part has made is made again: no part is given two tensors of the same memory.
            copies[node] = piece.node_copy(node, copy_of) if is_view(node) else copy_of(shares_with(node))
        return copies[node]

    for node in nodes:
        copies[node] = piece.node_copy(node, copy_of)
    if nodes[-1].op != "output":
        piece.output([copies[node] for node in results])
    return torch.fx.GraphModule({}, piece)


def _example(node: Any) -> Tensor:
    value = node.meta["val"]
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
