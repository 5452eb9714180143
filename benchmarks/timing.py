"""Timing two programs side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

MINIMUM = 10  # pairs


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
