"""Factorisations of matrices: Cholesky, LU, QR, Householder products, eigenvalues and singular values.

Each has one rule, found the same way: differentiate the equation that defines the factors, split the result by the
structure that the factors keep (triangular, unitary, diagonal), and read off the adjoint of each step.  ⟨X, Y⟩ stands
for Re tr(Xᴴ Y); ∘ for the elementwise product.  The rules are made of differentiable operations, so they hold to any
order, and for complex matrices.

Where a factor is only determined up to a sign or a phase (columns of U, V and of eigenvectors), gradients are those of
functions that don't depend on the choice; for the others there is no right answer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.errors import RankError, ShapeError, UnsupportedError
from neuronix.autograd.errors.checks import check_dtypes
from neuronix.autograd.primitive import Shape, composite, primitive

__all__ = [
    "cholesky",
    "cholesky_ex",
    "eig",
    "eigh",
    "householder_product",
    "linalg_lu",
    "lu_factor_ex",
    "lu_unpack",
    "ormqr",
    "qr",
    "svd",
]


def identity(like: Tensor, rows: int, columns: int | None = None) -> Tensor:
    """The identity matrix, of the type and on the device of another tensor."""
    return torch.eye(rows, rows if columns is None else columns, dtype=like.dtype, device=like.device)


def _without_diagonal(x: Tensor) -> Tensor:
    return x - torch.diag_embed(torch.diagonal(x, dim1=-2, dim2=-1))


def _with_half_diagonal(x: Tensor) -> Tensor:
    return x - torch.diag_embed(torch.diagonal(x, dim1=-2, dim2=-1)) / 2


def _over_gaps(x: Tensor, values: Tensor) -> Tensor:
    """x_ij / (values_j - values_i) off the diagonal, zeros on it."""
    gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
    return _without_diagonal(x) / (gaps + identity(gaps, gaps.shape[-1]))


# Cholesky: A = L Lᴴ


@primitive(holomorphic=False, aten="linalg_cholesky_ex.default", results="factor info")
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The lower triangular L with A = L · Lᴴ, or the upper triangular Lᴴ; and whether that went well (0).

    References:
        I. Murray (2016), Differentiation of the Cholesky decomposition, https://arxiv.org/abs/1602.07527.
    """
    return torch.linalg.cholesky_ex(A, upper=upper, check_errors=check_errors)


@cholesky_ex.vjp("A")
def cholesky_ex_wrt_A(grad: list[Tensor], factor: Tensor, upper: bool) -> Any:
    # L⁻¹ dA L⁻ᴴ = L⁻¹dL + (L⁻¹dL)ᴴ, so L⁻¹dL is its lower half: dL = L · half(L⁻¹ dA L⁻ᴴ).  The adjoint L⁻ᴴ X L⁻¹
    # takes the lower triangle X of Lᴴ gL, and because every change of A is Hermitian, Xᴴ above its diagonal may stand
    # for one half of it.  (The imaginary part of X's diagonal, which no change of A meets, stays as PyTorch leaves it.)
    L, gL = (factor.mH, grad[0].mH) if upper else (factor, grad[0])
    lower = torch.tril(L.mH @ gL)
    both = (lower + torch.tril(lower, -1).mH) / 2
    left = torch.linalg.solve_triangular(L.mH, both, upper=True)
    return torch.linalg.solve_triangular(L, left, upper=False, left=False)


@composite(names="", aten="cholesky.default")
def cholesky(A: Any, upper: bool = False) -> Any:
    """The lower triangular L with A = L · Lᴴ, or the upper triangular Lᴴ."""
    return cholesky_ex(A, upper=upper, check_errors=True)[0]


# LU: A = P L U


@primitive(aten="linalg_lu_factor_ex.default", results="LU pivots info")
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """The triangles L and U with A = P · L · U in one matrix, the pivots of P, and whether that went well (0).

    References:
        S. Walter and L. Lehmann (2010), Algorithmic differentiation of linear algebra functions,
        https://arxiv.org/abs/1001.1654.
    """
    return torch.linalg.lu_factor_ex(A, pivot=pivot, check_errors=check_errors)


@lu_factor_ex.vjp("A")
def lu_factor_ex_wrt_A(grad: list[Tensor], LU: Tensor, pivots: Tensor) -> Any:
    # Of a square matrix: L⁻¹ PᵀdA U⁻¹ = L⁻¹dL + dU U⁻¹, a strictly lower and an upper triangle, so
    # dL = L · lower(…) and dU = upper(…) · U.  Any other matrix is a part of a square one: with columns (0; I) added to
    # PᵀA those of I are added to L, and with rows (0, I) added to A those of I are added to U.
    P, L, U = torch.lu_unpack(LU, pivots)
    rows, columns = L.shape[-2], U.shape[-1]
    size = max(rows, columns)
    L, U = _extended(L, size), _extended(U, size)
    gL = _padded(torch.tril(grad[0], -1)[..., :size], size)
    gU = _padded(torch.triu(grad[0]), size)
    inner = torch.tril(L.mT @ gL, -1) + torch.triu(gU @ U.mT)
    left = torch.linalg.solve_triangular(L.mT, inner, upper=True, unitriangular=True)
    gB = torch.linalg.solve_triangular(U.mT, left, upper=False, left=False)
    return P @ gB[..., :rows, :columns]


def _padded(x: Tensor, size: int) -> Tensor:
    """A matrix with zeros after its rows and columns, to a square one."""
    return torch.nn.functional.pad(x, (0, size - x.shape[-1], 0, size - x.shape[-2]))


def _extended(x: Tensor, size: int) -> Tensor:
    """A triangle, made square with ones on its diagonal."""
    present = min(x.shape[-2:])
    ones = torch.cat([x.new_zeros(present), x.new_ones(size - present)])
    return _padded(x, size) + torch.diag_embed(ones)


@composite(names="", aten="lu_unpack.default")
def lu_unpack(LU: Any, pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """The matrices P, L and U of a factorisation in one matrix with pivots."""
    constants = torch.lu_unpack(LU.detach(), pivots, unpack_data=False, unpack_pivots=unpack_pivots)
    if not unpack_data:
        return tuple(constants)
    rows, columns = LU.shape[-2:]
    size = min(rows, columns)
    L = torch.tril(LU[..., :size], -1) + identity(LU, rows, size)
    return constants[0], L, torch.triu(LU[..., :size, :])


@composite(names="", aten="linalg_lu.default")
def linalg_lu(A: Any, *, pivot: bool = True) -> Any:
    """The matrices P, L and U with A = P · L · U."""
    LU, pivots, _ = lu_factor_ex(A, pivot=pivot)
    return lu_unpack(LU, pivots)


# QR: A = Q R


@primitive(holomorphic=False)
def qr_(A: Tensor, mode: str) -> Any:
    """Orthonormal columns Q and the upper triangular R with A = Q · R.

    References:
        S. Walter and L. Lehmann (2010), as above; M. Roberts and L. Roberts (2020), QR and LQ decomposition matrix
        backpropagation algorithms, https://arxiv.org/abs/2009.10071.
    """
    return torch.linalg.qr(A, mode)


@qr_.vjp("A")
def qr_wrt_A(grad: list[Tensor | None], out: Any, A: Shape) -> Any:
    Q, R = out
    gQ, gR = (torch.zeros_like(y) if g is None else g for g, y in zip(grad, out, strict=True))
    size = Q.shape[-1]
    if A[-1] == size:
        return _tall_qr_wrt_A(gQ, gR, Q, R)
    if A[-2] > A[-1]:
        raise UnsupportedError(
            "linalg.qr: with mode='complete', a matrix with more rows than columns has no derivative: the "
            f"added columns of Q aren't determined by it (its shape is {tuple(A)})",
            hint="use mode='reduced'",
        )
    # A = (A₁ A₂) with A₁ square: Q R₁ = A₁, and R₂ = Qᴴ A₂, where A₂ = Q R₂, hands on to Q
    R1, R2, gR1, gR2 = R[..., :size], R[..., size:], gR[..., :size], gR[..., size:]
    gA1 = _tall_qr_wrt_A(gQ + Q @ R2 @ gR2.mH, gR1, Q, R1)
    return torch.cat([gA1, Q @ gR2], -1)


def _tall_qr_wrt_A(gQ: Tensor, gR: Tensor, Q: Tensor, R: Tensor) -> Any:
    # QᴴdA R⁻¹ = QᴴdQ + dR R⁻¹ = C: the first is antihermitian, the second an upper triangle with a real diagonal, so it
    # is T(C) = upper(C + Cᴴ) with half of the diagonal.  Then dR = T(C) R and dQ = dA R⁻¹ − Q T(C).
    N = gR @ R.mH - Q.mH @ gQ
    T = _with_half_diagonal(torch.triu(N))
    return torch.linalg.solve_triangular(R.mH, gQ + Q @ (T + T.mH), upper=False, left=False)


@composite(names="", aten="linalg_qr.default")
def qr(A: Any, mode: str = "reduced") -> Any:
    """Orthonormal columns Q and the upper triangular R with A = Q · R.

    Args:
        A: (…, m, n).
        mode: ``"reduced"``, ``"complete"`` (a square Q) or ``"r"`` (an empty Q).

    Returns:
        Q and R.

    Differs from torch:
        ``mode="r"`` can be differentiated.
    """
    if mode != "r":
        return qr_(A, mode)
    R = qr_(A, "reduced")[1]
    return R.new_empty(0), R


# Products of reflections: Q = H₁ H₂ … H_k with H_i = I − τ_i v_i v_iᴴ


def _reflected(reflectors: Any, tau: Any, other: Any, conjugate: bool = False) -> Any:
    """Q · other, or Qᴴ · other.

    Multiplied out, Q = I − V T Vᴴ with the upper triangular T = D (I + strictly upper(VᴴV) D)⁻¹ and D = diag(τ):
    R. Schreiber and C. Van Loan (1989), A storage-efficient WY representation for products of Householder
    transformations.
    """
    count = tau.shape[-1]
    V = torch.tril(reflectors[..., :count], -1) + identity(reflectors, reflectors.shape[-2], count)
    D = tau.unsqueeze(-2)
    M = torch.triu(V.mH @ V, 1) * D + identity(reflectors, count)
    projected = V.mH @ other
    if conjugate:
        change = torch.linalg.solve_triangular(M.mH, D.mH.conj_physical().conj() * projected, upper=False)
    else:
        change = D.mT * torch.linalg.solve_triangular(M, projected, upper=True)
    return other - V @ change


def _check_reflections(name: str, x: Any, tau: Any) -> None:
    check_dtypes(name, input=x, tau=tau)
    if x.ndim < 2 or tau.ndim != x.ndim - 1 or tau.shape[:-1] != x.shape[:-2]:
        raise RankError(
            f"{name}: expected matrices whose columns are reflections, and a factor tau for each, got "
            f"{tuple(x.shape)} and {tuple(tau.shape)}"
        )


@composite(names="", aten="linalg_householder_product.default")
def householder_product(x: Any, tau: Any) -> Any:
    """The first columns of a product of reflections, whose vectors are below the diagonal of ``x``."""
    _check_reflections("linalg.householder_product", x, tau)
    if not x.shape[-2] >= x.shape[-1] >= tau.shape[-1]:
        raise ShapeError(
            f"linalg.householder_product: the input must have at least as many rows as columns, and as many columns as "
            f"tau has elements, got {tuple(x.shape)} and {tuple(tau.shape)}"
        )
    return _reflected(x, tau, identity(x, *x.shape[-2:]))


@composite(names="", aten="ormqr.default")
def ormqr(x: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False) -> Any:
    """The product of a matrix with the square Q of reflections (or with Qᴴ), on its left or right."""
    _check_reflections("ormqr", x, tau)
    check_dtypes("ormqr", input=x, tau=tau, other=other)
    fits = other.ndim == x.ndim and other.shape[:-2] == x.shape[:-2]
    if not fits or other.shape[-2 if left else -1] != x.shape[-2] or tau.shape[-1] != min(x.shape[-2:]):
        raise ShapeError(
            f"ormqr: reflections {tuple(x.shape)} with factors {tuple(tau.shape)} don't fit a matrix of shape "
            f"{tuple(other.shape)}"
        )
    if left:
        return _reflected(x, tau, other, transpose)
    return _reflected(x, tau, other.mH, not transpose).mH  # C Q = (Qᴴ Cᴴ)ᴴ


# Eigenvalues: A V = V Λ


@primitive(holomorphic=False)
def eigh_(A: Tensor, UPLO: str) -> Any:
    """Eigenvalues and orthonormal eigenvectors of a Hermitian matrix.

    References:
        M. Giles (2008), An extended collection of matrix derivative results, section 3.1,
        https://people.maths.ox.ac.uk/gilesm/files/NA-08-01.pdf.
    """
    return torch.linalg.eigh(A, UPLO)


@eigh_.vjp("A")
def eigh_wrt_A(grad: list[Tensor | None], out: Any) -> Any:
    # C = VᴴdA V = dΛ + MΛ − ΛM with dV = V M: the diagonal is dΛ, and M_ij = C_ij / (λ_j − λ_i) beside it
    values, V = out
    g_values, gV = grad
    if gV is None and g_values is not None:  # nothing is divided: right for repeated eigenvalues too
        return (V * g_values.unsqueeze(-2)) @ V.mH
    inner = _over_gaps(V.mH @ gV, values)  # one of the two isn't None
    if g_values is not None:
        inner = inner + torch.diag_embed(g_values)
    gA = V @ inner @ V.mH
    return (gA + gA.mH) / 2  # every change of A is Hermitian


@composite(names="", aten="_linalg_eigh.default")
def eigh(A: Any, UPLO: str = "L", compute_v: bool = True) -> Any:
    """Eigenvalues and orthonormal eigenvectors of a Hermitian matrix, or an empty tensor for the latter."""
    values, vectors = eigh_(A, UPLO)
    return values, vectors if compute_v else vectors.new_empty(0)


@primitive(holomorphic=False, aten="linalg_eig.default")
def eig(A: Tensor) -> Any:
    """Eigenvalues and eigenvectors of length one of any square matrix; both are complex.

    References:
        C. Boeddeker et al. (2017), On the computation of complex-valued gradients with application to statistically
        optimum beamforming, https://arxiv.org/abs/1701.00392.
    """
    return torch.linalg.eig(A)


@eig.vjp("A")
def eig_wrt_A(grad: list[Tensor | None], out: Any) -> Any:
    # C = V⁻¹dA V = dΛ + MΛ − ΛM as for Hermitian matrices.  V M may change the vectors' lengths; that they stay one
    # takes away V · diag(Re VᴴV M).
    values, V = out
    g_values, gV = grad
    inner = V.new_zeros(V.shape) if g_values is None else torch.diag_embed(g_values)
    if gV is not None:
        gM = V.mH @ gV
        lengths = torch.real(torch.diagonal(gM, dim1=-2, dim2=-1))
        gM = gM - (V.mH @ V) * lengths.unsqueeze(-2)
        inner = inner + _over_gaps(gM, torch.conj(values))
    return torch.linalg.solve(V.mH, inner @ V.mH)


# Singular values: A = U S Vᴴ


@primitive(holomorphic=False)
def svd_(A: Tensor, full_matrices: bool, driver: str | None = None) -> Any:
    """Orthonormal columns U, singular values S and orthonormal rows Vᴴ with A = U · diag(S) · Vᴴ.

    References:
        J. Townsend (2016), Differentiating the singular value decomposition,
        https://j-towns.github.io/papers/svd-derivative.pdf; Z.-Q. Wan and S.-X. Zhang (2019), Automatic differentiation
        for complex valued SVD, https://arxiv.org/abs/1909.02659.
    """
    return torch.linalg.svd(A, full_matrices, driver=driver)


@svd_.vjp("A")
def svd_wrt_A(grad: list[Tensor | None], out: Any) -> Any:
    S = out[1]
    size = S.shape[-1]
    U, V = out[0][..., :size], out[2][..., :size, :].mH
    gU, gS, gV = grad[0], grad[1], None if grad[2] is None else grad[2].mH
    if gU is None and gV is None and gS is not None:  # nothing is divided: right for repeated singular values too
        return (U * gS.unsqueeze(-2)) @ V.mH
    # C = UᴴdA V = Ω_U S + dS − S Ω_V, where Ω_U = UᴴdU and Ω_V = VᴴdV are antihermitian: dS = Re diag C, and beside the
    # diagonal Ω_U = (C S + S Cᴴ) / (s_j² − s_i²) and Ω_V = (S C + CᴴS) / (s_j² − s_i²).
    inner = S.new_zeros(()) if gS is None else torch.diag_embed(gS)
    phases = S.new_zeros(())
    result = 0
    if gU is not None:
        gU = _of_determined_columns(gU, out[0], size)
        X = U.mH @ gU
        inner = inner + _over_gaps(X - X.mH, S * S) * S.unsqueeze(-2)
        phases = phases + _phases(X)
        result = result + ((gU - U @ X) / S.unsqueeze(-2)) @ V.mH if gU.shape[-2] > size else result  # beyond U's span
    if gV is not None:
        gV = _of_determined_columns(gV, out[2].mH, size)
        Y = V.mH @ gV
        inner = inner + _over_gaps(Y - Y.mH, S * S) * S.unsqueeze(-1)
        phases = phases - _phases(Y)
        result = result + U @ ((gV - V @ Y) / S.unsqueeze(-2)).mH if gV.shape[-2] > size else result  # beyond V's span
    if U.is_complex():
        # Im C_ii = s_i · Im (Ω_U − Ω_V)_ii: how the two share it is a choice of phase, so each takes one half
        inner = inner + torch.diag_embed(torch.complex(torch.zeros_like(S), phases / (2 * S)))
    return U @ inner @ V.mH + result


def _phases(x: Tensor) -> Any:
    return torch.imag(torch.diagonal(x, dim1=-2, dim2=-1)) if x.is_complex() else x.new_zeros(())


def _of_determined_columns(gW: Tensor, W: Tensor, size: int) -> Any:
    """The gradient with respect to the first columns of a unitary matrix, of what depends on all of them.

    The others span the rest of the space, W₁ᴴdW₂ = −(W₂ᴴdW₁)ᴴ, and within that they are free to turn.
    """
    if gW.shape[-1] == size:
        return gW
    return gW[..., :size] - W[..., size:] @ (gW[..., size:].mH @ W[..., :size])


@composite(names="", aten="_linalg_svd.default")
def svd(A: Any, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None) -> Any:
    """Orthonormal columns U, singular values S and orthonormal rows Vᴴ with A = U · diag(S) · Vᴴ.

    Args:
        A: (…, m, n).
        full_matrices: Whether U and V are square.
        compute_uv: Whether they are wanted at all; else they are empty.
        driver: The algorithm, for CUDA.

    Returns:
        U, S and Vᴴ.
    """
    if compute_uv:
        return svd_(A, full_matrices, driver)
    U, S, _ = svd_(A, False, driver)
    return U.new_empty(0), S, U.new_empty(0)
