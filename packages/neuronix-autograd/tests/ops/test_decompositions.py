"""Linear algebra beyond products: every shape, real and complex, at both orders; singular matrices; norms of FFTs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, linalg
from torch.testing import assert_close

from neuronix.autograd import CustomTensor, grad

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
SQUARE = [(3, 3), (2, 3, 3), (0, 3, 3), (0, 0)]
SHAPES = [*SQUARE, (4, 2), (2, 4), (2, 4, 2), (2, 2, 4), (3, 0), (0, 3), (2, 0, 3)]


def made(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype).requires_grad_()


def positive(A: Any) -> Any:
    return A @ A.mH + torch.eye(A.shape[-2], dtype=A.dtype)


def sizes_of_svd(A: Any, full_matrices: bool) -> Any:
    """What doesn't depend on the choice of phases."""
    U, S, Vh = linalg.svd(A, full_matrices=full_matrices)
    size = S.shape[-1]
    return S, torch.abs(U[..., :size]), torch.abs(Vh[..., :size, :])


def sizes_of(decompose: Callable[..., Any], A: Any, **options: Any) -> Any:
    values, vectors = decompose(A, **options)
    return values, torch.abs(vectors)


OF_ANY: dict[str, Callable[[Any], Any]] = {
    "svdvals": linalg.svdvals,
    "svd": partial(sizes_of_svd, full_matrices=False),
    "svd, full": lambda A: sizes_of_svd(A, True) if A.numel() else A * 1,
    "pinv": linalg.pinv,
    "nuclear norm": lambda A: linalg.matrix_norm(A, "nuc"),
    "qr": linalg.qr,
    "lu": lambda A: linalg.lu(A)[1:],
}
OF_SQUARE: dict[str, Callable[[Any], Any]] = {
    "eigvalsh": linalg.eigvalsh,
    "eigh, upper": partial(sizes_of, linalg.eigh, UPLO="U"),
    "eig": partial(sizes_of, linalg.eig),
    "det": linalg.det,
    "slogdet": linalg.slogdet,
    "inv": linalg.inv,
    "cholesky": lambda A: linalg.cholesky(positive(A)),
    "cholesky, upper": lambda A: linalg.cholesky(positive(A), upper=True),
    "pinv, hermitian": lambda A: linalg.pinv(A + A.mH, hermitian=True),
    "matrix_exp": linalg.matrix_exp,
    "matrix_power -2": lambda A: linalg.matrix_power(A, -2),
}
CASES = [(name, f, shape) for name, f in OF_ANY.items() for shape in SHAPES]
CASES += [(name, f, shape) for name, f in OF_SQUARE.items() for shape in SQUARE]


@DTYPES
@pytest.mark.parametrize("name, function, shape", CASES, ids=[f"{name} {shape}" for name, _, shape in CASES])
def test_every_shape(
    name: str,
    function: Callable[[Any], Any],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    check_against_torch: Callable[..., None],
) -> None:
    # at second order ill-conditioned samples lose two digits on both sides
    check_against_torch(function, made(*shape, dtype=dtype), rtol=1e-8, atol=1e-8)


@DTYPES
@pytest.mark.parametrize(
    "function", [linalg.eigvalsh, linalg.svdvals, lambda A: linalg.eigh(A)[0]], ids=["eigvalsh", "svdvals", "eigh"]
)
def test_values_alone_may_repeat(
    function: Callable[[Any], Any], dtype: torch.dtype, check_against_torch: Callable[..., None]
) -> None:
    check_against_torch(function, torch.eye(3, dtype=dtype).requires_grad_(), second_order=False)


@DTYPES
def test_a_pseudoinverse_of_lower_rank(dtype: torch.dtype, check_against_torch: Callable[..., None]) -> None:
    pinv = lambda A, B: linalg.pinv(A @ B, rtol=1e-8)  # noqa: E731
    check_against_torch(pinv, made(4, 2, dtype=dtype), made(2, 4, dtype=dtype), rtol=1e-8, atol=1e-8)


def by_minors(A: Tensor) -> Tensor:
    """The cofactors of matrices of three rows, from their definition."""
    return torch.stack([linalg.cross(A[(i + 1) % 3], A[(i + 2) % 3]) for i in range(3)])


@pytest.mark.parametrize(
    "rows",
    [
        [[0, 0, 0], [0, 1, 0], [0, 0, 2]],
        [[1, 2, 3], [2, 4, 6], [1, 0, 1]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 2]],
        [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    ],
)
def test_the_determinant_of_a_singular_matrix(rows: list[list[float]]) -> None:
    """Its gradient are the cofactors. (Torch's plain backward pass gives zeros for the first of these matrices.)"""
    A = torch.tensor(rows, dtype=torch.float64)
    x = CustomTensor(A, requires_grad=True)
    weights = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (first,) = grad(linalg.det(x), x, create_graph=True)
    assert_close(first.data, by_minors(A), rtol=1e-14, atol=1e-14)
    (second,) = grad((first * weights).sum(), x)
    # cofactors are of degree two in each direction, so this quotient is exact whatever the step
    steps = torch.eye(9, dtype=A.dtype).reshape(9, 3, 3)
    slopes = [((by_minors(A + step) - by_minors(A - step)) * weights).sum() / 2 for step in steps]
    # half of the digits: see the rule
    assert_close(second.data, torch.stack(slopes).reshape(3, 3), rtol=0, atol=3e-7)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("n", [None, 1, 3, 4, 6, 7])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_arguments_of_transforms(
    name: str, dim: int, n: int | None, norm: str, check_against_torch: Callable[..., None]
) -> None:
    dtype = torch.float64 if name in ("rfft", "ihfft") else torch.complex128
    check_against_torch(partial(getattr(torch.fft, name), n=n, dim=dim, norm=norm), made(4, 5, dtype=dtype))
