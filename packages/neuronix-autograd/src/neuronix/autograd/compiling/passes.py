"""What is done to a traced graph before it is compiled."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["arguments_to_write", "compiled_in_two", "drop_copies_of_gradients", "lift_constants", "written"]


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
            and _makes_new_memory(gradient)
            and gradient not in output.all_input_nodes
            and not any(_may_alias(user) for user in (*gradient.users, *copy.users) if user is not copy)
            and changed.isdisjoint({gradient})
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
    arguments = [*zip(schema.arguments, args, strict=False)]
    arguments += [(argument, kwargs[argument.name]) for argument in schema.arguments if argument.name in kwargs]
    for argument, value in arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from value if isinstance(value, (list, tuple)) else (value,)


def written(node: Any) -> list[Any]:
    """The inputs or constants whose memory an operation changes."""
    found: list[Any] = []
    for root in arguments_to_write(getattr(node.target, "_schema", None), node.args, node.kwargs):
        while root.op == "call_function" and (_may_alias(root) or written(root)):
            root = root.args[0]
        found.append(root)
    return found


def _may_alias(node: Any) -> bool:
    """Whether an operation's result is a view."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return bool(node.op == "call_function")
    return any(value.alias_info is not None and not value.alias_info.is_write for value in schema.returns)


def _makes_new_memory(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    if schema is None:  # one result of several
        return bool(node.target is operator.getitem and _makes_new_memory(node.args[0]))
    return all(value.alias_info is None for value in schema.returns)


def compiled_in_two(graph: Any, inputs: Sequence[Tensor], backend: Callable[..., Any]) -> Callable[..., Any]:
    """Compile what is computed of single numbers by itself, before everything else.

    An optimizer computes a few numbers a parameter, as 1 - βᵗ.  Inductor would put that into the loop over the
    parameter's entries, where a power costs more than all the rest.
    """
    numbers, rest, used, passed = _split(graph)
    compiled_rest: Callable[..., Any] = backend(
        rest, [*inputs, *(torch.zeros((), dtype=node.meta["val"].dtype) for node in passed)]
    )
    if not passed:
        return compiled_rest
    compiled_numbers = backend(numbers, [inputs[position] for position in used])

    def run(*inputs: Tensor) -> Any:
        return compiled_rest(*inputs, *compiled_numbers(*[inputs[position] for position in used]))

    return run


def _split(graph: Any) -> tuple[Any, Any, list[int], list[Any]]:
    """Copies of a graph's part for single numbers and of the rest; the first part's inputs, and what it passes on."""
    nodes = list(graph.graph.nodes)
    placeholders = [node for node in nodes if node.op == "placeholder"]
    single: set[Any] = set()
    for node in nodes:
        of_numbers = node.op == "placeholder" or (
            node.op == "call_function" and single.issuperset(node.all_input_nodes)
        )
        if of_numbers and (node.all_input_nodes or node.op == "placeholder") and _is_number(node):
            single.add(node)
    changed = {root for node in single for root in written(node)}
    if any(user not in single for root in changed for user in root.users):
        single = set()  # the rest reads a number that is changed: the order counts
    passed = [
        node
        for node in nodes
        if node in single and node.op != "placeholder" and any(user not in single for user in node.users)
    ]
    if not passed:
        single = set()  # nothing depends on them, but they may be changed in place: a count of batches
    used = [n for n, node in enumerate(placeholders) if node in single and any(user in single for user in node.users)]
    numbers, rest = torch.fx.Graph(), torch.fx.Graph()
    inside: dict[Any, Any] = {placeholders[n]: numbers.node_copy(placeholders[n]) for n in used}
    outside: dict[Any, Any] = {node: rest.node_copy(node) for node in placeholders}
    for node in passed:
        outside[node] = rest.placeholder(f"number_{node.name}")
        outside[node].meta.update(node.meta)
    for node in nodes:
        if node.op == "placeholder":
            continue
        if node in single:
            inside[node] = numbers.node_copy(node, inside.__getitem__)
        else:
            outside[node] = rest.node_copy(node, outside.__getitem__)
    numbers.output([inside[node] for node in passed])
    return torch.fx.GraphModule({}, numbers), torch.fx.GraphModule({}, rest), used, passed


def _is_number(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.ndim == 0 and value.device.type == "cpu"
