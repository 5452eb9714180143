"""Complex numbers: parts, conjugates, angles.

A real function of complex numbers has, as its gradient, the direction of its steepest ascent: ∂L/∂Re z + i · ∂L/∂Im z.
For holomorphic operations the engine derives that from the rule for real numbers; those here are the others, so each
says how its parts move.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd.primitive import primitive

__all__ = [
    "angle",
    "complex",
    "conj",
    "conj_physical",
    "imag",
    "polar",
    "real",
    "resolve_conj",
    "resolve_neg",
    "view_as_complex",
    "view_as_real",
]


@primitive(view=True, holomorphic=False, names="conj", aten="_conj.default")
def conj(x: Tensor) -> Tensor:
    """Elementwise conjugate, as a view; a real tensor is returned as it is."""
    return torch.conj(x)


@conj.vjp("x")
def conj_wrt_x(grad: Tensor) -> Tensor:
    return torch.conj(grad)


@primitive(holomorphic=False, names="conj_physical", aten="conj_physical.default _conj_physical.default")
def conj_physical(x: Tensor) -> Tensor:
    """Elementwise conjugate, in memory of its own."""
    return torch.conj_physical(x)


@conj_physical.vjp("x")
def conj_physical_wrt_x(grad: Tensor) -> Tensor:
    return torch.conj(grad)


@primitive(view=True, holomorphic=False, names="resolve_conj", aten="resolve_conj.default")
def resolve_conj(x: Tensor) -> Tensor:
    """The same numbers, a conjugate that was only noted worked out."""
    return torch.resolve_conj(x)


@resolve_conj.vjp("x")
def resolve_conj_wrt_x(grad: Tensor) -> Tensor:
    return grad


@primitive(view=True, holomorphic=False, names="resolve_neg", aten="resolve_neg.default")
def resolve_neg(x: Tensor) -> Tensor:
    """The same numbers, a negation that was only noted worked out."""
    return torch.resolve_neg(x)


@resolve_neg.vjp("x")
def resolve_neg_wrt_x(grad: Tensor) -> Tensor:
    return grad


@primitive(view=True, holomorphic=False, names="real")
def real(x: Tensor) -> Tensor:
    """Elementwise real part, as a view."""
    return torch.real(x)


@real.vjp("x")
def real_wrt_x(grad: Tensor) -> Tensor:
    return grad  # the engine casts it to the dtype of `x`: an imaginary part of 0


@primitive(view=True, holomorphic=False, names="imag")
def imag(x: Tensor) -> Tensor:
    """Elementwise imaginary part, as a view."""
    return torch.imag(x)


@imag.vjp("x")
def imag_wrt_x(grad: Tensor) -> Tensor:
    return torch.complex(torch.zeros_like(grad), grad)


@primitive(view=True, holomorphic=False, names="view_as_real", aten="view_as_real.default")
def view_as_real(x: Tensor) -> Tensor:
    """Real and imaginary parts along a new last axis, as a view.

    Args:
        x: Complex, any shape.

    Returns:
        Real, (…, 2).
    """
    return torch.view_as_real(torch.resolve_conj(x))


@view_as_real.vjp("x")
def view_as_real_wrt_x(grad: Tensor) -> Tensor:
    return torch.complex(grad[..., 0], grad[..., 1])


@primitive(view=True, holomorphic=False, names="view_as_complex", aten="view_as_complex.default")
def view_as_complex(x: Tensor) -> Tensor:
    """Complex numbers of the parts along the last axis, as a view.

    Args:
        x: Real, (…, 2).

    Returns:
        Complex, the shape without the last axis.
    """
    return torch.view_as_complex(x)


@view_as_complex.vjp("x")
def view_as_complex_wrt_x(grad: Tensor) -> Tensor:
    return torch.view_as_real(torch.resolve_conj(grad))


@primitive(broadcasts=True, holomorphic=False, names="complex", aten="complex.default")
def complex(real: Tensor, imag: Tensor) -> Tensor:
    """Complex numbers of given parts, real + i · imag."""
    return torch.complex(real, imag)


@complex.vjp("real")
def complex_wrt_real(grad: Tensor) -> Tensor:
    return torch.real(grad)


@complex.vjp("imag")
def complex_wrt_imag(grad: Tensor) -> Tensor:
    return torch.imag(grad)


@primitive(broadcasts=True, holomorphic=False, names="polar", aten="polar.default")
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """Complex numbers of given size and angle, abs · (cos angle + i · sin angle)."""
    return torch.polar(abs, angle)


@polar.vjp("abs")
def polar_wrt_abs(grad: Tensor, angle: Tensor) -> Tensor:
    # d/dr r·(cos φ, sin φ) = (cos φ, sin φ)
    return torch.real(grad) * torch.cos(angle) + torch.imag(grad) * torch.sin(angle)


@polar.vjp("angle")
def polar_wrt_angle(grad: Tensor, abs: Tensor, angle: Tensor) -> Tensor:
    # d/dφ r·(cos φ, sin φ) = r·(−sin φ, cos φ)
    return abs * (torch.imag(grad) * torch.cos(angle) - torch.real(grad) * torch.sin(angle))


@primitive(holomorphic=False, names="angle", aten="angle.default")
def angle(x: Tensor) -> Tensor:
    """Elementwise angle in the plane; of real numbers 0 or π, whose gradient is zero."""
    return torch.angle(x)


@angle.vjp("x")
def angle_wrt_x(grad: Tensor, x: Tensor) -> Tensor:
    if not x.is_complex():
        return torch.zeros_like(grad)
    # φ = atan2(y, x) moves by (−y, x)/|z|²; that direction is i·z/|z|², and there is none at the origin
    real, imag = torch.real(x), torch.imag(x)
    squared = real * real + imag * imag
    share = torch.where(squared == 0, 0, grad / squared)
    return torch.complex(-imag * share, real * share)
