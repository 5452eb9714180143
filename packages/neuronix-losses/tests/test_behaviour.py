"""What losses do beside computing: traps, warnings, errors, promotion, and how they are reached."""

from __future__ import annotations

import gc
import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import neuronix.losses.functional as L
from neuronix.autograd import CustomTensor, errors, grad, no_grad, rules_only, tensor
from neuronix.autograd.testing import no_leaks
from neuronix.losses.errors import ClassIndexError, LossArgumentError, LossTypeError
from neuronix.losses.functional.binary import binary_cross_entropy_, binary_cross_entropy_with_logits_
from neuronix.losses.functional.classification import nll_loss_
from neuronix.losses.functional.regression import huber_loss_, mse_loss_, smooth_l1_loss_

PAIRWISE = [L.mse_loss, L.l1_loss, L.smooth_l1_loss, L.huber_loss]
# Those of an input and a target of its kind; the others are tested in test_further.py.
NAMES = [
    name
    for name in L.__all__
    if getattr(L, name).__module__.rpartition(".")[2] in ("regression", "classification", "binary", "divergence")
]
ALL = [getattr(L, name) for name in NAMES]


def real(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def probabilities(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.9 + 0.05


def arguments(function: Callable[..., Any]) -> tuple[Tensor, Tensor]:
    """An input and a target that the loss accepts."""
    if function is L.nll_loss:
        return real(4, 3), torch.tensor([0, 2, 1, 1])
    if function is L.binary_cross_entropy:
        return probabilities(4, 3), probabilities(4, 3, seed=2)
    return real(4, 3), probabilities(4, 3)


# Traps


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("function", ALL, ids=NAMES)
def test_the_gradient_from_above_counts(function: Callable[..., CustomTensor]) -> None:
    x, y = arguments(function)
    once, tenfold = CustomTensor(x, requires_grad=True), CustomTensor(x, requires_grad=True)
    function(once, y).backward()
    (10 * function(tenfold, y)).backward()
    assert once.grad is not None
    torch.testing.assert_close(tenfold.grad, 10 * once.grad, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("function", ALL, ids=NAMES)
def test_an_inline_target_lives_until_backward(function: Callable[..., CustomTensor]) -> None:
    x, y = arguments(function)
    kept, inline = CustomTensor(x, requires_grad=True), CustomTensor(x, requires_grad=True)
    function(kept, y).backward()
    loss = function(inline, CustomTensor(y.clone()))
    gc.collect()
    loss.backward()
    assert torch.equal(inline.grad, kept.grad)  # type: ignore[arg-type]


def test_cross_entropy_is_stable_where_exp_overflows() -> None:
    logits = tensor([[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 0.0]], requires_grad=True)
    loss = L.cross_entropy(logits, tensor([1, 1]), reduction="none")
    assert loss.data.tolist() == [2000.0, 0.0]
    loss.sum().backward()
    assert logits.grad.tolist() == [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_gradient_of_cross_entropy_is_softmax_minus_target() -> None:
    x, y = real(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    logits = CustomTensor(x, requires_grad=True)
    L.cross_entropy(logits, y, reduction="sum").backward()
    expected = torch.softmax(x, 1) - F.one_hot(y, 5)
    torch.testing.assert_close(logits.grad, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("function", ALL, ids=NAMES)
def test_an_abandoned_loss_is_freed(function: Callable[..., CustomTensor]) -> None:
    x, y = arguments(function)
    leaf = CustomTensor(x, requires_grad=True)
    with no_leaks():
        function(leaf, y)
        function(leaf, y).backward()


# Kernels and rules


def nll(x: Any, target: Any, *, weight: Any, reduction: int, ignore_index: int) -> Any:
    return nll_loss_(x, target, weight, reduction, ignore_index, [])


KERNELS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "mse_loss": (mse_loss_, (real(4, 3), real(4, 3, seed=1))),
    "smooth_l1_loss": (partial(smooth_l1_loss_, beta=0.7), (real(4, 3), real(4, 3, seed=1))),
    "huber_loss": (partial(huber_loss_, delta=0.7), (real(4, 3), real(4, 3, seed=1))),
    "binary_cross_entropy": (binary_cross_entropy_, (probabilities(4, 3), probabilities(4, 3, seed=2))),
    "binary_cross_entropy weighted": (
        partial(binary_cross_entropy_, weight=probabilities(4, 3, seed=3)),
        (probabilities(4, 3), probabilities(4, 3, seed=2)),
    ),
    **{
        f"nll_loss {tuple(shape)} {weight}": (
            partial(nll, weight=torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64) if weight else None, ignore_index=2),
            (real(*shape), torch.arange(torch.Size([*shape[:1], *shape[2:]]).numel()).view(*shape[:1], *shape[2:]) % 3),
        )
        for shape in [(4, 3), (2, 3, 4), (2, 3, 2, 2), (2, 3, 2, 1, 2)]
        for weight in (False, True)
    },
}


@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("function, inputs", KERNELS.values(), ids=KERNELS)
def test_fused_kernels_equal_their_rules(function: Any, inputs: tuple[Tensor, Tensor], reduction: int) -> None:
    def gradients() -> list[Tensor]:
        leaves = [CustomTensor(x, requires_grad=x.is_floating_point()) for x in inputs]
        loss = function(*leaves, reduction=reduction)
        loss.backward(real(*loss.shape, seed=5))
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    by_kernels = gradients()
    with rules_only():
        by_rules = gradients()
    for kernel, rule in zip(by_kernels, by_rules, strict=True):
        torch.testing.assert_close(kernel, rule, rtol=1e-12, atol=1e-15)


def test_the_kernels_above_are_all_there_are() -> None:
    without_kernels = {binary_cross_entropy_with_logits_}
    primitives = {mse_loss_, smooth_l1_loss_, huber_loss_, nll_loss_, binary_cross_entropy_, *without_kernels}
    with_kernels = {op.primitive.name for op in primitives if op.primitive.kernels}
    assert with_kernels == {name.split()[0] for name in KERNELS}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    "function", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.cross_entropy], ids=lambda f: f.__name__
)
def test_half_precision(
    check_against_torch: Callable[..., None], function: Callable[..., Any], reduction: str, dtype: torch.dtype
) -> None:
    x, y = real(4, 3, dtype=dtype).requires_grad_(), real(4, 3, dtype=dtype, seed=1)
    target = torch.tensor([0, 2, 1, 1]) if function is F.cross_entropy else y
    check_against_torch(partial(function, reduction=reduction), x, target, second_order=False, atol=1e-2)


# Arguments


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("function", PAIRWISE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shapes", [((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (1, 4)), ((3,), ())], ids=str)
def test_broadcasting_warns_as_in_torch(
    check_against_torch: Callable[..., None], function: Callable[..., Any], shapes: Any, reduction: str
) -> None:
    x, y = (real(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes))
    theirs = getattr(F, function.__name__)
    with pytest.warns(UserWarning, match="Using a target size") as our_warnings:
        function(CustomTensor(x), y)
    with pytest.warns(UserWarning, match="Using a target size") as their_warnings:
        theirs(x, y)
    assert str(our_warnings[0].message) == str(their_warnings[0].message)
    assert our_warnings[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_against_torch(partial(theirs, reduction=reduction), x, y)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_weights_of_elements(check_against_torch: Callable[..., None], name: str, reduction: str) -> None:
    inputs = [real(3, 4, seed=i).requires_grad_() for i in range(2)] + [probabilities(3, 4).requires_grad_()]

    def weighted(functions: Any, x: Any, y: Any, weight: Any) -> Any:
        return getattr(functions, name)(x, y, reduction=reduction, weight=weight)

    check_against_torch(partial(weighted, L), *inputs, torch_function=partial(weighted, F))


@pytest.mark.filterwarnings("ignore:size_average and reduce")
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
@pytest.mark.parametrize("function", [f for f in ALL if f is not L.huber_loss], ids=lambda f: f.__name__)
def test_deprecated_arguments(function: Callable[..., Any], reduce: bool | None, size_average: bool | None) -> None:
    x, y = arguments(function)
    theirs = getattr(F, function.__name__)(x, y, size_average=size_average, reduce=reduce)
    ours = function(x, y, size_average=size_average, reduce=reduce)
    torch.testing.assert_close(ours.data, theirs, rtol=1e-12, atol=0)
    through_torch = getattr(F, function.__name__)(CustomTensor(x), y, size_average=size_average, reduce=reduce)
    assert torch.equal(through_torch.data, ours.data)


def test_deprecated_arguments_warn() -> None:
    with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
        L.mse_loss(real(3), real(3), size_average=False)


# Not huber_loss: there torch's backward itself refuses different dtypes.
PROMOTING = [L.mse_loss, L.l1_loss, L.smooth_l1_loss]


@pytest.mark.parametrize("function", [*PROMOTING, L.binary_cross_entropy_with_logits], ids=lambda f: f.__name__)
def test_dtypes_are_promoted_as_in_torch(
    check_against_torch: Callable[..., None], function: Callable[..., Any]
) -> None:
    x = real(4, dtype=torch.float32).requires_grad_()
    y = probabilities(4)
    check_against_torch(getattr(F, function.__name__), x, y, second_order=False)


@pytest.mark.parametrize("function", PROMOTING, ids=lambda f: f.__name__)
def test_integer_targets(check_against_torch: Callable[..., None], function: Callable[..., Any]) -> None:
    check_against_torch(getattr(F, function.__name__), real(4).requires_grad_(), torch.tensor([0, 2, -1, 1]))


def test_huber_loss_takes_integer_targets() -> None:
    x, y = real(4), torch.tensor([0, 2, -1, 1])
    given, cast = CustomTensor(x, requires_grad=True), CustomTensor(x, requires_grad=True)
    L.huber_loss(given, y).backward()
    L.huber_loss(cast, y.double()).backward()
    assert torch.equal(given.grad, cast.grad)  # type: ignore[arg-type]


def test_arrays_numbers_and_torch_tensors_are_constants() -> None:
    x = tensor([1.0, 3.0], requires_grad=True)
    assert L.mse_loss(x, np.array([1.0, 1.0], dtype=np.float32)).item() == 2.0
    assert L.mse_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0])).item() == 2.0
    assert isinstance(L.mse_loss(torch.ones(2), torch.ones(2)), CustomTensor)
    assert L.l1_loss(tensor(3.0), 1.0).item() == 2.0  # type: ignore[arg-type]
    assert L.cross_entropy(np.zeros((1, 2)), np.array([1])).item() == pytest.approx(np.log(2))  # type: ignore[arg-type]
    assert not L.mse_loss(torch.ones(2, requires_grad=True), torch.ones(2)).requires_grad


def test_nothing_is_recorded_without_grad_mode() -> None:
    x = tensor([1.0, 3.0], requires_grad=True)
    with no_grad():
        assert not L.mse_loss(x, torch.zeros(2)).requires_grad


# How they are reached


@pytest.mark.parametrize("name", L.__all__)
def test_signatures_are_torchs(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(functions, name)).parameters for functions in (L, F))
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


def test_functions_of_torch_that_loss_modules_and_traced_code_call() -> None:
    x, y = real(4, 3), torch.tensor([0, 2, 1, 1])
    expected = F.cross_entropy(x, y)
    custom = CustomTensor(x, requires_grad=True)
    for loss in (
        torch.nn.CrossEntropyLoss()(custom, y),
        torch.nn.NLLLoss()(custom.log_softmax(1), y),
        torch.ops.aten.nll_loss_forward(custom.log_softmax(1), y, None, 1, -100)[0],
        torch.ops.aten.cross_entropy_loss(custom, y),
    ):
        assert isinstance(loss, CustomTensor)
        assert loss.requires_grad
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    t = probabilities(4, 3)
    logits = torch.binary_cross_entropy_with_logits(custom, t, None, None, 2)
    assert logits.requires_grad
    torch.testing.assert_close(logits.data, torch.binary_cross_entropy_with_logits(x, t, None, None, 2))


def test_per_example_gradients_under_vmap() -> None:
    x, y = real(5, 3), torch.tensor([0, 2, 1, 1, 2])

    def gradient(function: Callable[..., Any], x: Tensor, y: Tensor) -> Tensor:
        leaf = CustomTensor(x, requires_grad=True)
        (found,) = grad(function(leaf, y), leaf)
        assert found is not None
        return found.data

    for function, target in (
        (L.cross_entropy, y),
        (L.mse_loss, probabilities(5, 3)),
        (L.huber_loss, probabilities(5, 3)),
    ):
        vectorised = torch.vmap(partial(gradient, function))(x, target)
        one_by_one = torch.stack([gradient(function, a, b) for a, b in zip(x, target, strict=True)])
        torch.testing.assert_close(vectorised, one_by_one, rtol=1e-12, atol=1e-15)


# Bad input: the error that torch raises, and ours by name; nothing is changed


LOGITS, INDICES = real(3, 4), torch.tensor([0, 1, 3])
BAD: dict[str, tuple[Callable[..., Any], type[Exception], str]] = {
    "index too large": (lambda f, x: f.cross_entropy(x, torch.tensor([0, 1, 4])), errors.AxisError, "classes 0 to 3"),
    "index negative": (lambda f, x: f.nll_loss(x, torch.tensor([0, -1, 1])), errors.AxisError, "Target -1"),
    "index too large, smooth": (
        lambda f, x: f.cross_entropy(x, torch.tensor([0, 1, 4]), label_smoothing=0.1), errors.AxisError, "Target 4",
    ),
    "index too large, weighted": (
        lambda f, x: f.cross_entropy(x, torch.tensor([0, 1, 4]), weight=torch.ones(4, dtype=x.dtype)),
        errors.AxisError,
        "Target 4",
    ),
    "batch sizes": (
        lambda f, x: f.cross_entropy(x, torch.tensor([0, 1])),
        errors.ShapeError, r"shape \(3,\), got \(2,\)",
    ),
    "index with class axis": (lambda f, x: f.cross_entropy(x, torch.tensor([[0, 1, 1]])), errors.ShapeError, "got"),
    "one-hot integers": (
        lambda f, x: f.cross_entropy(x, torch.ones(3, 4, dtype=torch.int64)), errors.DtypeError, "probabilities",
    ),
    "int32 indices": (lambda f, x: f.cross_entropy(x, INDICES.int()), errors.DtypeError, r"use target.long\(\)"),
    "boolean indices": (lambda f, x: f.nll_loss(x, INDICES.bool()), errors.DtypeError, "torch.bool"),
    "floating-point indices": (lambda f, x: f.cross_entropy(x, INDICES.double()), errors.DtypeError, "float64"),
    "scalar input": (lambda f, x: f.cross_entropy(x.sum(), torch.tensor(0)), errors.ShapeError, "scalar"),
    "weight size": (lambda f, x: f.cross_entropy(x, INDICES, weight=real(3)), errors.ShapeError, "all 4 classes"),
    "weight dtype": (lambda f, x: f.nll_loss(x, INDICES, weight=real(4).float()), errors.DtypeError, "nll_loss"),
    "reduction of classes": (lambda f, x: f.cross_entropy(x, INDICES, reduction="max"), LossArgumentError, "'max'"),
    "smoothing": (lambda f, x: f.cross_entropy(x, INDICES, label_smoothing=2.0), errors.ArgumentError, "got 2.0"),
    "ignored probabilities": (
        lambda f, x: f.cross_entropy(x, real(3, 4), ignore_index=1), errors.ArgumentError, "ignore_index is 1",
    ),
    "mse shapes": (lambda f, x: f.mse_loss(x, real(5)), errors.ShapeError, r"mse_loss: target size \(5,\)"),
    "mse weight": (lambda f, x: f.mse_loss(x, real(3, 4), weight=real(4)), errors.ShapeError, "weight size"),
    "l1 shapes": (lambda f, x: f.l1_loss(x, real(5)), errors.ShapeError, r"l1_loss: target size \(5,\)"),
    "mse reduction": (lambda f, x: f.mse_loss(x, real(3, 4), reduction="batchmean"), LossArgumentError, "'batchmean'"),
    "l1 reduction": (lambda f, x: f.l1_loss(x, real(3, 4), reduction="avg"), LossArgumentError, "use 'none'"),
    "kl reduction": (lambda f, x: f.kl_div(x, real(3, 4), reduction="avg"), LossArgumentError, "'avg'"),
    "beta": (lambda f, x: f.smooth_l1_loss(x, real(3, 4), beta=-1.0), errors.ArgumentError, "beta is -1.0"),
    "delta": (lambda f, x: f.huber_loss(x, real(3, 4), delta=0.0), errors.ArgumentError, "delta is 0.0"),
    "logits' shape": (
        lambda f, x: f.binary_cross_entropy_with_logits(x, real(4)), errors.ShapeError, r"target size \(4,\) must be",
    ),
    "logits' weight": (
        lambda f, x: f.binary_cross_entropy_with_logits(x, real(3, 4), weight=real(5)),
        errors.ShapeError, "size of tensor",
    ),
    "logits' pos_weight": (
        lambda f, x: f.binary_cross_entropy_with_logits(x, real(3, 4), pos_weight=real(5)),
        errors.ShapeError, "size of",
    ),
    "logits' integers": (
        lambda f, x: f.binary_cross_entropy_with_logits(x, torch.ones(3, 4, dtype=torch.int64)),
        errors.DtypeError, "Long",
    ),
    "probabilities' shape": (
        lambda f, x: f.binary_cross_entropy(x.sigmoid(), real(4)),
        errors.ShapeError, "target size",
    ),
    "not probabilities": (
        lambda f, x: f.binary_cross_entropy(x, probabilities(3, 4)),
        errors.ArgumentError, "between 0",
    ),
    "soft margin, larger target": (
        lambda f, x: f.soft_margin_loss(x, real(2, 3, 4)), errors.ShapeError, r"\(2, 3, 4\) can't be broadcast",
    ),
    "margin weight's dtype": (
        lambda f, x: f.multi_margin_loss(x, INDICES, weight=torch.ones(4)), errors.DtypeError, "torch.float32",
    ),
    "margin index": (lambda f, x: f.multi_margin_loss(x, INDICES + 4), ClassIndexError, "0 to 3"),
    "margin of integers": (lambda f, x: f.multi_margin_loss(x.long(), INDICES), errors.UnsupportedError, "int64"),
    "classes below -1": (
        lambda f, x: f.multilabel_margin_loss(x, torch.full((3, 4), -2)), ClassIndexError, "out of range",
    ),
    "classes behind the end": (
        lambda f, x: f.multilabel_margin_loss(x, torch.tensor([[0, -1, 7, 0]] * 3)), ClassIndexError, "out of range",
    ),
    "kl of integers": (lambda f, x: f.kl_div(x, torch.ones(3, 4).long(), reduction="sum"), errors.DtypeError, "int64"),
    "kl of complex numbers": (lambda f, x: f.kl_div(x, real(3, 4) * 1j, reduction="sum"), errors.DtypeError, "128"),
    "variance of integers": (
        lambda f, x: f.gaussian_nll_loss(x, real(3, 4), torch.ones(3, 4).long()), errors.UnsupportedError, "int64",
    ),
    "ignored index": (lambda f, x: f.nll_loss(x, INDICES, ignore_index=0.5), LossTypeError, "got 0.5"),
    "ctc lengths": (
        lambda f, x: f.ctc_loss(x, torch.ones(1).long(), torch.tensor(2.0), torch.tensor(1)),
        errors.DtypeError, "input_lengths must be integral",
    ),
    "ctc lengths of floats": (
        lambda f, x: f.ctc_loss(x[:, None], torch.ones(1, 1).long(), (3,), (1.5,)), errors.DtypeError, "target_lengths",
    ),
    "linear map of integers": (
        lambda f, x: f.linear_cross_entropy(x.long(), real(5, 4), INDICES), LossArgumentError, "torch.int64",
    ),
    "weight with a gradient": (
        lambda f, x: f.cross_entropy(x, INDICES, weight=type(x)(real(4)).requires_grad_()),
        errors.GradientError,
        "isn't differentiable with respect to it",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("call, kind, words", BAD.values(), ids=BAD)
def test_bad_input(call: Callable[[Any, Any], Any], kind: type[Exception], words: str) -> None:
    with pytest.raises((RuntimeError, ValueError, IndexError, TypeError)) as theirs:
        call(F, LOGITS.clone().requires_grad_())
    x = CustomTensor(LOGITS, requires_grad=True)
    before = x.data.clone()
    with pytest.raises(kind, match=words) as ours:
        call(L, x)
    assert isinstance(ours.value, theirs.type)
    assert torch.equal(x.data, before)
    assert x.grad is None
    L.mse_loss(x, torch.zeros(3, 4)).backward()  # the graph works as before
    torch.testing.assert_close(x.grad, before / 6)
