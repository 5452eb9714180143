"""Losses with a margin, of pairs and triples, and likelihoods: against torch, as functions and as modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from neuronix import losses
from neuronix.autograd import tensor
from neuronix.autograd.testing import check_against_finite_differences
from neuronix.losses import functional

GENERATOR = torch.Generator().manual_seed(0)


def real(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64).requires_grad_()


def positive(*shape: int) -> Tensor:
    return (0.5 + torch.rand(shape, generator=GENERATOR, dtype=torch.float64)).requires_grad_()


def signs(*shape: int) -> Tensor:
    return torch.randint(0, 2, shape, generator=GENERATOR).double() * 2 - 1


SETS = torch.tensor([[2, 0, -1, 3], [1, -1, 0, 0], [3, 2, 1, 0]])
CLASSES = torch.tensor([2, 0, 3])
COUNTS = torch.tensor([[0.0, 1.0, 5.0], [2.0, 1.5, 9.0]], dtype=torch.float64)


def distance(a: Any, b: Any) -> Any:
    return ((a - b) ** 2).sum(-1)


# class, function, inputs, options: what both take
ROWS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("HingeEmbeddingLoss", (real(3, 4), signs(3, 4)), {}),
    ("HingeEmbeddingLoss", (real(3, 4), signs(3, 4)), {"margin": 0.3}),
    ("MarginRankingLoss", (real(5), real(5), signs(5)), {"margin": 0.5}),
    ("SoftMarginLoss", (real(3, 4), signs(3, 4)), {}),
    ("MultiLabelSoftMarginLoss", (real(3, 4), positive(3, 4).detach()), {}),
    ("MultiLabelSoftMarginLoss", (real(3, 4), signs(3, 4)), {"weight": positive(4).detach()}),
    ("MultiMarginLoss", (real(3, 4), CLASSES), {}),
    ("MultiMarginLoss", (real(3, 4), CLASSES), {"p": 2, "margin": 0.5, "weight": positive(4).detach()}),
    ("MultiMarginLoss", (real(4), CLASSES[0]), {}),
    ("MultiLabelMarginLoss", (real(3, 4), SETS), {}),
    ("MultiLabelMarginLoss", (real(4), SETS[0]), {}),
    ("CosineEmbeddingLoss", (real(5, 3), real(5, 3), signs(5)), {"margin": 0.2}),
    ("CosineEmbeddingLoss", (real(3), real(3), torch.tensor(-1.0).double()), {}),
    ("TripletMarginLoss", (real(5, 3), real(5, 3), real(5, 3)), {}),
    ("TripletMarginLoss", (real(5, 3), real(5, 3), real(5, 3)), {"p": 3.0, "margin": 2.0, "swap": True}),
    ("TripletMarginWithDistanceLoss", (real(5, 3), real(5, 3), real(5, 3)), {"swap": True}),
    ("TripletMarginWithDistanceLoss", (real(5, 3), real(5, 3), real(5, 3)), {"distance_function": distance}),
    ("PoissonNLLLoss", (real(2, 3), COUNTS), {}),
    ("PoissonNLLLoss", (positive(2, 3), COUNTS + 0.1), {"log_input": False, "full": True}),
    ("GaussianNLLLoss", (real(3, 4), real(3, 4), positive(3, 4)), {}),
    ("GaussianNLLLoss", (real(3, 4), real(3, 4), positive(3)), {"full": True}),
    ("GaussianNLLLoss", (real(3, 4), real(3, 4), positive(3, 1)), {"eps": 1.0}),
    ("GaussianNLLLoss", (real(3, 4), real(3, 4), 0.5), {}),
]
FUNCTIONS = {
    "HingeEmbeddingLoss": "hinge_embedding_loss",
    "MarginRankingLoss": "margin_ranking_loss",
    "SoftMarginLoss": "soft_margin_loss",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    "MultiMarginLoss": "multi_margin_loss",
    "MultiLabelMarginLoss": "multilabel_margin_loss",
    "CosineEmbeddingLoss": "cosine_embedding_loss",
    "TripletMarginLoss": "triplet_margin_loss",
    "TripletMarginWithDistanceLoss": "triplet_margin_with_distance_loss",
    "PoissonNLLLoss": "poisson_nll_loss",
    "GaussianNLLLoss": "gaussian_nll_loss",
}
rows = pytest.mark.parametrize("name, inputs, options", ROWS, ids=[f"{row[0]}-{list(row[2])}" for row in ROWS])


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@rows
def test_against_torch(
    name: str, inputs: Any, options: dict[str, Any], reduction: str, check_against_torch: Callable[..., None]
) -> None:
    torch_has_no_second_order = name in ("MultiMarginLoss", "MultiLabelMarginLoss")
    ours, theirs = (getattr(place, name)(**options, reduction=reduction) for place in (losses, torch.nn))
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    second = not torch_has_no_second_order
    check_against_torch(ours, *inputs, torch_function=theirs, second_order=second)
    function = getattr(F, FUNCTIONS[name])
    check_against_torch(lambda *x: function(*x, **options, reduction=reduction), *inputs, second_order=second)


@rows
def test_against_finite_differences(name: str, inputs: Any, options: dict[str, Any]) -> None:
    if options.get("eps") == 1.0:
        return  # the bound on the variance counts for nothing in the gradient, on purpose
    places = [at for at, value in enumerate(inputs) if isinstance(value, Tensor) and value.requires_grad]

    def call(*values: Any) -> Any:
        given = list(inputs)
        for at, value in zip(places, values, strict=True):
            given[at] = value
        return getattr(losses, name)(**options)(*given)

    check_against_finite_differences(call, *(inputs[at].detach() for at in places))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_are_torchs(name: str) -> None:
    for ours, theirs in (
        (getattr(losses, name), getattr(torch.nn, name)),
        (getattr(functional, FUNCTIONS[name]), getattr(F, FUNCTIONS[name])),
    ):
        expected = {key: (p.kind, p.default) for key, p in inspect.signature(theirs).parameters.items()}
        assert {key: (p.kind, p.default) for key, p in inspect.signature(ours).parameters.items()} == expected


def test_far_from_the_margin_the_soft_margin_is_finite() -> None:
    x = tensor([1000.0, -1000.0], requires_grad=True)
    loss = functional.soft_margin_loss(x, torch.tensor([-1.0, 1.0]), reduction="sum")
    loss.backward()
    assert loss.item() == 2000
    assert x.grad is not None
    assert x.grad.tolist() == [1, -1]


@pytest.mark.parametrize("options", [{}, {"head_bias": True, "div_value": 2.0}])
def test_adaptive_softmax(options: dict[str, Any], check_against_torch: Callable[..., None]) -> None:
    made = []
    for place in (losses, torch.nn):
        torch.manual_seed(0)
        made.append(place.AdaptiveLogSoftmaxWithLoss(64, 20, [4, 10, 15], **options).double())
    ours, theirs = made
    assert list(ours.state_dict()) == list(theirs.state_dict())
    named = dict(theirs.named_parameters())
    parameters = {key: (value, named[key]) for key, value in ours.named_parameters()}
    x = real(5, 64)
    for target in (torch.tensor([0, 3, 4, 19, 11]), torch.tensor([1, 2, 0, 3, 3])):
        check_against_torch(
            lambda x, target=target: tuple(ours(x, target)),
            x,
            torch_function=lambda x, target=target: tuple(theirs(x, target)),
            parameters=parameters,
        )
    check_against_torch(ours.log_prob, x, torch_function=theirs.log_prob, parameters=parameters)
    assert torch.equal(ours.predict(x.detach()).data, theirs.predict(x.detach()))
    one = ours(x.detach()[0], torch.tensor(12))
    torch.testing.assert_close(one.loss.data, theirs(x[0], torch.tensor(12)).loss.detach(), rtol=1e-12, atol=0)
    with pytest.raises(RuntimeError, match="20"):
        ours(x.detach(), torch.tensor([0, 1, 2, 3, 20]))
    for cutoffs in ([], [4, 4], [5, 2], [0, 3], [4, 20]):
        with pytest.raises(ValueError, match="cutoff"):
            losses.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("more", [(), (2,)])
def test_linear_cross_entropy(bias: bool, more: tuple[int, ...], check_against_torch: Callable[..., None]) -> None:
    made = []
    for place in (losses, torch.nn):
        torch.manual_seed(0)
        made.append(place.LinearCrossEntropyLoss(5, 4, out_features=more, bias=bias, label_smoothing=0.1).double())
    ours, theirs = made
    assert repr(ours) == repr(theirs)
    named = dict(theirs.named_parameters())
    parameters = {key: (value, named[key]) for key, value in ours.named_parameters()}
    target = torch.randint(4, (3, *more))
    check_against_torch(
        lambda x: ours(x, target), real(3, 5), torch_function=lambda x: theirs(x, target), parameters=parameters
    )


ONES, INDICES = torch.ones(2, 3), torch.tensor([0, 3])
BAD = {
    "margin of triplets": (lambda: losses.TripletMarginLoss(margin=0.0), ValueError, "greater than 0"),
    "power": (lambda: losses.MultiMarginLoss(p=3), ValueError, "p == 1"),
    "weight": (lambda: losses.MultiMarginLoss(weight=torch.ones(2, 2)), ValueError, "one axis"),
    "negative variance": (
        lambda: functional.gaussian_nll_loss(torch.ones(2), torch.ones(2), torch.tensor([1.0, -1.0])),
        ValueError,
        "negative",
    ),
    "shape of variances": (
        lambda: functional.gaussian_nll_loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3, 2)),
        RuntimeError,
        r"\(3, 2\)",
    ),
    "class": (lambda: functional.multi_margin_loss(torch.ones(2, 3), torch.tensor([0, 3])), IndexError, "0 to 2"),
    "classes": (
        lambda: functional.multilabel_margin_loss(ONES[0, :2], INDICES),
        IndexError,
        "0 to 1",
    ),
    "axes": (
        lambda: functional.margin_ranking_loss(ONES, ONES, ONES[0]),
        RuntimeError,
        "axes",
    ),
    "reduction": (lambda: losses.SoftMarginLoss(reduction="avg"), ValueError, "avg"),
}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_a_score_without_axes_is_of_one_class(reduction: str, check_against_torch: Callable[..., None]) -> None:
    score = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    multi_margin_loss = torch.nn.functional.multi_margin_loss
    check_against_torch(
        lambda x: multi_margin_loss(x * x, torch.tensor(0), reduction=reduction), score, second_order=False
    )


@pytest.mark.parametrize("call, kind, words", BAD.values(), ids=BAD)
def test_bad_input(call: Callable[[], Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        call()
