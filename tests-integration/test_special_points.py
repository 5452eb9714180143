"""Elementwise functions where formulas break: at zeros of both signs, at edges of their domain, far out, at ∞ and NaN.

The samples of PyTorch's database are drawn at random, and so never lie there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import BinaryUfuncInfo, UnaryUfuncInfo

import neuronix.losses
import neuronix.nn
from neuronix.autograd import CustomTensor, grad
from neuronix.autograd.errors import UnsupportedError

assert neuronix.nn  # their functions answer for torch's
assert neuronix.losses

POINTS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 6.0, -6.0, 0.1, 10.5, 20.0, -20.0, 40.0, -40.0]
POINTS += [88.8, -104.0, 710.0, -745.0, 1e-8, -1e-8, 1e-300, 1e8, -1e8, 1e300, -1e300, math.inf, -math.inf, math.nan]
NEAR_ZERO = (0.0, 1e-8, -1e-8, 1e-300)
# Where torch's gradient isn't the oracle: the points, and why.
FIRST: dict[str, tuple[tuple[float, ...], str]] = {
    "acosh": ((-1.0, -2.0, -3.0, -6.0, -20.0, -40.0, -104.0, -745.0, -1e8, -1e300, -math.inf), "undefined below 1"),
    **dict.fromkeys(
        ("nn.functional.hardshrink", "nn.functional.softshrink"),
        ((math.nan,), "torch's vectorised kernel gives 0, its scalar one the gradient"),
    ),
    "sinc": (NEAR_ZERO, "torch divides a difference that has no digits left; see autograd's test_special.py"),
    "special.i1": ((math.nan,), "torch takes NaN for a small number"),
    "special.i1e": ((math.nan,), "torch takes NaN for a small number"),
    "special.log_ndtr": ((-1e8, -1e300, -math.inf), "torch's exponential overflows; the derivative is −x"),
}
SECOND = {
    **FIRST,
    "acosh": ((*FIRST["acosh"][0], math.inf), "torch gives 0 · ∞"),
    "i0": ((math.nan,), "as of i1"),
    "special.i1": ((*NEAR_ZERO, math.nan), "torch takes all small numbers for 0"),
    "special.i1e": ((*NEAR_ZERO, math.nan), "torch takes all small numbers for 0"),
    "special.log_ndtr": ((-104.0, -745.0, -1e8, -1e300, -math.inf), "torch's has six digits at −100, none farther out"),
    "nn.functional.logsigmoid": ((20.0, -20.0, 40.0, -40.0), "what is left of 1 − σ: torch's digits, or ours"),
    "nn.functional.softplus": ((20.0,), "torch takes this point for linear in one order only"),
    "nn.functional.mish": ((88.8, 710.0, 1e8, 1e300, math.inf), "torch gives ∞ − ∞"),
    "nn.functional.gelu": ((1e300, -1e300), "torch gives ∞ − ∞"),
}
ACTIVATIONS = "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu silu"
NAMES = {f"nn.functional.{name}" for name in f"{ACTIVATIONS} softplus softshrink softsign tanhshrink".split()}
# Left out: no rule; unbound methods, which take torch's tensors alone; no function of numbers alone; complex results.
WITHOUT = "nextafter cdouble cfloat chalf fill frexp nn.functional.prelu complex polar".split()


def named(op: Any) -> str:
    return f"{op.name}.{op.variant_test_name}".rstrip(".")


def listed(kinds: Any, names: Any = ()) -> list[Any]:
    return [
        op
        for op in op_db
        if (isinstance(op, kinds) or op.name in names)
        and torch.float64 in op.supported_backward_dtypes("cpu")
        and not op.name.startswith("__")
        and op.name not in WITHOUT
    ]


def gradients(function: Callable[..., Any], leaves: list[Any], differentiate: Any, order: int) -> list[Any] | None:
    """The gradients of the sum of the results; of the second order those of the sum of the gradients."""
    found = [function(*leaves)]
    for degree in range(order):
        total = sum(x.sum() for x in found if x is not None and x.requires_grad)
        if not getattr(total, "requires_grad", False):
            return None
        found = list(differentiate(total, leaves, create_graph=degree + 1 < order, allow_unused=True))
    return found


def compare(function: Callable[..., Any], values: list[Tensor], order: int, excused: tuple[float, ...] = ()) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of what it deprecates
        try:
            theirs = gradients(function, [x.clone().requires_grad_() for x in values], torch.autograd.grad, order)
        except RuntimeError as error:
            if order == 2 and "is not implemented" in str(error):
                return
            raise
        ours = gradients(function, [CustomTensor(x.clone(), requires_grad=True) for x in values], grad, order)
    assert ours is not None or theirs is None or not any(x is not None and x.detach().any() for x in theirs)
    kept = torch.tensor([not any(x == point or (x != x and point != point) for point in excused) for x in values[0]])
    for expected, received, x in zip(theirs or [None] * len(values), ours or [None] * len(values), values, strict=True):
        expected = torch.zeros_like(x) if expected is None else expected.detach()
        data = torch.zeros_like(x) if received is None else received.data
        torch.testing.assert_close(data[kept], expected[kept], rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("op", listed(UnaryUfuncInfo, NAMES), ids=named)
def test_functions_of_one_number(op: Any, order: int) -> None:
    sample = next(iter(op.sample_inputs("cpu", torch.float64)))
    excused = (FIRST, SECOND)[order - 1].get(op.name, ((), ""))[0]
    points = torch.tensor(POINTS, dtype=torch.float64)
    compare(lambda x: op.op(x, *sample.args, **sample.kwargs), [points], order, excused)


@pytest.mark.parametrize("op", listed(BinaryUfuncInfo), ids=named)
def test_functions_of_two_numbers(op: Any) -> None:
    grid = torch.cartesian_prod(*[torch.tensor(POINTS, dtype=torch.float64)] * 2)
    compare(op.op, [grid[:, 0].clone(), grid[:, 1].clone()], 1)


def test_a_function_without_a_rule_is_refused() -> None:
    x = CustomTensor([1.0], requires_grad=True)
    with pytest.raises(UnsupportedError, match="nextafter"):
        torch.nextafter(x, x)
