"""What is compared of an operator of PyTorch's database, and how; `operator_database.py` runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo, SampleInput
from torch.utils._pytree import tree_flatten, tree_map

import neuronix.losses
import neuronix.nn  # both, so that their operations are known  # noqa: F401
from neuronix.autograd import AutogradGraph, CustomTensor, grad

# What the comparison leaves out, and why.
LEFT_OUT = {
    "kernels of torch's own, which nobody calls": (
        "_batch_norm_with_update _native_batch_norm_legit _softmax_backward_data _unsafe_masked_index "
        "_unsafe_masked_index_put_accumulate _upsample_bilinear2d_aa max_pool2d_with_indices_backward "
        "native_batch_norm native_dropout_backward native_group_norm native_layer_norm "
        "torch.ops.aten._efficient_attention_forward torch.ops.aten._flash_attention_forward "
        "torch.ops.aten._safe_softmax.default"
    ),
    "random results": (
        "bernoulli normal nn.functional.alpha_dropout nn.functional.dropout nn.functional.dropout2d "
        "nn.functional.dropout3d nn.functional.feature_alpha_dropout nn.functional.fractional_max_pool2d "
        "nn.functional.fractional_max_pool3d nn.functional.rrelu pca_lowrank svd_lowrank"
    ),
    "sparse layouts": "sparse.mm sparse.mm.reduce sparse.sampled_addmm to_sparse",
    "results that depend on a choice of signs or phases": "linalg.eig linalg.eigvals linalg.pinv.singular svd",
    "torch's own check of its gradients fails on some samples": "as_strided_scatter cholesky_solve",
    "conversions to another element type": "bfloat16 cdouble cfloat chalf half",
    "no derivative": "nextafter",
}
NAMES_LEFT_OUT = {name for names in LEFT_OUT.values() for name in names.split()}

# Torch's hardsigmoid takes 1/6 in single precision, also of float64.
LOOSER = {"nn.functional.hardsigmoid": 1e-7}

# Slots of the C class that only take torch's tensors: the same operation, spelt so that any operand can answer.
SPELT: dict[str, Callable[..., Any]] = {
    "__getitem__": lambda x, index: x[index],
    "__radd__": lambda x, other: other + x,
    "__rmul__": lambda x, other: other * x,
}


def label(info: OpInfo) -> str:
    """An operator's name with that of its variant."""
    return f"{info.name}.{info.variant_test_name}" if info.variant_test_name else str(info.name)


@cache
def operators() -> dict[str, OpInfo]:
    """The differentiable operators of the database, by label."""
    return {
        label(info): info
        for info in op_db
        if info.supports_autograd
        and not {info.name, label(info)} & NAMES_LEFT_OUT
        and torch.float64 in info.supported_dtypes("cpu")
    }


# What the columns share


def doubled(sample: SampleInput) -> SampleInput:
    """A sample whose leaves are all in double precision; the database has weights of `cov` in single precision."""

    def double(value: Any) -> Any:
        if isinstance(value, Tensor) and value.requires_grad and value.dtype is torch.float32:
            return value.detach().to(torch.float64).requires_grad_()
        return value

    sample.input, sample.args, sample.kwargs = (
        tree_map(double, part) for part in (sample.input, sample.args, sample.kwargs)
    )
    return sample


def call(
    info: OpInfo,
    sample: SampleInput,
    leaf: Callable[[Tensor], Any],
    constant: Callable[[Tensor], Any] = lambda value: value,
    *,
    symmetrized: bool = False,
) -> tuple[list[Any], list[Any]]:
    """The results of an operator on a sample that are real or complex numbers, and the leaves that it was given.

    Args:
        info: The operator.
        sample: Its arguments.
        leaf: Makes a leaf of a copy of each tensor that requires grad.
        constant: Makes an argument of a copy of each other tensor.
        symmetrized: Let the operator only see what it means to read (of a symmetric matrix, say, its symmetric part).
    """
    leaves: list[Any] = []

    def own(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        copied = value.detach().clone()
        if value.requires_grad:
            leaves.append(leaf(copied))
            return leaves[-1]
        return constant(copied)

    given, args, kwargs = (tree_map(own, part) for part in (sample.input, sample.args, sample.kwargs))
    function = SPELT.get(info.name, info.op)
    if symmetrized:
        result = info.gradcheck_wrapper(function, given, *args, **kwargs)
    else:
        result = function(given, *args, **kwargs)
    if sample.output_process_fn_grad is not None:
        result = sample.output_process_fn_grad(result)
    flat, _ = tree_flatten(list(result) if isinstance(result, (tuple, list)) else [result])
    tensors = [x for x in flat if isinstance(x, (Tensor, CustomTensor))]
    return [x for x in tensors if x.dtype.is_floating_point or x.dtype.is_complex], leaves


def tracked(value: Tensor) -> CustomTensor:
    """A leaf of ours that requires grad."""
    return CustomTensor(value, requires_grad=True)


def weights(like: Iterable[Any], seed: int) -> list[Tensor]:
    """Random numbers of the shapes and types of some tensors."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(tuple(x.shape), generator=generator, dtype=x.dtype) for x in like]


def differentiate(
    outputs: Sequence[Any],
    leaves: Sequence[Any],
    gradient: Callable[..., Any],
    given: Sequence[Tensor],
    **options: Any,
) -> list[Any]:
    """The gradients of some outputs, weighted as given; ``None`` where there is none."""
    pairs = [
        (x, w) for x, w in zip(outputs, given, strict=True) if isinstance(x, (Tensor, CustomTensor)) and x.requires_grad
    ]
    if not pairs:
        return [None] * len(leaves)
    results, cotangents = zip(*pairs, strict=True)
    return list(gradient(results, leaves, cotangents, allow_unused=True, **options))


def check_close(received: Any, expected: Any, what: str, rtol: float, atol: float) -> None:
    """Compare two tensors; one that is missing counts as zeros.

    Raises:
        AssertionError: If they differ.
    """
    ours, theirs = (x.data if isinstance(x, CustomTensor) else x for x in (received, expected))
    ours, theirs = (None if x is None else x.resolve_conj().resolve_neg() for x in (ours, theirs))
    if ours is None and theirs is None:
        return
    ours = torch.zeros_like(theirs) if ours is None else ours
    theirs = torch.zeros_like(ours) if theirs is None else theirs.detach()
    if ours.requires_grad:
        raise AssertionError(f"{what}: the data require torch's grad")
    torch.testing.assert_close(
        ours,
        theirs,
        rtol=rtol,
        atol=atol,
        equal_nan=True,
        check_stride=False,
        msg=lambda text: f"{what}: {' '.join(text.split())}",
    )


# The columns


class Column:
    """One respect in which operators are compared."""

    name: str
    """Of the column, on the command line and of its list."""
    heading: str
    """Of the column, on the page and in the summary."""
    about: str
    """What is compared, for the page."""
    dtype = torch.float64
    """Of the samples."""
    most = 3
    """How many samples of an operator every run of the tests compares."""

    def applies(self, info: OpInfo) -> bool:
        """Whether torch offers this for the operator."""
        raise NotImplementedError

    def samples(self, info: OpInfo) -> list[Any]:
        """All samples of the operator, of the numbers that torch's and numpy's generators give."""
        # not `info.sample_inputs`, which seeds the generators for each sample, always the same
        with torch.no_grad():
            return [doubled(sample) for sample in info.sample_inputs_func(info, "cpu", self.dtype, True)]

    def reference(self, info: OpInfo, sample: Any) -> Any:
        """What torch finds, or ``None`` if it can't do it for this sample."""
        raise NotImplementedError

    def compare(self, info: OpInfo, sample: Any, expected: Any) -> None:
        """Raise an error if ours isn't what torch found; torch's own differentiation is refused meanwhile."""
        raise NotImplementedError


class Reverse(Column):
    """Outputs, and gradients of first or of first and second order."""

    def __init__(self, order: int, dtype: torch.dtype = torch.float64) -> None:
        self.name = ("first", "second")[order - 1]
        self.heading = f"{self.name} order"
        self.about = ("results and gradients, to 1e-9", "gradients of gradients, to 1e-7")[order - 1]
        self.order = order
        self.dtype = dtype
        if dtype.is_complex:
            self.name = f"complex_{self.name}"
            self.heading = f"complex, {self.heading}"
            self.about += "; of complex numbers"
            self.most = 1

    def applies(self, info: OpInfo) -> bool:
        if self.dtype.is_complex:
            offered = self.dtype in info.supported_dtypes("cpu") and self.dtype in info.supported_backward_dtypes("cpu")
        else:
            offered = True
        return bool(offered and (self.order == 1 or info.supports_gradgrad))

    def derivatives(
        self, outputs: Sequence[Any], leaves: Sequence[Any], gradient: Callable[..., Any]
    ) -> list[list[Any]]:
        """The gradients of each order, each of a random weighting of what was before."""
        first = differentiate(outputs, leaves, gradient, weights(outputs, seed=1), create_graph=self.order == 2)
        if self.order == 1:
            return [first]
        # a weight for each leaf, so that both sides use the same ones even where a gradient is missing
        pairs = [(x, w) for x, w in zip(first, weights(leaves, seed=2), strict=True) if x is not None]
        pairs = [(x, w) for x, w in pairs if x.requires_grad]
        if not pairs:
            return [first, [None] * len(leaves)]
        results, given = zip(*pairs, strict=True)
        return [first, list(gradient(results, leaves, given, allow_unused=True))]

    def reference(self, info: OpInfo, sample: SampleInput) -> Any:
        try:
            outputs, leaves = call(info, sample, Tensor.requires_grad_)
            if not leaves or not any(x.requires_grad for x in outputs):
                return None
            return outputs, self.derivatives(outputs, leaves, torch.autograd.grad)
        except RuntimeError:
            return None

    def compare(self, info: OpInfo, sample: SampleInput, expected: Any) -> None:
        with AutogradGraph():
            outputs, leaves = call(info, sample, tracked)
            if len(outputs) != len(expected[0]):
                raise AssertionError(f"{len(outputs)} outputs instead of {len(expected[0])}")
            orders = self.derivatives(outputs, leaves, grad)
        rtol = LOOSER.get(info.name, 1e-9)
        for number, (ours, theirs) in enumerate(zip(outputs, expected[0], strict=True)):
            check_close(ours, theirs, f"output {number}", rtol, 1e-9)
        for order, ours_theirs in enumerate(zip(orders, expected[1], strict=True), start=1):
            # second derivatives are larger, and have lost more digits on both sides
            rtol, atol = (rtol, 1e-9) if order == 1 else (1e-7, 1e-7)
            for number, (ours, theirs) in enumerate(zip(*ours_theirs, strict=True)):
                check_close(ours, theirs, f"gradient {number} of order {order}", rtol, atol)
