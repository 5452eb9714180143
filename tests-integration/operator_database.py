"""Operators against PyTorch's own database of them: which agree, and in which respects.

PyTorch ships a database of its operators with inputs for each.  Every differentiable one is called on torch's tensors
and, by the same torch function, on `CustomTensor`s, while torch's own differentiation is replaced by functions that
raise.  It *passes* in a column if all its samples agree; samples that torch itself can't differentiate don't count.

    python tests-integration/operator_database.py                    # first order: what fails and why, and a summary
    python tests-integration/operator_database.py --column second --seed 3 --samples 100
    python tests-integration/operator_database.py --only mul,softmax
    python tests-integration/operator_database.py --write            # the lists and docs/operators.md

`operators_that_pass/<column>.txt` lists what passes, and `docs/operators.md` shows it; `test_operator_parity.py` holds
both to the truth.

A column is one respect in which operators are compared.  To add one, write a subclass of `Column` (what it is called,
which operators torch offers it for, what its samples are, how one is compared; `Reverse` is the pattern), add it to
`COLUMNS`, and run ``--write --column NAME``: that writes its list and adds it to the page, and the test takes it from
there.
"""

from __future__ import annotations

import argparse
import random
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo, SampleInput
from torch.utils._pytree import tree_flatten, tree_map

import neuronix.losses
import neuronix.nn  # both, so that their operations are known  # noqa: F401
from neuronix.autograd import AutogradGraph, CustomTensor, grad, testing

ROOT = Path(__file__).resolve().parent.parent
LISTS = Path(__file__).with_name("operators_that_pass")
PAGE = ROOT / "docs" / "operators.md"

# What the comparison leaves out, and why.
LEFT_OUT = {
    "kernels of torch's own, which nobody calls": (
        "_batch_norm_with_update _native_batch_norm_legit _segment_reduce _softmax_backward_data _unsafe_masked_index "
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


def call(info: OpInfo, sample: SampleInput, leaf: Callable[[Tensor], Any]) -> tuple[list[Any], list[Any]]:
    """The floating-point results of an operator on a sample, and the leaves that it was given.

    Args:
        info: The operator.
        sample: Its arguments.
        leaf: Makes a leaf of a tensor that requires grad; other tensors are copied.
    """
    leaves: list[Any] = []

    def own(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        copied = value.detach().clone()
        if value.requires_grad:
            leaves.append(leaf(copied))
            return leaves[-1]
        return copied

    given, args, kwargs = (tree_map(own, part) for part in (sample.input, sample.args, sample.kwargs))
    result = SPELT.get(info.name, info)(given, *args, **kwargs)
    if sample.output_process_fn_grad is not None:
        result = sample.output_process_fn_grad(result)
    flat, _ = tree_flatten(list(result) if isinstance(result, (tuple, list)) else [result])
    return [x for x in flat if isinstance(x, (Tensor, CustomTensor)) and x.dtype.is_floating_point], leaves


def weights(like: Iterable[Any], seed: int) -> list[Tensor]:
    """Random numbers of the shapes and types of some tensors."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(tuple(x.shape), generator=generator, dtype=x.dtype) for x in like]


def differentiate(
    outputs: Sequence[Any], leaves: Sequence[Any], gradient: Callable[..., Any], seed: int, **options: Any
) -> list[Any]:
    """The gradients of a random weighting of some outputs; ``None`` where there is none."""
    pairs = [
        (x, w)
        for x, w in zip(outputs, weights(outputs, seed), strict=True)
        if isinstance(x, (Tensor, CustomTensor)) and x.requires_grad
    ]
    if not pairs:
        return [None] * len(leaves)
    tracked, given = zip(*pairs, strict=True)
    return list(gradient(tracked, leaves, given, allow_unused=True, **options))


def check_close(received: Any, expected: Any, what: str, rtol: float, atol: float) -> None:
    """Compare two tensors; one that is missing counts as zeros.

    Raises:
        AssertionError: If they differ.
    """
    ours, theirs = (x.data if isinstance(x, CustomTensor) else x for x in (received, expected))
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
    dtype = torch.float64
    """Of the samples."""

    def applies(self, info: OpInfo) -> bool:
        """Whether torch offers this for the operator."""
        raise NotImplementedError

    def samples(self, info: OpInfo) -> list[Any]:
        """All samples of the operator."""
        return list(info.sample_inputs("cpu", self.dtype, requires_grad=True))

    def reference(self, info: OpInfo, sample: Any) -> Any:
        """What torch finds, or ``None`` if it can't do it for this sample."""
        raise NotImplementedError

    def compare(self, info: OpInfo, sample: Any, expected: Any) -> None:
        """Raise an error if ours isn't what torch found; torch's own differentiation is refused meanwhile."""
        raise NotImplementedError


class Reverse(Column):
    """Outputs, and gradients of first or of first and second order."""

    def __init__(self, order: int) -> None:
        self.name = ("first", "second")[order - 1]
        self.heading = f"{self.name}-order"
        self.order = order

    def applies(self, info: OpInfo) -> bool:
        return bool(self.order == 1 or info.supports_gradgrad)

    def derivatives(
        self, outputs: Sequence[Any], leaves: Sequence[Any], gradient: Callable[..., Any]
    ) -> list[list[Any]]:
        """The gradients of each order, each of a random weighting of what was before."""
        first = differentiate(outputs, leaves, gradient, seed=1, create_graph=self.order == 2)
        if self.order == 1:
            return [first]
        # a weight for each leaf, so that both sides use the same ones even where a gradient is missing
        pairs = [(x, w) for x, w in zip(first, weights(leaves, seed=2), strict=True) if x is not None]
        pairs = [(x, w) for x, w in pairs if x.requires_grad]
        if not pairs:
            return [first, [None] * len(leaves)]
        tracked, given = zip(*pairs, strict=True)
        return [first, list(gradient(tracked, leaves, given, allow_unused=True))]

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
            outputs, leaves = call(info, sample, lambda value: CustomTensor(value, requires_grad=True))
            if len(outputs) != len(expected[0]):
                raise AssertionError(f"{len(outputs)} floating-point outputs instead of {len(expected[0])}")
            orders = self.derivatives(outputs, leaves, grad)
        rtol = LOOSER.get(info.name, 1e-9)
        for number, (ours, theirs) in enumerate(zip(outputs, expected[0], strict=True)):
            check_close(ours, theirs, f"output {number}", rtol, 1e-9)
        for order, ours_theirs in enumerate(zip(orders, expected[1], strict=True), start=1):
            # second derivatives are larger, and have lost more digits on both sides
            rtol, atol = (rtol, 1e-9) if order == 1 else (1e-7, 1e-7)
            for number, (ours, theirs) in enumerate(zip(*ours_theirs, strict=True)):
                check_close(ours, theirs, f"gradient {number} of order {order}", rtol, atol)


COLUMNS: dict[str, Column] = {column.name: column for column in (Reverse(1), Reverse(2))}


# Running them


@dataclass
class Outcome:
    """How many samples of an operator agree, and what the first error says of one that doesn't."""

    compared: int
    why: str | None = None


def run(column: Column, info: OpInfo, seed: int = 0, most: int = 12) -> Outcome:
    """Compare an operator in one respect, on at most so many of its samples, drawn at random."""
    torch.manual_seed(seed)
    random.seed(seed)
    drawn = column.samples(info)
    if len(drawn) > most:
        drawn = random.Random(seed).sample(drawn, most)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        with torch.enable_grad():
            references = [column.reference(info, sample) for sample in drawn]
        pairs = [(sample, found) for sample, found in zip(drawn, references, strict=True) if found is not None]
        refused = (torch.autograd, torch.autograd.functional, torch.func, torch.Tensor)
        with torch.no_grad(), testing.refusing(*refused):
            for number, (sample, expected) in enumerate(pairs):
                try:
                    column.compare(info, sample, expected)
                except Exception as error:  # noqa: BLE001  (whichever way it fails)
                    return Outcome(number, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Outcome(len(pairs))


def run_all(column: Column, only: set[str], seed: int, most: int) -> dict[str, Outcome]:
    """Compare all operators, or some, by label or name; those without a sample that counts are left out."""
    found = {
        name: run(column, info, seed, most)
        for name, info in operators().items()
        if column.applies(info) and (not only or only & {name, info.name})
    }
    return {name: outcome for name, outcome in found.items() if outcome.compared or outcome.why}


def summary(column: Column, outcomes: dict[str, Outcome]) -> str:
    """One line: how many operators pass."""
    passed = sum(outcome.why is None for outcome in outcomes.values())
    samples = sum(outcome.compared for outcome in outcomes.values())
    return f"{column.heading} operator parity with PyTorch: {passed} of {len(outcomes)} ({samples} samples compared)"


# The lists and the page


def listed(column: Column) -> list[str]:
    """The operators that are known to pass."""
    return (LISTS / f"{column.name}.txt").read_text(encoding="utf-8").split()


PREAMBLE = """\
# Operators

PyTorch ships a database of its operators, with inputs for each of them. Neuronix is run through it: each differentiable
operator is called on PyTorch's tensors and, by the same torch function, on `CustomTensor`s, and what comes out is
compared (float64, to 1e-9; gradients of second order to 1e-7). PyTorch's own differentiation is out of use meanwhile.
An operator counts if all its inputs agree.

This page is written by `python tests-integration/operator_database.py --write`, and a test holds it to the truth.
"""


def reason(outcome: Outcome) -> str:
    """Why an operator doesn't pass: the error without advice, and without figures that differ between machines."""
    text = str(outcome.why).partition(" hint: ")[0].partition(" Mismatched elements")[0]
    return text.partition(" Expected ")[0].replace("|", "∣")


def table(*heads: str) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]


def page() -> str:
    """docs/operators.md: what is listed, and why the others don't pass."""
    passing = {name: set(listed(column)) for name, column in COLUMNS.items()}
    failing: dict[str, dict[str, str]] = {name: {} for name in COLUMNS}  # by column and operator: why
    for (name, column), (operator, info) in product(COLUMNS.items(), sorted(operators().items())):
        if column.applies(info) and operator not in passing[name]:
            outcome = run(column, info, most=100)
            if outcome.why:
                failing[name][operator] = reason(outcome)
    cells = {
        operator: [
            "yes" if operator in passing[name] else "no" if operator in failing[name] else "–" for name in COLUMNS
        ]
        for operator in sorted(operators())
    }
    heads = [column.heading for column in COLUMNS.values()]
    version = torch.__version__.partition("+")[0]
    counts = [
        f"| {column.heading} | {len(passing[name])} | {len(passing[name]) + len(failing[name])} |"
        for name, column in COLUMNS.items()
    ]
    differing = [
        f"| `{operator}` | {column.heading} | {why} |"
        for name, column in COLUMNS.items()
        for operator, why in failing[name].items()
    ]
    lines = [
        PREAMBLE,
        *[*table("", "agree", "of"), *counts, "", "## What doesn't agree", ""],
        *([*table("Operator", "", "Why"), *differing] if differing else ["Nothing."]),
        *["", "## What isn't compared", ""],
        *(f"- {why}: {', '.join(f'`{name}`' for name in names.split())}" for why, names in LEFT_OUT.items()),
        *["", "## Each operator", "", "– means that PyTorch offers no such derivative.", ""],
        *table(f"Operator of PyTorch {version}", *heads),
        *(f"| `{operator}` | {' | '.join(row)} |" for operator, row in cells.items() if set(row) != {"–"}),
    ]
    return "\n".join(lines) + "\n"


def write(columns: Iterable[Column], seed: int, most: int) -> None:
    """Write the lists of what passes, and the page."""
    for column in columns:
        outcomes = run_all(column, set(), seed, most)
        passing = sorted(name for name, outcome in outcomes.items() if outcome.why is None)
        (LISTS / f"{column.name}.txt").write_text("\n".join(passing) + "\n", encoding="utf-8")
        print(summary(column, outcomes))
    PAGE.write_text(page(), encoding="utf-8")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--column", action="append", choices=COLUMNS, help="what to compare (by default: first)")
    parser.add_argument("--second-order", action="store_true", help="the same as --column second")
    parser.add_argument("--only", default="", help="operators, separated by commas")
    parser.add_argument("--samples", type=int, default=12, help="samples of an operator at most (by default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples and of the choice among them")
    parser.add_argument("--quiet", action="store_true", help="the summary alone")
    parser.add_argument(
        "--write", action="store_true", help="write the lists (of all columns, or those named) and the page"
    )
    parser.add_argument("--check", action="store_true", help="fail if docs/operators.md isn't what --write would write")
    options = parser.parse_args()
    if options.check:
        current = PAGE.read_text(encoding="utf-8") == page()
        print(f"{PAGE.name} is {'current' if current else 'stale: run --write'}")
        return 0 if current else 1
    asked = [*(options.column or []), *(["second"] if options.second_order else [])]
    if options.write:
        write([COLUMNS[name] for name in asked or COLUMNS], options.seed, options.samples)
        return 0
    for name in asked or ["first"]:
        outcomes = run_all(COLUMNS[name], set(filter(None, options.only.split(","))), options.seed, options.samples)
        for operator, outcome in sorted(outcomes.items()):
            if outcome.why and not options.quiet:
                print(f"{operator}: {outcome.why[:300]}")
        print(summary(COLUMNS[name], outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
