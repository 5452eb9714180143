"""Sparse gradients: where torch gives one, the same one; and sums of sparse and dense ones, in either order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, detect_anomaly, errors, grad, tensor

ROWS = torch.tensor([[0, 4, 2], [2, 2, 0], [1, 0, 3]])
COLUMNS = ROWS % 3


def values(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def assert_same(ours: Tensor | None, theirs: Tensor | None) -> None:
    """Equal, to the last bit, and held in the same way."""
    assert ours is not None
    assert theirs is not None
    assert ours.layout == theirs.layout
    if theirs.is_sparse:
        assert ours.is_coalesced() == theirs.is_coalesced()
        assert ours._nnz() == theirs._nnz()
    assert torch.equal(ours.to_dense(), theirs.to_dense())


def taken(x: Any, dim: int = 0, index: Tensor = ROWS) -> Any:
    """A function of the elements that are taken, with a sparse gradient."""
    return (torch.gather(x, dim, index, sparse_grad=True) ** 2 * values(*index.shape)).sum()


Loss = Callable[[Any], Any]

LOSSES: list[tuple[str, Loss, tuple[int, ...]]] = [
    ("rows", taken, (5, 3)),
    ("rows, counted from the end", lambda x: taken(x, -2), (5, 3)),
    ("columns", lambda x: taken(x, 1, COLUMNS), (5, 3)),
    ("an index that is smaller than the tensor", lambda x: taken(x, 1, ROWS[:1, :2]), (3, 6)),
    ("nothing", lambda x: taken(x, 0, ROWS[:0]), (5, 3)),
    ("a vector", lambda x: taken(x, 0, ROWS[0]), (5,)),
    ("three axes", lambda x: taken(x, 1, ROWS.reshape(3, 3, 1)), (3, 5, 2)),
    ("a number", lambda x: torch.gather(x, 0, torch.tensor(0), sparse_grad=True) * 3, ()),
    ("sparse and sparse", lambda x: taken(x) + taken(x, 1, COLUMNS), (5, 3)),
    ("sparse, then dense", lambda x: taken(x) + (x * x).sum(), (5, 3)),
    ("dense, then sparse", lambda x: (x * x).sum() + taken(x), (5, 3)),
    ("through a product with a number", lambda x: taken(2 * x), (5, 3)),
    ("through a square", lambda x: taken(x * x), (5, 3)),
    ("through exp", lambda x: taken(x.exp()), (5, 3)),
    ("through one that is used twice", lambda x: taken(y := x * 3) + y.sum(), (5, 3)),
]


@pytest.mark.parametrize(("loss", "shape"), [row[1:] for row in LOSSES], ids=[row[0] for row in LOSSES])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_gradient_is_sparse_where_torchs_is(loss: Loss, shape: tuple[int, ...], steps: int) -> None:
    ours, theirs = tensor(values(*shape), requires_grad=True), values(*shape).requires_grad_()
    for _ in range(steps):
        loss(ours).backward()
        loss(theirs).backward()
    assert_same(ours.grad, theirs.grad)
    (by_grad,) = grad(loss(ours), ours)
    assert by_grad is not None
    assert_same(by_grad.data, torch.autograd.grad(loss(theirs), theirs)[0])


ORDERS = [["sparse", "dense", "sparse"], ["dense", "sparse", "dense"], ["sparse", "sparse", "dense", "dense"]]


@pytest.mark.parametrize("order", ORDERS, ids="+".join)
def test_passes_of_both_kinds_add_up(order: list[str]) -> None:
    ours, theirs = tensor(values(5, 3), requires_grad=True), values(5, 3).requires_grad_()
    for kind in order:
        for x in (ours, theirs):
            (taken(x) if kind == "sparse" else (x * x).sum()).backward()
        assert_same(ours.grad, theirs.grad)


def test_a_sparse_grad_can_be_set_and_filled_with_zeros() -> None:
    x = tensor(values(5, 3), requires_grad=True)
    x.grad = torch.sparse_coo_tensor(
        [[1, 1, 1], [0, 1, 2]], [1.0, 2.0, 3.0], (5, 3), dtype=torch.float64, check_invariants=True
    )
    taken(x).backward()
    assert x.grad is not None
    assert x.grad.is_sparse
    expected = 2 * values(3, 3) * x.data.gather(0, ROWS)
    dense = torch.zeros(5, 3, dtype=torch.float64).scatter_add(0, ROWS, expected)
    dense[1] += torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(x.grad.to_dense(), dense, rtol=1e-14, atol=0)
    x.grad.zero_()
    assert x.grad.to_dense().count_nonzero() == 0


def test_a_sparse_gradient_owns_its_memory() -> None:
    x = tensor(values(5, 3), requires_grad=True)
    seed = torch.ones(3, 3, dtype=torch.float64)
    torch.gather(x, 0, ROWS, sparse_grad=True).backward(seed)
    assert x.grad is not None
    x.grad.mul_(2)
    assert seed.eq(1).all()
    assert ROWS.max() == 4
    assert x.grad.to_dense()[2, 0] == 2.0


def test_hooks_see_it_sparse() -> None:
    x = tensor(values(5, 3), requires_grad=True)
    seen: list[bool] = []
    x.register_hook(lambda gradient: seen.append(gradient.is_sparse))
    x.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad is not None and leaf.grad.is_sparse))
    taken(x).backward()
    assert seen == [True, True]


def test_higher_orders_are_those_of_the_dense_gradient() -> None:
    """Of Σ v·x[i]³: each order is checked against the same without ``sparse_grad``."""

    def orders(sparse_grad: bool) -> list[Tensor]:
        x = tensor(values(5, 3), requires_grad=True)
        out = (torch.gather(x, 0, ROWS, sparse_grad=sparse_grad) ** 4 * values(3, 3)).sum()
        found = []
        for _ in range(3):
            (gradient,) = grad(out, x, create_graph=True)
            assert isinstance(gradient, CustomTensor)
            gradient = gradient.to_dense()
            found.append(gradient.data)
            out = (gradient**2).sum()
        return found

    for sparse, dense in zip(orders(True), orders(False), strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-12, atol=0)


def test_an_anomaly_in_a_sparse_gradient_is_found() -> None:
    x = tensor(torch.zeros(5, 3), requires_grad=True)
    with pytest.raises(errors.AnomalyError, match="pow|sqrt"), detect_anomaly():
        torch.gather(x, 0, ROWS, sparse_grad=True).sqrt().sum().backward()
