"""What happens to a gradient between two rules: it is summed, conjugated, and brought back to its argument.

And who holds its memory: a sum may be written over a gradient that nobody else sees.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neuronix.autograd.compiled_sums import sum_back, uses_compiled_reductions

if TYPE_CHECKING:
    from neuronix.autograd.node import Node

__all__ = ["Restore", "accumulate_list", "added", "as_is", "conjugated", "is_unshared", "restored", "summed"]

LARGE = 4096  # elements, from which on it pays to ask who holds a gradient before it is added to

# The shape and the element type that an argument's gradient must have.
Restore = tuple[torch.Size, torch.dtype]


def added(held: Any, grad: Any) -> Any:
    """The sum of two gradients of one thing, either of which may be sparse.

    torch adds a sparse tensor to a dense one, but not a dense one to a sparse one.
    """
    if held.layout is not torch.strided and grad.layout is torch.strided:
        return grad + held
    return held + grad


def summed(held: Any, grad: Any) -> Any:
    """`added` for a sum that a pass keeps: written over ``held`` if nobody else holds that, as in PyTorch.

    The caller has ``held`` in a variable and in a container; any other place means that it is somebody's.
    """
    if (
        held.numel() >= LARGE
        and grad.dtype is held.dtype
        and grad.shape == held.shape
        and _is_array(grad)
        and _is_held_by(held, _OF_A_SUM)
    ):
        return held.add_(grad)
    return added(held, grad)


def restored(grad: Any, to: Restore) -> Any:
    """Bring a gradient back to its argument: sum over the axes that were broadcast, then cast.

    Broadcasting repeats an argument along an axis; by the chain rule its gradient is the sum over the repetitions.
    """
    shape, dtype = to
    if uses_compiled_reductions():
        compiled = sum_back(grad, shape, dtype)
        if compiled is not None:
            return compiled
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
        grads[parent] = grad if held is None else summed(held, grad)


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


# Who holds a gradient


def is_unshared(gradient: Tensor) -> bool:
    """Whether nobody but the caller holds this tensor or its memory: in one variable and one container."""
    return _is_held_by(gradient, _OF_A_GRADIENT)


def _is_held_by(gradient: Any, holders: tuple[int, int]) -> bool:
    """Whether so few hold a gradient and its memory, of which each element has a place of its own."""
    if not _is_array(gradient) or gradient._base is not None or not gradient.is_contiguous():
        return False
    references, storage_uses = _holders_of(gradient)
    whole = gradient.untyped_storage().nbytes() == gradient.nbytes
    return whole and references <= holders[0] and storage_uses <= holders[1]


def _is_array(gradient: Any) -> bool:
    """Whether this is numbers in memory: not a sparse tensor, one without data, or a batch of ``torch.vmap``."""
    return (
        type(gradient) is Tensor
        and gradient.layout is torch.strided
        and not gradient.is_meta
        and not torch._C._functorch.is_functorch_wrapped_tensor(gradient)
    )


def _holders_of(gradient: Tensor) -> tuple[int, int]:
    """How many hold the Python object, and how many tensors hold its memory."""
    return sys.getrefcount(gradient), torch._C._storage_Use_Count(gradient.untyped_storage()._cdata)


def _calibrate() -> tuple[tuple[int, int], tuple[int, int]]:
    """What is found in `is_unshared` and in `summed` of a tensor that nobody else holds, in this Python."""
    gradient = torch.zeros(1).add(1)
    container = [gradient]

    def is_held_by(gradient: Tensor) -> tuple[int, int]:
        return _holders_of(gradient)

    def is_unshared(gradient: Tensor) -> tuple[int, int]:
        return is_held_by(gradient)

    def summed(held: Tensor, grad: Tensor | None) -> tuple[int, int]:
        return is_held_by(held)

    found = is_unshared(gradient), summed(gradient, None)
    container.clear()
    return found


_OF_A_GRADIENT, _OF_A_SUM = _calibrate()
