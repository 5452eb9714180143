"""The backward pass.

`run` is the whole algorithm: seed the results' gradients, visit the nodes from the youngest to the oldest, and let each
one's pullback turn the gradient of its result into gradients of its arguments.  The order comes from ``graph.py``, the
pullbacks from ``primitive/codegen.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.errors import DtypeError, GradientError, GraphError, ShapeError
from neuronix.autograd.gradients import added, is_unshared, restored
from neuronix.autograd.graph import current_graph
from neuronix.autograd.modes import no_grad, plain_pass, watchers
from neuronix.autograd.node import LeafNode, Node
from neuronix.autograd.tensor import CustomTensor, new_result
from neuronix.autograd.watching.hooks import AfterAccumulation, KeepGradient, call_hooks, watched_pullback

__all__ = ["backward", "grad", "run"]

# torch's operations ask at each call whether its own autograd is to record them, which is never the case here; not
# asking saves a sixth of a small operation's time.
_arrays_only = torch._C._AutoDispatchBelowAutograd

_accumulation = threading.Lock()  # two threads' passes may end in the same leaf


def run(
    grads: dict[Node, Any], *, recording: bool, retain_graph: bool, wanted: Sequence[CustomTensor] | None
) -> tuple[list[tuple[CustomTensor, Any]], dict[int, Any], list[tuple[CustomTensor, Any]]]:
    """Visit every node behind ``grads`` once, each before its parents.

    Args:
        grads: For each result to start from its node and gradient; used up.
        recording: Hand `CustomTensor`s through the rules, so that the pass itself can be differentiated.
        retain_graph: Keep the saved values.
        wanted: Visit only what leads to these tensors, and return their gradients; ``None`` for all leaves.

    Returns:
        The leaves that were reached with their gradients (nothing has been written to them), the gradients of
        ``wanted`` by the tensors' ``id``, and the results that keep theirs (``retain_grad``) with it.
    """
    order, ends = _visited(next(iter(grads)).graph.backward_order(list(grads)), wanted)
    targets = {} if wanted is None else {id(tensor): tensor for tensor in wanted}
    inner = {tensor._node: key for key, tensor in targets.items() if tensor._node is not None}
    reached: dict[int, tuple[CustomTensor, Any]] = {}  # a leaf has a node on each graph: its gradient is their sum
    captured: dict[int, Any] = {}
    retained: list[tuple[CustomTensor, Any]] = []
    watching = watchers()
    for node in order:
        grad = grads.pop(node, None)
        if grad is None:
            continue
        if node.__class__ is LeafNode:
            leaf = node.leaf()
            if leaf is not None and leaf._requires_grad:  # it may have been frozen since
                held = reached.get(id(leaf))
                if getattr(grad, "dtype", None) is not leaf._data.dtype:
                    grad = _as_leaf(leaf, grad)
                if held is not None:
                    _check_arrived(leaf, grad)
                reached[id(leaf)] = (leaf, grad if held is None else added(held[1], grad))
            continue
        pullback = node.pullback
        if node.hooks or watching:
            grad = call_hooks(node.hooks, grad, node.name)
            keepers = [hook.tensor() for hook in (node.hooks or {}).values() if isinstance(hook, KeepGradient)]
            retained += [(tensor, grad) for tensor in keepers if tensor is not None]
            pullback = partial(watched_pullback, node, watching)
        if inner and node in inner:
            captured[inner[node]] = grad
        if node not in ends:
            pullback(grad, grads, recording, retain_graph)
    leaves = [(leaf, call_hooks(leaf._hooks, grad, "leaf") if leaf._hooks else grad) for leaf, grad in reached.values()]
    for watcher in watching:
        for leaf, grad in leaves:
            watcher.arrived(leaf, grad)
    if targets:
        captured.update((id(leaf), grad) for leaf, grad in leaves if id(leaf) in targets)
    return leaves, captured, retained


def _as_leaf(leaf: CustomTensor, gradient: Any) -> Any:
    """The gradient in its leaf's element type: a rule may give any other one, but nothing that is no tensor."""
    if not isinstance(gradient, (Tensor, CustomTensor)):
        raise DtypeError(
            f"backward: a {type(gradient).__name__} arrived at a leaf of shape {tuple(leaf.shape)} as its gradient",
            hint="a rule on the way returned it; it must return a tensor, or None",
        )
    return restored(gradient, (gradient.shape, leaf._data.dtype))


def _check_arrived(leaf: CustomTensor, gradient: Any) -> None:
    """Refuse a gradient that can't be its leaf's; so far nothing has been written."""
    if gradient.shape != leaf._data.shape:
        raise ShapeError(
            f"backward: a gradient of shape {tuple(gradient.shape)} arrived at a leaf of shape {tuple(leaf.shape)}",
            hint="either a rule on the way returned the wrong shape (gradcheck() names it), or the leaf's .data was "
            "replaced by a tensor of another shape after its use",
        )


def _visited(order: list[Node], wanted: Sequence[CustomTensor] | None) -> tuple[list[Node], set[Node]]:
    """The nodes of ``order`` that lead to ``wanted``, and those of them whose rules needn't run.

    These are the wanted results that lead to no other wanted tensor: they keep what they have saved, for another pass.
    None of the others may have been freed.
    """
    ends: set[Node] = set()
    if wanted is not None:
        inner = {tensor._node for tensor in wanted if tensor._node is not None}
        leaves = {id(tensor) for tensor in wanted if tensor._node is None}
        leading: set[Node] = set()
        for node in reversed(order):  # parents first
            if not leading.isdisjoint(node.parents) or (isinstance(node, LeafNode) and id(node.leaf()) in leaves):
                leading.add(node)
            elif node in inner:
                leading.add(node)
                ends.add(node)
        order = [node for node in order if node in leading]
    for node in order:
        if node.freed and node not in ends:
            if node.graph.closed:
                raise GraphError(
                    f"{node.name}: its AutogradGraph is closed",
                    hint="call backward() inside the `with` block of the graph",
                )
            raise GraphError(
                f"{node.name}: trying to backward through the graph a second time, but its saved values have "
                "been freed",
                hint="give retain_graph=True to the first backward() or grad()",
            )
    return order, ends


# Seeds


def _seed(output: CustomTensor, gradient: Any, name: str) -> Any:
    """The gradient to start with: the given one, checked, or 1 for a single element."""
    if not isinstance(output, CustomTensor):
        raise DtypeError(f"{name}: expected a CustomTensor, got {type(output).__name__}")
    if not output._requires_grad:
        raise GradientError(
            f"{name}: the tensor of shape {tuple(output.shape)} does not require grad and does not have a "
            "grad_fn: there is nothing to differentiate",
            hint="compute it from tensors with requires_grad=True, outside no_grad()",
        )
    node = output._node
    if node is not None and output._data._version != output._version:
        raise GradientError(
            f"{name}: the result of {node.name!r} was changed in place through its .data or a view since it was made"
        )
    if gradient is None:
        if output._data.numel() != 1:
            raise GradientError(
                f"{name}: grad can be implicitly created only for scalar outputs, not for shape {tuple(output.shape)}",
                hint="reduce it first, as in y.sum().backward(), or give the gradient of its shape",
            )
        if output._data.is_complex():
            raise GradientError(
                f"{name}: grad can be implicitly created only for real scalar outputs, not {output.dtype}"
            )
        return torch.ones_like(output._data)
    if not isinstance(gradient, (Tensor, CustomTensor)):
        gradient = torch.as_tensor(gradient, dtype=output.dtype)
    if gradient.shape != output._data.shape:
        raise ShapeError(
            f"{name}: the gradient has shape {tuple(gradient.shape)}, the tensor has shape {tuple(output.shape)}",
            hint="they must be equal",
        )
    if gradient.is_complex() and not output._data.is_complex():
        raise DtypeError(f"{name}: a complex gradient ({gradient.dtype}) for a real tensor ({output.dtype})")
    if isinstance(gradient, Tensor) and gradient.requires_grad:
        gradient = gradient.detach()
    return gradient if gradient.dtype is output._data.dtype else gradient.to(output._data.dtype)


def _start(outputs: Sequence[CustomTensor], gradients: Sequence[Any], name: str, recording: bool) -> dict[Node, Any]:
    """The nodes to start from, with their gradients."""
    grads: dict[Node, Any] = {}
    for output, gradient in zip(outputs, gradients, strict=True):
        seed = _seed(output, gradient, name)
        node = output.node_in(current_graph() if output._node is None else output._node.graph)
        if node is None or node.graph.closed:
            raise GraphError(
                f"{name}: the AutogradGraph of the tensor of shape {tuple(output.shape)} is closed",
                hint="call backward() inside the `with` block of the graph",
            )
        if recording and not isinstance(seed, CustomTensor):
            seed = new_result(seed, None)
        elif not recording and isinstance(seed, CustomTensor):
            seed = seed._data
        grads[node] = added(grads[node], seed) if node in grads else seed
    return grads


# What users call


def backward(
    output: CustomTensor,
    gradient: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: CustomTensor | Sequence[CustomTensor] | None = None,
) -> None:
    """See [`CustomTensor.backward`][neuronix.autograd.CustomTensor.backward]."""
    if create_graph:
        raise GradientError(
            "backward(create_graph=True) would tie each leaf to the graph of its own .grad, which is a leak",
            hint="use neuronix.autograd.grad(output, inputs, create_graph=True)",
        )
    wanted = None if inputs is None else [inputs] if isinstance(inputs, CustomTensor) else list(inputs)
    if wanted is not None:
        _check_inputs(wanted, "backward")
        for tensor in wanted:
            tensor.retain_grad()  # as in torch, a result that is named here keeps its gradient; leaves do anyway
    grads = _start([output], [gradient], "backward", recording=False)
    kept = list(grads.values()) if gradient is not None else []  # the caller's own tensors
    with no_grad(), plain_pass(), _arrays_only():
        leaves, captured, retained = run(grads, recording=False, retain_graph=bool(retain_graph), wanted=wanted)
    if wanted is not None:
        leaves = [(leaf, gradient) for leaf, gradient in leaves if id(leaf) in captured]
    captured.clear()  # a gradient that only `leaves` holds needn't be copied
    leaves += retained
    retained.clear()
    _accumulate(leaves, kept)


def grad(
    outputs: CustomTensor | Sequence[CustomTensor],
    inputs: CustomTensor | Sequence[CustomTensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[CustomTensor | None, ...]:
    """The gradients of the sum of ``outputs`` with respect to ``inputs``; no leaf's ``.grad`` is touched.

    Args:
        outputs: Tensors to differentiate.
        inputs: Tensors to differentiate with respect to: leaves or results.
        grad_outputs: For each output the gradient to start from, or ``None`` for 1 (outputs with one element).
        retain_graph: Keep the saved values; by default the same as ``create_graph``.
        create_graph: Record the pass, so that the gradients can be differentiated again.
        allow_unused: Give ``None`` for an input that the outputs don't depend on, instead of raising; by default the
            same as ``materialize_grads``.
        materialize_grads: Give zeros instead of ``None``.

    Returns:
        A gradient for each input, of its shape.

    Raises:
        GradientError: If there is nothing to differentiate, an input wasn't used, or an output isn't a scalar and has
            no ``grad_outputs``.

    Example:
        >>> from neuronix.autograd import grad, tensor
        >>> x = tensor(3.0, requires_grad=True)
        >>> (first,) = grad(x ** 3, x, create_graph=True)
        >>> (second,) = grad(first, x)
        >>> first.item(), second.item()
        (27.0, 18.0)
    """
    if allow_unused is False and materialize_grads:
        raise ValueError("grad: materialize_grads=True needs allow_unused to be True or left out, not False")
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    outputs = [outputs] if isinstance(outputs, CustomTensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, CustomTensor) else list(inputs)
    if not isinstance(grad_outputs, (tuple, list)):
        grad_outputs = [grad_outputs] * (len(outputs) if grad_outputs is None else 1)
    if len(grad_outputs) != len(outputs):
        raise ShapeError(f"grad: {len(outputs)} outputs, but {len(grad_outputs)} grad_outputs")
    _check_inputs(inputs, "grad")
    grads = _start(outputs, grad_outputs, "grad", recording=create_graph)
    retain_graph = create_graph if retain_graph is None else retain_graph
    if create_graph:
        _, captured, retained = run(grads, recording=True, retain_graph=retain_graph, wanted=inputs)
    else:
        with no_grad(), plain_pass(), _arrays_only():
            _, captured, retained = run(grads, recording=False, retain_graph=retain_graph, wanted=inputs)
    _accumulate([(tensor, found._data if create_graph else found) for tensor, found in retained], [])
    results: list[CustomTensor | None] = []
    for position, tensor in enumerate(inputs):
        found = captured.get(id(tensor))
        if found is None and materialize_grads:
            found = torch.zeros_like(tensor._data)
        if found is None and not allow_unused:
            raise GradientError(
                f"grad: input {position} with shape {tuple(tensor.shape)} was not used in computing the outputs",
                hint="leave it out, or give allow_unused=True to get None for it",
            )
        results.append(new_result(found, None) if isinstance(found, Tensor) else found)
    return tuple(results)


def _check_inputs(inputs: Sequence[CustomTensor], name: str) -> None:
    if not inputs:
        raise GradientError(f"{name}: inputs is empty", hint="name at least one tensor")
    for position, tensor in enumerate(inputs):
        if not isinstance(tensor, CustomTensor):
            raise DtypeError(f"{name}: input {position} is a {type(tensor).__name__}; it must be a CustomTensor")
        if not tensor._requires_grad:
            raise GradientError(f"{name}: input {position} with shape {tuple(tensor.shape)} does not require grad")


# Accumulation


def _accumulate(leaves: list[tuple[CustomTensor, Any]], kept: list[Any]) -> None:
    """Add each gradient to its leaf's ``.grad``: the one place that writes there, once the whole pass has succeeded.

    A ``.grad`` owns its memory.  Where it is ``None`` the gradient itself is taken, if nobody else holds it; a rule may
    have returned its argument, a view or a saved value, and then it is copied.
    """
    seen: set[int] = {id(tensor) for tensor in kept}
    hooked = [leaf for leaf, _ in leaves if leaf._hooks]
    with _accumulation:
        _check_held(leaves)
        while leaves:
            leaf, gradient = leaves.pop()
            if leaf._grad is not None:
                if leaf._grad.dtype is gradient.dtype and not leaf._grad.is_sparse:
                    leaf._grad.add_(gradient)
                else:
                    leaf._grad = added(leaf._grad, gradient)
                continue
            shared = id(gradient) in seen
            seen.add(id(gradient))
            kept.append(gradient)  # so that no identity is used again while `seen` counts
            leaf._grad = _copy_like(gradient, leaf._data) if shared or not is_unshared(gradient) else gradient
    for leaf in hooked:
        for hook in tuple((leaf._hooks or {}).values()):
            if isinstance(hook, AfterAccumulation):
                hook.hook(leaf)


def _check_held(leaves: list[tuple[CustomTensor, Any]]) -> None:
    """Refuse, before the first ``.grad`` is written, gradients that one of them can't be added to."""
    for leaf, gradient in leaves:
        _check_arrived(leaf, gradient)
        if leaf._grad is not None and leaf._grad.shape != gradient.shape:
            raise ShapeError(
                f"backward: a leaf of shape {tuple(leaf.shape)} still has a .grad of shape {tuple(leaf._grad.shape)}, "
                "from before its .data was replaced",
                hint="set its .grad to None first",
            )


def _copy_like(gradient: Tensor, like: Tensor) -> Tensor:
    """A copy in memory of its own, laid out as ``like``."""
    if gradient.layout is not torch.strided:
        return gradient.clone()
    return torch.empty_like(like, dtype=gradient.dtype).copy_(gradient)
