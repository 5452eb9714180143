"""Distances and similarities of pairs of vectors, and vectors of unit length: compositions of a norm."""

from __future__ import annotations

from neuronix.autograd import CustomTensor, composite, ops
from neuronix.autograd.errors import DtypeError
from neuronix.nn.functional.arguments import lift
from neuronix.nn.tensor_like import TensorLike

__all__ = ["cosine_similarity", "normalize", "pairwise_distance"]


@composite(names="cosine_similarity", aten="cosine_similarity.default")
def cosine_similarity(x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8) -> CustomTensor:
    """The cosine of the angle between vectors.

        out = Σ x1 · x2 / (max(‖x1‖, eps) · max(‖x2‖, eps))

    Args:
        x1: Vectors along the axis ``dim``.
        x2: Others; the shapes are broadcast.
        dim: The axis.
        eps: Keeps the quotient finite for vectors of length 0.

    Returns:
        The common shape without the axis.

    Raises:
        ShapeError: If the shapes can't be broadcast.
        DtypeError: For complex vectors.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.cosine_similarity(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0]), dim=0)
        CustomTensor(0.7071)
    """
    first, second = _broadcast(x1, x2)
    if first.is_complex() or second.is_complex():
        raise DtypeError(
            f"cosine_similarity: the vectors must be real, got {first.dtype} and {second.dtype}",
            hint="torch.view_as_real() gives the two parts",
        )

    def unit(x: CustomTensor) -> CustomTensor:
        length = x.norm(2, dim, keepdim=True)
        # The bound is a constant shift: as in torch the gradient passes it, so a short vector's isn't cut off.
        quotient: CustomTensor = x / (length + (eps - length.detach()).clamp_min(0))
        return quotient

    out: CustomTensor = (unit(first) * unit(second)).sum(dim)
    return out


def _broadcast(x1: TensorLike, x2: TensorLike) -> tuple[CustomTensor, CustomTensor]:
    """Both in their common shape."""
    first, second = ops.broadcast_tensors(lift(x1), lift(x2))
    return first, second


@composite(names="pairwise_distance", aten="pairwise_distance.default")
def pairwise_distance(
    x1: TensorLike, x2: TensorLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> CustomTensor:
    """The distance between vectors, ``‖x1 − x2 + eps‖ₚ``.

    Args:
        x1: (…, D).
        x2: (…, D); the shapes are broadcast.
        p: In which norm.
        eps: Added to each difference, so that equal vectors have a derivative.
        keepdim: Whether the last axis stays, with size 1.

    Returns:
        (…).

    Raises:
        ShapeError: If the shapes can't be broadcast.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.pairwise_distance(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
        CustomTensor(5.)
    """
    out: CustomTensor = (lift(x1) - lift(x2) + eps).norm(p, -1, keepdim)
    return out


@composite(names="nn.functional.normalize")
def normalize(
    input: TensorLike, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: CustomTensor | None = None
) -> CustomTensor:
    """Vectors divided by their length, ``x / max(‖x‖ₚ, eps)``.

    Args:
        input: Vectors along the axis ``dim``.
        p: In which norm.
        dim: The axis, or several.
        eps: The least divisor.
        out: Where to put the result; it can't require grad.

    Returns:
        The shape of ``input``.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.normalize(torch.tensor([[3.0, 4.0]]))
        CustomTensor([[0.6000, 0.8000]])
    """
    x = lift(input)
    quotient: CustomTensor = x / x.norm(p, dim, keepdim=True).clamp_min(eps)
    return quotient if out is None else out.copy_(quotient)
