"""Alerts about levels: beyond their limit, or soon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv, units
from orchwatch.mixin.alerts.trend import crosses
from orchwatch.mixin.lib import level_series, promql
from orchwatch.mixin.lib.promql import all_of, number
from orchwatch.mixin.lib.rule import AlertRule, Case
from orchwatch.mixin.rules import recording, samples

if TYPE_CHECKING:
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import LevelTarget, Targets

_MINUTES = 20
_SIGNS = {"below": ">", "above": "<"}
_GOOD_SIGNS = {"below": "≤", "above": "≥"}
# Levels that are followed, and by which of the trends.
_FOLLOWED = {"memory.utilization": "", "session.memory": "", level_series.STORAGE_GROWTH: "slow_"}


def alerts(table: Targets, settings: Settings) -> list[AlertRule]:
    """In the table's order; `failures` has the rows that are counted from operations."""
    rows = [row for row in table.levels.values() if row.id not in level_series.COUNTED]
    return [
        *(_level(table, settings, row) for row in rows),
        *(_prediction(settings, row) for row in rows if row.id in _FOLLOWED),
    ]


def alert_name(row_id: str, suffix: str) -> str:
    """`session.memory` as `SessionMemory`, with a suffix."""
    return "".join(word[:1].upper() + word[1:] for word in promql.words(row_id)) + suffix


def value_text(row: LevelTarget) -> str:
    """The value in a summary, with its unit."""
    if row.unit == "1":
        return "{{ $value | humanizePercentage }}"
    if row.unit == "By":
        return "{{ $value | humanize1024 }}B"
    if row.unit == "s":
        return "{{ $value | humanizeDuration }}"
    unit = row.unit.replace("{", "").replace("}", "s")
    return f'{{{{ printf "%.1f" $value }}}} {unit}'


def _level(table: Targets, settings: Settings, row: LevelTarget) -> AlertRule:
    limit = level_series.limit(row)
    value = level_series.value_series(row)
    conditions = [f"{value} {_SIGNS[row.direction]} {number(limit)}"]
    meaning = "The worst value that any process reports is beyond the limit"
    traffic: dict[str, str] = {}
    if row.id in level_series.TASK_SHARES:
        failed = f"{recording.FAILED}{level_series.TASKS_WINDOW}{promql.one_of(level_series.TASKS)}"
        conditions.append(f"on () sum({failed}) >= {settings.bad_operations}")
        meaning += f", and at least {settings.bad_operations} tasks failed within an hour"
        runs = [({1.0: 1.0}, _MINUTES)]
        traffic = samples.histogram(table, level_series.TASKS[0], runs, semconv.STATUS_ERROR)

    def case(value: float) -> Case:
        text = samples.constant(value, _MINUTES)
        return Case(series={level_series.gauge(row).sample: text, **traffic}, at=f"{_MINUTES}m")

    beyond, within = _beside(row, limit)
    return AlertRule(
        name=alert_name(row.id, "High" if row.direction == "below" else "Low"),
        row=row,
        kind="threshold",
        symptom=_symptom(row),
        expr=all_of(*conditions) if traffic else conditions[0],
        for_=settings.hold,
        keep_firing_for=settings.hold,
        summary=f"{row.title}: {value_text(row)}, the limit is {units.level(limit, row.unit)}",
        dashboard=level_series.dashboard(row),
        meaning=f"{meaning}.",
        limit=f"{_GOOD_SIGNS[row.direction]} {units.level(limit, row.unit)}",
        look=value,
        firing=case(beyond),
        silent=case(within),
    )


def _beside(row: LevelTarget, limit: float) -> tuple[float, float]:
    """A value beyond the limit, and one within it."""
    step = limit * (samples.BEYOND - 1) or 1
    higher, lower = limit + step, limit - step
    if row.unit == "1" and higher > 1:
        # A share stays one.
        higher = (1 + limit) / 2
    return (higher, lower) if row.direction == "below" else (lower, higher)


def _prediction(settings: Settings, row: LevelTarget) -> AlertRule:
    prefix = _FOLLOWED[row.id]
    trend, horizon = settings.prediction[f"{prefix}trend"], settings.prediction[f"{prefix}horizon"]
    value = level_series.value_series(row)
    limit = level_series.limit(row)
    limit_text = units.level(limit, row.unit)
    minutes = promql.seconds(trend) // 60 + _MINUTES

    def case(start: float, end: float) -> Case:
        text = samples.growing(start * limit, (end - start) * limit / minutes, minutes)
        return Case(series={level_series.gauge(row).sample: text}, at=f"{minutes}m")

    return AlertRule(
        name=alert_name(row.id, "SoonHigh"),
        row=row,
        kind="prediction",
        symptom=_symptom(row),
        urgency="warning",
        expr=crosses(value, limit, ">", settings, prefix),
        for_=settings.hold,
        keep_firing_for=settings.hold,
        summary=f"{row.title}: {value_text(row)} and will exceed {limit_text} within {horizon}",
        dashboard=level_series.dashboard(row),
        meaning=f"A straight line through the last {trend} crosses the limit within the next "
        f"{horizon}.",
        limit=f"≤ {limit_text} in {horizon}",
        look=f"predict_linear({value}[{trend}], {promql.seconds(horizon)})",
        firing=case(0.5, 0.9),
        silent=case(0.5, 0.55),
    )


def _symptom(row: LevelTarget) -> str:
    return "resource" if level_series.dashboard(row) == level_series.RESOURCES_DASHBOARD else "kpi"
