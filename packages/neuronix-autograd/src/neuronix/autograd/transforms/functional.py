"""Jacobians and Hessians, and products with a Hessian, called as in ``torch.autograd.functional``.

All of it is `grad` applied row by row, twice, or both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.backward import grad
from neuronix.autograd.errors import ArgumentError, GradientError, ShapeError
from neuronix.autograd.modes import enable_grad
from neuronix.autograd.tensor import CustomTensor
from neuronix.autograd.transforms.products import (
    input_of,
    linear_in_cotangents,
    output_of,
    pull_back,
    push_forward,
    vector_of,
    zeros_like,
)

__all__ = ["hessian", "hvp", "jacobian", "vhp"]


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
        outputs = [output_of(output, f"jacobian: output {i}") for i, output in enumerate(outputs)]
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
        product = pull_back(slopes, leaves, vectors, create_graph=create_graph)
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
        product = push_forward(slopes, leaves, vectors, create_graph=create_graph)
    return _output_and_product(output, product, single, create_graph, strict, "hvp")


# Passes


def _rows(
    output: CustomTensor, inputs: Sequence[CustomTensor], create_graph: bool, vectorize: bool
) -> list[CustomTensor]:
    """A Jacobian block for each input, from a pass for each element of the output."""

    def row(cotangent: Any) -> list[CustomTensor]:
        return pull_back([output], inputs, [cotangent], create_graph=create_graph)

    stacked = _for_each(row, _basis(output), inputs, vectorize and not create_graph)
    return [rows.reshape((*output.shape, *tensor.shape)) for rows, tensor in zip(stacked, inputs, strict=True)]


def _columns(
    outputs: Sequence[CustomTensor], inputs: Sequence[CustomTensor], create_graph: bool, vectorize: bool
) -> list[list[CustomTensor]]:
    """For each output a Jacobian block for each input, from a pass for each element of the inputs."""
    cotangents, products = linear_in_cotangents(outputs, inputs)
    blocks: list[list[CustomTensor]] = [[] for _ in outputs]
    for tensor, product in zip(inputs, products, strict=True):

        def column(tangent: Any, product: CustomTensor = product) -> list[CustomTensor]:
            return pull_back([product], cotangents, [tangent], create_graph=create_graph)

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
    vectors = [vector_of(vector, leaf, f"{name}: v") for vector, leaf in zip(vectors, leaves, strict=True)]
    if not create_graph:
        vectors = [vector.detach() for vector in vectors]
    with enable_grad():
        output = _scalar(func(*leaves), name)
        if strict:
            _check_strict(name, [output], leaves, "the output")
        ones = [CustomTensor(torch.ones_like(output.data))]
        slopes = pull_back([output], leaves, ones, create_graph=True)
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


def _inputs_of(values: Sequence[Any], name: str, create_graph: bool) -> list[CustomTensor]:
    with enable_grad():
        return [input_of(value, f"{name}: input {i}", create_graph) for i, value in enumerate(values)]


def _scalar(value: Any, name: str) -> CustomTensor:
    """The single output of a function of which a Hessian is taken."""
    output = output_of(value, f"{name}: the output")
    if output.numel() != 1:
        raise GradientError(
            f"{name}: the function returned a tensor of shape {tuple(output.shape)}; it must have one element",
            hint="sum() it, or take the jacobian",
        )
    return output


def _as_tuple(value: Any) -> tuple[list[Any], bool]:
    """The tensors, and whether there was one without a tuple around it."""
    return (list(value), False) if isinstance(value, (tuple, list)) else ([value], True)


# Strict mode


def _check_strict(name: str, outputs: Sequence[CustomTensor], inputs: Sequence[CustomTensor], what: str) -> None:
    """Raise unless ``outputs`` together depend on every input."""
    recorded = [output for output in outputs if output.requires_grad]
    zeros = [zeros_like(output) for output in recorded]
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
