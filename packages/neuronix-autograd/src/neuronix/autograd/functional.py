"""Derivatives of functions: products with the Jacobian from either side, and the Jacobian and Hessian themselves.

All of it is `grad` applied once, twice or row by row.  `vjp` and `jvp` are called as in ``torch.func``; `jacobian`,
`hessian`, `hvp` and `vhp` as in ``torch.autograd.functional``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.backward import grad
from neuronix.autograd.errors import ArgumentError, DtypeError, GradientError, ShapeError
from neuronix.autograd.modes import enable_grad, is_grad_enabled
from neuronix.autograd.node import LeafNode, Node, next_sequence
from neuronix.autograd.tensor import CustomTensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


# Products, as in torch.func


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
        found = _pull_back(
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
    product = _push_forward(call.outputs, call.inputs, given, create_graph=outside and is_grad_enabled())
    return call.result(call.rebuild_output(product))


class _Call:
    """One evaluation of a function on inputs of its own, and what it depends on besides."""

    def __init__(self, func: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool, name: str) -> None:
        self.name = name
        given, self.rebuild_inputs = _flatten(primals)
        recording = is_grad_enabled()
        start = next_sequence()
        with enable_grad():
            self.inputs = [_input_of(value, f"{name}: primal {i}", recording) for i, value in enumerate(given)]
            output = func(*self.rebuild_inputs(self.inputs))
        self.aux: Any = None
        self.has_aux = has_aux
        if has_aux:
            if not isinstance(output, tuple) or len(output) != 2:
                raise DtypeError(f"{name}: with has_aux=True the function must return a pair (output, aux)")
            output, self.aux = output
        outputs, self.rebuild_output = _flatten(output)
        self.outputs = [_output_of(value, f"{name}: output {i}") for i, value in enumerate(outputs)]
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
        return [_vector_of(value, tensor, f"{self.name}: {what}") for value, tensor in zip(found, like, strict=True)]

    def result(self, derivative: Any) -> tuple[Any, ...]:
        """What the caller gets: without the history that exists for our own inputs alone."""
        output = self.rebuild_output([value if self.outside else value.detach() for value in self.outputs])
        if not self.has_aux:
            return output, derivative
        flat, rebuild = _flatten(self.aux)
        released = [v.detach() if isinstance(v, CustomTensor) and not self.outside else v for v in flat]
        return output, derivative, rebuild(released)


# Matrices and products, as in torch.autograd.functional


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of ``func``: the derivative of each element of its output with respect to each element of its input.

    Args:
        func: Takes tensors, returns a tensor or a tuple of tensors.
        inputs: A tensor or a tuple of tensors (ours or torch's).
        create_graph: Make the result differentiable.
        strict: Raise where an output doesn't depend on an input, instead of giving zeros.
        vectorize: Compute all rows at once with ``torch.vmap``; a result to be differentiated (``create_graph``) is
            computed row by row all the same.
        strategy: ``"reverse-mode"`` works row by row, with a pass for each element of the output; ``"forward-mode"``
            column by column, with one for each element of the input.

    Returns:
        A tensor of shape ``(*output.shape, *input.shape)``; a tuple of them for a tuple of inputs, and a tuple of
        these for a tuple of outputs: ``result[i][j]`` is of output i with respect to input j.

    Raises:
        GradientError: In strict mode, if an output doesn't depend on an input.
        DtypeError: If an input or an output isn't a tensor.
        ArgumentError: If ``strategy`` is unknown, or ``strict`` is asked of vectorized rows or of columns.

    Example:
        >>> from neuronix.autograd import jacobian, tensor
        >>> jacobian(lambda x: x * x, tensor([1.0, 2.0, 3.0]))
        CustomTensor([[2., 0., 0.],
                      [0., 4., 0.],
                      [0., 0., 6.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ArgumentError(f"jacobian: strategy must be 'reverse-mode' or 'forward-mode', not {strategy!r}")
    if strict and (vectorize or strategy == "forward-mode"):
        raise ArgumentError("jacobian: strict=True works with vectorize=False and strategy='reverse-mode' only")
    given, single_input = _as_tuple(inputs)
    leaves = _inputs_of(given, "jacobian", create_graph)
    with enable_grad():
        outputs, single_output = _as_tuple(func(*leaves))
        outputs = [_output_of(output, f"jacobian: output {i}") for i, output in enumerate(outputs)]
        if strategy == "forward-mode":
            blocks = _columns(outputs, leaves, create_graph, vectorize)
        else:
            for position, output in enumerate(outputs if strict else ()):
                _check_strict("jacobian", [output], leaves, f"output {position}")
            blocks = [_rows(output, leaves, create_graph, vectorize) for output in outputs]
    if strict and create_graph:
        _check_differentiable("jacobian", "Jacobian", [block for row in blocks for block in row])
    rows = [row[0] if single_input else tuple(row) for row in blocks]
    return rows[0] if single_output else tuple(rows)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a scalar function: the Jacobian of its gradient.

    Args:
        func: Takes tensors, returns a tensor with one element.
        inputs: A tensor or a tuple of tensors (ours or torch's).
        create_graph: Make the result differentiable.
        strict: Raise where the gradient doesn't depend on an input, instead of giving zeros.
        vectorize: Compute all rows at once with ``torch.vmap``.
        outer_jacobian_strategy: As ``strategy`` of [`jacobian`][neuronix.autograd.jacobian], for the second derivative.

    Returns:
        A tensor of shape ``(*input.shape, *input.shape)``; for a tuple of inputs a tuple of tuples, of which
        ``result[i][j]`` has shape ``(*input_i.shape, *input_j.shape)``.

    Raises:
        GradientError: If the output has more than one element; in strict mode, if something doesn't depend on an input.

    Example:
        >>> from neuronix.autograd import hessian, tensor
        >>> hessian(lambda x: (x * x * x).sum(), tensor([1.0, 2.0]))
        CustomTensor([[ 6.,  0.],
                      [ 0., 12.]])
    """
    given, single = _as_tuple(inputs)

    def gradient(*tensors: CustomTensor) -> Any:
        found = jacobian(
            lambda *leaves: _scalar(func(*leaves), "hessian").reshape(()), tensors, create_graph=True, strict=strict
        )
        return found[0] if single else found

    return jacobian(
        gradient,
        given[0] if single else tuple(given),
        create_graph=create_graph,
        strict=strict,
        vectorize=vectorize,
        strategy=outer_jacobian_strategy,
    )


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The product vᵀH of a vector and the Hessian of a scalar function, without the Hessian.

    It is the gradient of ⟨∇f(x), v⟩ with respect to x.

    Args:
        func: Takes tensors, returns a tensor with one element.
        inputs: A tensor or a tuple of tensors (ours or torch's).
        v: A tensor of the input's shape, or a tuple of them; may be left out for a single input with one element.
        create_graph: Make both results differentiable.
        strict: Raise where something doesn't depend on an input, instead of giving zeros.

    Returns:
        ``(output, product)``; the product is shaped as the inputs.

    Raises:
        GradientError: If the output has more than one element; in strict mode, if something doesn't depend on an input.
        ShapeError: If ``v`` isn't shaped as the inputs.

    Example:
        >>> from neuronix.autograd import tensor, vhp
        >>> vhp(lambda x: (x * x * x).sum(), tensor([1.0, 2.0]), tensor([1.0, 10.0]))
        (CustomTensor(9.), CustomTensor([  6., 120.]))
    """
    output, leaves, slopes, vectors, single = _slopes(func, inputs, v, create_graph, strict, "vhp")
    with enable_grad():
        product = _pull_back(slopes, leaves, vectors, create_graph=create_graph)
    return _output_and_product(output, product, single, create_graph, strict, "vhp")


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The product H v of the Hessian of a scalar function and a vector, without the Hessian.

    It is the derivative of the gradient ∇f along v.  Where second derivatives are continuous the Hessian is symmetric,
    and [`vhp`][neuronix.autograd.vhp] gives the same with one pass less.

    Args:
        func: Takes tensors, returns a tensor with one element.
        inputs: A tensor or a tuple of tensors (ours or torch's).
        v: A tensor of the input's shape, or a tuple of them; may be left out for a single input with one element.
        create_graph: Make both results differentiable.
        strict: Raise where something doesn't depend on an input, instead of giving zeros.

    Returns:
        ``(output, product)``; the product is shaped as the inputs.

    Raises:
        GradientError: If the output has more than one element; in strict mode, if something doesn't depend on an input.
        ShapeError: If ``v`` isn't shaped as the inputs.

    Example:
        >>> from neuronix.autograd import hvp, tensor
        >>> hvp(lambda x, y: (x * x * y).sum(), (tensor(3.0), tensor(2.0)), (tensor(1.0), tensor(0.0)))
        (CustomTensor(18.), (CustomTensor(4.), CustomTensor(6.)))
    """
    output, leaves, slopes, vectors, single = _slopes(func, inputs, v, create_graph, strict, "hvp")
    with enable_grad():
        product = _push_forward(slopes, leaves, vectors, create_graph=create_graph)
    return _output_and_product(output, product, single, create_graph, strict, "hvp")


# Passes


def _pull_back(
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
        return [_zeros(tensor) for tensor in inputs]
    found = grad(
        [output for output, _ in pairs],
        inputs,
        [u for _, u in pairs],
        retain_graph=retain_graph,
        create_graph=create_graph,
        allow_unused=True,
    )
    return [_zeros(tensor) if g is None else g for g, tensor in zip(found, inputs, strict=True)]


def _push_forward(
    outputs: Sequence[CustomTensor],
    inputs: Sequence[CustomTensor],
    tangents: Sequence[CustomTensor],
    *,
    create_graph: bool,
) -> list[CustomTensor]:
    """J v, as the derivative of the pullback with respect to its cotangent: see `jvp`."""
    cotangents, products = _linear_in_cotangents(outputs, inputs)
    return _pull_back(products, cotangents, tangents, create_graph=create_graph)


def _linear_in_cotangents(
    outputs: Sequence[CustomTensor], inputs: Sequence[CustomTensor]
) -> tuple[list[CustomTensor], list[CustomTensor]]:
    """Cotangents u, and uᵀJ as a recorded function of them.  Their values don't matter, so they are zeros."""
    cotangents = [CustomTensor(torch.zeros_like(output.data), requires_grad=True) for output in outputs]
    with enable_grad():
        return cotangents, _pull_back(outputs, inputs, cotangents, create_graph=True)


def _rows(
    output: CustomTensor, inputs: Sequence[CustomTensor], create_graph: bool, vectorize: bool
) -> list[CustomTensor]:
    """A Jacobian block for each input, from a pass for each element of the output."""

    def row(cotangent: Any) -> list[CustomTensor]:
        return _pull_back([output], inputs, [cotangent], create_graph=create_graph)

    stacked = _for_each(row, _basis(output), inputs, vectorize and not create_graph)
    return [rows.reshape((*output.shape, *tensor.shape)) for rows, tensor in zip(stacked, inputs, strict=True)]


def _columns(
    outputs: Sequence[CustomTensor], inputs: Sequence[CustomTensor], create_graph: bool, vectorize: bool
) -> list[list[CustomTensor]]:
    """For each output a Jacobian block for each input, from a pass for each element of the inputs."""
    cotangents, products = _linear_in_cotangents(outputs, inputs)
    blocks: list[list[CustomTensor]] = [[] for _ in outputs]
    for tensor, product in zip(inputs, products, strict=True):

        def column(tangent: Any, product: CustomTensor = product) -> list[CustomTensor]:
            return _pull_back([product], cotangents, [tangent], create_graph=create_graph)

        stacked = _for_each(column, _basis(tensor), outputs, vectorize and not create_graph)
        for block, columns, output in zip(blocks, stacked, outputs, strict=True):
            last = columns.permute((*range(1, columns.ndim), 0))
            block.append(last.reshape((*output.shape, *tensor.shape)))
    return blocks


def _for_each(
    product: Callable[[Any], list[CustomTensor]], basis: Tensor, like: Sequence[CustomTensor], vectorize: bool
) -> list[Any]:
    """``product`` of each vector of the basis; what belongs to the same tensor of ``like`` stacked."""
    if not len(basis):
        return [CustomTensor(tensor.data.new_zeros((0, *tensor.shape))) for tensor in like]
    if vectorize:
        # The rules are plain torch expressions, so they take vmap's batched tensors like any others.
        stacked = torch.vmap(lambda vector: tuple(found.data for found in product(vector)))(basis)
        return [CustomTensor(values) for values in stacked]
    vectors = [product(CustomTensor(vector)) for vector in basis]
    return [torch.stack(list(same)) for same in zip(*vectors, strict=True)]


def _basis(tensor: CustomTensor) -> Tensor:
    """The unit vectors of the tensor's space, as the first axis of one tensor."""
    count = tensor.numel()
    return torch.eye(count, dtype=tensor.dtype, device=tensor.device).reshape((count, *tensor.shape))


def _slopes(
    func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool, strict: bool, name: str
) -> tuple[CustomTensor, list[CustomTensor], list[CustomTensor], list[CustomTensor], bool]:
    """What `hvp` and `vhp` begin with: the output, the inputs, the recorded gradient, and the vectors."""
    given, single = _as_tuple(inputs)
    leaves = _inputs_of(given, name, create_graph)
    if v is None:
        if len(leaves) != 1 or leaves[0].numel() != 1:
            raise ShapeError(f"{name}: v may be left out only for a single input with one element")
        v = torch.ones_like(leaves[0].data)
    vectors = list(v) if isinstance(v, (tuple, list)) else [v]
    if len(vectors) != len(leaves):
        raise ShapeError(f"{name}: {len(leaves)} input(s), but {len(vectors)} vector(s) in v")
    vectors = [_vector_of(vector, leaf, f"{name}: v") for vector, leaf in zip(vectors, leaves, strict=True)]
    if not create_graph:
        vectors = [vector.detach() for vector in vectors]
    with enable_grad():
        output = _scalar(func(*leaves), name)
        if strict:
            _check_strict(name, [output], leaves, "the output")
        ones = [CustomTensor(torch.ones_like(output.data))]
        slopes = _pull_back([output], leaves, ones, create_graph=True)
    if strict:
        _check_strict(name, slopes, leaves, "the gradient")
    return output, leaves, slopes, vectors, single


def _output_and_product(
    output: CustomTensor, product: list[CustomTensor], single: bool, create_graph: bool, strict: bool, name: str
) -> tuple[CustomTensor, Any]:
    if strict and create_graph:
        _check_differentiable(name, "product", product)
    if not create_graph:
        output, product = output.detach(), [tensor.detach() for tensor in product]
    return output, product[0] if single else tuple(product)


# Inputs and outputs


def _input_of(value: Any, what: str, recording: bool) -> CustomTensor:
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


def _inputs_of(values: Sequence[Any], name: str, create_graph: bool) -> list[CustomTensor]:
    with enable_grad():
        return [_input_of(value, f"{name}: input {i}", create_graph) for i, value in enumerate(values)]


def _output_of(value: Any, what: str) -> CustomTensor:
    if isinstance(value, CustomTensor):
        return value
    if isinstance(value, Tensor):
        return CustomTensor(value)
    raise DtypeError(f"{what} of the function is a {type(value).__name__}; it must be a tensor")


def _vector_of(value: Any, like: CustomTensor, what: str) -> CustomTensor:
    """A cotangent or tangent as one of our tensors, shaped as ``like``."""
    if not isinstance(value, (CustomTensor, Tensor)):
        raise DtypeError(f"{what} must be tensors, not {type(value).__name__}")
    if value.shape != like.shape:
        raise ShapeError(f"{what}: shape {tuple(value.shape)} where {tuple(like.shape)} is expected")
    vector = value if isinstance(value, CustomTensor) else CustomTensor(value.detach())
    return vector if vector.dtype is like.dtype else vector.to(like.dtype)


def _scalar(value: Any, name: str) -> CustomTensor:
    """The single output of a function of which a Hessian is taken."""
    output = _output_of(value, f"{name}: the output")
    if output.numel() != 1:
        raise GradientError(
            f"{name}: the function returned a tensor of shape {tuple(output.shape)}; it must have one element",
            hint="sum() it, or take the jacobian",
        )
    return output


def _as_tuple(value: Any) -> tuple[list[Any], bool]:
    """The tensors, and whether there was one without a tuple around it."""
    return (list(value), False) if isinstance(value, (tuple, list)) else ([value], True)


def _zeros(like: CustomTensor) -> CustomTensor:
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


def _check_strict(name: str, outputs: Sequence[CustomTensor], inputs: Sequence[CustomTensor], what: str) -> None:
    """Raise unless ``outputs`` together depend on every input."""
    recorded = [output for output in outputs if output.requires_grad]
    zeros = [_zeros(output) for output in recorded]
    reached = grad(recorded, inputs, zeros, retain_graph=True, allow_unused=True) if recorded else [None] * len(inputs)
    for position, found in enumerate(reached):
        if found is None:
            raise GradientError(
                f"{name}: {what} of the user-provided function is independent of input {position}, which strict mode "
                "doesn't allow",
                hint="compute it from the input by differentiable operations, or leave strict out to get zeros",
            )


def _check_differentiable(name: str, what: str, results: Sequence[CustomTensor]) -> None:
    for position, result in enumerate(results):
        if not result.requires_grad:
            raise GradientError(
                f"{name}: {what} {position} is independent of the inputs, which strict mode doesn't allow together "
                "with create_graph=True",
                hint="leave strict out",
            )
