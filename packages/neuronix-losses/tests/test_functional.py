"""Every loss function against torch's: values, gradients of first and second order, by fused kernels and by rules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import neuronix.losses  # noqa: F401  # with it, torch's functions arrive at its operations
from neuronix.autograd import CustomTensor

REDUCTIONS = ["none", "mean", "sum"]


class Make:
    """Seeded inputs; those that don't hold indices require grad unless told otherwise."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(0)

    def real(self, *shape: int, requires_grad: bool = True) -> Tensor:
        made = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return made.to(self.dtype).requires_grad_(requires_grad)

    def between(self, *shape: int, requires_grad: bool = True) -> Tensor:
        """Numbers between 0.05 and 0.95."""
        made = 0.05 + 0.9 * torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return made.to(self.dtype).requires_grad_(requires_grad)

    def weight(self, *shape: int) -> Tensor:
        return self.between(*shape, requires_grad=False)

    def index(self, *shape: int, classes: int) -> Tensor:
        return torch.randint(classes, shape, generator=self.generator)

    def values(self, *values: Any, requires_grad: bool = True) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, requires_grad=requires_grad)


def row(name: str, function: Callable[..., Any], inputs: Callable[[Make], tuple[Any, ...]], **options: Any) -> Any:
    """A call ``function(*inputs, **options)``."""
    return pytest.param(function, inputs, options, id=f"{function.__name__}-{name}".replace(" ", "-"))


def with_reductions(
    name: str, function: Callable[..., Any], inputs: Callable[[Make], Any], **options: Any
) -> list[Any]:
    return [row(f"{name} {r}", function, inputs, reduction=r, **options) for r in REDUCTIONS]


PAIRS = {
    "matrix": lambda make: (make.real(3, 4), make.real(3, 4)),
    "0-d": lambda make: (make.real(), make.real()),
    "constant target": lambda make: (make.real(2, 3, 4), make.real(2, 3, 4, requires_grad=False)),
    "constant input": lambda make: (make.real(5, requires_grad=False), make.real(5)),
    "empty": lambda make: (make.real(0, 3), make.real(0, 3)),
    "not contiguous": lambda make: (make.real(3, 4).mT, make.real(4, 3)),
}

LINEAR = [
    *with_reductions(
        "indices", F.linear_cross_entropy, lambda make: (make.real(5, 3), make.real(4, 3), make.index(5, classes=4))
    ),
    row("one row", F.linear_cross_entropy, lambda make: (make.real(3), make.real(4, 3), make.index(classes=4))),
    row(
        "probabilities, smoothed",
        F.linear_cross_entropy,
        lambda make: (make.real(5, 3), make.real(4, 3), make.between(5, 4)),
        label_smoothing=0.2,
    ),
    row(
        "further axes",
        F.linear_cross_entropy,
        lambda make: (make.real(5, 3), make.real(4, 2, 3), make.index(5, 2, classes=4)),
        ignore_index=1,
    ),
]

REGRESSION = [
    rows
    for function in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)
    for name, inputs in PAIRS.items()
    for rows in with_reductions(name, function, inputs)
]
for function in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss):
    # Differences of 0, ±0.5, ±1, ±2: every kink of every one of them.
    REGRESSION += with_reductions(
        "kinks", function, lambda make: (make.values(0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0), make.values(*[0.0] * 7))
    )
    REGRESSION += with_reductions(
        "infinite", function, lambda make: (make.values(torch.inf, -torch.inf, 1.0), make.values(*[0.0] * 3))
    )
    # torch says that the second derivative of smooth_l1_loss and huber_loss is 0 at NaN: nothing to copy.
    REGRESSION += with_reductions(
        "NaN", function, lambda make: (make.values(torch.nan, 1.0), make.values(0.0, 0.0)), second_order=False
    )
REGRESSION += [
    *with_reductions("beta 0.5", F.smooth_l1_loss, PAIRS["matrix"], beta=0.5),
    *with_reductions("beta 0", F.smooth_l1_loss, PAIRS["matrix"], beta=0),
    *with_reductions("delta 0.5", F.huber_loss, PAIRS["matrix"], delta=0.5),
]

CLASSES = {
    "(N, C)": lambda make: (make.real(5, 3), make.index(5, classes=3)),
    "(C,)": lambda make: (make.real(4), make.index(classes=4)),
    "(N, C, d)": lambda make: (make.real(2, 3, 4), make.index(2, 4, classes=3)),
    "(N, C, d, d)": lambda make: (make.real(2, 3, 2, 4), make.index(2, 2, 4, classes=3)),
    "(N, C, d, d, d)": lambda make: (make.real(2, 3, 2, 1, 2), make.index(2, 2, 1, 2, classes=3)),
    "one class": lambda make: (make.real(5, 1), make.index(5, classes=1)),
    "no batch": lambda make: (make.real(0, 3), make.index(0, classes=3)),
    "no pixels": lambda make: (make.real(2, 3, 0), make.index(2, 0, classes=3)),
    "bytes": lambda make: (make.real(5, 3), make.index(5, classes=3).to(torch.uint8)),
    "not contiguous": lambda make: (make.real(3, 5).mT, make.index(10, classes=3)[::2]),
}
WEIGHTS = Make().weight(3)


def class_weight(x: Tensor) -> Tensor:
    return torch.arange(1, 1 + x.shape[0 if x.ndim == 1 else 1], dtype=x.dtype) / 3


def weighted(function: Callable[..., Any], input: Any, target: Any, **options: Any) -> Any:
    """The function with a weight for each class, made of the input's shape."""
    values = input.data if isinstance(input, CustomTensor) else input
    return function(input, target, weight=class_weight(values), **options)


def named(function: Callable[..., Any]) -> Callable[..., Any]:
    made = partial(weighted, function)
    made.__name__ = f"weighted-{function.__name__}"  # type: ignore[attr-defined]
    return made


CLASSIFICATION = [
    rows
    for function in (F.cross_entropy, F.nll_loss, named(F.cross_entropy), named(F.nll_loss))
    for name, inputs in CLASSES.items()
    for options in ({}, {"ignore_index": 1})
    for rows in with_reductions(f"{name} {'ignoring' if options else ''}", function, inputs, **options)
]
for function in (F.cross_entropy, named(F.cross_entropy)):
    for name, inputs in CLASSES.items():
        if name == "bytes" and function is not F.cross_entropy:
            continue  # torch itself has no such combination
        for smoothing in (0.1, 1.0):
            CLASSIFICATION += with_reductions(f"{name} smooth {smoothing}", function, inputs, label_smoothing=smoothing)
        CLASSIFICATION += with_reductions(
            f"{name} smooth ignoring", function, inputs, label_smoothing=0.3, ignore_index=0
        )
    for shape in [(5, 3), (4,), (2, 3, 4), (2, 3, 2, 2), (0, 3), (2, 3, 0), (0,), (3, 0)]:
        for smoothing in (0.0, 0.2):
            CLASSIFICATION += with_reductions(
                f"probabilities {shape} smooth {smoothing}",
                function,
                lambda make, shape=shape: (make.real(*shape), make.between(*shape)),
                label_smoothing=smoothing,
            )
for function in (F.cross_entropy, F.nll_loss):
    CLASSIFICATION += [
        row(f"all ignored {r}", function, lambda make: (make.real(3, 4), torch.full((3,), -100)), reduction=r)
        for r in REDUCTIONS
    ]
    CLASSIFICATION += [
        row(
            f"images all ignored {r}",
            function,
            lambda make: (make.real(2, 3, 2), torch.full((2, 2), -100)),
            reduction=r,
        )
        for r in REDUCTIONS
    ]
CLASSIFICATION += [
    *with_reductions(
        "huge logits",
        F.cross_entropy,
        lambda make: (
            torch.tensor(
                [[1000.0, -1000.0], [-1000.0, 1000.0], [1000.0, 1000.0]], dtype=make.dtype, requires_grad=True
            ),
            torch.tensor([1, 1, 0]),
        ),
    ),
    row("weight of a gradient", F.cross_entropy, lambda make: (make.real(5, 3), make.between(5, 3), make.between(3))),
]

BINARY = [
    rows
    for name, inputs in {
        "matrix": lambda make: (make.real(3, 4), make.between(3, 4)),
        "0-d": lambda make: (make.real(), make.between()),
        "constant target": lambda make: (make.real(3, 4), make.between(3, 4, requires_grad=False)),
        "empty": lambda make: (make.real(0, 4), make.between(0, 4)),
        "not contiguous": lambda make: (make.real(4, 3).mT, make.between(3, 4)),
        "huge logits": lambda make: (make.values(1e3, -1e3, 1e3, -1e3, 0.0), make.values(0.0, 0.0, 1.0, 1.0, 1.0)),
        "infinite": lambda make: (make.values(torch.inf, torch.nan, 1.0), make.values(1.0, 1.0, 0.5)),
    }.items()
    for rows in with_reductions(name, F.binary_cross_entropy_with_logits, inputs)
]
for options in (
    {"weight": Make().weight(4)},
    {"weight": Make().weight(3, 1)},
    {"weight": Make().weight(3, 4), "pos_weight": Make().weight(4)},
    {"pos_weight": Make().weight(4)},
    {"pos_weight": Make().weight(3, 1)},
    {"pos_weight": Make().weight()},
):
    shapes = " ".join(f"{key} {tuple(value.shape)}" for key, value in options.items())
    BINARY += with_reductions(
        shapes, F.binary_cross_entropy_with_logits, lambda make: (make.real(3, 4), make.between(3, 4)), **options
    )
for name, inputs in {
    "matrix": lambda make: (make.between(3, 4), make.between(3, 4)),
    "0-d": lambda make: (make.between(), make.between()),
    "empty": lambda make: (make.between(0, 4), make.between(0, 4)),
    "constant target": lambda make: (make.between(3, 4), make.between(3, 4, requires_grad=False)),
}.items():
    BINARY += with_reductions(name, F.binary_cross_entropy, inputs)
for shape in [(4,), (3, 1), (3, 4), ()]:
    BINARY += with_reductions(
        f"weight {shape}",
        F.binary_cross_entropy,
        lambda make: (make.between(3, 4), make.between(3, 4)),
        weight=Make().weight(*shape),
    )

DIVERGENCE = [
    rows
    for name, inputs in {
        "matrix": lambda make: (make.real(3, 4), make.between(3, 4)),
        "0-d": lambda make: (make.real(), make.between()),
        "constant target": lambda make: (make.real(3, 4), make.between(3, 4, requires_grad=False)),
        "zero target": lambda make: (make.real(3), make.values(0.0, 0.5, 0.5, requires_grad=False)),
    }.items()
    for reduction in ("none", "sum", "batchmean")
    for log_target in (False, True)
    for rows in [row(f"{name} {reduction} {log_target}", F.kl_div, inputs, reduction=reduction, log_target=log_target)]
]

ROWS = [*REGRESSION, *CLASSIFICATION, *LINEAR, *BINARY, *DIVERGENCE]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("function, inputs, options", ROWS)
def test_equals_torch(
    check_against_torch: Callable[..., None],
    function: Callable[..., Any],
    inputs: Callable[[Make], tuple[Any, ...]],
    options: dict[str, Any],
    dtype: torch.dtype,
) -> None:
    options = {key: value.to(dtype) if isinstance(value, Tensor) else value for key, value in options.items()}
    second_order = options.pop("second_order", True)
    check_against_torch(partial(function, **options), *inputs(Make(dtype)), second_order=second_order)
