"""Distances between points: cdist and pdist.

The distance of two points is the p-norm of their difference.  Where that has a kink, at coinciding points and
coordinates, its derivative is taken to be zero.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.primitive import composite, primitive

__all__ = ["cdist", "pdist"]


def _distance_wrt_difference(difference: Tensor, distance: Tensor, p: float) -> Tensor:
    """How a distance (…, 1) moves with each coordinate of the difference (…, m)."""
    if p == 0:
        return torch.zeros_like(difference)  # a number of coordinates that differ
    sign = torch.sgn(difference)
    if p == 1:
        return sign
    if math.isinf(p):
        return sign * (torch.abs(difference) == distance)
    # d (Σ|x|^p)^(1/p) = sign(x) · (|x| / distance)^(p−1), of which 0/0 and negative powers of 0 are left out
    nowhere = distance == 0
    still = (difference == 0) | nowhere
    ratio = torch.where(still, 1, torch.abs(difference) / torch.where(nowhere, 1, distance))
    return torch.where(still, 0, sign * ratio ** (p - 1))


@primitive(broadcasts=True)
def cdist_(x1: Tensor, x2: Tensor, p: float, compute_mode: int | None) -> Tensor:
    """The distances of all pairs of two sets of points."""
    return torch.ops.aten._cdist_forward(x1, x2, p, compute_mode)  # type: ignore[no-any-return]


@cdist_.vjp("x1", "x2")
def cdist_wrt_x1_and_x2(grad: Tensor, out: Tensor, x1: Tensor, x2: Tensor, p: float) -> tuple[Tensor, Tensor]:
    difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)  # (…, n1, n2, m)
    moved = grad.unsqueeze(-1) * _distance_wrt_difference(difference, out.unsqueeze(-1), p)
    return moved.sum(-2), -moved.sum(-3)


@composite(names="", aten="_cdist_forward.default")
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: int | None = None) -> Any:
    """The distances of all pairs of two sets of points.

    Args:
        x1: (…, n1, m).
        x2: (…, n2, m).
        p: Of the p-norm, 0 or more.
        compute_mode: Of torch's: whether Euclidean distances may be found by a product of matrices.

    Returns:
        (…, n1, n2).
    """
    return cdist_(x1, x2, p, compute_mode)


@primitive(aten="_pdist_forward.default")
def pdist(x: Tensor, p: float = 2.0) -> Tensor:
    """The distances of all pairs of a set of points: (n, m) gives (n · (n − 1) / 2,)."""
    return torch.nn.functional.pdist(x, p)


@pdist.vjp("x")
def pdist_wrt_x(grad: Tensor, out: Tensor, x: Tensor, p: float) -> Tensor:
    first, second = torch.triu_indices(x.shape[0], x.shape[0], 1, device=x.device)
    difference = x[first] - x[second]
    moved = grad.unsqueeze(-1) * _distance_wrt_difference(difference, out.unsqueeze(-1), p)
    return torch.zeros_like(x).index_add(0, first, moved).index_add(0, second, -moved)
