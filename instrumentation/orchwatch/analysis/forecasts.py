"""Where latencies, memory and storage go, with intervals, and when they will cross their targets.

The past is cut into at most 200 steps of equal length. It is enough where at least 48 of them hold
figures (of a latency, five operations each); a forecast reaches as far as a quarter of the past.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchwatch import semconv
from orchwatch.store import gauge_history, steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import SmallStore
    from orchwatch.targets.target_table import Targets

Kind = Literal["latency", "level"]

MIN_STEPS = 48
"""Of the past, in which something was measured."""

MIN_OPERATIONS = 5
"""In a step, for its percentile to count."""

REACH = 4
"""A forecast reaches as far as this part of the past."""

_MAX_STEPS = 200
_NS = 1_000_000_000
_LENGTHS_NS = tuple(length_s * _NS for length_s in (60, 300, 900, 3600, 21_600, 86_400))
_SEASONS = (("day", 86_400 * _NS), ("week", 7 * 86_400 * _NS))
# Fewer steps show no wave.
_MIN_STEPS_OF_SEASON = 4
_WHOLE_SEASONS = 2
_LEAST_LATENCY_S = 1e-9
# Which gauge each level was, and one that has no target.
_GAUGES = {
    semconv.SESSION_MEMORY: "session.memory",
    semconv.STORAGE_GROWTH: "storage.growth",
    semconv.STORAGE_SIZE: "storage.size",
}
_TITLES = {"storage.size": "Storage"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """What is expected of one step.

    Attributes:
        at_ns: Where the step begins, in Unix nanoseconds.
        middle: As likely too high as too low.
        low_80: Where the truth lies at least, in 80 of 100 cases between this and the next.
        high_80: Where at most.
        low_95: Likewise in 95 of 100.
        high_95: Likewise.
    """

    at_ns: int
    middle: float
    low_80: float
    high_80: float
    low_95: float
    high_95: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Where one figure goes.

    Attributes:
        id: The operation's or the level's name.
        kind: `latency` is the 95th percentile of an operation, in seconds.
        title: What a person calls it.
        unit: UCUM.
        target: In `unit`; None where the table has none.
        step_s: How long a step is.
        past: When each step of the past begins, in Unix nanoseconds, and its value.
        points: The steps to come; empty where the past is not enough.
        why: Why it is not; None where it is.
        season: `day` or `week`, where the past most likely repeats itself so.
        crosses_ns: When the middle crosses the target; None where it does not within the forecast.
        may_cross_ns: When the 80 % interval does.
        beyond: Whether the target is missed already.
    """

    id: str
    kind: Kind
    title: str
    unit: str
    target: float | None
    step_s: float
    past: tuple[tuple[int, float], ...]
    points: tuple[Point, ...]
    why: str | None
    season: str | None
    crosses_ns: int | None
    may_cross_ns: int | None
    beyond: bool


def forecast(
    home: Path,
    store: Store | SmallStore,
    selection: Selection,
    targets: Targets,
    *,
    ahead_ns: int,
) -> list[Forecast]:
    """Every operation that ended, in the table's order and then by name, and levels.

    Args:
        home: The home directory.
        store: Its store.
        selection: The past that is looked at; with filters, no level is.
        targets: The table.
        ahead_ns: How far a forecast is wanted.

    Raises:
        OrchwatchError: The store's files cannot be read, or SciPy is not installed.
    """
    reach = steps.reach_ns(store, selection)
    since_ns = selection.since_ns or (reach[0] if reach else 0)
    first_ns = max(since_ns, reach[0]) if reach else since_ns
    last_ns = reach[1] if reach else selection.last_ns
    step_ns = step_of(last_ns - first_ns)
    found = []
    series = _latencies(store, selection, targets, step_ns) if reach else {}
    names = [*(name for name in targets.operations if name in series), *sorted(series)]
    for name in dict.fromkeys(names):
        row = targets.operations.get(name)
        found.append(
            _one(
                _Figure(
                    "latency", name, row.title if row else name, "s", row.target_s if row else None
                ),
                series[name],
                step_ns,
                ahead_ns,
            )
        )
    if not selection.filters:
        gauges = gauge_history.read(
            home, _GAUGES, since_ns=first_ns, until_ns=selection.last_ns, step_ns=step_ns
        )
        for gauge, level in _GAUGES.items():
            if gauges[gauge]:
                row_ = targets.levels.get(level)
                title = row_.title if row_ else _TITLES[level]
                figure = _Figure("level", level, title, "By", row_.target if row_ else None)
                found.append(_one(figure, gauges[gauge], step_ns, ahead_ns))
    return found


def step_of(length_ns: int) -> int:
    """How long each of at most `_MAX_STEPS` is, in nanoseconds."""
    fitting = (one for one in _LENGTHS_NS if length_ns <= one * _MAX_STEPS)
    return next(fitting, -(-length_ns // (_MAX_STEPS * _LENGTHS_NS[-1])) * _LENGTHS_NS[-1])


@dataclass(frozen=True)
class _Figure:
    kind: Kind
    id: str
    title: str
    unit: str
    target: float | None


def _latencies(
    store: Store | SmallStore, selection: Selection, targets: Targets, step_ns: int
) -> Mapping[str, dict[int, float]]:
    targets_s = {row.id: row.target_s for row in targets.operations.values()}
    found: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for start_ns, one in steps.read(store, selection, step_ns=step_ns, targets_s=targets_s):
        own = found[one.operation]
        if one.count >= MIN_OPERATIONS:
            own[start_ns] = one.p95_s
    return found


def _one(figure: _Figure, series: Mapping[int, float], step_ns: int, ahead_ns: int) -> Forecast:
    past = tuple(sorted(series.items()))
    points: tuple[Point, ...] = ()
    why = season = None
    if len(past) < MIN_STEPS:
        why = f"not enough data: {len(past)} of at least {MIN_STEPS} steps hold figures"
    else:
        points, season = _projected(figure.kind, past, step_ns, ahead_ns)
        if not points:
            why = "not enough data: the past is too short for one step ahead"
    target = figure.target
    beyond = target is not None and bool(past) and past[-1][1] > target
    crossing = may_cross = None
    if target is not None and not beyond:
        crossing = next((one.at_ns for one in points if one.middle > target), None)
        may_cross = next((one.at_ns for one in points if one.high_80 > target), None)
    return Forecast(
        id=figure.id,
        kind=figure.kind,
        title=figure.title,
        unit=figure.unit,
        target=target,
        step_s=step_ns / _NS,
        past=past,
        points=points,
        why=why,
        season=season,
        crosses_ns=crossing,
        may_cross_ns=may_cross,
        beyond=beyond,
    )


def _projected(
    kind: Kind, past: Sequence[tuple[int, float]], step_ns: int, ahead_ns: int
) -> tuple[tuple[Point, ...], str | None]:
    from orchwatch.analysis.projection import project  # noqa: PLC0415 - SciPy is an extra, and slow

    first_ns, last_ns = past[0][0], past[-1][0]
    length_ns = last_ns - first_ns
    number = min(ahead_ns, length_ns // REACH) // step_ns
    if number < 1:
        return (), None
    seasons = [
        (name, period_ns / step_ns)
        for name, period_ns in _SEASONS
        if length_ns >= _WHOLE_SEASONS * period_ns and period_ns >= _MIN_STEPS_OF_SEASON * step_ns
    ]
    # What is a multiple of what it was is a sum of logarithms.
    logarithms = kind == "latency"
    values = [math.log(max(value, _LEAST_LATENCY_S)) if logarithms else value for _, value in past]
    moments = [last_ns + one * step_ns for one in range(1, number + 1)]
    found = project(
        [(at_ns - first_ns) / step_ns for at_ns, _ in past],
        values,
        [(at_ns - first_ns) / step_ns for at_ns in moments],
        [period for _, period in seasons],
    )

    def real(value: float) -> float:
        return math.exp(value) if logarithms else max(value, 0.0)

    columns = [found.middle]
    for ends in found.intervals.values():
        columns += ends
    points = tuple(
        Point(
            at_ns=at_ns,
            middle=real(middle),
            low_80=real(low_80),
            high_80=real(high_80),
            low_95=real(low_95),
            high_95=real(high_95),
        )
        for at_ns, middle, low_80, high_80, low_95, high_95 in zip(moments, *columns, strict=True)
    )
    names = {period: name for name, period in seasons}
    return points, names.get(found.season) if found.season else None
