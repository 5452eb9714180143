"""Operators against PyTorch's own database of them, column by column: see operator_database.py.

An operator that is listed in `operators_that_pass/` and doesn't agree is a failure, and so is one that agrees and isn't
listed.  One that doesn't agree has a reason in `operators_that_differ.toml`.  In every run some samples of each are
compared in every column; with NEURONIX_NIGHTLY=1 in the environment all samples, from several seeds.
"""

from __future__ import annotations

import os

import operator_database as database
import pytest
import torch
from operator_columns import weights
from operator_worlds import Function

from neuronix.autograd import jvp
from neuronix.autograd.testing import check_against_finite_differences

NIGHTLY = os.environ.get("NEURONIX_NIGHTLY") == "1"
SEEDS = range(6) if NIGHTLY else [0]
ALL = 10**6

PASSING = [(name, operator) for name, column in database.COLUMNS.items() for operator in database.listed(column)]
OTHERS = [
    (name, operator)
    for name, column in database.COLUMNS.items()
    for operator, info in database.operators().items()
    if column.applies(info) and operator not in set(database.listed(column))
]
RIGHT = [
    (name, operator, reason["right"])
    for reason in database.reasons()
    for name in database.COLUMNS
    for operator in reason.get(name, [])
    if "right" in reason
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("column, name", PASSING)
def test_listed_operator_agrees_with_torch(column: str, name: str, seed: int) -> None:
    most = ALL if NIGHTLY else database.COLUMNS[column].most
    outcome = database.run(database.COLUMNS[column], database.operators()[name], seed, most)
    assert outcome.why is None
    assert outcome.compared


@pytest.mark.parametrize("column, name", OTHERS)
def test_unlisted_operator_differs_from_torch_for_a_reason(column: str, name: str) -> None:
    outcome = database.run(database.COLUMNS[column], database.operators()[name], most=ALL)
    if outcome.why is None and outcome.compared:
        pytest.fail(f"{name} agrees with torch in all samples: add it to operators_that_pass/{column}.txt")
    explained = name in database.differing(database.COLUMNS[column])
    if outcome.why and not explained:
        pytest.fail(f"operators_that_differ.toml needs a reason for {name} in the column {column}: {outcome.why}")
    if explained and not outcome.why:
        pytest.fail(f"torch offers nothing for {name} in the column {column}: it needs no reason")


@pytest.mark.filterwarnings("ignore:linear_cross_entropy. ``options`` ignored")
@pytest.mark.parametrize("column, name, oracle", RIGHT)
def test_where_torch_differs_another_oracle_agrees(column: str, name: str, oracle: str) -> None:
    info = database.operators()[name]
    for sample in database.COLUMNS[column].samples(info)[:5]:
        function = Function(info, sample)
        values = tuple(function.values)
        if column == "second":
            check_against_finite_differences(function, *values, second_order=True)
            continue
        direction = tuple(weights(values, seed=1))
        tolerance = 1e-9
        if oracle == "double backward":
            expected = torch.autograd.functional.jvp(function, values, direction)[1]
        else:
            step = 1e-5
            high, low = (function(*(x + s * d for x, d in zip(values, direction, strict=True))) for s in (step, -step))
            expected = tuple((a - b) / (2 * step) for a, b in zip(high, low, strict=True))
            # they have an error of step², and what rounding the values makes of it
            tolerance = max(1e-8, *(1e-15 * float(x.abs().max()) / step for x in high))
        for ours, theirs in zip(jvp(function, values, direction)[1], expected, strict=True):
            torch.testing.assert_close(
                ours.data, theirs, rtol=1e-8 if oracle == "finite differences" else 1e-9, atol=tolerance
            )


@pytest.mark.parametrize("column", database.COLUMNS)
def test_lists_are_sorted_and_name_what_torch_offers(column: str) -> None:
    names = database.listed(database.COLUMNS[column])
    assert sorted(set(names)) == names
    offered = {name for name, info in database.operators().items() if database.COLUMNS[column].applies(info)}
    assert set(names) <= offered


@pytest.mark.parametrize("column", database.COLUMNS)
def test_reasons_are_of_operators_that_are_not_listed(column: str) -> None:
    names = database.differing(database.COLUMNS[column])
    assert len(set(names)) == len(names)
    assert set(names) <= {name for among, name in OTHERS if among == column}


def test_reasons_have_words_and_columns() -> None:
    for reason in database.reasons():
        assert reason.keys() - {"why", "right"} <= database.COLUMNS.keys(), reason
        assert reason.get("right", "finite differences") in ("finite differences", "double backward"), reason
        assert reason.keys() & database.COLUMNS.keys(), reason
        assert reason["why"].endswith("."), reason
        assert "\n" not in reason["why"], reason


def test_page_is_current() -> None:
    assert database.PAGE.read_text(encoding="utf-8") == database.page(), "run operator_database.py --write"


def test_readme_counts_the_operators() -> None:
    counted = len(database.listed(database.COLUMNS["first"]))
    assert f"All {counted} operators of its database agree" in (database.ROOT / "README.md").read_text(encoding="utf-8")
