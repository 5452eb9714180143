"""Losses with a margin: what is on the right side by more than that costs nothing.

Each is a composition of operations that have rules, so none has a rule of its own.
"""

from __future__ import annotations

from neuronix.autograd import CustomTensor, composite, ops
from neuronix.autograd.errors import DtypeError, ShapeError, UnsupportedError
from neuronix.losses.errors import ClassIndexError, LossArgumentError
from neuronix.losses.functional.arguments import TensorLike, any_of, choose, legacy_reduction, lift, reduction_number
from neuronix.losses.functional.reduction import reduce as reduced

__all__ = [
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
]


@composite(names="hinge_embedding_loss")
def hinge_embedding_loss(
    input: TensorLike,
    target: TensorLike,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """Of distances x: similar pairs (y = 1) cost x, dissimilar ones (y = −1) max(0, margin − x).

    Args:
        input: Distances, of any shape.
        target: 1 or −1 for each.
        margin: How far dissimilar pairs should be apart.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import hinge_embedding_loss
        >>> hinge_embedding_loss(tensor([0.5, 0.25]), tensor([1, -1]), reduction="none").tolist()
        [0.5, 0.75]
    """
    x, y = lift(input), lift(target)
    apart = choose(y != 1, (margin - x).clamp_min(0), 0.0)
    together = choose(y != -1, x, 0.0)
    return reduced("hinge_embedding_loss", apart + together, legacy_reduction(size_average, reduce, reduction))


@composite(names="margin_ranking_loss")
def margin_ranking_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """Of pairs that are to be ranked: ``max(0, −y (x1 − x2) + margin)``, where y = 1 says that x1 should be higher.

    Args:
        input1: x1, of any shape.
        input2: x2, of the same shape.
        target: 1 or −1 for each pair.
        margin: By how much higher.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ShapeError: If the numbers of axes differ.
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import margin_ranking_loss
        >>> margin_ranking_loss(tensor([1.0, 1.0]), tensor([3.0, 0.0]), tensor([1, 1]), reduction="none").tolist()
        [2.0, 0.0]
    """
    x1, x2, y = lift(input1), lift(input2), lift(target)
    if not x1.ndim == x2.ndim == y.ndim:
        raise ShapeError(
            f"margin_ranking_loss: all inputs should have the same number of axes, got shapes {tuple(x1.shape)}, "
            f"{tuple(x2.shape)} and {tuple(y.shape)}"
        )
    loss = (margin - y * (x1 - x2)).clamp_min(0)
    return reduced("margin_ranking_loss", loss, legacy_reduction(size_average, reduce, reduction))


@composite(names="nn.functional.soft_margin_loss")
def soft_margin_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """Two classes, 1 and −1: ``log(1 + exp(−y x))``.

    Args:
        input: x, of any shape.
        target: y, 1 or −1 for each; it is broadcast to the input's shape.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the input for ``"none"``.

    Raises:
        ShapeError: If the target's shape can't be broadcast to the input's.
        DtypeError: If the input holds integers.
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import soft_margin_loss
        >>> soft_margin_loss(tensor([0.0, 1000.0]), tensor([1.0, -1.0]), reduction="none")
        CustomTensor([6.9315e-01, 1.0000e+03])

    Differs from torch:
        It is finite for every finite x; torch's overflows where −y x exceeds 88 (709 in float64).
    """
    x, y = lift(input), lift(target)
    if not (x.is_floating_point() or x.is_complex()):
        raise DtypeError(f"soft_margin_loss: the input must be of a floating type, not {x.dtype}")
    loss = -ops.logsigmoid(y * x)  # log(1 + exp(−z)) = −log σ(z)
    if loss.shape != x.shape:
        raise ShapeError(
            f"soft_margin_loss: target size {tuple(y.shape)} can't be broadcast to input size {tuple(x.shape)}",
            hint="give them the same shape",
        )
    return reduced("soft_margin_loss", loss, legacy_reduction(size_average, reduce, reduction))


@composite(names="nn.functional.multilabel_soft_margin_loss")
def multilabel_soft_margin_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """Several classes at once: the mean over the classes of their binary cross entropies.

    ``l = −(1 / C) Σ weight · (y · log σ(x) + (1 − y) · log σ(−x))``

    Args:
        input: Logits x, (…, C).
        target: y, 0 or 1 for each class, of the same shape.
        weight: A weight for each class, (C,).
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or (…) for ``"none"``.

    Raises:
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import multilabel_soft_margin_loss
        >>> multilabel_soft_margin_loss(tensor([[0.0, 0.0]]), tensor([[1.0, 0.0]]))
        CustomTensor(0.6931)
    """
    x, y = lift(input), lift(target)
    loss = -(y * ops.logsigmoid(x) + (1 - y) * ops.logsigmoid(-x))
    if weight is not None:
        loss = loss * lift(weight)
    means = loss.sum(-1) / x.shape[-1]
    return reduced("multilabel_soft_margin_loss", means, legacy_reduction(size_average, reduce, reduction))


@composite(names="nn.functional.multi_margin_loss")
def multi_margin_loss(
    input: TensorLike,
    target: TensorLike,
    p: int = 1,
    margin: float = 1.0,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """One class out of C, whose score should be higher than each other by a margin.

    ``l = (1 / C) Σ_(i ≠ y) weight[y] · max(0, margin − x[y] + x[i])ᵖ``

    Args:
        input: Scores x, (N, C) or (C,); () is the score of a single class.
        target: Class indices y, (N,) or ().
        p: 1 or 2.
        margin: The margin.
        weight: A weight for each class, (C,).
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or the shape of the target for ``"none"``.

    Raises:
        ShapeError: If the shapes don't fit.
        DtypeError: If the target doesn't hold indices.
        UnsupportedError: If the scores aren't of a floating type.
        ClassIndexError: If an index is out of range.
        LossArgumentError: If the reduction is unknown, or ``p`` is neither 1 nor 2.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import multi_margin_loss
        >>> multi_margin_loss(tensor([[0.5, 0.0, -1.0]]), tensor([0])).item()  # (1 − 0.5) / 3
        0.1666666716337204
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    reduction_number("multi_margin_loss", reduction)  # before the target is looked at, as in PyTorch
    if isinstance(p, CustomTensor) or p not in (1, 2):
        raise LossArgumentError(f"multi_margin_loss: only p == 1 and p == 2 are supported, got {p}")
    x, y = lift(input), lift(target)
    _check_scores("multi_margin_loss", x)
    if weight is not None and weight.dtype is not x.dtype:
        raise DtypeError(
            f"multi_margin_loss: the weight must be of the input's type {x.dtype}, not {weight.dtype}",
            hint="convert it with .to()",
        )
    x = x.reshape(1) if x.ndim == 0 else x
    if x.ndim not in (1, 2) or x.shape[-1] == 0 or y.numel() != (x.shape[0] if x.ndim == 2 else 1) or y.ndim > 1:
        raise ShapeError(
            f"multi_margin_loss: expected scores (N, C) or (C,) and a class index for each, got {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    if weight is not None and tuple(weight.shape) != (x.shape[-1],):
        raise LossArgumentError(
            f"multi_margin_loss: expected a weight for each of {x.shape[-1]} classes, got shape {tuple(weight.shape)}"
        )
    classes = y.reshape(*x.shape[:-1], 1)
    _check_classes("multi_margin_loss", classes, x.shape[-1])
    excess = (margin - x.gather(-1, classes) + x).relu()
    terms = excess if p == 1 else excess * excess
    if weight is not None:
        terms = terms * lift(weight)[classes]
    others = choose(_numbers(x) == classes, 0.0, terms).sum(-1) / x.shape[-1]
    shaped = others.reshape(y.shape) if reduction == "none" else others
    return reduced("multi_margin_loss", shaped, reduction)


@composite(names="nn.functional.multilabel_margin_loss")
def multilabel_margin_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> CustomTensor:
    """Several classes at once, whose scores should be higher than each other's by 1.

    ``l = (1 / C) Σ_(j in y) Σ_(i not in y) max(0, 1 − x[j] + x[i])``

    Args:
        input: Scores x, (N, C) or (C,).
        target: Class indices y, of the same shape; the first −1 ends them.
        size_average: Deprecated, as in PyTorch: use ``reduction``.
        reduce: Deprecated, as in PyTorch: use ``reduction``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Returns:
        A scalar, or (N,) for ``"none"``.

    Raises:
        ShapeError: If the shapes don't fit.
        DtypeError: If the target doesn't hold indices.
        UnsupportedError: If the scores aren't of a floating type.
        ClassIndexError: If an index is out of range.
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> from neuronix.autograd import tensor
        >>> from neuronix.losses.functional import multilabel_margin_loss
        >>> multilabel_margin_loss(tensor([[1.0, 0.5, 0.0]]), tensor([[0, -1, -1]])).item()  # (0.5 + 0) / 3
        0.1666666716337204
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    reduction_number("multilabel_margin_loss", reduction)  # before the target is looked at, as in PyTorch
    x, y = lift(input), lift(target)
    _check_scores("multilabel_margin_loss", x)
    if x.ndim > 2 or x.shape != y.shape:
        raise ShapeError(
            f"multilabel_margin_loss: expected scores (N, C) or (C,) and class indices of the same shape, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    if x.ndim == 0:
        x, y = x.reshape(1), y.reshape(1)
    named = (y >= 0).cumprod(-1).bool()  # until the first −1
    classes = choose(named, y, 0)
    _check_classes("multilabel_margin_loss", choose(y == -1, 0, y), x.shape[-1])  # those behind the end too
    is_target = ((classes.unsqueeze(-1) == _numbers(x)) & named.unsqueeze(-1)).any(-2)
    excess = (1 - x.gather(-1, classes).unsqueeze(-1) + x.unsqueeze(-2)).relu()  # (…, targets, classes)
    counted = named.unsqueeze(-1) & ~is_target.unsqueeze(-2)
    loss = choose(counted, excess, 0.0).sum((-1, -2)) / x.shape[-1]
    return reduced("multilabel_margin_loss", loss, reduction)


def _numbers(x: CustomTensor) -> CustomTensor:
    """The classes' numbers, (C,)."""
    return lift(x.data.new_ones(x.shape[-1]).cumsum(0).long() - 1)


def _check_scores(name: str, x: CustomTensor) -> None:
    if not x.is_floating_point():
        raise UnsupportedError(f"{name}: the scores must be of a floating type, not {x.dtype}")


def _check_classes(name: str, classes: CustomTensor, number: int) -> None:
    if classes.is_floating_point():
        raise DtypeError(f"{name}: the target holds class indices, which are integers, not {classes.dtype}")
    if any_of((classes < 0) | (classes >= number)):
        raise ClassIndexError(f"{name}: a class index is out of range: there are classes 0 to {number - 1}")
