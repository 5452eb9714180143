"""What is done to a traced graph before it is compiled."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "arguments_to_write",
    "drop_copies_of_gradients",
    "is_view",
    "lift_constants",
    "owner",
    "shares_with",
    "written",
]


def lift_constants(graph: Any) -> list[Tensor]:
    """Turn tensors that the step met without being given them into inputs: their values are read at each call.

    Returns:
        These tensors.
    """
    nodes = list(graph.graph.nodes)
    last = [node for node in nodes if node.op == "placeholder"]
    inputs: dict[int, Any] = {}
    constants: list[Tensor] = []
    for node in nodes:
        if node.op != "get_attr":
            continue
        constant = getattr(graph, node.target)
        if id(constant) not in inputs:
            with graph.graph.inserting_after(last[-1]) if last else graph.graph.inserting_before(nodes[0]):
                placeholder = graph.graph.placeholder(f"constant_{len(constants)}")
            placeholder.meta.update(node.meta)
            last.append(placeholder)
            inputs[id(constant)] = placeholder
            constants.append(constant)
        node.replace_all_uses_with(inputs[id(constant)])
        graph.graph.erase_node(node)
    return constants


def drop_copies_of_gradients(graph: Any) -> None:
    """Hand out a gradient itself instead of its copy, where nobody else has it.

    A ``.grad`` owns its memory, and the engine copies a gradient of which it can't be sure that nobody holds it, which
    is every one of a trace.  In the graph one can see who does.
    """
    (output,) = [node for node in graph.graph.nodes if node.op == "output"]
    changed = {root for node in graph.graph.nodes for root in written(node)}
    for copy in list(output.all_input_nodes):
        if copy.target is not torch.ops.aten.copy_.default or output.args[0].count(copy) > 1:
            continue
        empty, gradient = copy.args[:2]
        own = (
            empty.target is torch.ops.aten.empty_like.default
            and list(empty.users) == [copy]
            and gradient.op == "call_function"
            and owner(gradient) is gradient
            and gradient not in output.all_input_nodes
            and not any(is_view(user) for user in (*gradient.users, *copy.users))
            and changed.isdisjoint({gradient})
            and (len(gradient.users) == 1 or not any(written(user) for user in copy.users))
            and gradient.meta["val"].stride() == copy.meta["val"].stride()
            and gradient.meta["val"].dtype == copy.meta["val"].dtype
        )
        if own:
            copy.replace_all_uses_with(gradient)
            graph.graph.erase_node(copy)
            graph.graph.erase_node(empty)


def arguments_to_write(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    """Of an ATen overload's arguments those whose memory it changes, each of a list by itself."""
    if schema is None or not schema.is_mutable:
        return
    for argument, value in _arguments(schema, args, kwargs):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from value if isinstance(value, (list, tuple)) else (value,)


def written(node: Any) -> list[Any]:
    """The inputs, constants or results whose memory an operation changes."""
    changed = arguments_to_write(getattr(node.target, "_schema", None), node.args, node.kwargs)
    return [owner(value) for value in changed if value is not None]


def owner(node: Any) -> Any:
    """Whose memory a node's value is: that of an operation which made it anew, of an input or of a constant."""
    while (shared := shares_with(node)) is not None:
        node = shared
    return node


def shares_with(node: Any) -> Any:
    """The input of an operation whose memory its result is, ``None`` if it is new: that of a view or in place."""
    result = 0
    if node.target is operator.getitem:  # one of several results, or of a list of results
        node, result = node.args
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.returns:
        return None
    returned = schema.returns[result if len(schema.returns) > 1 else 0].alias_info
    if returned is None:
        return None
    for argument, value in _arguments(schema, node.args, node.kwargs):
        if argument.alias_info is not None and argument.alias_info.before_set & returned.before_set:
            return value
    return None


def is_view(node: Any) -> bool:
    """Whether a node's value lies in the memory of an input that the operation doesn't change."""
    operation = node.args[0] if node.target is operator.getitem else node
    return shares_with(node) is not None and not written(operation)


def _arguments(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """What is given for an overload's arguments."""
    arguments = [*zip(schema.arguments, args, strict=False)]
    return arguments + [(argument, kwargs[argument.name]) for argument in schema.arguments if argument.name in kwargs]
