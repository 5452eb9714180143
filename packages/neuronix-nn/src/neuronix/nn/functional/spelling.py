"""Functions of `torch.nn.functional` whose operations belong to autograd, with torch's spelling of their arguments.

``torch.nn.functional.hardtanh(x)`` with a `CustomTensor` ends in our ``hardtanh``; so what is left to do is to make a
`CustomTensor` of whatever the first argument is, a constant too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch.nn import functional as F

from neuronix.autograd import CustomTensor, ops
from neuronix.nn.functional.arguments import lift
from neuronix.nn.tensor_like import TensorLike

__all__ = [
    "affine_grid",
    "bilinear",
    "celu",
    "celu_",
    "elu",
    "elu_",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mish",
    "one_hot",
    "pad",
    "pdist",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
]


def of_torch(function: Callable[..., Any], like: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A function of torch's whose first argument may be any tensor, and becomes one of ours.

    Args:
        function: The function.
        like: Something with its signature, for those written in C, which don't tell theirs.

    Returns:
        The function that hands on to it.
    """
    signature = inspect.signature(function if like is None else like)
    first = next(iter(signature.parameters))

    def spelled(*args: Any, **kwargs: Any) -> Any:
        if args:
            return function(lift(args[0]), *args[1:], **kwargs)
        if first in kwargs:
            return function(lift(kwargs.pop(first)), **kwargs)
        return function(**kwargs)  # which says what is missing

    name = function.__name__
    spelled.__name__ = spelled.__qualname__ = name
    spelled.__doc__ = f"As ``torch.nn.functional.{name}``, of any tensor."
    spelled.__signature__ = signature  # type: ignore[attr-defined]
    return spelled


def relu(input: TensorLike, inplace: bool = False) -> CustomTensor:
    """max(x, 0), elementwise; see [`ops.relu`][neuronix.autograd.ops.activations.relu]."""
    x = lift(input)
    out: CustomTensor = x.relu_() if inplace else ops.relu(x)
    return out


affine_grid = of_torch(F.affine_grid)
bilinear = of_torch(F.bilinear, lambda input1, input2, weight, bias=None: None)
celu = of_torch(F.celu)
celu_ = of_torch(F.celu_, lambda input, alpha=1.0: None)
elu = of_torch(F.elu)
elu_ = of_torch(F.elu_, lambda input, alpha=1.0: None)
gelu = of_torch(F.gelu, lambda input, approximate="none": None)
glu = of_torch(F.glu)
gumbel_softmax = of_torch(F.gumbel_softmax)
hardshrink = of_torch(F.hardshrink, lambda input, lambd=0.5: None)
hardsigmoid = of_torch(F.hardsigmoid)
hardswish = of_torch(F.hardswish)
hardtanh = of_torch(F.hardtanh)
hardtanh_ = of_torch(F.hardtanh_, lambda input, min_val=-1.0, max_val=1.0: None)
leaky_relu = of_torch(F.leaky_relu)
leaky_relu_ = of_torch(F.leaky_relu_, lambda input, negative_slope=0.01: None)
linear = of_torch(F.linear, lambda input, weight, bias=None: None)
log_softmax = of_torch(F.log_softmax)
logsigmoid = of_torch(F.logsigmoid, lambda input: None)
mish = of_torch(F.mish)
one_hot = of_torch(F.one_hot, lambda tensor, num_classes=-1: None)
pad = of_torch(F.pad)
pdist = of_torch(F.pdist, lambda input, p=2: None)
prelu = of_torch(F.prelu, lambda input, weight: None)
relu6 = of_torch(F.relu6)
relu_ = of_torch(F.relu_, lambda input: None)
selu = of_torch(F.selu)
selu_ = of_torch(F.selu_, lambda input: None)
sigmoid = of_torch(F.sigmoid)
silu = of_torch(F.silu)
softmax = of_torch(F.softmax)
softmin = of_torch(F.softmin)
softplus = of_torch(F.softplus, lambda input, beta=1, threshold=20: None)
softshrink = of_torch(F.softshrink, lambda input, lambd=0.5: None)
softsign = of_torch(F.softsign)
tanh = of_torch(F.tanh)
tanhshrink = of_torch(F.tanhshrink)
threshold = of_torch(F.threshold)
threshold_ = of_torch(F.threshold_, lambda input, threshold, value: None)  # type: ignore[attr-defined]
