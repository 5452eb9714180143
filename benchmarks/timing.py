"""Timing two programs side by side, and what is reported of it."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pages

MINIMUM = 10  # pairs
AGAIN = 2  # how often a missed limit is measured again, each time for longer


def nothing() -> None:
    """There is nothing to prepare."""


class Program(NamedTuple):
    """What is timed, and what is done before each run without being timed."""

    run: Callable[[], object]
    prepare: Callable[[], object] = nothing

    def time(self) -> float:
        """Seconds of one run."""
        self.prepare()
        start = time.perf_counter()
        self.run()
        return time.perf_counter() - start


class Comparison(NamedTuple):
    """Median times in seconds, the median of the pairs' ratios, and how many pairs there were."""

    ours: float
    theirs: float
    ratio: float
    pairs: int


def compare(ours: Program, theirs: Program, seconds: float) -> Comparison:
    """Run two programs in turn for a while, after three runs of each that don't count.

    Each pair gives a ratio and the median of the ratios counts, so that a machine that slows down for a while slows
    both sides down.  Which one is first changes with each pair.
    """
    for _ in range(3):
        ours.time()
        theirs.time()
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(pairs) < MINIMUM or time.perf_counter() < end:
        if len(pairs) % 2:
            second = theirs.time()
            pairs.append((ours.time(), second))
        else:
            first = ours.time()
            pairs.append((first, theirs.time()))
    return Comparison(
        statistics.median(first for first, _ in pairs),
        statistics.median(second for _, second in pairs),
        statistics.median(first / second for first, second in pairs),
        len(pairs),
    )


class Row(NamedTuple):
    """What is measured, and the ratio that is promised."""

    workload: str
    part: str
    limit: float | None
    ours: Program
    theirs: Program


def measure(row: Row, seconds: float, check: bool) -> Comparison:
    """Time a row; a limit that seems to be missed is only missed if longer measurements say so too."""
    result = compare(row.ours, row.theirs, seconds)
    for attempt in range(AGAIN if check else 0):
        if row.limit is None or result.ratio <= row.limit:
            break
        result = compare(row.ours, row.theirs, seconds * 2 ** (attempt + 1))
    return result


def line(row: Row, result: Comparison) -> list[str]:
    """A line of the table."""
    return [
        row.workload,
        row.part,
        f"{result.ours * 1e3:.2f}",
        f"{result.theirs * 1e3:.2f}",
        f"{result.ratio:.2f}",
        "" if row.limit is None else f"{row.limit:.2f}",
        str(result.pairs),
    ]


def report(
    name: str, heads: list[str], measured: Sequence[tuple[Row, Comparison]], options: argparse.Namespace
) -> None:
    """Print the table, and do with it what the options ask for: ``--json``, ``--write`` and ``--check``.

    Args:
        name: The table's place on the page.
        heads: Of the first two columns.
        measured: Rows with their results.
        options: Of the program.
    """
    table = pages.table(
        [*heads, "Neuronix, ms", "PyTorch, ms", "ratio", "limit", "pairs"], [line(*m) for m in measured]
    )
    print(f"{pages.machine()}\n\n{table}")
    if options.json:
        records = [
            {"workload": row.workload, "part": row.part, "limit": row.limit, **result._asdict()}
            for row, result in measured
        ]
        options.json.write_text(json.dumps({"machine": pages.machine(), "rows": records}, indent=2) + "\n")
    if options.write:
        pages.write(name, f"{pages.machine()}\n\n{table}")
    missed = [
        f"{row.workload} ({row.part}): {result.ratio:.2f} > {row.limit:.2f}"
        for row, result in measured
        if row.limit is not None and result.ratio > row.limit
    ]
    if options.check and missed:
        raise SystemExit("limit missed: " + ", ".join(missed))
