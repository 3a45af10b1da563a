"""Series for promtool's tests, made from the table: traffic and levels beside their thresholds."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.lib import promql
from orchwatch.mixin.lib.promql import DURATION, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchwatch.targets.target_table import Targets

    # How many operations end in a step, by how many seconds they take; and in how many steps.
    Run = tuple[Mapping[float, float], int]

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
    table: Targets, operation: str, runs: Sequence[Run], status: str = semconv.STATUS_OK
) -> dict[str, str]:
    """The series of operations that end from step to step, from none on.

    Args:
        table: The edges of its ladder and of the operation are sent, those that matter for these
            durations: what another row says changes no case.
        operation: The operation's name.
        runs: What ends in each step, for some steps.
        status: How they end.
    """
    labels = {"operation": operation, "job": "test", "service_name": "test", "status_code": status}
    found = {}
    for edge_s in _edges(table, operation, runs):
        counts = [
            (sum(count for end_s, count in ended.items() if end_s <= edge_s), steps)
            for ended, steps in runs
        ]
        le = "+Inf" if edge_s == _INFINITY else number(edge_s)
        found[f"{DURATION}_bucket{promql.selector(**labels, le=le)}"] = _added_up(counts)
    counts = [(sum(ended.values()), steps) for ended, steps in runs]
    sums_s = [
        (sum(end_s * count for end_s, count in ended.items()), steps) for ended, steps in runs
    ]
    found[f"{DURATION}_count{promql.selector(**labels)}"] = _added_up(counts)
    found[f"{DURATION}_sum{promql.selector(**labels)}"] = _added_up(sums_s)
    return found


def next_edge(table: Targets, value_s: float) -> float:
    """The first edge beyond a duration: the shortest that a histogram distinguishes from it."""
    return next((edge_s for edge_s in table.edges_s if edge_s > value_s), value_s * BEYOND)


def edge_before(table: Targets, value_s: float) -> float:
    """The last edge before a duration; half of it where there is none."""
    before = [edge_s for edge_s in table.edges_s if edge_s < value_s]
    return before[-1] if before else value_s / 2


def _edges(table: Targets, operation: str, runs: Iterable[Run]) -> list[float]:
    """The edges that decide a case: around its durations, and the operation's target."""
    edges_s = table.only(operation).edges_s
    found = {_INFINITY}
    if operation in table.operations:
        found.add(table.operations[operation].target_s)
    for duration_s in {duration_s for ended, _ in runs for duration_s in ended}:
        position = bisect_left(edges_s, duration_s)
        found.update(edges_s[max(position - 1, 0) : position + 1])
    return sorted(found)


def _added_up(counts: Sequence[tuple[float, int]]) -> str:
    """A counter's samples, in promtool's notation."""
    merged: list[tuple[float, int]] = []
    for count, steps in counts:
        if merged and merged[-1][0] == count:
            merged[-1] = (count, merged[-1][1] + steps)
        else:
            merged.append((count, steps))
    starts = accumulate((count * steps for count, steps in merged), initial=0.0)
    # The last sample of a run is the first of the next one.
    ends = [1] * (len(merged) - 1) + [0]
    return " ".join(
        growing(start, count, steps - end)
        for start, (count, steps), end in zip(starts, merged, ends, strict=False)
    )


def _number(value: float) -> str:
    return f"-{number(-value)}" if value < 0 else number(value)
