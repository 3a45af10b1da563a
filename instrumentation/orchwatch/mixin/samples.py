"""Series for promtool's tests, made from the table: traffic and levels beside their thresholds."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from orchwatch import names
from orchwatch.mixin import promql
from orchwatch.mixin.promql import DURATION, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchwatch.targets import Targets

    # How many operations end in a step, by how many seconds they take.
    Durations = Mapping[float, float]

# How far a case lies beyond its threshold or short of it.
BEYOND = 1.25
SHORT = 0.75

_INFINITY = float("inf")


def constant(value: float, steps: int) -> str:
    """The same value throughout, in promtool's notation."""
    return f"{number(value)}x{steps}"


def growing(start: float, step: float, steps: int) -> str:
    """A straight line, in promtool's notation."""
    return f"{_number(start)}{'-' if step < 0 else '+'}{number(abs(step))}x{steps}"


def histogram(
    table: Targets, operation: str, steps: Sequence[Durations], status: str = names.STATUS_OK
) -> dict[str, str]:
    """The series of operations that end from step to step, from none on.

    Args:
        table: Its edges are the histogram's; those that matter for these durations are sent.
        operation: The operation's name.
        steps: What ends in each.
        status: How they end.
    """
    labels = {"operation": operation, "job": "test", "service_name": "test", "status_code": status}
    found = {}
    for edge_s in _edges(table, operation, steps):
        counts = [sum(count for end_s, count in step.items() if end_s <= edge_s) for step in steps]
        le = "+Inf" if edge_s == _INFINITY else number(edge_s)
        found[f"{DURATION}_bucket{promql.selector(**labels, le=le)}"] = _added_up(counts)
    counts = [sum(step.values()) for step in steps]
    sums_s = [sum(end_s * count for end_s, count in step.items()) for step in steps]
    found[f"{DURATION}_count{promql.selector(**labels)}"] = _added_up(counts)
    found[f"{DURATION}_sum{promql.selector(**labels)}"] = _added_up(sums_s)
    return found


def next_edge(table: Targets, value_s: float) -> float:
    """The first edge beyond a duration: the shortest that a histogram tells from it."""
    return next((edge_s for edge_s in table.edges_s if edge_s > value_s), value_s * BEYOND)


def edge_before(table: Targets, value_s: float) -> float:
    """The last edge before a duration; half of it where there is none."""
    before = [edge_s for edge_s in table.edges_s if edge_s < value_s]
    return before[-1] if before else value_s / 2


def _edges(table: Targets, operation: str, steps: Iterable[Durations]) -> list[float]:
    """The edges that decide a case: around its durations, and the operation's target."""
    found = {_INFINITY}
    if operation in table.operations:
        found.add(table.operations[operation].target_s)
    for duration_s in {duration_s for step in steps for duration_s in step}:
        position = bisect_left(table.edges_s, duration_s)
        found.update(table.edges_s[max(position - 1, 0) : position + 1])
    return sorted(found)


def _added_up(counts: Sequence[float]) -> str:
    """A counter's samples: a run for each stretch of equal steps."""
    totals = list(accumulate(counts, initial=0.0))
    runs = []
    start = 0
    while start < len(counts):
        end = start
        while end < len(counts) and counts[end] == counts[start]:
            end += 1
        # The last sample of a run is the first of the next one.
        last = end == len(counts)
        runs.append(growing(totals[start], counts[start], end - start - (not last)))
        start = end
    return " ".join(runs)


def _number(value: float) -> str:
    return f"-{number(-value)}" if value < 0 else number(value)
