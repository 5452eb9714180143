"""Dropout."""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, composite, primitive
from neuronix.autograd.errors import DtypeError
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.tensor_like import TensorLike

__all__ = ["dropout"]


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
    if not 0.0 <= p <= 1.0:
        raise LayerArgumentError(f"dropout: p is a probability and must lie between 0 and 1, got {p}")
    x = input if isinstance(input, CustomTensor) else CustomTensor(input)
    if not x.is_floating_point():
        raise DtypeError(f"dropout: the input must be of a floating-point type, got {x.dtype}", hint="use x.float()")
    if not training or p == 0 or x.numel() == 0:
        return x
    if p == 1:
        mask = torch.zeros_like(x.data)
    else:
        mask = torch.empty_like(x.data).bernoulli_(1 - p).div_(1 - p)
    out: CustomTensor = x.mul_(mask) if inplace else scale_by_mask(x, mask)
    return out
