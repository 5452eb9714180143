"""Operations that choose, add up or multiply what indices name, in every world: under vmap, on fake tensors, traced.

First derivatives are compared with torch's of one input after the other, second ones with ours of one after the other,
which the packages' own tests hold to torch or to finite differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import neuronix.losses
import neuronix.nn  # both, so that their operations are known  # noqa: F401
from neuronix.autograd import CustomTensor, grad

Case = tuple[Callable[..., Any], list[Tensor]]

GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.tensor([[2, 0, 2], [1, 1, 0]])
PLACES = torch.tensor([[0, 0, 3], [1, 2, 2], [3, 3, 3]])
BEGINNINGS = [0, 2, 2]
LABELS = torch.tensor([[1, 2, 2], [3, 1, 1]])


def real(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def with_zeros(*shape: int) -> Tensor:
    """Numbers of which some are 0: a product of the others is all that is left there."""
    return real(*shape) * (torch.rand(shape, generator=GENERATOR) > 0.3)


def grid(*shape: int) -> Tensor:
    """Places in an image and a little beyond, on no edge."""
    return 1.3 * torch.tanh(real(*shape))


def bags(mode: str, **options: Any) -> Case:
    return lambda table, rows: F.embedding_bag(rows, table, mode=mode, **options), [real(4, 3), ROWS]


def sampled(mode: str, padding: str, *sizes: int) -> Case:
    def function(image: Any, places: Any) -> Any:
        return F.grid_sample(image, places, mode=mode, padding_mode=padding, align_corners=len(sizes) == 3)

    return function, [real(2, 2, *sizes), grid(2, *([2] * len(sizes)), len(sizes))]


CASES: dict[str, Case] = {
    "embedding": (lambda table, rows: F.embedding(rows, table, padding_idx=1), [real(4, 3), ROWS]),
    "embedding_bag, sum": bags("sum"),
    "embedding_bag, mean": bags("mean", padding_idx=2),
    "embedding_bag, max": bags("max"),
    "embedding_bag, by frequency": bags("sum", scale_grad_by_freq=True),
    "embedding_bag, offsets": (
        lambda table, rows: F.embedding_bag(rows.reshape(-1), table, torch.tensor(BEGINNINGS), mode="mean"),
        [real(4, 3), ROWS],
    ),
    "embedding_bag, weights": (
        lambda table, weights, rows: F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights),
        [real(4, 3), real(2, 3), ROWS],
    ),
    **{
        f"grid_sample, {mode}, {padding}": sampled(mode, padding, 3, 4)
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
    },
    **{f"grid_sample, 3d, {mode}": sampled(mode, "zeros", 2, 3, 4) for mode in ("bilinear", "nearest")},
    **{
        f"scatter_reduce, {reduce}{', without self' * (not own)}": (
            lambda x, y, places, reduce=reduce, own=own: x.scatter_reduce(1, places, y, reduce, include_self=own),
            # equal numbers share an extreme, and torch's derivative counts even those that are left out
            [real(3, 4), real(3, 3), PLACES] if reduce == "amax" else [with_zeros(3, 4), with_zeros(3, 3), PLACES],
        )
        for reduce in ("prod", "mean", "amax")
        for own in (True, False)
    },
    **{
        f"index_reduce, {reduce}": (
            lambda x, y, places, reduce=reduce: torch.index_reduce(x, 1, places[0], y, reduce),
            [real(3, 4), real(3, 3), PLACES] if reduce == "amin" else [with_zeros(3, 4), with_zeros(3, 3), PLACES],
        )
        for reduce in ("prod", "mean", "amin")
    },
    **{
        f"segment_reduce, {reduce}": (
            lambda x, lengths, reduce=reduce: torch.segment_reduce(x, reduce, lengths=lengths),
            [with_zeros(5, 3) if reduce == "prod" else real(5, 3), torch.tensor([2, 3])],
        )
        for reduce in ("sum", "mean", "max", "prod")
    },
    **{
        f"ctc_loss, {reduction}": (
            lambda logits, labels, reduction=reduction: F.ctc_loss(
                torch.log_softmax(logits, -1), labels, (6, 5), (3, 2), reduction=reduction
            ),
            [2 * real(6, 2, 4), LABELS],
        )
        for reduction in ("none", "mean")
    },
}

# How large ATen's kernel makes one of its results depends on the numbers.
FAKE = [name for name in CASES if not name.startswith("ctc_loss")]

pytestmark = [
    pytest.mark.filterwarnings("ignore:index_reduce.. is in beta:UserWarning"),
    # ATen's kernels for bags and for CTC are called for one input after the other
    pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet implemented the batching"),
]


def others(values: Sequence[Tensor]) -> list[Tensor]:
    """Other numbers, and other indices."""
    return [x * 0.9 if x.dtype.is_floating_point else x.flip(-1) for x in values]


def weighted(out: Any) -> Any:
    return (out * torch.linspace(0.5, 1.5, out.numel(), dtype=torch.float64).reshape(out.shape)).sum()


def gradients(case: Case, order: int) -> Callable[..., tuple[Tensor, ...]]:
    """A function from the inputs to the gradients of those that are real numbers."""

    def function(*values: Tensor) -> tuple[Tensor, ...]:
        inputs = [CustomTensor(x, requires_grad=x.dtype.is_floating_point) for x in values]
        leaves = [x for x in inputs if x.requires_grad]
        found = grad(weighted(case[0](*inputs)), leaves, create_graph=order == 2, materialize_grads=True)
        if order == 2:
            tracked = [x for x in found if x.requires_grad]
            total = (
                sum(((x * x).sum() for x in tracked[1:]), start=(tracked[0] * tracked[0]).sum()) if tracked else None
            )
            found = found if total is None else grad(total, leaves, materialize_grads=True)
        return tuple(x.data for x in found)

    return function


def by_torch(case: Case, values: Sequence[Tensor]) -> list[Tensor]:
    inputs = [x.clone().requires_grad_(x.dtype.is_floating_point) for x in values]
    leaves = [x for x in inputs if x.requires_grad]
    return list(torch.autograd.grad(weighted(case[0](*inputs)), leaves, materialize_grads=True))


def close(received: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for number, pair in enumerate(zip(received, expected, strict=True)):
        torch.testing.assert_close(*pair, rtol=1e-10, atol=1e-11, msg=lambda text, n=number: f"gradient {n}: {text}")


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_vectorized(name: str, order: int) -> None:
    case = CASES[name]
    ours = gradients(case, order)
    rows = [case[1], others(case[1])]
    expected = [by_torch(case, row) if order == 1 else ours(*row) for row in rows]
    together = torch.vmap(ours)(*(torch.stack(pair) for pair in zip(*rows, strict=True)))
    for number, row in enumerate(expected):
        close([x[number] for x in together], row)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", FAKE)
def test_fake(name: str, order: int) -> None:
    case = CASES[name]
    with FakeTensorMode() as mode:
        found = gradients(case, order)(*(mode.from_tensor(x) for x in case[1]))
    real_ones = [x for x in case[1] if x.dtype.is_floating_point]
    assert [(x.shape, x.dtype) for x in found] == [(x.shape, x.dtype) for x in real_ones]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name, mode", [*((name, "real") for name in CASES), *((name, "fake") for name in FAKE)])
def test_traced(name: str, mode: str, order: int) -> None:
    """What is traced for some numbers computes the gradients for others."""
    case = CASES[name]
    ours, other = gradients(case, order), others(case[1])
    traced = make_fx(ours, tracing_mode=mode)(*case[1])
    close(traced(*other), by_torch(case, other) if order == 1 else ours(*other))
