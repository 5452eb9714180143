"""Each argument of each torch function, tracked alone: what torch differentiates is differentiated, the rest refused.

PyTorch's database of operators has samples of arguments for most of its functions.  Here every tensor and every number
among them, in turn, becomes a tensor that requires grad while the others are constants; also a number that torch takes
for a number only.  A result that is a constant then would be a gradient lost in silence.

One sample of each function; with NEURONIX_NIGHTLY=1 in the environment several, and methods and in-place methods too.
"""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_flatten, tree_unflatten

import neuronix.losses
import neuronix.nn
from neuronix.autograd import CustomTensor, grad
from neuronix.autograd.dispatch.registry import TORCH_FUNCTIONS
from neuronix.autograd.errors import NeuronixError

assert neuronix.nn  # their functions answer for torch's
assert neuronix.losses

NIGHTLY = os.environ.get("NEURONIX_NIGHTLY") == "1"
MOST = 4 if NIGHTLY else 1

# What torch calls tracked is a constant here, because the result doesn't depend on it.
CONSTANT_HERE = {
    "native_group_norm": "the statistics, which don't depend on weight and bias",
    "triangular_solve": "the second result is A, which doesn't depend on b",
}
# Where torch's value or gradient isn't the oracle.
DIFFERENT = {
    "as_strided_scatter": "torch's gradient ignores what is written over",
    "cholesky_solve": "torch gives gradients to the triangle that isn't read",
    "empty": "whatever stood in memory",
    "logical_": "in place, torch passes the gradient as if nothing had happened",
    "masked.prod": "torch divides by numbers that are zero or NaN",
    "multi_head_attention_forward": "with dropout",
    "native_batch_norm": "the type of statistics that are empty",
    "native_dropout_backward": "random",
    "svd": "the vectors behind those of a thin decomposition are any basis",
    **dict.fromkeys("bernoulli cauchy dropout exponential geometric log_normal multinomial".split(), "random"),
    **dict.fromkeys("normal rand rrelu uniform".split(), "random"),
}
# What raises before anybody asks us.
NOT_IN_OUR_WORDS = {
    "item": "an unbound C method",
    "addbmm": "in place torch enlarges the tensor",
    "multi_head_attention_forward": "torch's Python code doesn't look whether a mask has functions of its own",
}
# What can't be asked this way.
NOT_ASKED = {
    "jiterator": "its functions are compiled for GPUs",
    "sparse.": "its arguments are sparse in ways of their own: see test_sparse.py",
    "to_sparse": "its result is sparse",
    "_upsample_bilinear2d_aa": "an ATen overload, not a function: torch takes int() of what is in its lists",
}


def excuse(reasons: dict[str, str], name: str) -> bool:
    """Whether a part of the name is among the reasons."""
    return any(part in name for part in reasons)


def functions(op: Any) -> Iterator[Callable[..., Any]]:
    """The operator as it is called: as a function, and in the nightly run as a method and in place."""
    unbound = getattr(torch.Tensor, op.op.__name__, None) is op.op if hasattr(op.op, "__name__") else False
    if not unbound:  # C methods take torch's tensors alone
        yield op.op
    for variant, prepared in ((op.method_variant, lambda x: x), (op.inplace_variant, torch.clone)):
        if (NIGHTLY or unbound) and hasattr(variant, "__name__") and variant.__name__ != "<lambda>":
            name = variant.__name__
            yield lambda x, *args, name=name, prepared=prepared, **kwargs: getattr(prepared(x), name)(*args, **kwargs)
            if unbound:
                return


def weighted(results: list[Any]) -> Any:
    """A number made of all results that require grad."""
    total: Any = 0
    for result in results:
        if getattr(result, "requires_grad", False):
            generator = torch.Generator().manual_seed(1)
            weights = torch.randn(result.shape, generator=generator, dtype=torch.float64).to(result.dtype)
            part = (result * weights).sum()
            total = total + (part.abs() if result.dtype.is_complex else part)
    return total


def outcome(function: Callable[..., Any], sample: Any, place: int, leaf: Any, differentiate: Any) -> Any:
    """The results, and the gradient of their weighted sum; or the error."""
    flat, spec = sample
    flat = [value.clone() if isinstance(value, Tensor) else value for value in flat]
    flat[place] = leaf
    input, args, kwargs = tree_unflatten(flat, spec)
    torch.manual_seed(0)
    try:
        results = tree_flatten(function(input, *args, **kwargs))[0]
    except Exception as error:  # noqa: BLE001  # whatever it is: compared below
        return error
    found = None
    try:
        total = weighted(results)
        if getattr(total, "requires_grad", False):
            (found,) = differentiate(total, [leaf], allow_unused=True)
    except Exception as error:  # noqa: BLE001
        found = error
    return results, found


def check(name: str, function: Callable[..., Any], sample: Any, place: int) -> None:
    value = sample[0][place]
    if not isinstance(value, Tensor):
        value = torch.tensor(value, dtype=torch.complex128 if isinstance(value, complex) else torch.float64)
    expected = outcome(function, sample, place, value.clone().requires_grad_(), torch.autograd.grad)
    received = outcome(function, sample, place, CustomTensor(value.clone(), requires_grad=True), grad)
    if isinstance(received, Exception):
        # Not silent; and in our words, if torch differentiates that.
        computed = isinstance(sample[0][place], Tensor) and not isinstance(expected, Exception)
        if computed and not excuse(NOT_IN_OUR_WORDS, name):
            assert isinstance(received, NeuronixError), repr(received)
        return
    results, gradient = received
    tracked = [bool(getattr(result, "requires_grad", False)) for result in results]
    if isinstance(expected, Exception):
        assert any(tracked), f"a constant, where torch raises {expected!r}"
        return
    their_results, their_gradient = expected
    for ours, theirs, is_tracked in zip(results, their_results, tracked, strict=True):
        if getattr(theirs, "requires_grad", False) and not excuse(CONSTANT_HERE, name):
            assert is_tracked, "a constant, where torch's result requires grad"
        if isinstance(theirs, Tensor) and not excuse(DIFFERENT, name):
            data = ours.data if isinstance(ours, CustomTensor) else ours
            torch.testing.assert_close(data, theirs.detach(), rtol=1e-7, atol=1e-9, equal_nan=True)
    if isinstance(their_gradient, Exception) or their_gradient is None or excuse(DIFFERENT, name):
        return
    assert not isinstance(gradient, Exception), repr(gradient)
    gradient = torch.zeros_like(their_gradient) if gradient is None else gradient.data
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-6, atol=1e-8, equal_nan=True)


def named(op: Any) -> str:
    return f"{op.name}.{op.variant_test_name}".rstrip(".")


def samples_of(op: Any) -> list[Any]:
    dtypes = [dtype for dtype in (torch.float64, torch.float32) if dtype in op.supported_dtypes("cpu")]
    if not dtypes:
        return []  # of integers alone
    samples = list(itertools.islice(op.sample_inputs("cpu", dtypes[0], requires_grad=False), 60))
    return samples[:: max(1, len(samples) // MOST)][-MOST:]


ASKED = pytest.mark.parametrize("op", [op for op in op_db if not excuse(NOT_ASKED, named(op))], ids=named)


@ASKED
@pytest.mark.filterwarnings("ignore")  # torch's, of samples that are unusual
def test_no_argument_is_a_constant_in_silence(op: Any) -> None:
    for sample in samples_of(op):
        flat = tree_flatten((sample.input, list(sample.args), dict(sample.kwargs)))
        for place, value in enumerate(flat[0]):
            if isinstance(value, Tensor):
                if value.layout is not torch.strided or not (value.is_floating_point() or value.is_complex()):
                    continue
            elif type(value) not in (int, float, complex):
                continue
            for function in functions(op):
                check(named(op), function, flat, place)


def parameters_left_out(op: Any, sample: Any) -> list[str]:
    """The parameters that a sample gives no argument for and that aren't about the result's type and place."""
    for function in (op.op, TORCH_FUNCTIONS.get(op.op)):  # a function of C has no signature: ours has the same
        with suppress(ValueError, TypeError):
            parameters = list(inspect.signature(function).parameters.values())[1 + len(sample.args) :]
            named_ones = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
            return [name for name in named_ones if name not in (*sample.kwargs, "dtype", "device", "layout", "out")]
    return []


@ASKED
@pytest.mark.filterwarnings("ignore")  # torch's, of arguments that are unusual
def test_no_argument_that_is_mostly_left_out_is_a_constant_in_silence(op: Any) -> None:
    for sample in samples_of(op):
        for name in parameters_left_out(op, sample):
            arguments = (sample.input, list(sample.args), {**sample.kwargs, name: sample.input})
            for given in (1.0, sample.input):  # a number; and a weight for each element, for instance
                arguments[2][name] = given
                flat = tree_flatten(arguments)
                check(named(op), op.op, flat, len(flat[0]) - 1)
