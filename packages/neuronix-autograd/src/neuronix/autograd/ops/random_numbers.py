"""Random numbers whose distribution depends on a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd.primitive import Shape, primitive

__all__ = ["bernoulli", "normal"]


@primitive(aten="bernoulli.default bernoulli.p")
def bernoulli(x: Tensor, p: float | None = None, *, generator: torch.Generator | None = None) -> Tensor:
    """Ones with the probability x (or p), else zeros; the gradient is zero, as of every result that jumps."""
    if p is None:
        return torch.bernoulli(x, generator=generator)
    return torch.bernoulli(x, p, generator=generator)


@bernoulli.vjp("x")
def bernoulli_wrt_x(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad)


@primitive(aten="normal.Tensor_float normal.float_Tensor normal.Tensor_Tensor")
def normal(mean: Tensor, std: Tensor = 1.0, *, generator: torch.Generator | None = None) -> Tensor:  # type: ignore[assignment]
    """Numbers drawn from normal distributions; the gradients are zero, as torch has it.

    ``mean + std * torch.randn_like(mean)`` has others.
    """
    return torch.normal(mean, std, generator=generator)


@normal.vjp("mean")
def normal_wrt_mean(grad: Tensor, mean: Shape) -> Tensor:
    return grad.new_zeros(mean)


@normal.vjp("std")
def normal_wrt_std(grad: Tensor, std: Shape) -> Tensor:
    return grad.new_zeros(std)


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
