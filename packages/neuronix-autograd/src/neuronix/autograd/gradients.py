"""What happens to a gradient between two rules: it is summed, conjugated, and brought back to its argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from neuronix.autograd.compiled_sums import sum_back, uses_compiled_reductions

if TYPE_CHECKING:
    from neuronix.autograd.node import Node

__all__ = ["Restore", "accumulate_list", "added", "as_is", "conjugated", "restored"]

# The shape and the element type that an argument's gradient must have.
Restore = tuple[torch.Size, torch.dtype]


def added(held: Any, grad: Any) -> Any:
    """The sum of two gradients of one thing, either of which may be sparse.

    torch adds a sparse tensor to a dense one, but not a dense one to a sparse one.
    """
    if held.layout is not torch.strided and grad.layout is torch.strided:
        return grad + held
    return held + grad


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
