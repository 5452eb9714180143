"""Reductions of the segments of an axis, which follow each other and are of any length each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.ops.gathering import scatter_product_wrt_src
from neuronix.autograd.primitive import primitive

__all__ = ["segment_reduce"]


@primitive(names="segment_reduce", aten="segment_reduce.default")
def segment_reduce(
    x: Tensor,
    reduce: str,
    *,
    lengths: Tensor | None = None,
    indices: Tensor | None = None,
    offsets: Tensor | None = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: float | None = None,
) -> Tensor:
    """Reduce each segment of an axis to one element.

    Args:
        x: Tensor.
        reduce: ``"sum"``, ``"mean"``, ``"max"``, ``"min"`` or ``"prod"``.
        lengths: How long the segments are, along its last axis; the axes before are those of ``x``.
        indices: Not offered, as in torch.
        offsets: Instead of ``lengths``, where each segment begins, and where the last one ends.
        axis: The axis; the last one of ``lengths`` or ``offsets``.
        unsafe: Whether lengths that don't add up to the size of the axis are let through.
        initial: What each reduction starts with; by default what an empty one gives (a mean: NaN).

    Returns:
        ``x`` with an element for each segment along the axis.

    Differs from torch:
        Equal elements share the gradient of an extreme, whatever its sign; torch shares positive ones.  Second
        derivatives are offered.

    Example:
        >>> import torch
        >>> from neuronix.autograd import ops, tensor
        >>> x = tensor([1.0, 2.0, 3.0], requires_grad=True)
        >>> products = ops.segment_reduce(x, "prod", lengths=torch.tensor([1, 2]))
        >>> products.tolist()
        [1.0, 6.0]
        >>> products.sum().backward()
        >>> x.grad
        tensor([1., 3., 2.])
    """
    return torch.segment_reduce(
        x, reduce, lengths=lengths, indices=indices, offsets=offsets, axis=axis, unsafe=unsafe, initial=initial
    )


@segment_reduce.vjp("x")
def segment_reduce_wrt_x(
    grad: Tensor,
    out: Tensor,
    x: Tensor,
    reduce: str,
    lengths: Tensor | None,
    offsets: Tensor | None,
    axis: int,
    initial: float | None,
) -> Any:
    axis = axis % x.ndim
    sizes: Any = lengths if offsets is None else offsets.diff(dim=axis)
    if reduce == "mean":
        grad = grad / sizes.clamp(min=1).reshape(*sizes.shape, *[1] * (x.ndim - sizes.ndim))
    place = _segment_of_each(sizes, x, axis)
    grad = _with_one_more(grad, axis)
    if reduce == "prod":
        start = torch.full_like(grad, 1.0 if initial is None else initial)
        return scatter_product_wrt_src(grad, start, axis, place, x)
    if reduce in ("max", "min"):
        # whatever equals the extreme of its segment shares the gradient
        mine = (x == _with_one_more(out, axis).gather(axis, place)).to(grad.dtype)
        grad = grad / torch.zeros_like(grad).scatter_add(axis, place, mine).clamp(min=1)
        return grad.gather(axis, place) * mine
    return grad.gather(axis, place)


def _with_one_more(x: Tensor, axis: int) -> Tensor:
    """``x`` with one more segment, of zeros, for elements behind the last one (``unsafe`` lengths allow them)."""
    return torch.cat([x, x.new_zeros(*x.shape[:axis], 1, *x.shape[axis + 1 :])], axis)


def _segment_of_each(sizes: Tensor, x: Tensor, axis: int) -> Tensor:
    """For each element of ``x`` its segment: as many as end at its place or before."""
    ends = sizes.cumsum(-1)
    steps = ends.new_zeros(*ends.shape[:-1], 1) + torch.arange(x.shape[axis], device=ends.device)
    segments = torch.searchsorted(ends, steps, right=True)
    return segments.reshape(*segments.shape, *[1] * (x.ndim - segments.ndim)).expand(x.shape)
