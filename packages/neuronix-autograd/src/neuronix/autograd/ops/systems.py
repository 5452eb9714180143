"""Systems of linear equations: solving them, inverses, determinants, least squares; and the matrix exponential.

A X = B gives dX = A⁻¹ (dB − dA X), from which all else follows.  Rules are written with transposes, for real numbers;
the engine conjugates for complex ones (except where an operation isn't holomorphic: `slogdet`, `pinv`, `lstsq`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.errors import RankError, ShapeError
from neuronix.autograd.errors.checks import check_dtypes
from neuronix.autograd.ops.factorizations import identity
from neuronix.autograd.primitive import composite, primitive

__all__ = [
    "cholesky_inverse",
    "cholesky_solve",
    "det",
    "inv_ex",
    "lstsq",
    "lu_solve",
    "matrix_exp",
    "pinv",
    "slogdet",
    "solve_ex",
    "solve_triangular",
    "triangular_solve",
]


# Triangular systems


@primitive(broadcasts=True, names="linalg.solve_triangular", aten="linalg_solve_triangular.default")
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """The X of A · X = B, or of X · A = B, with a triangular A.

    Args:
        A: (…, n, n); only its upper or lower triangle is read.
        B: (…, n, k), or (…, k, n) with ``left=False``.
        upper: Which triangle.
        left: Whether A is on the left of X.
        unitriangular: Whether A's diagonal is taken to be all ones.

    Returns:
        X, with the batch axes of both.
    """
    return torch.linalg.solve_triangular(A, B, upper=upper, left=left, unitriangular=unitriangular)


@solve_triangular.vjp("A", "B")
def solve_triangular_wrt_A_and_B(
    grad: Tensor, out: Tensor, A: Tensor, upper: bool, left: bool, unitriangular: bool, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    gB = torch.linalg.solve_triangular(A.mT, grad, upper=not upper, left=left, unitriangular=unitriangular)
    if not needs[0]:
        return None, gB
    gA = gB @ out.mT if left else out.mT @ gB
    unread = 1 if unitriangular else 0
    return -(torch.triu(gA, unread) if upper else torch.tril(gA, -unread)), gB


@composite(names="", aten="triangular_solve.default")
def triangular_solve(
    B: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[Any, Any]:
    """The X of A · X = B, or of Aᵀ · X = B, with a triangular A; and a copy of A."""
    check_dtypes("triangular_solve", b=B, A=A)
    matrix = A.mT if transpose else A
    solution = solve_triangular(matrix, B, upper=upper is not transpose, unitriangular=unitriangular)
    return solution, torch.clone(A).expand(*solution.shape[:-2], *A.shape[-2:])


@composite(names="", aten="cholesky_solve.default")
def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Any:
    """The X of A · X = B, with the Cholesky factor of A."""
    check_dtypes("cholesky_solve", b=B, A=L)
    lower, higher = (L.mH, L) if upper else (L, L.mH)
    return solve_triangular(higher, solve_triangular(lower, B, upper=False), upper=True)


@primitive(holomorphic=False, aten="cholesky_inverse.default")
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, with the Cholesky factor of A; the zeros beside its triangle are variables too."""
    return torch.cholesky_inverse(L, upper)


@cholesky_inverse.vjp("L")
def cholesky_inverse_wrt_L(grad: Tensor, out: Tensor, L: Tensor, upper: bool) -> Any:
    # P = (L Lᴴ)⁻¹ gives dP = −P (dL Lᴴ + L dLᴴ) P, whose two terms are each other's adjoint
    gA = -out @ (grad + grad.mH) @ out
    return L @ gA if upper else gA @ L


@composite(names="", aten="linalg_lu_solve.default")
def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """The X of A · X = B, with the factors of A in one matrix (see `lu_factor_ex`).

    Args:
        LU: (…, n, n).
        pivots: (…, n).
        B: (…, n, k), or (…, k, n) with ``left=False``.
        left: Whether A is on the left of X.
        adjoint: Whether Aᴴ is meant instead of A.

    Returns:
        X, with the batch axes of both.

    Raises:
        DtypeError: If LU and B have different types.
        ShapeError: If there isn't a pivot for each row.
    """
    check_dtypes("lu_solve", LU=LU, B=B)
    if LU.ndim < 2 or B.ndim < 2 or not pivots.ndim or pivots.shape != LU.shape[:-1]:
        raise RankError(
            f"lu_solve: expected matrices LU and B, and a pivot for each row of LU; got {tuple(LU.shape)}, "
            f"{tuple(B.shape)} and {tuple(pivots.shape)}"
        )
    if not left:  # X A = B is Aᴴ Xᴴ = Bᴴ
        return lu_solve(LU, pivots, B.mH, adjoint=not adjoint).mH
    P = torch.lu_unpack(LU.detach(), pivots, unpack_data=False)[0]
    if adjoint:
        inner = solve_triangular(LU.mH, B, upper=False)
        return P @ solve_triangular(LU.mH, inner, upper=True, unitriangular=True)
    inner = solve_triangular(LU, P.mT @ B, upper=False, unitriangular=True)
    return solve_triangular(LU, inner, upper=True)


# Square systems.  A is factored once; its factors serve the value and the derivatives of all orders.


@primitive(broadcasts=True)
def solve_factored(A: Tensor, B: Tensor, LU: Tensor, pivots: Tensor, transposed: bool = False) -> Any:
    """The X of A · X = B, or of Aᵀ · X = B; the factors of A are at hand."""
    return _solved(B, LU, pivots, transposed)


@solve_factored.vjp("A", "B")
def solve_factored_wrt_A_and_B(
    grad: Tensor, out: Tensor, A: Tensor, LU: Tensor, pivots: Tensor, transposed: bool, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    # dB goes through A⁻¹, so its gradient comes back through A⁻ᵀ; dA X is taken from it
    gB = solve_factored(A, grad, LU, pivots, not transposed)
    if not needs[0]:
        return None, gB
    return -(out @ gB.mT if transposed else gB @ out.mT), gB


def _solved(B: Tensor, LU: Tensor, pivots: Tensor, transposed: bool) -> Any:
    if transposed:  # torch offers the adjoint: conj(Aᴴ conj(X)) = Aᵀ X
        return torch.linalg.lu_solve(LU, pivots, torch.conj_physical(B), adjoint=True).conj_physical()
    return torch.linalg.lu_solve(LU, pivots, B)


def is_vector(B: Any, A: Any) -> bool:
    """Whether torch takes a right-hand side for a (batch of) vectors, not matrices."""
    return bool(B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1]))


@composite(names="", aten="_linalg_solve_ex.default")
def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> tuple[Any, Any, Any, Any]:
    """The X of A · X = B, or of X · A = B; the factors and pivots of A, and whether that went well (0).

    Args:
        A: (…, n, n).
        B: (…, n, k), or (…, k, n) with ``left=False``; or vectors (…, n).
        left: Whether A is on the left of X.
        check_errors: Whether a singular A is an error.

    Returns:
        X; and three constants, the factors, their pivots and the verdict.
    """
    LU, pivots, info = torch.linalg.lu_factor_ex(A.detach(), check_errors=check_errors)
    if is_vector(B, A):
        return solve_factored(A, B.unsqueeze(-1), LU, pivots).squeeze(-1), LU, pivots, info
    if left:
        return solve_factored(A, B, LU, pivots), LU, pivots, info
    return solve_factored(A, B.mT, LU, pivots, True).mT, LU, pivots, info  # X A = B is Aᵀ Xᵀ = Bᵀ


@primitive(aten="linalg_inv_ex.default", results="inverse info")
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse of a matrix, and whether there is one (0)."""
    return torch.linalg.inv_ex(A, check_errors=check_errors)


@inv_ex.vjp("A")
def inv_ex_wrt_A(grad: list[Tensor], inverse: Tensor) -> Any:
    # 0 = d(A A⁻¹) = dA A⁻¹ + A dA⁻¹, so dA⁻¹ = −A⁻¹ dA A⁻¹
    return -(inverse.mT @ grad[0] @ inverse.mT)


# Determinants


@primitive
def det_factored(A: Tensor, LU: Tensor, pivots: Tensor) -> Tensor:
    """The determinant of a matrix whose factors are at hand."""
    return _determinant(LU, pivots)


@det_factored.vjp("A")
def det_factored_wrt_A(grad: Tensor, A: Tensor, LU: Tensor, pivots: Tensor) -> Any:
    # d det A = tr(adj A · dA) (Jacobi's formula)
    return grad[..., None, None] * cofactors(A, LU, pivots)


@primitive
def cofactors(A: Tensor, LU: Tensor, pivots: Tensor) -> Tensor:
    """The cofactors det A · A⁻ᵀ of a matrix whose factors are at hand, of a singular one too."""
    # They are polynomials of A's elements: next to a singular matrix is a regular one with nearly the same.  No digit
    # is lost to the small pivot, by which the inverse is divided and the determinant multiplied.
    LU = _without_zero_pivots(LU, 1)
    return _solved(_multiples(_determinant(LU, pivots), A), LU, pivots, True)  # type: ignore[no-any-return]


@cofactors.vjp("A")
def cofactors_wrt_A(grad: Tensor, A: Tensor, LU: Tensor, pivots: Tensor) -> Any:
    # C = d X with d = det A and X = A⁻ᵀ, and dX = −X dAᵀ X.  With a small pivot two large terms nearly cancel, so half
    # of the digits are left for the distance from A: of a singular matrix this has half of them.
    LU = _without_zero_pivots(LU, 0.5)
    d = det_factored(A, LU, pivots)[..., None, None]
    X = solve_factored(A, _multiples(torch.ones_like(d[..., 0, 0]), A), LU, pivots, True)
    trace = (grad * X).sum((-2, -1), keepdim=True)
    return d * (trace * X - X @ grad.mT @ X)


def _without_zero_pivots(LU: Tensor, digits: float) -> Tensor:
    """Factors whose zeros on the diagonal are small numbers: so many of all digits below one."""
    pivots = torch.diagonal(LU, dim1=-2, dim2=-1)
    return LU + torch.diag_embed((pivots == 0) * torch.finfo(LU.dtype).eps ** digits)


def _determinant(LU: Tensor, pivots: Tensor) -> Tensor:
    return _parity(pivots) * torch.diagonal(LU, dim1=-2, dim2=-1).prod(-1)


def _parity(pivots: Tensor) -> Tensor:
    """1 or −1: the determinant of P, of which each pivot that isn't in its own place swaps two rows."""
    places = torch.arange(1, pivots.shape[-1] + 1, device=pivots.device, dtype=pivots.dtype)
    return 1 - 2 * ((pivots != places).sum(-1) % 2)


def _multiples(factor: Tensor, A: Tensor) -> Tensor:
    """Multiples of the identity, for each matrix of a batch its own."""
    return factor[..., None, None] * identity(factor, A.shape[-1])


def _check_square(name: str, A: Any) -> None:
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"{name}: A must be a square matrix, or a batch of them, got shape {tuple(A.shape)}")


@composite(names="", aten="_linalg_det.default")
def det(A: Any) -> tuple[Any, Any, Any]:
    """The determinant; and two constants, the factors of A and their pivots."""
    _check_square("linalg.det", A)
    LU, pivots, _ = torch.linalg.lu_factor_ex(A.detach())
    return det_factored(A, LU, pivots), LU, pivots


@primitive(holomorphic=False)
def slogdet_factored(A: Tensor, LU: Tensor, pivots: Tensor) -> tuple[Tensor, Tensor]:
    """The sign and the logarithm of the size of the determinant of a matrix whose factors are at hand."""
    diagonal = torch.diagonal(LU, dim1=-2, dim2=-1)
    return _parity(pivots) * torch.sgn(diagonal).prod(-1), diagonal.abs().log().sum(-1)


@slogdet_factored.vjp("A")
def slogdet_factored_wrt_A(
    grad: list[Tensor | None], out: tuple[Tensor, Tensor], A: Tensor, LU: Tensor, pivots: Tensor
) -> Any:
    # d log det A = tr(A⁻¹ dA) = t: its real part is the size's, and the sign (cos φ + i sin φ) turns by the imaginary
    # part, d sign = i · sign · Im t
    sign, g_sign, g_size = out[0], grad[0], grad[1]
    factor = torch.zeros_like(out[1]) if g_size is None else g_size
    if sign.is_complex():
        turn = torch.zeros_like(factor) if g_sign is None else torch.imag(torch.conj(g_sign) * sign)
        factor = torch.complex(factor, turn)
    gA = solve_factored(A, _multiples(factor, A), LU, pivots, True)
    return torch.conj(gA) if sign.is_complex() else gA


@composite(names="", aten="_linalg_slogdet.default")
def slogdet(A: Any) -> tuple[Any, Any, Any, Any]:
    """The determinant's sign and the logarithm of its size; and two constants, the factors of A and their pivots."""
    _check_square("linalg.slogdet", A)
    LU, pivots, _ = torch.linalg.lu_factor_ex(A.detach())
    return (*slogdet_factored(A, LU, pivots), LU, pivots)


# Least squares


@primitive(holomorphic=False, aten="linalg_pinv.atol_rtol_tensor")
def pinv(A: Tensor, *, atol: Tensor | None = None, rtol: Tensor | None = None, hermitian: bool = False) -> Any:
    """The pseudoinverse of Moore and Penrose; singular values below a bound count as zero.

    References:
        G. Golub and V. Pereyra (1973), The differentiation of pseudo-inverses and nonlinear least squares problems
        whose variables separate, https://doi.org/10.1137/0710036.
    """
    return torch.linalg.pinv(A, atol=atol, rtol=rtol, hermitian=hermitian)


@pinv.vjp("A")
def pinv_wrt_A(grad: Tensor, out: Tensor, A: Tensor) -> Any:
    # For changes that keep the rank: dP = −P dA P + P Pᴴ dAᴴ (I − A P) + (I − P A) dAᴴ Pᴴ P
    P, PH, gH = out, out.mH, grad.mH
    outside_columns = (gH - A @ (P @ gH)) @ P @ PH
    outside_rows = PH @ P @ (gH - (gH @ P) @ A)
    return outside_columns + outside_rows - PH @ grad @ PH


@primitive(holomorphic=False, results="X sums rank singular_values")
def lstsq_(A: Tensor, B: Tensor, rcond: float | None, driver: str | None) -> Any:
    """The X that makes the squares of A · X − B least; their sums, the rank and the singular values of A."""
    return torch.linalg.lstsq(A, B, rcond, driver=driver)


@lstsq_.vjp("A", "B")
def lstsq_wrt_A_and_B(
    grad: list[Tensor | None], X: Tensor, A: Tensor, B: Tensor, rcond: float | None
) -> tuple[Tensor | None, Tensor | None]:
    gX, g_sums = grad[0], grad[1]
    gA, gB = torch.zeros_like(A), torch.zeros_like(B)
    if gX is not None:  # X = P B with the pseudoinverse P
        P = torch.linalg.pinv(A, rtol=rcond)
        gA, gB = gA + pinv_wrt_A(gX @ B.mH, P, A), gB + P.mH @ gX
    if g_sums is not None and g_sums.numel():  # X makes the sums least, so they move by A and B alone
        change = 2 * (A @ X - B) * g_sums.unsqueeze(-2)
        gA, gB = gA + change @ X.mH, gB - change
    return gA, gB


@composite(names="", aten="linalg_lstsq.default")
def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> tuple[Any, Any, Any, Any]:
    """The X that makes the squares of A · X − B least.

    Args:
        A: (…, m, n).
        B: (…, m, k), or vectors (…, m).
        rcond: Singular values of A below this multiple of the largest count as zero.
        driver: LAPACK's algorithm: ``"gels"`` (A has full rank), ``"gelsy"``, ``"gelsd"`` or ``"gelss"``.

    Returns:
        X; the sums of squares of each column (empty unless A has full rank and more rows than columns); and as
        constants the rank and the singular values of A, where the algorithm finds them.

    Raises:
        ShapeError: If B is neither vectors nor matrices that fit A.
    """
    if A.ndim < 2 or not 0 <= A.ndim - B.ndim <= 1:
        raise ShapeError(
            f"linalg.lstsq: expected A (…, m, n) and B (…, m, k) or (…, m), got {tuple(A.shape)} and {tuple(B.shape)}"
        )
    vectors = B.ndim < A.ndim
    B = B.unsqueeze(-1) if vectors else B
    batch = torch.broadcast_shapes(A.shape[:-2], B.shape[:-2])  # type: ignore[no-untyped-call]
    X, sums, rank, values = lstsq_(A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:]), rcond, driver)
    return X.squeeze(-1) if vectors else X, sums, rank, values.detach()


# The exponential


@primitive(aten="linalg_matrix_exp.default")
def matrix_exp(A: Tensor) -> Any:
    """The matrix exponential, Σ Aⁿ/n!.

    References:
        A. Al-Mohy and N. Higham (2009), Computing the Fréchet derivative of the matrix exponential,
        https://doi.org/10.1137/080716426; C. Van Loan (1978), Computing integrals involving the matrix exponential.
    """
    return torch.linalg.matrix_exp(A)


@matrix_exp.vjp("A")
def matrix_exp_wrt_A(grad: Tensor, A: Tensor) -> Any:
    # exp of the blocks (A E; 0 A) has the derivative of exp in the direction E at its upper right; the adjoint of that
    # map is the same map of Aᵀ
    size = A.shape[-1]
    upper = torch.cat([A.mT, grad], -1)
    lower = torch.cat([torch.zeros_like(grad), A.mT], -1)
    return torch.linalg.matrix_exp(torch.cat([upper, lower], -2))[..., :size, size:]
