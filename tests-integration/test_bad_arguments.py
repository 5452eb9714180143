"""Each argument of each torch function, replaced by a wrong one: what torch refuses, we refuse, by the same class.

PyTorch's database of operators has samples of arguments for most of its functions.  Here each tensor and each number
among them, in turn, becomes one of another rank, size or dtype, a number out of range, a list, ...  Where torch raises,
so must we, before anything is changed: a result then would be a mistake of the caller's that nobody is told of.

One sample of each function; with NEURONIX_NIGHTLY=1 in the environment several, and methods and in-place methods too.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from typing import Any

import pytest
import torch
from test_each_argument import ASKED, excuse, functions, named, samples_of
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from neuronix.autograd import CustomTensor
from neuronix.autograd.errors import GradientError, UnsupportedError
from neuronix.autograd.graph import current_graph
from neuronix.autograd.testing import check_index

# Where torch's own kernels write out of bounds, so that no test survives them.
NOT_ASKED = {
    "lu_unpack": "torch believes the pivots and swaps rows that aren't there",
    "lu_solve": "the same in LAPACK",
}
# What we take though torch refuses it: operator and kind, as patterns.
ACCEPTED = {
    "linalg.slogdet half": "its kernels aren't the ones that have no half precision",
    "linspace.* complex": "the other end is complex, and so is the result",
    "*max_unpool* complex": "places are copied, for which torch has kernels in real numbers only",
    "*max_unpool3d float": "a stride that only the usual size of the result, which is given, is computed from",
    "*multi_margin_loss half": "made of operations that have half precision on a CPU",
    "*multilabel_margin_loss half": "made of operations that have half precision on a CPU",
    **dict.fromkeys(("native_group_norm *", "*_batch_norm_* *"), "ATen overloads that torch takes apart: it promotes"),
    "*.group_norm * of nothing": "no kernel is called for an empty input",
    **dict.fromkeys(("*.batch_norm text", "*.batch_norm list"), "the momentum, of which evaluation makes no use"),
    **dict.fromkeys(("addcmul whole", "addcdiv whole", "ldexp *"), "in place: torch's functionalisation converts"),
    "*hinge_embedding_loss whole": "the margin makes numbers of it that have a mean",
}
UNBOUND = "an unbound C method, which takes torch's tensors alone"
# Where our error is of another class.
OTHERWISE = {
    "*.group_norm float": "torch asks for the number of groups to be an integer before it divides by it",
    "*.group_norm zero": "torch divides by the number of groups: a ZeroDivisionError",
    "*_batch_norm_* whole": "ATen overloads that are taken apart: a variance of integers is refused first",
    "*.adaptive_avg_pool2d list": "torch compares the number of sizes with the input's axes",
    **dict.fromkeys(("*interpolate* text", "*upsample* text"), "letters taken for numbers, one for each axis or not"),
    "*linear_cross_entropy.* an axis less": "torch looks at the target's type later",
    "*multi_margin_loss half": "the weight is of another type then",
    **dict.fromkeys(
        ("addmv longer", "addmv shorter"), "torch fails while it makes the sentence of its error: an IndexError"
    ),
    "aminmax list": "amin and amax take lists: one axis of them is out of range",
    "unsafe_split list": "split takes lists: these sizes don't add up",
    **dict.fromkeys(
        ("*max_unpool* float", "*max_unpool* list"), "torch computes with anything until it compares sizes"
    ),
    **{
        f"*multi_head_attention_forward {kind}": "torch's own class depends on what else was given, as a mask"
        for kind in ("whole", "complex", "zero", "text", "list")
    },
    "__rmatmul__ *": "Python's protocol: NotImplemented, of which an operator makes a TypeError",
    "logaddexp2 complex": "torch's own decomposition refuses it, by a RuntimeError",
    "native_group_norm zero": "torch's own decomposition divides by it",
    **{f"{name} *": UNBOUND for name in "cauchy exponential geometric item log_normal normal.in_place uniform".split()},
    "stft *": "its reflected ends are taken apart to indices, which are out of range",
}


def wrong_ones(value: Any) -> Iterator[tuple[str, Any]]:
    """What an argument is replaced by, and how that is called."""
    if isinstance(value, bool):
        return  # an int does as well
    if isinstance(value, int):
        yield from {"negative": -7, "big": 97, "zero": 0, "float": 1.5, "text": "a", "list": [1, 2, 3, 4, 5]}.items()
    elif isinstance(value, float):
        yield from {"text": "a", "list": [1.0, 2.0]}.items()
    elif isinstance(value, Tensor) and value.layout is torch.strided:
        yield "another axis", value.unsqueeze(0).expand(3, *value.shape)
        if value.ndim:
            yield "an axis less", value.select(0, 0) if value.shape[0] else value.sum(0)
            yield "longer", torch.cat([value, value], -1)
            if value.shape[-1] > 1:
                yield "shorter", value[..., :-1]
        if value.is_floating_point():
            yield "whole", value.nan_to_num().clamp(-5, 5).long()
            yield "half", value.half()
            yield "complex", value.to(torch.complex128)
        else:
            yield "float", value.double()
            if value.dtype is not torch.bool:
                yield "negative", value - 100
                yield "big", value + 100


def tracked(arguments: list[Any], most: int) -> list[Any]:
    """The arguments in memory of their own, and the first tensors of numbers among them require grad."""
    found = []
    for value in arguments:
        value = value.clone() if isinstance(value, Tensor) else value
        numbers = isinstance(value, Tensor) and value.layout is torch.strided and value.dtype in DIFFERENTIABLE
        found.append(CustomTensor(value, requires_grad=True) if numbers and most > 0 else value)
        most -= numbers
    return found


DIFFERENTIABLE = (torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128)


def error_of(function: Callable[..., Any], spec: Any, flat: list[Any]) -> tuple[type[Exception], str] | None:
    """The class and the text of the error; not itself, which would hold on to what was computed until then."""
    input, args, kwargs = tree_unflatten(flat, spec)
    torch.manual_seed(0)
    try:
        if function(input, *args, **kwargs) is NotImplemented:  # from which Python makes this
            return TypeError, "NotImplemented"
    except Exception as error:  # noqa: BLE001  # whatever it is: compared below
        return type(error), " ".join(str(error).split())[:200]
    return None


def excused(reasons: dict[str, str], which: str, is_empty: bool) -> bool:
    """Whether an operator and a kind are among the reasons; of an empty input also with these words behind."""
    return any(fnmatch(which, pattern) or (is_empty and fnmatch(f"{which} of nothing", pattern)) for pattern in reasons)


def complaints(function: Callable[..., Any], sample: Any) -> Iterator[tuple[str, int, str, str]]:
    """What is taken though torch refuses it, and what is refused by another class: which, of which argument."""
    flat, spec = tree_flatten((sample.input, list(sample.args), dict(sample.kwargs)))
    for place, value in enumerate(flat):
        for kind, wrong in wrong_ones(value):
            arguments = [*flat[:place], wrong, *flat[place + 1 :]]
            theirs = error_of(function, spec, tracked(arguments, 0))
            ours = tracked(arguments, len(arguments))
            if theirs is None or not any(isinstance(x, CustomTensor) for x in ours):
                continue
            current_graph().clear()
            error = error_of(function, spec, ours)
            if error is not None and issubclass(error[0], (GradientError, UnsupportedError)):
                # An argument can't be differentiated: that is said before anything is wrong with another.
                error = error_of(function, spec, tracked(arguments, 1))
                if error is not None and issubclass(error[0], (GradientError, UnsupportedError)):
                    continue
            if error is None:
                yield "accepted", place, kind, f"{theirs[0].__name__}: {theirs[1]}"
                continue
            if not issubclass(error[0], theirs[0]):
                ours_said, theirs_said = (f"{kind.__name__}: {text}" for kind, text in (error, theirs))
                yield "otherwise", place, kind, f"{ours_said}; not {theirs_said}"
            check_index(current_graph())
            if current_graph().num_nodes():
                gc.collect(1)  # an error that was raised from another can be a cycle
            if current_graph().num_nodes():
                yield "changed", place, kind, f"{current_graph().num_nodes()} nodes are left"


@ASKED
@pytest.mark.filterwarnings("ignore")  # torch's, of arguments that are unusual
def test_what_torch_refuses_is_refused(op: Any) -> None:
    name = named(op)
    if excuse(NOT_ASKED, name):
        return
    for sample in samples_of(op):
        is_empty = isinstance(sample.input, Tensor) and sample.input.numel() == 0
        for function in functions(op):
            for what, place, kind, message in complaints(function, sample):
                reasons = {"accepted": ACCEPTED, "otherwise": OTHERWISE, "changed": {}}[what]
                assert excused(reasons, f"{name} {kind}", is_empty), f"{what}: argument {place}, {kind}: {message}"
