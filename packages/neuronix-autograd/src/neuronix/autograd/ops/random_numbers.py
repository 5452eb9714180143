"""Random numbers whose distribution depends on a tensor.

Normal numbers and those of Bernoulli stand in ``elementwise.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd.primitive import primitive

__all__: list[str] = []


@primitive(aten="poisson.default")
def poisson(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Counts at the rate x; the gradient is zero, as of every result that jumps."""
    return torch.poisson(x, generator)


@poisson.vjp("x")
def poisson_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@primitive(aten="_standard_gamma.default")
def standard_gamma(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Numbers of the gamma distribution of shape x and scale 1."""
    return torch._standard_gamma(x, generator)


@standard_gamma.vjp("x")
def standard_gamma_wrt_x(grad: Tensor, x: Tensor, out: Tensor) -> Tensor:
    # With the distribution function F(z; x) at a fixed quantile, dz/dx = -(∂F/∂x) / (∂F/∂z); ATen has that ratio.
    return grad * torch._standard_gamma_grad(x, out)
