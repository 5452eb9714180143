"""Operators against PyTorch's own database of them, column by column: see operator_database.py.

An operator that is listed in `operators_that_pass/` and doesn't agree is a failure, and so is one that agrees and isn't
listed.  In every run a few samples of each are compared, and beyond gradients of real numbers one of every fourth
operator; with NEURONIX_NIGHTLY=1 in the environment all samples of all, from several seeds.
"""

from __future__ import annotations

import os

import operator_database as database
import pytest

NIGHTLY = os.environ.get("NEURONIX_NIGHTLY") == "1"
SEEDS = range(6) if NIGHTLY else [0]

LISTED = [(column, name) for column in database.COLUMNS for name in database.listed(database.COLUMNS[column])]
PASSING = [
    (column.name, name)
    for column in database.COLUMNS.values()
    for name in database.listed(column)[:: 1 if NIGHTLY else column.every]
]
OTHERS = [
    (column.name, name)
    for column in database.ON_PAGE.values()
    for name, info in database.operators().items()
    if column.applies(info) and (column.name, name) not in set(LISTED)
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("column, name", PASSING)
def test_listed_operator_agrees_with_torch(column: str, name: str, seed: int) -> None:
    most = 1000 if NIGHTLY else database.COLUMNS[column].most
    outcome = database.run(database.COLUMNS[column], database.operators()[name], seed, most)
    assert outcome.why is None


@pytest.mark.parametrize("column, name", OTHERS)
def test_unlisted_operator_differs_from_torch(column: str, name: str) -> None:
    outcome = database.run(database.COLUMNS[column], database.operators()[name], most=100)
    if outcome.why is None and outcome.compared:
        pytest.fail(f"{name} agrees with torch in all samples: add it to operators_that_pass/{column}.txt")


@pytest.mark.parametrize("column", database.COLUMNS)
def test_lists_are_sorted_and_name_what_torch_offers(column: str) -> None:
    names = database.listed(database.COLUMNS[column])
    assert sorted(set(names)) == names
    offered = {name for name, info in database.operators().items() if database.COLUMNS[column].applies(info)}
    assert set(names) <= offered


def test_page_is_current() -> None:
    assert database.PAGE.read_text(encoding="utf-8") == database.page(), "run operator_database.py --write"
