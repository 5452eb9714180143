"""What generated code calls: unwrapping arguments, and the less common cases of recording."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neuronix.autograd.dispatch.inplace import not_a_number
from neuronix.autograd.errors import GradientError
from neuronix.autograd.errors.messages import (
    ARGUMENT_ERRORS,
    changed_behind,
    explained,
    modified,
    without_version,
    wrong_gradient,
    wrong_number_of_gradients,
    wrong_results,
)
from neuronix.autograd.gradients import Restore, accumulate_list, as_is, conjugated, restored, summed
from neuronix.autograd.graph import AutogradGraph, current_graph, graph_of_block
from neuronix.autograd.modes import (
    in_plain_pass,
    is_grad_enabled,
    recording_mode,
    uses_rules_only,
    watchers,
)
from neuronix.autograd.node import Node, OutputNode, next_sequence, versions_of
from neuronix.autograd.tensor import CustomTensor, new_result
from neuronix.autograd.watching.watcher import watch_computed, watch_recorded

if TYPE_CHECKING:
    from neuronix.autograd.primitive import Primitive

__all__ = ["NAMES"]

# Arguments


def constant(value: Any) -> Any:
    """An argument that is no CustomTensor, as torch takes it: a tensor outside torch's autograd, or a number."""
    if isinstance(value, Tensor):
        return value.detach() if value.requires_grad else value
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value)
    return value.item() if isinstance(value, np.generic) else value  # a number: it mustn't decide the result's dtype


def plain(op: Primitive, name: str, value: Any) -> Any:
    """An argument for which the operation has no rule; a tensor that requires grad is refused there."""
    if isinstance(value, CustomTensor):
        if value._requires_grad and is_grad_enabled():
            raise GradientError(
                f"{op.name}: {name!r} requires grad, but {op.name} isn't differentiable with respect to it",
                hint=f"pass {name}.detach() if its value alone is meant",
            )
        return value._data
    if isinstance(value, (tuple, list)) and any(isinstance(item, CustomTensor) for item in value):
        return type(value)(plain(op, name, item) for item in value)
    return constant(value)


# What is no tensor: asked by its type, because `isinstance(value, Tensor)` takes six times as long.
NUMBERS = frozenset((int, float, bool, complex, str, tuple, list, type(None), torch.dtype, torch.Size))


def number_of(value: Any) -> Any:
    """The number that a tensor holds, where an operation takes a number; not of one whose gradient would be lost."""
    if isinstance(value, CustomTensor):
        if value._requires_grad and is_grad_enabled():
            raise not_a_number()
        value = value._data
    return value.item() if type(value) is Tensor and not value.ndim else value


def value_of(value: Any) -> Any:
    """An argument of an operation whose result is a constant: a tensor that requires grad gives its values."""
    return value._data if isinstance(value, CustomTensor) else constant(value)


def unwrap_list(values: Sequence[Any]) -> tuple[list[Any], bool]:
    """A list argument's torch tensors, and whether one of them requires grad."""
    tracked = any(isinstance(value, CustomTensor) and value._requires_grad for value in values)
    return [value._data if isinstance(value, CustomTensor) else constant(value) for value in values], tracked


def list_parents(
    op: Primitive, graph: AutogradGraph, values: Sequence[Any], dtype: torch.dtype
) -> tuple[list[Node | None], list[Restore | None]]:
    """The nodes of a list argument's tensors, and what their gradients must be brought back to."""
    parents: list[Node | None] = []
    restores: list[Restore | None] = []
    for position, value in enumerate(values):
        parent, restore = None, None
        if isinstance(value, CustomTensor) and value._requires_grad:
            parent = value._node
            if parent is None:
                parent = graph.leaf_node(value)
            else:
                if value._data._version != value._version:
                    raise changed_behind(op, f"tensors[{position}]", value)
                if parent.graph is not graph:
                    graph.admit(parent, op.name)
            if parent.dtype is not dtype:
                restore = (value._data.shape, parent.dtype)
        parents.append(parent)
        restores.append(restore)
    return parents, restores


def all_gradients(op: Primitive, rule: Callable[..., Any], grads: Any, count: int) -> Sequence[Any]:
    """What a joint rule, or the rule of a list argument, returned: a tuple or list with a gradient for each tensor."""
    if not isinstance(grads, (tuple, list)) or len(grads) != count:
        raise wrong_number_of_gradients(op, rule, grads, count)
    return grads


def check_gradient(
    op: Primitive, rule: Callable[..., Any], name: str, grad: Any, shape: torch.Size, broadcast: torch.Size | None
) -> None:
    """Refuse a gradient that doesn't have the shape of its argument, or the one to which the argument was broadcast.

    What came later would broadcast it, or sum it, and be wrong.
    """
    if not isinstance(grad, (Tensor, CustomTensor)) or grad.shape not in (shape, broadcast):
        raise wrong_gradient(op, rule, name, grad, shape)


def is_plain(grad: Any) -> bool:
    """Whether fused kernels may be used: every value is an ordinary tensor."""
    if isinstance(grad, list):
        return not any(isinstance(item, CustomTensor) for item in grad)
    return not isinstance(grad, CustomTensor)


# Results


def constant_result(value: Any) -> Any:
    """Wrap a result that needs no gradient; what isn't a tensor stays as it is."""
    if isinstance(value, Tensor):
        return new_result(value, None)
    if isinstance(value, (tuple, list)):
        items = [constant_result(item) for item in value]
        # torch's named results (torch.return_types.max) keep their names
        return type(value)(items) if type(value) in (tuple, list) or hasattr(value, "n_fields") else tuple(items)
    return value


def result_in_rule(value: Any, arguments: Sequence[Any]) -> Any:
    """What an operation gives that a rule calls in a pass over plain tensors: of plain tensors, a plain tensor."""
    flat = [
        item for argument in arguments for item in (argument if isinstance(argument, (tuple, list)) else (argument,))
    ]
    return constant_result(value) if any(isinstance(item, CustomTensor) for item in flat) else value


def outputs_of(node: Node, values: Sequence[Any], known: dict[int, OutputNode] | None = None) -> Any:
    """Wrap the results of an operation that has several.

    Args:
        node: The operation's.
        values: Its results.
        known: In a recorded pass the nodes of results that are still there, by position.
    """
    if node.op.results and len(node.op.results) != len(values):
        raise wrong_results(node.op, len(values))
    results = [output_of(node, value, n, len(values), known or {}) for n, value in enumerate(values)]
    if hasattr(values, "n_fields"):
        return type(values)(results)  # type: ignore[call-arg]
    return results if isinstance(values, list) else tuple(results)


def output_of(node: Node, value: Any, position: int, count: int, known: dict[int, OutputNode]) -> Any:
    """Wrap one of several results: it selects its gradient's place in the node's list."""
    if not isinstance(value, Tensor) or not is_differentiable(value.dtype):
        return constant_result(value)
    if value.is_inference():
        raise without_version(node.op, RuntimeError("no version"))
    output = known.get(position)
    if output is None:
        output = OutputNode()
        output.operation = node
        output.position = position
        output.results = count
        output.shape = value.shape
        output.dtype = value.dtype
        output.restore = None
        node.graph.record(output)
    return new_result(value, output)


def view_of(out: Any, base: Any) -> Any:
    """Note that ``out`` shares memory with ``base``, so that an in-place change of either can be refused."""
    for view in out if isinstance(out, (tuple, list)) else (out,):
        if isinstance(base, CustomTensor) and view is not base:
            base.add_view(view)
    return out


def first_dtype(values: Sequence[Any]) -> torch.dtype:
    """The element type of the first tensor among several results."""
    return next((value.dtype for value in values if isinstance(value, Tensor)), torch.get_default_dtype())


def is_differentiable(dtype: torch.dtype) -> bool:
    """Whether numbers of this type have derivatives: floating-point and complex ones."""
    return dtype.is_floating_point or dtype.is_complex


# Saved values


def shape_of(value: Any) -> Any:
    """The shape that stands for a value in a rule; numbers are 0-d."""
    if isinstance(value, (list, tuple)):
        return [shape_of(item) for item in value]
    return value.shape if isinstance(value, (Tensor, CustomTensor)) else torch.Size()


class _Results(tuple[Any, ...]):
    """An operation's several results as its rules see them: reading one that was changed in place since raises.

    Those that no rule reads may change: the rule of ``max`` needs the positions, not the values beside them.
    """

    node: Node
    versions: list[int | None]

    def __getitem__(self, place: Any) -> Any:
        for read in range(len(self))[place] if isinstance(place, slice) else [place]:
            value, version = tuple.__getitem__(self, read), self.versions[read]
            data = value._data if isinstance(value, CustomTensor) else value
            if version is not None and data._version != version:
                raise modified(self.node.name, f"result {read}", data, version)
        return tuple.__getitem__(self, place)

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))


def results_to_read(node: Node, values: Any, versions: Any) -> Any:
    """What a rule gets for ``out``: of several results (they have several versions) a tuple that is checked."""
    if not isinstance(versions, list):
        return values
    results = _Results(values)
    results.node, results.versions = node, versions
    return results


def recorded(value: Any, parent: Node | None) -> Any:
    """A saved argument linked to its history, for rules that are recorded themselves."""
    return value if parent is None or not isinstance(value, Tensor) else new_result(value, parent)


def recorded_output(value: Any, node: Node) -> Any:
    """A saved result, or all of several, linked to the history."""
    if isinstance(value, Tensor):
        return new_result(value, node)
    return None if value is None else outputs_of(node, value, _known_outputs(node))


def recorded_result(value: Any, node: Node, position: int) -> Any:
    """One of several results, saved by itself, linked to its history."""
    return None if value is None else output_of(node, value, position, len(node.op.results), _known_outputs(node))


def _known_outputs(node: Node) -> dict[int, OutputNode]:
    return {child.position: child for child in node.graph.children(node) if isinstance(child, OutputNode)}


# What generated code refers to by name.
NAMES: dict[str, Any] = {
    "ARGUMENT_ERRORS": ARGUMENT_ERRORS,
    "CustomTensor": CustomTensor,
    "NUMBERS": NUMBERS,
    "Node": Node,
    "Tensor": Tensor,
    "accumulate_list": accumulate_list,
    "all_gradients": all_gradients,
    "as_is": as_is,
    "changed_behind": changed_behind,
    "check_gradient": check_gradient,
    "conjugated": conjugated,
    "constant": constant,
    "constant_result": constant_result,
    "current_graph": current_graph,
    "explained": explained,
    "first_dtype": first_dtype,
    "graph_of_block": graph_of_block,
    "in_plain_pass": in_plain_pass,
    "is_differentiable": is_differentiable,
    "is_plain": is_plain,
    "list_parents": list_parents,
    "modified": modified,
    "new": object.__new__,
    "next_sequence": next_sequence,
    "number_of": number_of,
    "outputs_of": outputs_of,
    "plain": plain,
    "recorded": recorded,
    "recorded_output": recorded_output,
    "recorded_result": recorded_result,
    "recording_mode": recording_mode,
    "restored": restored,
    "result_in_rule": result_in_rule,
    "results_to_read": results_to_read,
    "shape_of": shape_of,
    "summed": summed,
    "unwrap_list": unwrap_list,
    "uses_rules_only": uses_rules_only,
    "value_of": value_of,
    "versions_of": versions_of,
    "view_of": view_of,
    "watch_computed": watch_computed,
    "watch_recorded": watch_recorded,
    "watchers": watchers,
    "weak": weakref.ref,
    "without_version": without_version,
    "wrong_results": wrong_results,
}
