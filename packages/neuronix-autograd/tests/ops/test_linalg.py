"""Products, each row against torch (values, gradients of both orders) and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neuronix.autograd import CustomTensor, errors, ops, tensor
from neuronix.autograd.testing import check_against_finite_differences

Row = tuple[str, Callable[..., Any], list[Any]]


def made(what: Any, dtype: torch.dtype = torch.float64) -> Any:
    """A leaf of random numbers for a shape; anything else is itself."""
    if isinstance(what, tuple):
        generator = torch.Generator().manual_seed(sum(what) + len(what))
        return torch.randn(what, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return what


ROWS: list[Row] = [
    ("matrix @ matrix", lambda x, y: x @ y, [(2, 3), (3, 4)]),
    ("matrix @ vector", lambda x, y: x @ y, [(2, 3), (3,)]),
    ("vector @ matrix", lambda x, y: x @ y, [(3,), (3, 4)]),
    ("vector @ vector", lambda x, y: x @ y, [(3,), (3,)]),
    ("batch @ matrix", lambda x, y: torch.matmul(x, y), [(2, 5, 3), (3, 4)]),
    ("batch of batches @ matrix", lambda x, y: x.matmul(y), [(2, 2, 5, 3), (3, 4)]),
    ("matrix @ batch", lambda x, y: x @ y, [(5, 3), (2, 3, 4)]),
    ("batch @ batch", lambda x, y: x @ y, [(2, 5, 3), (2, 3, 4)]),
    ("batches that broadcast", lambda x, y: x @ y, [(2, 1, 5, 3), (4, 3, 4)]),
    ("batch @ vector", lambda x, y: x @ y, [(2, 5, 3), (3,)]),
    ("vector @ batch", lambda x, y: x @ y, [(3,), (2, 3, 4)]),
    ("no inner elements", lambda x, y: x @ y, [(2, 0), (0, 4)]),
    ("no rows", lambda x, y: x @ y, [(0, 3), (3, 4)]),
    ("no batch", lambda x, y: x @ y, [(0, 5, 3), (3, 4)]),
    ("sizes of one", lambda x, y: x @ y, [(1, 1), (1, 1)]),
    ("by keyword", lambda x, y: torch.matmul(x, other=y), [(2, 3), (3, 4)]),
    ("linalg.matmul", lambda x, y: torch.linalg.matmul(x, y), [(2, 3), (3, 4)]),
    ("a constant on the left", lambda y: torch.eye(3, dtype=y.dtype) @ y, [(3, 4)]),
    ("a constant on the right", lambda x: x @ torch.eye(3, dtype=x.dtype), [(2, 3)]),
    ("a matrix and its transpose", lambda x: x @ x.T, [(2, 3)]),
    ("mm", lambda x, y: torch.mm(x, y), [(2, 3), (3, 4)]),
    ("mm by keyword", lambda x, y: torch.mm(x, mat2=y), [(2, 3), (3, 4)]),
    ("bmm", lambda x, y: x.bmm(y), [(2, 5, 3), (2, 3, 4)]),
    ("mv", lambda x, y: x.mv(y), [(2, 3), (3,)]),
    ("dot", lambda x, y: x.dot(y), [(3,), (3,)]),
    ("dot of nothing", lambda x, y: torch.dot(x, y), [(0,), (0,)]),
    ("vdot", lambda x, y: torch.vdot(x, y), [(3,), (3,)]),
    ("outer", lambda x, y: torch.outer(x, y), [(3,), (2,)]),
    ("inner", lambda x, y: torch.inner(x, y), [(2, 3), (4, 3)]),
    ("inner of vectors", lambda x, y: x.inner(y), [(3,), (3,)]),
    ("inner with a scalar", lambda x, y: torch.inner(x, y), [(2, 3), ()]),
    ("linear", lambda x, w, b: F.linear(x, w, b), [(5, 3), (4, 3), (4,)]),
    ("linear without bias", lambda x, w: F.linear(x, w), [(5, 3), (4, 3)]),
    ("linear by keywords", lambda x, w, b: F.linear(x, weight=w, bias=b), [(5, 3), (4, 3), (4,)]),
    ("linear of a vector", lambda x, w, b: F.linear(x, w, b), [(3,), (4, 3), (4,)]),
    ("linear of batches", lambda x, w, b: F.linear(x, w, b), [(2, 5, 3), (4, 3), (4,)]),
    ("linear of a batch of nothing", lambda x, w, b: F.linear(x, w, b), [(0, 3), (4, 3), (4,)]),
    ("linear of one row", lambda x, w, b: F.linear(x, w, b), [(1, 3), (1, 3), (1,)]),
    ("linear with a bias of one number", lambda x, w, b: F.linear(x, w, b), [(5, 3), (4, 3), (1,)]),
    ("linear with a weight vector", lambda x, w: F.linear(x, w), [(5, 3), (3,)]),
    ("bilinear", lambda x, y, w, b: F.bilinear(x, y, w, b), [(5, 2), (5, 3), (4, 2, 3), (4,)]),
    ("addmm", lambda x, a, b: torch.addmm(x, a, b), [(4,), (2, 3), (3, 4)]),
    ("addmm, scaled", lambda x, a, b: x.addmm(a, b, beta=0.5, alpha=2), [(2, 4), (2, 3), (3, 4)]),
    ("addmm with beta 0", lambda x, a, b: torch.addmm(x, a, b, beta=0), [(2, 4), (2, 3), (3, 4)]),
    ("addmv", lambda x, a, b: torch.addmv(x, a, b, alpha=3), [(2,), (2, 3), (3,)]),
    ("addr", lambda x, a, b: torch.addr(x, a, b, beta=2), [(2, 3), (2,), (3,)]),
    ("baddbmm", lambda x, a, b: torch.baddbmm(x, a, b, beta=2, alpha=3), [(2, 5, 4), (2, 5, 3), (2, 3, 4)]),
    ("addbmm", lambda x, a, b: torch.addbmm(x, a, b), [(5, 4), (2, 5, 3), (2, 3, 4)]),
    ("tensordot", lambda x, y: torch.tensordot(x, y), [(2, 3, 4), (3, 4, 5)]),
    ("tensordot over one axis", lambda x, y: torch.tensordot(x, y, 1), [(2, 3), (3, 4)]),
    ("tensordot over no axis", lambda x, y: torch.tensordot(x, y, dims=0), [(2,), (3,)]),
    ("tensordot over named axes", lambda x, y: torch.tensordot(x, y, dims=([0, -1], [2, 0])), [(2, 3, 4), (4, 5, 2)]),
    ("tensordot that broadcasts", lambda x, y: torch.tensordot(x, y, dims=([0, 1], [0, 1])), [(1, 3), (2, 3)]),
    ("kron", lambda x, y: torch.kron(x, y), [(2, 3), (3, 2)]),
    ("kron of different ranks", lambda x, y: torch.kron(x, y), [(2,), (2, 3)]),
    ("multi_dot", lambda x, y, z: torch.linalg.multi_dot([x, y, z]), [(2, 3), (3, 4), (4, 2)]),
]

EINSUMS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("ij->ji", [(2, 3)]),
    ("ij", [(2, 3)]),
    ("ba", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ij->j", [(2, 3)]),
    ("ii", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("iij->j", [(3, 3, 2)]),
    ("iii->i", [(3, 3, 3)]),
    ("bii->b", [(2, 3, 3)]),
    ("i,i", [(3,), (3,)]),
    ("i,j->ij", [(3,), (2,)]),
    ("i,i->i", [(3,), (3,)]),
    (",", [(), ()]),
    ("->", [()]),
    (",i->i", [(), (3,)]),
    ("ij,kl->", [(2, 3), (4, 5)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 2)]),
    ("...ij,jk->...ik", [(2, 3, 4), (4, 2)]),
    ("...", [(2, 3)]),
    ("...i->i...", [(2, 3, 4)]),
    ("i...->...", [(2, 3, 4)]),
    ("...i,...i", [(2, 3), (2, 3)]),
    ("bn,anm,bm->ba", [(2, 3), (4, 3, 5), (2, 5)]),
    ("ij,jk,kl,lm->im", [(2, 3), (3, 4), (4, 2), (2, 3)]),
    ("ijk,j->ik", [(2, 3, 4), (3,)]),
    ("ij,ij->ij", [(2, 3), (2, 3)]),
    ("ij,ij->ij", [(2, 1), (2, 3)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
    ("i j , j k -> i k", [(2, 3), (3, 4)]),
    ("aB,Bc->ac", [(2, 3), (3, 4)]),
    ("ij,jk->ik", [(0, 3), (3, 4)]),
    ("ij,jk->ik", [(2, 0), (0, 4)]),
    ("...ii->...i", [(2, 3, 3)]),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("name", "function", "inputs"), ROWS, ids=[row[0] for row in ROWS])
def test_against_torch(
    check_against_torch: Callable[..., None],
    name: str,
    function: Callable[..., Any],
    inputs: list[Any],
    dtype: torch.dtype,
) -> None:
    check_against_torch(function, *(made(what, dtype) for what in inputs))


@pytest.mark.parametrize(("name", "function", "inputs"), ROWS, ids=[row[0] for row in ROWS])
def test_against_finite_differences(name: str, function: Callable[..., Any], inputs: list[Any]) -> None:
    check_against_finite_differences(function, *(made(what).detach() for what in inputs), second_order=True)


@pytest.mark.parametrize(("equation", "shapes"), EINSUMS, ids=[f"{e} {s}" for e, s in EINSUMS])
def test_einsum(check_against_torch: Callable[..., None], equation: str, shapes: list[tuple[int, ...]]) -> None:
    check_against_torch(lambda *xs: torch.einsum(equation, *xs), *(made(shape) for shape in shapes))
    values = [made(shape).detach() for shape in shapes]
    check_against_finite_differences(lambda *xs: torch.einsum(equation, *xs), *values)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x, y: torch.einsum(x, [0, 1], y, [1, 2], [0, 2]), [(2, 3), (3, 4)]),
        (lambda x, y: torch.einsum(x, [0, 1], y, [1, 2]), [(2, 3), (3, 4)]),
        (lambda x, y: torch.einsum(x, [..., 1], y, [1, 30], [..., 30]), [(2, 5, 3), (3, 4)]),
        (lambda x, y: torch.einsum("ij,jk", [x, y]), [(2, 3), (3, 4)]),
    ],
)
def test_einsum_in_its_other_spellings(
    check_against_torch: Callable[..., None], function: Callable[..., Any], shapes: list[tuple[int, ...]]
) -> None:
    check_against_torch(function, *(made(shape) for shape in shapes))


def test_einsum_of_one_operand_and_its_axes(check_against_torch: Callable[..., None]) -> None:
    # torch.einsum itself doesn't let a single CustomTensor through in this spelling
    check_against_torch(
        lambda x: ops.einsum(x, [0, 0, 1]), made((3, 3, 2)), torch_function=lambda x: torch.einsum(x, [0, 0, 1])
    )


@pytest.mark.parametrize("product", [torch.sparse.mm, torch.spmm, torch.mm, torch.matmul])
def test_products_with_a_sparse_constant(check_against_torch: Callable[..., None], product: Callable[..., Any]) -> None:
    dense = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, -1.0]], dtype=torch.float64)
    sparse = dense.to_sparse()
    check_against_torch(lambda y: product(sparse, y), made((3, 4)), torch_function=lambda y: dense @ y)
    with pytest.raises(errors.UnsupportedError, match="the sparse matrix requires grad"):
        torch.sparse.mm(CustomTensor(sparse, requires_grad=True), dense.mT)


@pytest.mark.parametrize(
    ("shapes", "ends"),
    [
        ([(8, 12), (3, 12, 4)], [3, 3, 8]),
        ([(12, 8), (8, 4)], [3, 3, 8]),
        ([(3, 12, 4), (4, 8)], [3, 3, 8]),
        ([(3, 4, 8), (3, 8, 4)], None),
    ],
)
def test_grouped_products(
    check_against_torch: Callable[..., None], shapes: list[tuple[int, ...]], ends: list[int] | None
) -> None:
    """In single precision: torch's has no other.  The sizes are multiples of the 16 bytes that it asks for."""
    offs = None if ends is None else torch.tensor(ends, dtype=torch.int32)
    inputs = [made(shape, torch.float32) for shape in shapes]
    check_against_torch(lambda x, y: F.grouped_mm(x, y, offs=offs), *inputs)
    x = tensor(inputs[0].detach())
    with pytest.raises(errors.UnsupportedError, match="a bias isn't offered"):
        torch._grouped_mm(x, inputs[1].detach(), offs=offs, bias=torch.ones(4))
    if ends is not None:
        with pytest.raises(errors.NeuronixError, match="Double"):
            F.grouped_mm(x.double(), inputs[1].detach().double(), offs=offs)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x @ y.mT,
        lambda x, y: torch.vdot(x[0], y[0]),
        lambda x, y: torch.einsum("ij,kj->ik", x, y),
        lambda x, y: x.mH @ y,
    ],
)
def test_complex(check_against_torch: Callable[..., None], function: Callable[..., Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(3, 4, dtype=torch.complex128, generator=generator, requires_grad=True) for _ in range(2))
    check_against_torch(function, x, y)


def test_linear_in_bfloat16(check_against_torch: Callable[..., None]) -> None:
    inputs = [made(shape, torch.bfloat16) for shape in [(5, 3), (4, 3), (4,)]]
    check_against_torch(F.linear, *inputs, rtol=2e-2, atol=2e-2)


def test_numpy_operands_on_both_sides() -> None:
    matrix = np.arange(6.0).reshape(2, 3)
    x = tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    left = matrix @ x
    assert isinstance(left, CustomTensor)
    right = x @ matrix.T
    torch.testing.assert_close(left.data, right.data, rtol=0, atol=0)
    left.sum().backward()
    torch.testing.assert_close(x.grad, torch.from_numpy(matrix.sum(0)), rtol=0, atol=0)


def test_in_place_product() -> None:
    x = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x * 1
    y @= x
    torch.testing.assert_close(y.data, (x @ x).data, rtol=0, atol=0)


@pytest.mark.parametrize(
    "shapes", [((2, 3, 4), (4, 5)), ((2, 2, 3, 4), (2, 2, 4, 5)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3))]
)
def test_a_product_may_be_changed_in_place(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], check_against_torch: Callable[..., None]
) -> None:
    def changed(x: Any, other: Any) -> Any:
        product = x @ other
        product += 1  # it belongs to nobody else, however it was computed
        return product * product

    check_against_torch(changed, *(made(shape) for shape in shapes))


@pytest.mark.parametrize("bias", [(), (1,), (5,), (1, 5), (3, 5), (2, 3, 5)], ids=str)
def test_a_bias_of_linear_broadcasts(bias: tuple[int, ...], check_against_torch: Callable[..., None]) -> None:
    shapes = ((2, 3, 4), (5, 4), bias)
    check_against_torch(F.linear, *(made(shape) for shape in shapes))


@pytest.mark.parametrize("bias", [(4,), (1, 1, 5), (2, 3, 5)], ids=str)
def test_a_bias_of_linear_that_doesnt_fit(bias: tuple[int, ...]) -> None:
    with pytest.raises(errors.ShapeError):
        F.linear(tensor(torch.ones(3, 4), requires_grad=True), torch.ones(5, 4), torch.ones(bias))


def test_an_empty_layer_gives_empty_gradients(check_against_torch: Callable[..., None]) -> None:
    x, weight, bias = (torch.ones(shape, dtype=torch.float64) for shape in ((2, 3, 4), (0, 4), (0,)))
    check_against_torch(F.linear, x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_())


def test_what_isnt_needed_isnt_computed() -> None:
    weight = tensor(torch.ones(2, 3), requires_grad=True)
    out = F.linear(torch.ones(4, 3), weight)
    assert out.grad_fn is not None
    assert out.grad_fn.saved_values["weight"] is None or isinstance(out.grad_fn.saved_values["weight"], torch.Size)
    out.sum().backward()
    torch.testing.assert_close(weight.grad, torch.full((2, 3), 4.0), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x @ x, errors.ShapeError),
        (lambda x: x @ tensor(2.0), errors.ShapeError),
        (lambda x: x @ torch.ones(4, dtype=torch.float64), errors.ShapeError),
        (lambda x: torch.ones(2, 2, 4, dtype=torch.float64) @ x.mT, errors.ShapeError),
        (lambda x: x @ torch.ones(3, 2, dtype=torch.float32), errors.DtypeError),
        (lambda x: torch.mm(x, x[0]), errors.ShapeError),
        (lambda x: torch.bmm(x.expand(2, 2, 3), torch.ones(1, 3, 2, dtype=torch.float64)), errors.ShapeError),
        (lambda x: torch.mv(x, x), errors.ShapeError),
        (lambda x: torch.dot(x, x), errors.ShapeError),
        (lambda x: torch.outer(x, x), errors.ShapeError),
        (lambda x: F.linear(x, x.mT), errors.ShapeError),
        (lambda x: torch.tensordot(x, x, 1), errors.ShapeError),
        (lambda x: torch.einsum("ij,jk->ik", x, x), errors.ShapeError),
        (lambda x: torch.einsum("ij,jk->ik", x), errors.ArgumentError),
        (lambda x: torch.einsum("ijk->i", x), errors.ArgumentError),
        (lambda x: torch.einsum("i->i", x), errors.ArgumentError),
        (lambda x: torch.einsum("ij->ik", x), errors.ArgumentError),
        (lambda x: torch.einsum("ij->ii", x), errors.ArgumentError),
        (lambda x: torch.einsum("i1->i", x), errors.ArgumentError),
    ],
)
def test_bad_arguments_raise_typed_errors(function: Callable[[Any], Any], error: type[Exception]) -> None:
    x = tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(error):
        function(x)
    assert x.grad is None


def test_errors_say_what_doesnt_fit() -> None:
    with pytest.raises(errors.ShapeError, match=r"matmul.*\n.*x=float32\(2, 3\), other=float32\(2, 3\)"):
        tensor(torch.ones(2, 3)) @ tensor(torch.ones(2, 3))


def test_plain_tensors_are_constants() -> None:
    assert isinstance(ops.matmul(torch.ones(2, 3), torch.ones(3)), CustomTensor)
    assert isinstance(ops.einsum("ij->i", torch.ones(2, 3)), CustomTensor)
