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
which operators torch offers it for, what its samples are, how one is compared; `operator_columns.py` and
`operator_worlds.py` have them), add it to `COLUMNS`, and run ``--write --column NAME``: that writes its list and adds
it to the page, and the test takes it from there.
"""

from __future__ import annotations

import argparse
import random
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from operator_columns import LEFT_OUT, Column, Reverse, operators
from operator_worlds import BadInput, Forward, InPlace, Vectorized, why_in_words
from torch.testing._internal.opinfo.core import OpInfo

from neuronix.autograd import testing

ROOT = Path(__file__).resolve().parent.parent
LISTS = Path(__file__).with_name("operators_that_pass")
PAGE = ROOT / "docs" / "operators.md"

# The columns

COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Reverse(1),
        Reverse(2),
        Forward(),
        Vectorized(),
        Reverse(1, torch.complex128),
        Reverse(2, torch.complex128),
        InPlace(),
        BadInput(),
    )
}

# What docs/operators.md shows: the columns that are compared for every operator in every run of the tests.
ON_PAGE = {name: column for name, column in COLUMNS.items() if column.every == 1}


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


def reason(column: Column, operator: str, outcome: Outcome) -> str:
    """Why an operator doesn't pass: in words, or the error without advice and figures that differ between machines."""
    if words := why_in_words(column, operator):
        return words
    text = str(outcome.why).partition(" hint: ")[0].partition(" Mismatched elements")[0]
    return text.partition(" Expected ")[0].replace("|", "∣")


def table(*heads: str) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]


def page() -> str:
    """docs/operators.md: what is listed, and why the others don't pass."""
    passing = {name: set(listed(column)) for name, column in ON_PAGE.items()}
    failing: dict[str, dict[str, str]] = {name: {} for name in ON_PAGE}  # by column and operator: why
    for (name, column), (operator, info) in product(ON_PAGE.items(), sorted(operators().items())):
        if column.applies(info) and operator not in passing[name]:
            outcome = run(column, info, most=100)
            if outcome.why:
                failing[name][operator] = reason(column, operator, outcome)
    cells = {
        operator: [
            "yes" if operator in passing[name] else "no" if operator in failing[name] else "–" for name in ON_PAGE
        ]
        for operator in sorted(operators())
    }
    heads = [column.heading for column in ON_PAGE.values()]
    version = torch.__version__.partition("+")[0]
    counts = [
        f"| {column.heading} | {len(passing[name])} | {len(passing[name]) + len(failing[name])} |"
        for name, column in ON_PAGE.items()
    ]
    differing = [
        f"| `{operator}` | {column.heading} | {why} |"
        for name, column in ON_PAGE.items()
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
