"""What the generated code of ``codegen.py`` calls: unwrapping arguments, and the less common cases of recording."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neuronix.autograd.compiled_sums import sum_back, uses_compiled_reductions
from neuronix.autograd.dispatch.inplace import is_recorded, not_a_number
from neuronix.autograd.errors import (
    ArgumentError,
    AxisError,
    DtypeError,
    GradientError,
    NeuronixError,
    ShapeError,
    UnsupportedError,
)
from neuronix.autograd.graph import AutogradGraph, current_graph, graph_of_block
from neuronix.autograd.modes import (
    in_plain_pass,
    is_grad_enabled,
    recording_mode,
    uses_rules_only,
    watch_computed,
    watch_recorded,
    watchers,
)
from neuronix.autograd.node import Node, OutputNode, added, next_sequence
from neuronix.autograd.tensor import CustomTensor, new_result

if TYPE_CHECKING:
    from neuronix.autograd.primitive import Primitive

__all__ = ["NAMES"]

Restore = tuple[torch.Size, torch.dtype]


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


def number_of(value: CustomTensor) -> Any:
    """The number that a tensor holds, where an operation takes a number; not of one whose gradient would be lost."""
    if value._requires_grad and is_grad_enabled():
        raise not_a_number()
    return value._data if value._data.ndim else value._data.item()


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


ARGUMENT_ERRORS = (RuntimeError, TypeError, ValueError, IndexError)

# Which error a message of torch's means; the first that fits.
_MEANINGS: tuple[tuple[tuple[str, ...], type[NeuronixError]], ...] = (
    (("dtype", "scalar type", "Long", "Float", "Double"), DtypeError),
    (("shape", "size", "dimension", "dims", "must match", "equal"), ShapeError),
)


def explained(op: Primitive, error: Exception, values: Sequence[Any]) -> Exception:
    """The error that torch raised for an operation's arguments, with the operation's name and all arguments."""
    if isinstance(error, NeuronixError):
        return error
    if is_recorded(*values):  # a CustomTensor is left where the operation takes a number
        return not_a_number()
    given = ", ".join(f"{name}={_described(value)}" for name, value in zip(op.parameters, values, strict=True))
    message = f"{op.name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}\n  given: {given}"
    if isinstance(error, NotImplementedError):
        return UnsupportedError(message)
    if isinstance(error, IndexError):
        return AxisError(message)
    if isinstance(error, TypeError):
        return DtypeError(message)
    if isinstance(error, ValueError):
        return ShapeError(message)
    for words, kind in _MEANINGS:
        if any(word in str(error) for word in words):
            return kind(message)
    return ArgumentError(message)


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_described(item) for item in value) + "]"
    return repr(value)


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


def outputs_of(node: Node, values: Sequence[Any]) -> Any:
    """Wrap the results of an operation that has several: each selects its gradient's place in the node's list."""
    results: list[Any] = []
    for position, value in enumerate(values):
        if not isinstance(value, Tensor) or not is_differentiable(value.dtype):
            results.append(constant_result(value))
            continue
        if value.is_inference():
            raise without_version(node.op, RuntimeError("no version"))
        output = _output_node(node, position)
        if output is not None:  # in a recorded pass: a result that is still there
            results.append(new_result(value, output))
            continue
        output = OutputNode()
        output.operation = node
        output.position = position
        output.results = len(values)
        output.shape = value.shape
        output.dtype = value.dtype
        output.restore = None
        node.graph.record(output)
        results.append(new_result(value, output))
    if hasattr(values, "n_fields"):
        return type(values)(results)  # type: ignore[call-arg]
    return results if isinstance(values, list) else tuple(results)


def _output_node(node: Node, position: int) -> OutputNode | None:
    """The node that stands for one of several results of ``node`` already, if there is one."""
    for child in node.graph.children(node):
        if isinstance(child, OutputNode) and child.position == position:
            return child
    return None


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


def versions_of(values: Any) -> list[int | None] | None:
    """How often torch has changed each of several tensors in place; ``None`` where there is none."""
    if not isinstance(values, (tuple, list)) or not any(isinstance(value, Tensor) for value in values):
        return None
    return [value._version if isinstance(value, Tensor) else None for value in values]


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
                raise modified(self.node, f"result {read}", data, version)
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


def without_version(op: Primitive, error: RuntimeError) -> RuntimeError:
    """The error for a tensor made under ``torch.inference_mode``, in which no later change could be noticed."""
    if "version" not in str(error):
        return error
    return GradientError(
        f"{op.name}: a tensor made under torch.inference_mode() can't be recorded or saved for a gradient, because "
        "it doesn't count its changes",
        hint="use neuronix.autograd.no_grad() to record nothing, and a .clone() made outside inference_mode for values "
        "from inside",
    )


def changed_behind(op: Primitive, name: str, tensor: CustomTensor) -> GradientError:
    """The error for a result whose values were changed without the engine's knowledge."""
    return GradientError(
        f"{op.name}: {name!r}, a result of {tensor._node.name if tensor._node else 'an operation'} with shape "
        f"{tuple(tensor._data.shape)}, was changed in place through its .data or a view since it was computed "
        f"(version {tensor._data._version}, expected {tensor._version})",
        hint="change tensors with their own operators (y *= 2), which are differentiated, or work on a .clone()",
    )


def modified(node: Node, name: str, value: Any, version: Any) -> GradientError:
    """The error for a saved value that was changed between the forward and the backward pass."""
    what = "its result" if name == "out" else f"its {name}" if " " in name else f"its argument {name!r}"
    if isinstance(value, Tensor):
        what = f"{what} with shape {tuple(value.shape)}"
        now: Any = value._version
    else:
        what = f"a tensor of {what}"
        now = versions_of(value)
    return GradientError(
        f"{node.name}: {what} is needed for the gradient, but has been modified by an inplace operation since the "
        f"forward pass (version {now}, expected {version})",
        hint="call backward() before changing it, or change a .clone()",
    )


def recorded(value: Any, parent: Node | None) -> Any:
    """A saved argument linked to its history, for rules that are recorded themselves."""
    return value if parent is None or not isinstance(value, Tensor) else new_result(value, parent)


def recorded_output(value: Any, node: Node) -> Any:
    """A saved result linked to its history."""
    if isinstance(value, Tensor):
        return new_result(value, node)
    return None if value is None else outputs_of(node, value)


# Gradients


def restored(grad: Any, to: Restore) -> Any:
    """Bring a gradient back to its argument: sum over the axes that were broadcast, then cast.

    Broadcasting repeats an argument along an axis; by the chain rule its gradient is the sum over the repetitions.
    """
    shape, dtype = to
    if uses_compiled_reductions():
        summed = sum_back(grad, shape, dtype)
        if summed is not None:
            return summed
    if grad.shape != shape:
        added = grad.ndim - len(shape)
        repeated = tuple(range(added)) + tuple(
            axis + added for axis, size in enumerate(shape) if size == 1 and grad.shape[axis + added] != 1
        )
        if repeated:
            grad = grad.sum(repeated, keepdim=True)
        if grad.shape != shape:
            grad = grad.reshape(shape)
    if grad.dtype is not dtype:
        if grad.dtype.is_complex and not dtype.is_complex:
            grad = torch.real(grad)  # a real argument moves along the real axis only
        grad = grad.to(dtype)
    return grad


def accumulate_list(
    grads: dict[Node, Any], parents: Sequence[Node | None], values: Any, restore: Any, start: int, finish: Any
) -> None:
    """Hand a list of gradients on to a list argument's nodes."""
    for position, (parent, grad) in enumerate(zip(parents, values, strict=True), start):
        if parent is None or grad is None:
            continue
        grad = finish(grad)
        if restore is not None and restore[position] is not None:
            grad = restored(grad, restore[position])
        held = grads.get(parent)
        grads[parent] = grad if held is None else added(held, grad)


def as_is(grad: Any) -> Any:
    """The gradient of a list's tensor where numbers are real."""
    return grad


def conjugated(grad: Any) -> Any:
    """The complex conjugate, resolved.

    PyTorch's convention: for a holomorphic f the gradient of a real loss L is grad · conj(f'(z)), which equals
    conj(conj(grad) · f'(z)), so a rule written for real numbers serves between two conjugations.
    """
    if isinstance(grad, (tuple, list)):
        return [None if item is None else conjugated(item) for item in grad]
    return torch.conj(grad).resolve_conj() if grad.dtype.is_complex else grad


def is_plain(grad: Any) -> bool:
    """Whether fused kernels may be used: every value is an ordinary tensor."""
    if isinstance(grad, list):
        return not any(isinstance(item, CustomTensor) for item in grad)
    return not isinstance(grad, CustomTensor)


# What generated code refers to by name.
NAMES: dict[str, Any] = {
    "ARGUMENT_ERRORS": ARGUMENT_ERRORS,
    "CustomTensor": CustomTensor,
    "Node": Node,
    "Tensor": Tensor,
    "accumulate_list": accumulate_list,
    "added": added,
    "as_is": as_is,
    "changed_behind": changed_behind,
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
    "recording_mode": recording_mode,
    "restored": restored,
    "result_in_rule": result_in_rule,
    "results_to_read": results_to_read,
    "shape_of": shape_of,
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
}
