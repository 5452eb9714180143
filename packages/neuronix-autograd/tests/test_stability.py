"""At large, tiny, infinite and undefined numbers values and gradients are PyTorch's, in every precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from neuronix.autograd import CustomTensor, rules_only
from neuronix.autograd.testing import FAR_OUT

INF, NAN = float("inf"), float("nan")

# Numbers for elementwise functions, and rows for those that look at several numbers at once.
NUMBERS = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 12.0, -12.0, 20.0, -20.0, 21.0, 50.0, -50.0, 88.0, -88.0, 104.0, -104.0,
    1e3, -1e3, 6e4, -6e4, 1e-4, -1e-4, 1e-7, -1e-7, 1e-20, -1e-20, 1e-38, 1e30, -1e30, 1e300, -1e300, INF, -INF, NAN,
]  # fmt: skip

ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "log": torch.log,
    "log2": torch.log2,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "square": lambda x: x**2,
    "cube": lambda x: x**3,
    "root": lambda x: x**0.5,
    "power 0": lambda x: x**0,
    "abs": torch.abs,
    "sin": torch.sin,
    "atan": torch.atan,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "softplus, steep": lambda x: F.softplus(x, 3.0, 10.0),
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "silu": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardtanh": F.hardtanh,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "softsign": F.softsign,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "clamp": lambda x: torch.clamp(x, -1.0, 1.0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "nan_to_num": torch.nan_to_num,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "asinh": torch.asinh,
    "atanh": torch.atanh,
    "asin": torch.asin,
    "acos": torch.acos,
    "cos": torch.cos,
    "tan": torch.tan,
    "lgamma": torch.lgamma,
    "digamma": torch.digamma,
    "erfinv": torch.erfinv,
    "logit": torch.logit,
    "logit, clamped": lambda x: torch.logit(x, 1e-3),
    "xlogy": lambda x: torch.xlogy(x, x),
    "relu6": F.relu6,
    "hardshrink": F.hardshrink,
    "softshrink": F.softshrink,
    "tanhshrink": F.tanhshrink,
    "threshold": lambda x: F.threshold(x, 0.1, 20.0),
    "celu, narrow": lambda x: F.celu(x, 0.5),
    "elu, wide": lambda x: F.elu(x, 2.0),
    "atan2, of 1": lambda x: torch.atan2(x, torch.ones_like(x)),
    "atan2, of 0": lambda x: torch.atan2(x, torch.zeros_like(x)),
    "atan2, below": lambda x: torch.atan2(torch.ones_like(x), x),
    "logaddexp": lambda x: torch.logaddexp(x, torch.ones_like(x)),
    "minimum": lambda x: torch.minimum(x, torch.zeros_like(x)),
    "sign": torch.sign,
    "division": lambda x: x / torch.full_like(x, 3.0),
    "division by": lambda x: 1.0 / x,
    "exponent": lambda x: 2.0**x,
    "sum": torch.sum,
}
OF_ROWS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: torch.softmax(x, 1),
    "log_softmax": lambda x: torch.log_softmax(x, 1),
    "softmin": lambda x: F.softmin(x, dim=1),
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "mean": lambda x: torch.mean(x, 1),
    "var": lambda x: torch.var(x, 1),
    "var, uncorrected": lambda x: torch.var(x, 1, correction=0),
    "std": lambda x: torch.std(x, 1),
    "norm": lambda x: torch.linalg.vector_norm(x, 2, 1),
    "norm, 1": lambda x: torch.linalg.vector_norm(x, 1, 1),
    "norm, 3": lambda x: torch.linalg.vector_norm(x, 3, 1),
    "norm, inf": lambda x: torch.linalg.vector_norm(x, INF, 1),
    "amax": lambda x: torch.amax(x, 1),
    "amin": lambda x: torch.amin(x, 1),
    "max": lambda x: torch.max(x, 1)[0],
    "prod": lambda x: torch.prod(x, 1),
    "cumsum": lambda x: torch.cumsum(x, 1),
    "norm, 0.5": lambda x: torch.linalg.vector_norm(x, 0.5, 1),
    "norm, -inf": lambda x: torch.linalg.vector_norm(x, -INF, 1),
    "norm of a matrix": torch.linalg.norm,
    "normalize": lambda x: F.normalize(x, dim=1),
    "var_mean": lambda x: torch.var_mean(x, 1)[0],
    "median": lambda x: torch.median(x, 1)[0],
    "sort": lambda x: torch.sort(x, 1)[0],
    "cummax": lambda x: torch.cummax(x, 1)[0],
    "nansum": lambda x: torch.nansum(x, 1),
    "nanmean": lambda x: torch.nanmean(x, 1),
    "renorm": lambda x: torch.renorm(x, 2, 0, 1.0),
    "renorm, 1": lambda x: torch.renorm(x, 1, 0, 5.0),
    "hypot": lambda x: torch.hypot(x, torch.full_like(x, 3.0)),
    "glu": lambda x: F.glu(torch.cat([x, x.flip(1)], 1), 1),
    "dist": lambda x: torch.dist(x, torch.ones_like(x)),
}

# The distance from 1 to the next number, and the smallest number that isn't denormalised.
EPSILON = {dtype: torch.finfo(dtype).eps for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}
SMALLEST = {dtype: torch.finfo(dtype).tiny for dtype in EPSILON}

# Where the gradient isn't PyTorch's to the tolerance below.
KNOWN = {
    # the kernel takes 1/6 in single precision, the rule doesn't
    ("hardsigmoid", torch.float64, True): "is more exact than torch",
}

# Where PyTorch multiplies 60000 with the gradient before it divides: there the oracle is PyTorch in single precision.
ROUNDS_LESS = {(name, torch.float16) for name in ("renorm", "renorm, 1", "hypot")}


def check(name: str, function: Callable[[Any], Any], values: Tensor, rules: bool) -> None:
    rounds_less = (name, values.dtype) in ROUNDS_LESS
    theirs = (values.float() if rounds_less else values.clone()).requires_grad_()
    expected = function(theirs)
    generator = torch.Generator().manual_seed(0)
    weights = (torch.rand(expected.shape, generator=generator, dtype=torch.float64) + 0.5).to(values.dtype)
    expected.backward(weights.to(expected.dtype))
    ours = CustomTensor(values.clone(), requires_grad=True)
    received = function(ours)
    assert rounds_less or received.dtype is expected.dtype
    # the same kernels of torch's: equal to the last bit
    bits = EPSILON[values.dtype] if rounds_less else 0
    assert_close(received.data, expected.detach().to(received.dtype), rtol=bits, atol=bits, equal_nan=True)
    if rules:
        with rules_only():
            received.backward(weights)
    else:
        received.backward(weights)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert ours.grad.dtype is values.dtype
    # Plain passes round as PyTorch does, up to the order of two products.  The rules alone lose what cancels in
    # expressions such as 1 - tanh²: an absolute error, where PyTorch's kernels fuse or compute in higher precision.
    precision = EPSILON[values.dtype]
    atol = 4 * precision if rules else SMALLEST[values.dtype]
    if (name, values.dtype, rules) in KNOWN:
        finite = torch.isfinite(values)
        assert_close(ours.grad[finite], theirs.grad[finite], rtol=max(4 * precision, 1e-7), atol=atol)
        return
    assert_close(ours.grad, theirs.grad.to(values.dtype), rtol=4 * precision, atol=atol, equal_nan=True)


@pytest.mark.kernels
@pytest.mark.parametrize("rules", [False, True], ids=["kernels", "rules"])
@pytest.mark.parametrize("dtype", EPSILON, ids=str)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_far_out_elementwise(name: str, dtype: torch.dtype, rules: bool) -> None:
    values = torch.tensor(NUMBERS, dtype=torch.float64).to(dtype)
    if name == "logit":
        values += 0.0  # without −0: there PyTorch's derivative is +∞ or −∞, by the width of the processor's vectors
    check(name, ELEMENTWISE[name], values, rules)


@pytest.mark.kernels
@pytest.mark.parametrize("rules", [False, True], ids=["kernels", "rules"])
@pytest.mark.parametrize("dtype", EPSILON, ids=str)
@pytest.mark.parametrize("name", OF_ROWS)
def test_far_out_in_rows(name: str, dtype: torch.dtype, rules: bool) -> None:
    check(name, OF_ROWS[name], torch.tensor(FAR_OUT, dtype=torch.float64).to(dtype), rules)


@pytest.mark.parametrize("far", [INF, -INF, NAN, 1e300])
def test_the_running_product_is_right_where_torch_divides(far: float) -> None:
    # d/dx₀ of x₀ + x₀x₁ + x₀x₁x₂ is 1 + x₁ + x₁x₂, whatever x₀ is; PyTorch divides by x₀ and finds NaN at infinity.
    x = CustomTensor(torch.tensor([far, 1.0, 2.0], dtype=torch.float64), requires_grad=True)
    torch.cumprod(x, 0).sum().backward()
    expected = torch.tensor([4.0, 3 * far, far], dtype=torch.float64)
    assert_close(x.grad, expected, rtol=0, atol=0, equal_nan=True)


def test_the_running_logsumexp_is_right_where_torch_loses_its_digits() -> None:
    # PyTorch takes the logarithm of the gradients and adds the numbers to it: of 1e30 + log 3 nothing is left of log 3.
    x = CustomTensor(torch.tensor([1e30, -1e30, 1.0], dtype=torch.float64), requires_grad=True)
    torch.logcumsumexp(x, 0).backward(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    assert_close(x.grad, torch.tensor([7.0, 0.0, 0.0], dtype=torch.float64), rtol=0, atol=0)


def test_variance_of_no_axes_is_that_of_all() -> None:
    # PyTorch's value for dim=() is the variance of all elements; its gradient divides by the number of none.
    values = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    x = CustomTensor(values, requires_grad=True)
    x.var((), correction=0).backward()
    assert_close(x.grad, 2 / 3 * (values - values.mean()), rtol=1e-15, atol=1e-15)
