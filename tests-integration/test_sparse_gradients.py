"""Sparse gradients from a layer to an optimizer, against the same in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from neuronix import nn, optim
from neuronix.autograd import grad, tensor

WORDS = torch.tensor([[1, 4, 1], [2, 0, 3], [4, 4, 2]])


def table(rows: int = 5, columns: int = 3) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def assert_same(ours: Any, theirs: Any) -> None:
    assert ours.layout == theirs.layout == torch.sparse_coo
    assert ours._nnz() == theirs._nnz()
    assert torch.equal(ours.to_dense(), theirs.to_dense())


@pytest.mark.parametrize("padding_idx", [None, 1, -1])
@pytest.mark.parametrize("words", [WORDS, WORDS.int(), WORDS[0, :1], WORDS[:0]], ids=["int64", "int32", "one", "none"])
def test_an_embeddings_gradient_names_the_rows_that_were_used(words: torch.Tensor, padding_idx: int | None) -> None:
    ours, theirs = tensor(table(), requires_grad=True), table().requires_grad_()
    for _ in range(2):  # the second pass adds to the first
        for weight in (ours, theirs):
            (F.embedding(words, weight, padding_idx, sparse=True) ** 2).sum().backward()
        assert_same(ours.grad, theirs.grad)


def test_one_word_without_an_axis() -> None:
    ours, theirs = tensor(table(), requires_grad=True), table().requires_grad_()
    for weight in (ours, theirs):
        F.embedding(WORDS[0, 1], weight, sparse=True).sum().backward()
    assert_same(ours.grad, theirs.grad)


def test_its_second_order_is_that_of_the_dense_gradient() -> None:
    def second(sparse: bool) -> torch.Tensor:
        weight = tensor(table(), requires_grad=True)
        rows = F.embedding(WORDS, weight, 2, sparse=sparse)
        (first,) = grad((rows**3).sum(), weight, create_graph=True)  # type: ignore[operator]
        (found,) = grad((first.to_dense() ** 2).sum(), weight)  # type: ignore[union-attr]
        return found.data.to_dense()  # type: ignore[union-attr]

    torch.testing.assert_close(second(True), second(False), rtol=1e-13, atol=0)


TAKERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"maximize": True}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"momentum": 0.9, "dampening": 0.2}),
    ("SGD", {"foreach": True, "momentum": 0.9}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("SparseAdam", {}),
    ("SparseAdam", {"maximize": True, "betas": (0.5, 0.9)}),
]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # torch's own optimizer leaves them out
@pytest.mark.parametrize(("name", "options"), TAKERS)
def test_optimizers_that_take_one_step_as_torchs(name: str, options: dict[str, Any]) -> None:
    results = []
    for modules, optimizers in ((nn, optim), (torch.nn, torch.optim)):
        layer = modules.Embedding(5, 3, padding_idx=1, sparse=True, dtype=torch.float64)
        layer.load_state_dict({"weight": table()})
        optimizer = getattr(optimizers, name)(layer.parameters(), lr=0.1, **options)
        for step in range(6):
            optimizer.zero_grad()
            (layer((WORDS + step)[:, : 1 + step % 3] % 4) ** 2).sum().backward()
            optimizer.step()
        results.append(layer.weight.data)
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)
    assert torch.equal(results[0][4], table()[4])  # no step has named the last row


REFUSING: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "Adadelta", "ASGD")),
    ("SGD", {"weight_decay": 0.1}),
    ("Adagrad", {"weight_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), REFUSING)
def test_the_others_refuse_it_before_anything_changes(name: str, options: dict[str, Any]) -> None:
    theirs = table().requires_grad_()
    F.embedding(WORDS, theirs, sparse=True).sum().backward()
    with pytest.raises(RuntimeError):
        getattr(torch.optim, name)([theirs], **options).step()
    ours = tensor(table(), requires_grad=True)
    F.embedding(WORDS, ours, sparse=True).sum().backward()  # type: ignore[arg-type]
    with pytest.raises(optim.errors.OptimizerRuntimeError, match="must be dense, got torch.sparse_coo"):
        getattr(optim, name)([ours], **options).step()
    assert torch.equal(ours.data, table())
