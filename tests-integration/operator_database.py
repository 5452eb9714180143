"""Operators against PyTorch's own database of them: which agree, and in which respects.

PyTorch ships a database of its operators with inputs for each.  Every differentiable one is called on torch's tensors
and, by the same torch function, on `CustomTensor`s, while torch's own differentiation is replaced by functions that
raise.  It *passes* in a column if all its samples agree; samples that torch itself can't differentiate don't count.

    python tests-integration/operator_database.py                    # first order: what fails and why, and a summary
    python tests-integration/operator_database.py --column second --seed 3 --samples 100
    python tests-integration/operator_database.py --only mul,softmax
    python tests-integration/operator_database.py --write            # the lists and docs/operators.md, in minutes
    python tests-integration/operator_database.py --page             # docs/operators.md from the lists and the reasons

`operators_that_pass/<column>.txt` lists what passes, `operators_that_differ.toml` says why the others don't, and
`docs/operators.md` shows both; `test_operator_parity.py` holds them to the truth.

A column is one respect in which operators are compared.  To add one, write a subclass of `Column` (what it is called,
which operators torch offers it for, what its samples are, how one is compared; `operator_columns.py` and
`operator_worlds.py` have them), add it to `COLUMNS`, and run ``--write --column NAME``: that writes its list and adds
it to the page, and the test takes it from there.
"""

from __future__ import annotations

import argparse
import random
import sys
import tomllib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from operator_columns import LEFT_OUT, Column, Reverse, operators
from operator_worlds import BadInput, Forward, InPlace, Memory, Vectorized
from torch.testing._internal.opinfo.core import OpInfo

from neuronix.autograd import testing

ROOT = Path(__file__).resolve().parent.parent
LISTS = Path(__file__).with_name("operators_that_pass")
REASONS = Path(__file__).with_name("operators_that_differ.toml")
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
        Memory(),
    )
}


# Running them


@dataclass
class Outcome:
    """How many samples of an operator agree, and what the first error says of one that doesn't."""

    compared: int
    why: str | None = None


def run(column: Column, info: OpInfo, seed: int = 0, most: int = 12) -> Outcome:
    """Compare an operator in one respect, on at most so many of its samples, drawn at random.

    Samples that torch can't do what is compared for don't count, and others are drawn instead.
    """
    torch.default_generator.manual_seed(seed)  # torch.manual_seed also keeps its caller's stack for every other device
    random.seed(seed)
    np.random.seed(seed)
    drawn = column.samples(info)
    refused = (torch.autograd, torch.autograd.functional, torch.func, torch.Tensor)
    compared = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        for sample in random.Random(seed).sample(drawn, len(drawn)):
            if compared == most:
                break
            with torch.enable_grad():
                expected = column.reference(info, sample)
            if expected is None:
                continue
            with torch.no_grad(), testing.refusing(*refused):
                try:
                    column.compare(info, sample, expected)
                except Exception as error:  # noqa: BLE001  (whichever way it fails)
                    return Outcome(compared, f"{type(error).__name__}: {' '.join(str(error).split())}")
            compared += 1
    return Outcome(compared)


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


@cache
def reasons() -> list[dict[str, Any]]:
    """Why operators don't pass: of each reason its text, and by column their names."""
    entries: list[dict[str, Any]] = tomllib.loads(REASONS.read_text(encoding="utf-8"))["reason"]
    return entries


def differing(column: Column) -> list[str]:
    """The operators that are known not to pass, which have a reason each."""
    return [name for reason in reasons() for name in reason.get(column.name, [])]


PREAMBLE = """\
# Operators

PyTorch ships a database of its operators, with inputs for each of them. Neuronix is run through it: each differentiable
operator is called on PyTorch's tensors and, by the same torch function, on `CustomTensor`s, and what comes out is
compared, in several respects. PyTorch's own differentiation is out of use meanwhile. An operator agrees if all its
inputs do. Numbers are float64 or complex128 and equal to 1e-9, second derivatives to 1e-7; those of `hardsigmoid`, of
which PyTorch takes the factor 1/6 in single precision, to 1e-7. (The database has some weights of `cov` in single
precision; here they are in double precision.)

The database is that of PyTorch {version}. This page is written by
`python tests-integration/operator_database.py --write`, and tests hold it to the truth.
"""


def table(*heads: str) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]


def quoted(names: Iterable[str]) -> str:
    """Names of operators, in one cell."""
    return ", ".join(f"`{name}`" for name in names)


def page() -> str:
    """docs/operators.md: what agrees, and why the others don't."""
    passing = {name: set(listed(column)) for name, column in COLUMNS.items()}
    failing = {name: set(differing(column)) for name, column in COLUMNS.items()}
    counts = [
        f"| {column.heading} | {column.about} | {len(passing[name])} | {len(passing[name]) + len(failing[name])} |"
        for name, column in COLUMNS.items()
    ]
    reasons_why = [
        f"| {'<br>'.join(f'{COLUMNS[name].heading}: {quoted(reason[name])}' for name in COLUMNS if name in reason)} "
        f"| {reason['why']} |"
        for reason in reasons()
    ]
    rows = {
        operator: [
            "yes" if operator in passing[name] else "no" if operator in failing[name] else "–" for name in COLUMNS
        ]
        for operator in sorted(operators())
    }
    lines = [
        PREAMBLE.format(version=torch.__version__.partition("+")[0]),
        *[*table("column", "what is compared", "agree", "of"), *counts],
        *["", "## What doesn't agree", "", *table("Operators", "Why"), *reasons_why],
        *["", "## What isn't compared", ""],
        *(f"- {why}: {quoted(names.split())}" for why, names in LEFT_OUT.items()),
        *["", "## Each operator", "", "– means that PyTorch offers nothing to compare with.", ""],
        *table("Operator", *(column.heading for column in COLUMNS.values())),
        *(f"| `{operator}` | {' | '.join(row)} |" for operator, row in rows.items() if set(row) != {"–"}),
    ]
    return "\n".join(lines) + "\n"


def write(columns: Iterable[Column], seed: int, most: int) -> None:
    """Write the lists of what passes, and the page."""
    for column in columns:
        outcomes = run_all(column, set(), seed, most)
        passing = sorted(name for name, outcome in outcomes.items() if outcome.why is None)
        (LISTS / f"{column.name}.txt").write_text("\n".join(passing) + "\n", encoding="utf-8")
        print(summary(column, outcomes))
        for name in sorted(outcomes.keys() - set(passing) - set(differing(column))):
            print(f"  {name} needs a reason in {REASONS.name}: {outcomes[name].why}")
    PAGE.write_text(page(), encoding="utf-8")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--column", action="append", choices=COLUMNS, help="what to compare (by default: first)")
    parser.add_argument("--second-order", action="store_true", help="the same as --column second")
    parser.add_argument("--only", default="", help="operators, separated by commas")
    parser.add_argument("--samples", type=int, help="of an operator at most (by default 12; all for --write)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples and of the choice among them")
    parser.add_argument("--quiet", action="store_true", help="the summary alone")
    parser.add_argument(
        "--write", action="store_true", help="write the lists (of all columns, or those named) and the page"
    )
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--check", action="store_true", help="fail if docs/operators.md isn't what --write would write")
    options = parser.parse_args()
    if options.check:
        current = PAGE.read_text(encoding="utf-8") == page()
        print(f"{PAGE.name} is {'current' if current else 'stale: run --write'}")
        return 0 if current else 1
    if options.page:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    asked = [*(options.column or []), *(["second"] if options.second_order else [])]
    if options.write:
        write([COLUMNS[name] for name in asked or COLUMNS], options.seed, options.samples or 10**6)
        return 0
    for name in asked or ["first"]:
        outcomes = run_all(
            COLUMNS[name], set(filter(None, options.only.split(","))), options.seed, options.samples or 12
        )
        for operator, outcome in sorted(outcomes.items()):
            if outcome.why and not options.quiet:
                print(f"{operator}: {outcome.why[:300]}")
        print(summary(COLUMNS[name], outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
