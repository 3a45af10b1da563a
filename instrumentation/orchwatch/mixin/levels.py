"""Alerts about everything that is no operation's duration: errors, levels, their predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import names
from orchwatch.mixin import latency, promql, readings, recording, samples
from orchwatch.mixin.promql import OPERATION, number
from orchwatch.mixin.rule import Alert, Case
from orchwatch.reporters import units

if TYPE_CHECKING:
    from orchwatch.mixin.alerting import Settings
    from orchwatch.targets import LevelTarget, Targets

_MINUTES = 30
_PER_MINUTE = 10_000
_SIGNS = {"below": ">", "above": "<"}
_GOOD_SIGNS = {"below": "<=", "above": ">="}


def alerts(table: Targets, settings: Settings) -> list[Alert]:
    """In the table's order."""
    found = []
    for row in table.levels.values():
        if row.id in (readings.AVAILABILITY, readings.ERROR_RATE):
            found.append(_error_burn(table, settings, row))
        elif row.id == readings.CONSISTENCY:
            found.append(_consistency(table, settings, row))
        else:
            found.append(_level(settings, row))
    for row_id, slow in (
        ("memory.utilization", False),
        ("session.memory", False),
        (readings.STORAGE_GROWTH, True),
    ):
        found.append(_prediction(settings, table.levels[row_id], slow=slow))
    return found


def alert_name(row_id: str, suffix: str) -> str:
    """`session.memory` as `SessionMemory`, with a suffix."""
    return "".join(word[:1].upper() + word[1:] for word in promql.words(row_id)) + suffix


def value_text(unit: str) -> str:
    """The value in a summary, with its unit."""
    if unit == "1":
        return "{{ $value | humanizePercentage }}"
    if unit == "By":
        return "{{ $value | humanize1024 }}B"
    return f'{{{{ printf "%.3g" $value }}}} {unit.replace("{", "").replace("}", "")}'


def _error_burn(table: Targets, settings: Settings, row: LevelTarget) -> Alert:
    """Availability is judged over all operations, the error rate for each: it names the culprit."""
    objective = readings.budgets(table)[row.id]
    burns = settings.burns_for(objective)
    by_operation = row.id == readings.ERROR_RATE
    if by_operation:
        ratio, sign = recording.ERROR_RATIO, ">"
        bounds = [(burn, burn.bad_share(objective)) for burn in burns]
        subject, share = f"{{{{ $labels.{OPERATION} }}}}", "failed"
    else:
        ratio, sign = recording.AVAILABILITY, "<"
        bounds = [(burn, 1 - burn.bad_share(objective)) for burn in burns]
        subject, share = "All operations", "succeeded"
    operation = next(iter(table.operations.values()))

    def case(factor: float) -> Case:
        failed = min(burn.bad_share(objective) for burn in burns) * factor * _PER_MINUTE
        quick_s = operation.target_s
        good = samples.histogram(table, operation.id, [({quick_s: _PER_MINUTE - failed}, _MINUTES)])
        bad = samples.histogram(
            table, operation.id, [({quick_s: failed}, _MINUTES)], names.STATUS_ERROR
        )
        return Case(series=good | bad, at=f"{_MINUTES}m")

    return Alert(
        name="ErrorBudgetBurn" if by_operation else "AvailabilityBudgetBurn",
        target=row.id,
        title=row.title,
        kind="burn",
        symptom="errors",
        severity=row.severity,
        expr=latency.burning(ratio, "", bounds, sign),
        summary=f"{subject}: {{{{ $value | humanizePercentage }}}} {share}, "
        f"the target is {units.share(row.target)}",
        recommendation=row.recommendation,
        dashboard=readings.OPERATIONS_DASHBOARD
        + (f"?var-operation={{{{ $labels.{OPERATION} }}}}" if by_operation else ""),
        meaning="Operations fail so often that the error budget of the period "
        f"({settings.period}) will be spent. It was so over the long window and still is over "
        "the short one." + (" One alert for each operation." if by_operation else ""),
        limit=f"{units.share(row.target)} {share if by_operation else 'succeed'}",
        look=f"{ratio}{burns[0].long}",
        command="orchwatch current",
        labels={OPERATION: operation.id} if by_operation else {},
        firing=case(samples.BEYOND),
        silent=case(samples.SHORT),
    )


def _consistency(table: Targets, settings: Settings, row: LevelTarget) -> Alert:
    operation = table.operations[readings.STATE_OPERATIONS[0]]
    ratio = f"{recording.CONSISTENCY}{settings.window}"
    traffic = samples.histogram(table, operation.id, [({operation.target_s: 100.0}, _MINUTES)])

    def case(violations: int) -> Case:
        grows = samples.growing(0, violations, _MINUTES)
        return Case(series={**traffic, readings.VIOLATIONS: grows}, at=f"{_MINUTES}m")

    return Alert(
        name=alert_name(row.id, "Low"),
        target=row.id,
        title=row.title,
        kind="threshold",
        symptom="state",
        severity=row.severity,
        expr=f"{ratio} < {number(readings.limit(row))}",
        summary=f"{row.title}: {value_text(row.unit)} of the operations on a session's state "
        f"found it consistent, the target is {units.share(row.target)}",
        recommendation=row.recommendation,
        dashboard=readings.dashboard(row),
        meaning=f"In the last {settings.window} a session's state was found to contradict "
        "itself: its checksum, its version or its references.",
        limit=f"≥ {units.level(row.target, row.unit)}",
        look=ratio,
        command="orchwatch current",
        firing=case(1),
        silent=case(0),
    )


def _level(settings: Settings, row: LevelTarget) -> Alert:
    limit = readings.limit(row)
    sign = _SIGNS[row.direction]
    series = readings.gauge(row).sample
    beyond = samples.BEYOND if row.direction == "below" else samples.SHORT

    def case(factor: float) -> Case:
        value = limit * factor
        if row.id == readings.STORAGE_GROWTH:
            samples_text = samples.growing(0, value / _MINUTES, _MINUTES)
        else:
            samples_text = samples.constant(value, _MINUTES)
        return Case(series={series: samples_text}, at=f"{_MINUTES}m")

    return Alert(
        name=alert_name(row.id, "High" if row.direction == "below" else "Low"),
        target=row.id,
        title=row.title,
        kind="threshold",
        symptom=_symptom(row),
        severity=row.severity,
        expr=f"{readings.value_series(row)} {sign} {number(limit)}",
        hold=settings.hold,
        summary=f"{row.title}: {value_text(row.unit)}, the limit is {units.level(limit, row.unit)}",
        recommendation=row.recommendation,
        dashboard=readings.dashboard(row),
        meaning=f"The worst value that anybody reports has been beyond the limit for "
        f"{settings.hold}.",
        limit=f"{_GOOD_SIGNS[row.direction].replace('<=', '≤').replace('>=', '≥')} "
        f"{units.level(limit, row.unit)}",
        look=readings.value_series(row),
        command="orchwatch current",
        # A share stays one: halfway between limit and 1 where 1.25 x the limit would exceed it.
        firing=case(_within_share(row, limit, beyond)),
        silent=case(_within_share(row, limit, samples.SHORT + samples.BEYOND - beyond)),
    )


def _within_share(row: LevelTarget, limit: float, factor: float) -> float:
    if row.unit == "1" and limit * factor > 1:
        return (1 + limit) / 2 / limit
    return factor


def _prediction(settings: Settings, row: LevelTarget, *, slow: bool) -> Alert:
    prefix = "slow_" if slow else ""
    trend, horizon = settings.prediction[f"{prefix}trend"], settings.prediction[f"{prefix}horizon"]
    value = readings.value_series(row)
    limit = number(readings.limit(row))
    filled = int(promql.seconds(trend) * settings.prediction["filled"])
    minutes = promql.seconds(trend) // 60 + _MINUTES
    series = readings.gauge(row).sample

    def case(start: float, end: float) -> Case:
        step = (end - start) * readings.limit(row) / minutes
        samples_text = samples.growing(start * readings.limit(row), step, minutes)
        return Case(series={series: samples_text}, at=f"{minutes}m")

    return Alert(
        name=alert_name(row.id, "SoonHigh"),
        target=row.id,
        title=row.title,
        kind="prediction",
        symptom=_symptom(row),
        severity="warning",
        expr=f"(\n  {value} <= {limit}\n"
        f"  and predict_linear({value}[{trend}], {promql.seconds(horizon)}) > {limit}\n"
        f"  and {value} offset {promql.duration(filled)}\n)",
        hold=settings.hold,
        summary=f"{row.title}: {value_text(row.unit)} and will exceed "
        f"{units.level(readings.limit(row), row.unit)} within {horizon}",
        recommendation=row.recommendation,
        dashboard=readings.dashboard(row),
        meaning=f"A straight line through the last {trend} crosses the limit within the next "
        f"{horizon}.",
        limit=f"≤ {units.level(readings.limit(row), row.unit)} in {horizon}",
        look=f"predict_linear({value}[{trend}], {promql.seconds(horizon)})",
        command="orchwatch current",
        firing=case(0.5, 0.9),
        silent=case(0.5, 0.55),
    )


def _symptom(row: LevelTarget) -> str:
    return "resource" if readings.dashboard(row) == readings.RESOURCES_DASHBOARD else "kpi"
