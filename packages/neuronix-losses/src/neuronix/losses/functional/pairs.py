"""Losses of pairs and triples of vectors: near or far from each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neuronix.autograd import CustomTensor, composite, ops
from neuronix.autograd.errors import ShapeError
from neuronix.losses.errors import LossArgumentError, LossTypeError
from neuronix.losses.functional.arguments import TensorLike, choose, legacy_reduction, lift
from neuronix.losses.functional.reduction import reduce as reduced
from neuronix.nn import functional

__all__ = ["cosine_embedding_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss"]


@composite(names="cosine_embedding_loss")
def cosine_embedding_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """Of the cosine between vectors: similar pairs (y = 1) cost 1 − cos, dissimilar ones (y = −1) max(0, cos − margin).

    Args:
        input1: Vectors, (N, D) or (D,).
        input2: Vectors of the same shape.
        target: y, 1 or −1 for each pair, (N,) or ().
        margin: Which cosine of dissimilar pairs costs nothing, between −1 and 1.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the target for ``"none"``.

    Raises:
        ShapeError: If the shapes don't fit.
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import cosine_embedding_loss
        >>> cosine_embedding_loss(tensor([[1.0, 0.0]]), tensor([[0.0, 2.0]]), tensor([1])).item()
        1.0
    """
    x1, x2, y = lift(input1), lift(input2), lift(target)
    if y.ndim > 1 or x1.ndim != y.ndim + 1 or x2.ndim != y.ndim + 1:
        raise ShapeError(
            f"cosine_embedding_loss: a target of shape {tuple(y.shape)} expects {y.ndim + 1}D inputs for a target of 0 "
            f"or 1 axes, got {tuple(x1.shape)} and {tuple(x2.shape)}"
        )
    # So that vectors of length 0 have a cosine, as in torch, whose constant is 1e-12 in single precision.
    tiny = 9.999999960041972e-13
    lengths = ((x1 * x1).sum(-1) + tiny) * ((x2 * x2).sum(-1) + tiny)
    cosine = (x1 * x2).sum(-1) / lengths.sqrt()
    loss = choose(y == 1, 1 - cosine, 0.0) + choose(y == -1, (cosine - margin).clamp_min(0), 0.0)
    return reduced("cosine_embedding_loss", loss, legacy_reduction(size_average, reduce, reduction))


@composite(names="triplet_margin_loss")
def triplet_margin_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """A vector should be nearer to a similar than to a dissimilar one: ``max(0, margin + ‖a − p‖ − ‖a − n‖)``.

    Args:
        anchor: a, (N, D) or (D,).
        positive: p, of the same shape.
        negative: n, of the same shape.
        margin: By how much nearer; positive.
        p: Of which norm the distances are.
        eps: Added to each difference.
        swap: Whether the distance of p and n counts too, if it is smaller than that of a and n.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or (N,) for ``"none"``.

    Raises:
        ShapeError: If the numbers of axes differ.
        LossArgumentError: If the margin isn't positive, or the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import triplet_margin_loss
        >>> triplet_margin_loss(tensor([[0.0]]), tensor([[2.0]]), tensor([[-1.0]]), eps=0.0).item()
        2.0

    References:
        Balntas et al. 2016, Learning local feature descriptors with triplets and shallow convolutional neural networks.
    """

    def distance(x1: CustomTensor, x2: CustomTensor) -> CustomTensor:
        return functional.pairwise_distance(x1, x2, p, eps)

    reduction = legacy_reduction(size_average, reduce, reduction)
    return _triplet("triplet_margin_loss", (anchor, positive, negative), distance, margin, swap, reduction)


@composite(names="nn.functional.triplet_margin_with_distance_loss")
def triplet_margin_with_distance_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> CustomTensor:
    """[`triplet_margin_loss`][neuronix.losses.functional.triplet_margin_loss] with a distance of one's own.

    Args:
        anchor: a, of any shape.
        positive: p, of the same shape.
        negative: n, of the same shape.
        distance_function: Of two tensors; by default ``pairwise_distance``.
        margin: By how much nearer; positive.
        swap: Whether the distance of p and n counts too, if it is smaller than that of a and n.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the distances for ``"none"``.

    Raises:
        ShapeError: If the numbers of axes differ.
        LossArgumentError: If the margin isn't positive, or the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import triplet_margin_with_distance_loss
        >>> triple = tensor([0.0]), tensor([2.0]), tensor([-1.0])
        >>> triplet_margin_with_distance_loss(*triple, distance_function=lambda a, b: (a - b).abs()).item()
        2.0
    """
    distance = functional.pairwise_distance if distance_function is None else distance_function
    name = "triplet_margin_with_distance_loss"
    return _triplet(name, (anchor, positive, negative), distance, margin, swap, reduction)


def _triplet(
    name: str,
    triple: tuple[TensorLike, TensorLike, TensorLike],
    distance: Callable[[Any, Any], Any],
    margin: float,
    swap: bool,
    reduction: str,
) -> CustomTensor:
    if margin <= 0:
        raise LossArgumentError(f"{name}: margin must be greater than 0, got {margin}")
    if not isinstance(swap, bool):
        raise LossTypeError(f"{name}: swap must be True or False, got {swap!r}")
    a, p, n = map(lift, triple)
    if not a.ndim == p.ndim == n.ndim:
        raise ShapeError(
            f"{name}: anchor, positive and negative should have the same number of axes, got {tuple(a.shape)}, "
            f"{tuple(p.shape)} and {tuple(n.shape)}"
        )
    far = distance(a, n)
    if swap:
        far = ops.minimum(far, distance(p, n))
    return reduced(name, (margin + distance(a, p) - far).clamp_min(0), reduction)
