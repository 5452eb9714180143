"""Products with the Jacobian: uᵀJ by the pullback, J v by the pullback's pullback.

`vjp` and `jvp` are called as in ``torch.func``.  What they are made of serves ``functional.py`` too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.backward import grad
from neuronix.autograd.errors import DtypeError, ShapeError
from neuronix.autograd.modes import enable_grad, is_grad_enabled
from neuronix.autograd.node import LeafNode, Node, next_sequence
from neuronix.autograd.tensor import CustomTensor

__all__ = ["jvp", "vjp"]


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Evaluate ``func`` and return its pullback: the map from a cotangent u to the vector-Jacobian product uᵀJ.

    Args:
        func: Takes the primals, returns a tensor or nested tuples, lists and dicts of tensors.
        primals: Tensors (ours or torch's), or nested tuples, lists and dicts of them.
        has_aux: Whether ``func`` returns a pair whose second part is handed through.

    Returns:
        ``(output, pullback)``, or ``(output, pullback, aux)``.  ``pullback(cotangents, retain_graph=True,
        create_graph=None)`` takes cotangents nested as the output and returns a tuple with a gradient for each primal;
        zeros for one that the output doesn't depend on.

    Raises:
        DtypeError: If a primal or an output isn't a tensor.
        ShapeError: By the pullback, if the cotangents aren't nested or shaped as the output.

    Example:
        >>> from neuronix.autograd import tensor, vjp
        >>> output, pullback = vjp(lambda x, y: x * y, tensor([1.0, 2.0]), tensor([3.0, 4.0]))
        >>> output
        CustomTensor([3., 8.])
        >>> pullback(tensor([1.0, 10.0]))
        (CustomTensor([ 3., 40.]), CustomTensor([ 1., 20.]))

    Differs from torch:
        The output and the gradients require grad only if they depend on something outside that does: a primal, a
        cotangent, or a tensor that ``func`` closes over.
    """
    call = _Call(func, primals, has_aux, "vjp")

    def pullback(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> tuple[Any, ...]:
        given = call.matching(cotangents, call.outputs, call.rebuild_output, "the cotangents", "the output")
        outside = call.outside or any(u.requires_grad for u in given)
        found = pull_back(
            call.outputs,
            call.inputs,
            given,
            retain_graph=retain_graph,
            create_graph=outside and is_grad_enabled() if create_graph is None else create_graph,
        )
        gradients: tuple[Any, ...] = call.rebuild_inputs(found)
        return gradients

    return call.result(pullback)


def jvp(
    func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, has_aux: bool = False
) -> tuple[Any, ...]:
    """Evaluate ``func`` and its derivative along ``tangents``: the Jacobian-vector product J v.

    The pullback u ↦ uᵀJ is linear in u.  So the derivative with respect to u of ⟨uᵀJ, v⟩ = uᵀ(J v) is J v, whatever u
    is: the vector-Jacobian product of the vector-Jacobian product.  No operation needs a second kind of rule.

    Args:
        func: Takes the primals, returns a tensor or nested tuples, lists and dicts of tensors.
        primals: A tuple of tensors (ours or torch's), or of nested tuples, lists and dicts of them.
        tangents: The direction v: for each primal a tensor of its shape, nested alike.
        has_aux: Whether ``func`` returns a pair whose second part is handed through.

    Returns:
        ``(output, J v)``, or ``(output, J v, aux)``; the product is nested as the output.

    Raises:
        DtypeError: If a primal or an output isn't a tensor, or ``primals`` isn't a tuple.
        ShapeError: If the tangents aren't nested or shaped as the primals.

    Example:
        >>> from neuronix.autograd import jvp, tensor
        >>> jvp(lambda x: x * x, (tensor([1.0, 2.0, 3.0]),), (tensor([1.0, 0.0, 10.0]),))
        (CustomTensor([1., 4., 9.]), CustomTensor([ 2.,  0., 60.]))

    References:
        J. Townsend, "A new trick for calculating Jacobian vector products", 2017.
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise DtypeError(
            f"jvp: primals and tangents must be tuples, not {type(primals).__name__} and {type(tangents).__name__}",
            hint="for one argument write jvp(func, (x,), (v,))",
        )
    call = _Call(func, tuple(primals), has_aux, "jvp")
    given = call.matching(tuple(tangents), call.inputs, call.rebuild_inputs, "the tangents", "the primals")
    outside = call.outside or any(v.requires_grad for v in given)
    product = push_forward(call.outputs, call.inputs, given, create_graph=outside and is_grad_enabled())
    return call.result(call.rebuild_output(product))


class _Call:
    """One evaluation of a function on inputs of its own, and what it depends on besides."""

    def __init__(self, func: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool, name: str) -> None:
        self.name = name
        given, self.rebuild_inputs = _flatten(primals)
        recording = is_grad_enabled()
        start = next_sequence()
        with enable_grad():
            self.inputs = [input_of(value, f"{name}: primal {i}", recording) for i, value in enumerate(given)]
            output = func(*self.rebuild_inputs(self.inputs))
        self.aux: Any = None
        self.has_aux = has_aux
        if has_aux:
            if not isinstance(output, tuple) or len(output) != 2:
                raise DtypeError(f"{name}: with has_aux=True the function must return a pair (output, aux)")
            output, self.aux = output
        outputs, self.rebuild_output = _flatten(output)
        self.outputs = [output_of(value, f"{name}: output {i}") for i, value in enumerate(outputs)]
        aux = [value for value in _flatten(self.aux)[0] if isinstance(value, CustomTensor)]
        self.outside = recording and _depends_on_outside([*self.outputs, *aux], self.inputs, start)

    def matching(
        self, tree: Any, like: Sequence[CustomTensor], rebuild: Callable[[Sequence[Any]], Any], what: str, whose: str
    ) -> list[CustomTensor]:
        """The tensors of `tree`, which must be nested and shaped as `like`."""
        found, rebuild_found = _flatten(tree)
        places: list[Any] = list(range(len(like)))
        if len(found) != len(like) or rebuild_found(places) != rebuild(places):
            raise ShapeError(f"{self.name}: {what} must be nested as {whose}: {len(like)} tensor(s), not {len(found)}")
        return [vector_of(value, tensor, f"{self.name}: {what}") for value, tensor in zip(found, like, strict=True)]

    def result(self, derivative: Any) -> tuple[Any, ...]:
        """What the caller gets: without the history that exists for our own inputs alone."""
        output = self.rebuild_output([value if self.outside else value.detach() for value in self.outputs])
        if not self.has_aux:
            return output, derivative
        flat, rebuild = _flatten(self.aux)
        released = [v.detach() if isinstance(v, CustomTensor) and not self.outside else v for v in flat]
        return output, derivative, rebuild(released)


# Passes


def pull_back(
    outputs: Sequence[CustomTensor],
    inputs: Sequence[CustomTensor],
    cotangents: Sequence[CustomTensor],
    *,
    create_graph: bool,
    retain_graph: bool = True,
) -> list[CustomTensor]:
    """uᵀJ, with zeros where nothing depends on an input."""
    pairs = [(output, u) for output, u in zip(outputs, cotangents, strict=True) if output.requires_grad]
    if not pairs or not inputs:
        return [zeros_like(tensor) for tensor in inputs]
    found = grad(
        [output for output, _ in pairs],
        inputs,
        [u for _, u in pairs],
        retain_graph=retain_graph,
        create_graph=create_graph,
        allow_unused=True,
    )
    return [zeros_like(tensor) if g is None else g for g, tensor in zip(found, inputs, strict=True)]


def push_forward(
    outputs: Sequence[CustomTensor],
    inputs: Sequence[CustomTensor],
    tangents: Sequence[CustomTensor],
    *,
    create_graph: bool,
) -> list[CustomTensor]:
    """J v, as the derivative of the pullback with respect to its cotangent: see `jvp`."""
    cotangents, products = linear_in_cotangents(outputs, inputs)
    return pull_back(products, cotangents, tangents, create_graph=create_graph)


def linear_in_cotangents(
    outputs: Sequence[CustomTensor], inputs: Sequence[CustomTensor]
) -> tuple[list[CustomTensor], list[CustomTensor]]:
    """Cotangents u, and uᵀJ as a recorded function of them.  Their values don't matter, so they are zeros."""
    cotangents = [CustomTensor(torch.zeros_like(output.data), requires_grad=True) for output in outputs]
    with enable_grad():
        return cotangents, pull_back(outputs, inputs, cotangents, create_graph=True)


# Inputs and outputs


def input_of(value: Any, what: str, recording: bool) -> CustomTensor:
    """What ``func`` gets for ``value``: a leaf of its own, or an image of a tensor that has a history already.

    The image keeps the derivative with respect to this argument apart from that with respect to the same tensor used
    elsewhere (as when ``func`` closes over it), and lets gradients flow on to it.
    """
    if isinstance(value, CustomTensor):
        if recording and value.requires_grad:
            image: CustomTensor = value.clone()
            return image
        value = value.data
    if not isinstance(value, Tensor):
        raise DtypeError(
            f"{what} is a {type(value).__name__}; it must be a tensor", hint="neuronix.autograd.tensor(...)"
        )
    return CustomTensor(value.detach(), requires_grad=True)


def output_of(value: Any, what: str) -> CustomTensor:
    if isinstance(value, CustomTensor):
        return value
    if isinstance(value, Tensor):
        return CustomTensor(value)
    raise DtypeError(f"{what} of the function is a {type(value).__name__}; it must be a tensor")


def vector_of(value: Any, like: CustomTensor, what: str) -> CustomTensor:
    """A cotangent or tangent as one of our tensors, shaped as ``like``."""
    if not isinstance(value, (CustomTensor, Tensor)):
        raise DtypeError(f"{what} must be tensors, not {type(value).__name__}")
    if value.shape != like.shape:
        raise ShapeError(f"{what}: shape {tuple(value.shape)} where {tuple(like.shape)} is expected")
    vector = value if isinstance(value, CustomTensor) else CustomTensor(value.detach())
    return vector if vector.dtype is like.dtype else vector.to(like.dtype)


def zeros_like(like: CustomTensor) -> CustomTensor:
    return CustomTensor(torch.zeros_like(like.data))


def _flatten(tree: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """What stands in nested tuples, lists and dicts, and a function that puts other things in its place."""
    if isinstance(tree, dict):
        flat, rebuild = _flatten(list(tree.values()))
        return flat, lambda values: dict(zip(tree, rebuild(values), strict=True))
    if isinstance(tree, (tuple, list)) and not isinstance(tree, torch.Size):
        parts = [_flatten(item) for item in tree]
        sizes = [len(flat) for flat, _ in parts]

        def rebuild_sequence(values: Sequence[Any]) -> Any:
            rest = iter(values)
            items = [build([next(rest) for _ in range(size)]) for size, (_, build) in zip(sizes, parts, strict=True)]
            return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)

        return [value for flat, _ in parts for value in flat], rebuild_sequence
    return [tree], lambda values: values[0]


# Dependence


def _depends_on_outside(outputs: Sequence[CustomTensor], inputs: Sequence[CustomTensor], start: int) -> bool:
    """Whether the outputs depend on anything that requires grad besides leaves of our own.

    Such a thing was recorded before the call began, or is a leaf that isn't one of ``inputs``.
    """
    own = {id(tensor) for tensor in inputs}
    if any(tensor.requires_grad and tensor.is_leaf and id(tensor) not in own for tensor in outputs):
        return True
    stack = [tensor.grad_fn for tensor in outputs if tensor.grad_fn is not None]
    seen: set[Node] = set(stack)
    while stack:
        node = stack.pop()
        leaf = node.leaf() if isinstance(node, LeafNode) else None
        if node.sequence < start or (leaf is not None and id(leaf) not in own):
            return True
        for parent in node.parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return False
