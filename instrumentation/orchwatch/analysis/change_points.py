"""Change points: from which benchmark run on an operation took longer, or less.

Two runs can be compared; a series of many also shows a change too small for two, and says when it
came. The series is cut into stretches of one level each: PELT (Killick et al., 2012) over absolute
deviations, which a single slow run does not move, as `ruptures` implements it.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from orchwatch.analysis import comparison
from orchwatch.analysis.benchmark_runs import SAME_MACHINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.analysis.benchmark_runs import Run

MIN_RUNS = 10
"""Fewer runs have no level to leave."""

# A level lasts for at least so many runs; one slow run is none.
_MIN_STRETCH = 4
# How much better a further level must fit, for each factor e in the number of runs: the fewest with
# which none was found in 40 of 40 series of pure noise.
_PENALTY = 3.0
# The median absolute deviation of a normal distribution, as its standard deviation.
_MAD_TO_STDDEV = 1.4826
# Below this, medians differ by the resolution of a clock.
_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True, kw_only=True)
class ChangePoint:
    """Where a level ended.

    Attributes:
        place: The first run of the new level, counted from 0 in the series.
        commit: Its commit; None without a repository.
        previous: The commit of the run before it.
        at: When it ran.
        before_s: The median of the level before.
        after_s: The median of the new one.
        change: How much longer that is, as a share.
    """

    place: int
    commit: str | None
    previous: str | None
    at: str
    before_s: float
    after_s: float
    change: float


@dataclass(frozen=True, kw_only=True)
class Series:
    """One operation over all runs on one machine.

    Attributes:
        operation: Its name.
        component: What was benchmarked.
        medians_s: One for each run that has it, the oldest first.
        change_points: The oldest first.
    """

    operation: str
    component: str
    medians_s: tuple[float, ...]
    change_points: tuple[ChangePoint, ...]


def find(runs: Sequence[Run], operation: str | None = None) -> list[Series]:
    """The series of the machine that the newest run is from.

    Args:
        runs: The oldest first.
        operation: Only this one; None for all.

    Raises:
        OrchwatchError: `ruptures` is not installed.
    """
    found: dict[tuple[str, str], list[tuple[Run, float]]] = {}
    for run in here(runs):
        for result in run.results:
            if result.samples_s and operation in (None, result.operation):
                key = (result.operation, result.component)
                found.setdefault(key, []).append((run, statistics.median(result.samples_s)))
    return [
        Series(
            operation=key[0],
            component=key[1],
            medians_s=tuple(median_s for _, median_s in measured),
            change_points=tuple(_points(measured)),
        )
        for key, measured in found.items()
    ]


def here(runs: Sequence[Run]) -> list[Run]:
    """Those on the same machine and Python as the newest."""
    if not runs:
        return []
    same = [runs[-1].machine.get(key) for key in SAME_MACHINE]
    return [run for run in runs if [run.machine.get(key) for key in SAME_MACHINE] == same]


def places(values: Sequence[float]) -> list[int]:
    """Where levels begin in a series of positive numbers, but for the first.

    Raises:
        OrchwatchError: `ruptures` is not installed.
    """
    if len(values) < MIN_RUNS:
        return []
    logs = [math.log(max(value, 1e-12)) for value in values]
    steps = [abs(after - before) for before, after in pairwise(logs)]
    # Of differences, so that a level that changes does not count as noise.
    deviation = _MAD_TO_STDDEV * statistics.median(steps) / math.sqrt(2)
    scaled = [value / max(deviation, _LEAST_DEVIATION) for value in logs]
    from orchwatch.analysis import segmentation  # noqa: PLC0415 - slow, and an extra

    cut = segmentation.cut(scaled, _PENALTY * math.log(len(scaled)), shortest=_MIN_STRETCH)
    return [place for place in cut if _differs(values, place, cut)]


def _points(measured: Sequence[tuple[Run, float]]) -> list[ChangePoint]:
    values = [median_s for _, median_s in measured]
    cut = places(values)
    points = []
    for start, place, end in zip([0, *cut], cut, [*cut[1:], len(values)], strict=False):
        before_s = statistics.median(values[start:place])
        after_s = statistics.median(values[place:end])
        run = measured[place][0]
        points.append(
            ChangePoint(
                place=place,
                commit=run.commit,
                previous=measured[place - 1][0].commit,
                at=run.at,
                before_s=before_s,
                after_s=after_s,
                change=after_s / before_s - 1 if before_s else math.inf,
            )
        )
    return points


def _differs(values: Sequence[float], place: int, cut: Sequence[int]) -> bool:
    """Whether the levels before and after are apart beyond doubt."""
    start = max((other for other in cut if other < place), default=0)
    end = min((other for other in cut if other > place), default=len(values))
    low, high = comparison.relative_interval(values[start:place], values[place:end])
    return low > 0 or high < 0
