"""A search along a direction for a point that satisfies the strong conditions of Wolfe."""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

from torch import Tensor

SUFFICIENT_DECREASE = 1e-4  # c1: the loss falls by this part of what its slope promises, at least
CURVATURE = 0.9  # c2: the slope falls to this part of what it was, at least


class Point(NamedTuple):
    """What is known at one point of the line."""

    t: float
    """How far along the direction it is."""
    value: float
    """The loss there."""
    gradient: Tensor
    """Its gradient."""
    slope: float
    """The derivative of the loss along the direction."""


def strong_wolfe(
    evaluate: Callable[[float], Point], start: Point, t: float, size: float, tolerance: float, evaluations: int
) -> Point:
    """Return a point that satisfies the strong Wolfe conditions, or the best that was found.

    Nocedal and Wright's Algorithm 3.5 goes outward until two points have a good one between them; then Algorithm 3.6
    closes in on it. Both choose the next point by the cubic through the values and slopes of two points, in the bounds
    of Schmidt's minFunc, which torch takes over.

    Args:
        evaluate: Gives the point at a distance.
        start: The point at 0, whose slope is negative.
        t: The first distance to try.
        size: The largest entry of the direction.
        tolerance: A bracket ends when no parameter changes by more from one end to the other.
        evaluations: How often one may evaluate, after the first time.
    """

    def too_high(point: Point) -> bool:
        return point.value > start.value + SUFFICIENT_DECREASE * point.t * start.slope

    def flat_enough(point: Point) -> bool:
        return abs(point.slope) <= -CURVATURE * start.slope

    last, point = start, evaluate(t)
    used = 0
    while used < evaluations:
        if too_high(point) or (used > 1 and point.value >= last.value):
            break
        if flat_enough(point):
            return point
        if point.slope >= 0:
            break
        bounds = (point.t + 0.01 * (point.t - last.t), point.t * 10)
        last, point = point, evaluate(lowest_of_cubic(last, point, bounds))
        used += 1
    else:
        last = start
    ends = [last, point]
    low = 0 if ends[0].value <= ends[1].value else 1
    stuck = False
    while used < evaluations and abs(ends[1].t - ends[0].t) * size >= tolerance:
        left, right = min(ends[0].t, ends[1].t), max(ends[0].t, ends[1].t)
        t = lowest_of_cubic(ends[0], ends[1], (left, right))
        margin = 0.1 * (right - left)
        near = min(right - t, t - left) < margin
        if near and (stuck or t >= right or t <= left):  # twice near an end the bracket would hardly shrink
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            stuck = False
        else:
            stuck = near
        point = evaluate(t)
        used += 1
        if too_high(point) or point.value >= ends[low].value:
            ends[1 - low] = point
            low = 0 if ends[0].value <= ends[1].value else 1
            continue
        if flat_enough(point):
            return point
        if point.slope * (ends[1 - low].t - ends[low].t) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = point
    return ends[low]


def lowest_of_cubic(a: Point, b: Point, bounds: tuple[float, float]) -> float:
    """Return where the cubic through two points and their slopes is lowest, within bounds: equation (3.59)."""
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if square < 0:
        return (bounds[0] + bounds[1]) / 2
    d2 = sqrt(square)
    lowest = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return min(max(lowest, bounds[0]), bounds[1])
