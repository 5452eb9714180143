"""Reductions: what a loss does with its values, and what that does to a gradient."""

from __future__ import annotations

from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.losses.functional.arguments import MEAN, reduction_number

__all__ = ["pull_back", "reduce"]


def reduce(name: str, values: CustomTensor, reduction: str) -> CustomTensor:
    """Values as they are, their mean or their sum."""
    reduction_number(name, reduction)
    result: CustomTensor = values if reduction == "none" else values.mean() if reduction == "mean" else values.sum()
    return result


def pull_back(grad: Tensor, derivative: Tensor, reduction: int) -> Tensor:
    """The gradient of a loss's argument, from the derivative of each value.

    For L = Σᵢ lᵢ / n each value receives grad / n, for a sum grad, and without reduction its own gradient; by the chain
    rule that is multiplied with ∂lᵢ.

    Args:
        grad: The gradient of the reduced loss.
        derivative: The derivative of each value lᵢ, in the shape of the values.
        reduction: ATen's number.

    Returns:
        The gradient, in the shape of the values.
    """
    if reduction == MEAN:
        grad = grad / derivative.numel()
    return grad * derivative
