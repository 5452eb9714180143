"""Dropout and its kin: elements are multiplied with random numbers, whose kind is what differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, composite, ops, primitive
from neuronix.autograd.errors import DtypeError, ShapeError, UnsupportedError
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.functional.arguments import lift, number
from neuronix.nn.tensor_like import TensorLike

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout", "rrelu"]


@primitive
def scale_by_mask(x: Tensor, mask: Tensor) -> Tensor:
    """Elementwise product with a constant mask."""
    return x * mask


@scale_by_mask.vjp("x")
def scale_by_mask_wrt_x(grad: Tensor, mask: Tensor) -> Tensor:
    return grad * mask


@composite(names="dropout")
def dropout(input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> CustomTensor:
    """Set each element to zero with probability ``p``, and divide the others by 1 − p, so that the mean stays.

    Args:
        input: Any shape.
        p: The probability of zero.
        training: Whether anything is done at all.
        inplace: Whether to change ``input`` itself.

    Returns:
        The shape of ``input``.  The same seed of torch's generator gives the zeros that torch gives.

    Raises:
        DtypeError: If ``input`` isn't of a floating-point type.
        LayerArgumentError: If ``p`` isn't between 0 and 1.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> _ = torch.manual_seed(0)
        >>> functional.dropout(torch.ones(6)).tolist()
        [0.0, 0.0, 2.0, 0.0, 0.0, 0.0]

    References:
        Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting.
    """
    return _dropped("dropout", input, p, training, inplace, lambda x: x.shape)


def _dropped(
    name: str,
    input: TensorLike,
    p: float,
    training: bool,
    inplace: bool,
    mask_shape: Callable[[CustomTensor], Sequence[int]],
) -> CustomTensor:
    """The input times a mask, drawn in a shape that broadcasts against it."""
    x = _checked(name, input, p)
    if not training or p == 0 or x.numel() == 0:
        return x
    mask = _kept(x, mask_shape(x), p)
    if p < 1:
        mask.div_(1 - p)
    out: CustomTensor = x.mul_(mask) if inplace else scale_by_mask(x, mask)
    return out


def _checked(name: str, input: TensorLike, p: float) -> CustomTensor:
    if not 0.0 <= number(p, f"{name}: p") <= 1.0:
        raise LayerArgumentError(f"{name}: p is a probability and must lie between 0 and 1, got {p}")
    x = lift(input)
    if not x.is_floating_point():
        kind = UnsupportedError if x.is_complex() else DtypeError  # as torch, which has no kernel for complex numbers
        raise kind(f"{name}: the input must be of a floating-point type, got {x.dtype}", hint="use x.float()")
    return x


def _kept(x: CustomTensor, shape: Sequence[int], p: float) -> Tensor:
    """Ones with the probability 1 − p, else zeros.  With p = 1 nothing is drawn, as in torch."""
    like = torch.empty_like(x.data) if tuple(shape) == tuple(x.shape) else x.data.new_empty(shape)
    return torch.zeros_like(like) if p == 1 else like.bernoulli_(1 - p)


def _features(x: CustomTensor) -> Sequence[int]:
    """One number for each channel of each sample: (N, C, 1, …)."""
    return (*x.shape[:2], *(1,) * (x.ndim - 2))


def _feature_dropout(dimensions: int, input: TensorLike, p: float, training: bool, inplace: bool) -> CustomTensor:
    name = f"dropout{dimensions}d"
    x = _checked(name, input, p)
    if x.ndim not in (dimensions + 1, dimensions + 2):
        raise ShapeError(
            f"{name}: expected {dimensions + 1}D (unbatched) or {dimensions + 2}D (batched) input, got shape "
            f"{tuple(x.shape)}"
        )
    # torch's exception: of (A, B, C), dropout2d takes A for samples and B for channels
    if x.ndim == dimensions + 2 or dimensions == 2:
        return _dropped(name, x, p, training, inplace, _features)
    return _dropped(name, x, p, training, inplace, lambda x: (x.shape[0], *(1,) * (x.ndim - 1)))


@composite(names="nn.functional.dropout1d")
def dropout1d(input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> CustomTensor:
    """Whole channels set to zero: of (N, C, L) or (C, L); see [`dropout2d`][neuronix.nn.functional.dropout2d]."""
    return _feature_dropout(1, input, p, training, inplace)


@composite(names="nn.functional.dropout2d")
def dropout2d(input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> CustomTensor:
    """Set whole channels of images to zero with probability ``p``, and divide the others by 1 − p.

    Neighbouring pixels tell much the same, so that to drop single ones would hide little.

    Args:
        input: (N, C, H, W).
        p: The probability of zero.
        training: Whether anything is done at all.
        inplace: Whether to change ``input`` itself.

    Returns:
        The shape of ``input``.  The same seed of torch's generator gives the zeros that torch gives.

    Raises:
        DtypeError: If ``input`` isn't of a floating-point type.
        LayerArgumentError: If ``p`` isn't between 0 and 1.
        ShapeError: If ``input`` has another number of axes.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> _ = torch.manual_seed(0)
        >>> functional.dropout2d(torch.ones(1, 3, 1, 2)).tolist()
        [[[[0.0, 0.0]], [[0.0, 0.0]], [[2.0, 2.0]]]]

    References:
        Tompson et al. 2015, Efficient object localization using convolutional networks.

    Differs from torch:
        Torch warns of other numbers of axes than three or four; here they are an error.
    """
    return _feature_dropout(2, input, p, training, inplace)


@composite(names="nn.functional.dropout3d")
def dropout3d(input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False) -> CustomTensor:
    """Whole channels of volumes set to zero; see [`dropout2d`][neuronix.nn.functional.dropout2d]."""
    return _feature_dropout(3, input, p, training, inplace)


# What selu tends to for small x, negated: scale · alpha; dropped elements are set to −_SATURATION.
_SATURATION = 1.7580993408473766


def _alpha_dropped(
    name: str,
    input: TensorLike,
    p: float,
    training: bool,
    inplace: bool,
    mask_shape: Callable[[CustomTensor], Sequence[int]],
) -> CustomTensor:
    """A · (x where kept, −s elsewhere) + b, with a and b such that mean 0 and variance 1 stay.

    With q = 1 − p of the elements kept, the middle term has the mean −p s and the variance q + s² p q, so that
    a = (q + s² p q)^(−1/2) and b = a p s.
    """
    x = _checked(name, input, p)
    if not training or p == 0 or x.numel() == 0:
        return x
    kept = _kept(x, mask_shape(x), p)
    if p == 1:
        return x.mul_(kept) if inplace else scale_by_mask(x, kept)  # type: ignore[no-any-return]
    a = ((1 - p) * (1 + _SATURATION**2 * p)) ** -0.5
    shift = (kept - 1) * (a * _SATURATION) + a * p * _SATURATION
    if inplace:
        return x.mul_(kept * a).add_(shift)  # type: ignore[no-any-return]
    out: CustomTensor = scale_by_mask(x, kept * a) + shift
    return out


@composite(names="nn.functional.alpha_dropout")
def alpha_dropout(input: TensorLike, p: float = 0.5, training: bool = False, inplace: bool = False) -> CustomTensor:
    """Dropout that keeps mean 0 and variance 1, for [`SELU`][neuronix.nn.SELU]: dropped elements get its lower limit.

    Args:
        input: Any shape.
        p: The probability of being dropped.
        training: Whether anything is done at all.
        inplace: Whether to change ``input`` itself.

    Returns:
        The shape of ``input``.  The same seed of torch's generator drops the elements that torch drops.

    Raises:
        DtypeError: If ``input`` isn't of a floating-point type.
        LayerArgumentError: If ``p`` isn't between 0 and 1.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> _ = torch.manual_seed(0)
        >>> functional.alpha_dropout(torch.zeros(4), training=True)
        CustomTensor([-0.7792, -0.7792,  0.7792, -0.7792])

    References:
        Klambauer et al. 2017, Self-normalizing neural networks.
    """
    return _alpha_dropped("alpha_dropout", input, p, training, inplace, lambda x: x.shape)


@composite(names="nn.functional.feature_alpha_dropout")
def feature_alpha_dropout(
    input: TensorLike, p: float = 0.5, training: bool = False, inplace: bool = False
) -> CustomTensor:
    """As [`alpha_dropout`][neuronix.nn.functional.alpha_dropout], of whole channels of (N, C, …)."""
    return _alpha_dropped("feature_alpha_dropout", input, p, training, inplace, _features)


@composite(names="nn.functional.rrelu")
def rrelu(
    input: TensorLike,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> CustomTensor:
    """`leaky_relu` with a slope for each element, drawn between ``lower`` and ``upper``; their mean in evaluation.

    Args:
        input: Any shape.
        lower: The least slope.
        upper: The greatest.
        training: Whether slopes are drawn.
        inplace: Whether to change ``input`` itself.

    Returns:
        The shape of ``input``.  The same seed of torch's generator gives the slopes that torch draws.

    Raises:
        LayerArgumentError: If ``lower`` is greater than ``upper``.

    Example:
        >>> import torch
        >>> from neuronix.nn import functional
        >>> functional.rrelu(torch.tensor([-1.0, 1.0]), 0.25, 0.75).tolist()
        [-0.5, 1.0]

    References:
        Xu et al. 2015, Empirical evaluation of rectified activations in convolutional network.
    """
    if lower > upper:
        raise LayerArgumentError(f"rrelu: the lower bound must not be greater than the upper, got {lower} and {upper}")
    x = lift(input)
    if not training:
        mean: CustomTensor = ops.leaky_relu(x, (lower + upper) / 2, inplace)  # type: ignore[arg-type, unused-ignore]
        return mean
    slopes = torch.ones_like(x.data)  # the kernel draws for x ≤ 0 alone, in order, and writes down what it drew
    torch.ops.aten.rrelu_with_noise(x.data, slopes, lower, upper, True)
    out: CustomTensor = x.mul_(slopes) if inplace else scale_by_mask(x, slopes)
    return out
