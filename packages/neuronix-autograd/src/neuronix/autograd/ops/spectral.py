"""Discrete Fourier transforms.

torch.fft's functions are made of three transforms: complex to complex, real to complex and complex to real.  All are
linear, so a gradient is the adjoint transform of the gradient above; the last two are each other's.  Of a real signal's
spectrum only one half is kept, since the other is its conjugate: each frequency that stands for two counts twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neuronix.autograd.primitive import Shape, primitive

__all__ = ["fft_c2c", "fft_c2r", "fft_r2c"]


@primitive(aten="_fft_c2c.default")
def fft_c2c(x: Tensor, dim: list[int], normalization: int, is_forward: bool) -> Tensor:
    """The Fourier transform of complex numbers: Σ_n x_n e^(∓2πi kn/N), over several axes.

    Args:
        x: Complex.
        dim: The axes.
        normalization: 0 for none, 1 for a factor 1/√N, 2 for 1/N.
        is_forward: Whether the exponent's sign is minus.

    Returns:
        The same shape.
    """
    return torch.ops.aten._fft_c2c(x, dim, normalization, is_forward)  # type: ignore[no-any-return]


@fft_c2c.vjp("x")
def fft_c2c_wrt_x(grad: Tensor, dim: list[int], normalization: int, is_forward: bool) -> Tensor:
    # the transform's matrix is symmetric (the engine adds the conjugation that makes the adjoint of it)
    return fft_c2c(grad, dim, normalization, is_forward)  # type: ignore[no-any-return]


@primitive(holomorphic=False, aten="_fft_r2c.default")
def fft_r2c(x: Tensor, dim: list[int], normalization: int, onesided: bool) -> Tensor:
    """The Fourier transform of real numbers.

    Args:
        x: Real.
        dim: The axes.
        normalization: As for `fft_c2c`.
        onesided: Whether along the last of ``dim`` only the frequencies 0 … N/2 are kept.

    Returns:
        Complex; along the last of ``dim`` N/2 + 1 elements if one-sided, else the same shape.
    """
    return torch.ops.aten._fft_r2c(x, dim, normalization, onesided)  # type: ignore[no-any-return]


@fft_r2c.vjp("x")
def fft_r2c_wrt_x(grad: Tensor, x: Shape, dim: list[int], normalization: int, onesided: bool) -> Tensor:
    if not onesided:
        return torch.real(fft_c2c(grad, dim, normalization, False))
    size = x[dim[-1]]
    return fft_c2r(grad / _multiplicity(grad, dim[-1], size), dim, normalization, size)  # type: ignore[no-any-return]


@primitive(holomorphic=False, aten="_fft_c2r.default")
def fft_c2r(x: Tensor, dim: list[int], normalization: int, last_dim_size: int) -> Tensor:
    """The backward Fourier transform of a spectrum of which half is given, because its signal is real.

    Args:
        x: Complex, along the last of ``dim`` the frequencies 0 … N/2.
        dim: The axes.
        normalization: As for `fft_c2c`.
        last_dim_size: N of the last axis.

    Returns:
        Real, with N elements along the last of ``dim``.
    """
    return torch.ops.aten._fft_c2r(x, dim, normalization, last_dim_size)  # type: ignore[no-any-return]


@fft_c2r.vjp("x")
def fft_c2r_wrt_x(grad: Tensor, dim: list[int], normalization: int, last_dim_size: int) -> Tensor:
    spectrum = fft_r2c(grad, dim, normalization, True)
    return spectrum * _multiplicity(spectrum, dim[-1], last_dim_size)  # type: ignore[no-any-return]


def _multiplicity(spectrum: Tensor, dim: int, size: int) -> Tensor:
    """For how many of all frequencies each kept one stands: two, but one for 0 and for N/2."""
    frequency = torch.arange(spectrum.shape[dim], device=spectrum.device)
    alone = (frequency == 0) | (2 * frequency == size)
    shape = [1] * spectrum.ndim
    shape[dim] = -1
    return (2 - alone.to(torch.float32)).reshape(shape)
