"""Has the day become slower than the week before? In a file of its own, evaluated more rarely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch import units
from orchwatch.mixin.alerts import latency
from orchwatch.mixin.lib import level_series, promql
from orchwatch.mixin.lib.promql import DURATION, OPERATION, all_of, number, selector
from orchwatch.mixin.lib.rule import AlertRule, Case, Record, group
from orchwatch.mixin.rules import recording, samples

if TYPE_CHECKING:
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import OperationTarget, Targets

# Buckets are counted each step and added up: a week of raw samples is too much to read.
_STEP = "5m"
_BUCKETS = "operation_le:orchestration_operations:increase_step"
_PER_MINUTE = 10


def groups(table: Targets, settings: Settings) -> list[dict[str, Any]]:
    """One group: the records that the alerts ask for, and the alerts."""
    selected = promql.one_of(list(table.operations))
    buckets = f"sum by ({OPERATION}, le) (increase({DURATION}_bucket{selected}[{_STEP}]))"
    records = [Record(name=_BUCKETS, expr=buckets)]
    for window, offset, suffix in _spans(settings):
        summed = f"sum_over_time({_BUCKETS}[{window}]{offset})"
        records.append(
            Record(name=f"{recording.P95}{suffix}", expr=f"histogram_quantile(0.95, {summed})")
        )
    rules = [*(record.data() for record in records)]
    rules += [alert.data(settings) for alert in alerts(table, settings)]
    return [group("regression", rules, interval=_STEP)]


def alerts(table: Targets, settings: Settings) -> list[AlertRule]:
    """One for each operation whose durations the histogram distinguishes."""
    rows = [row for row in table.operations.values() if latency.can_be_followed(table, row)]
    return [_alert(table, settings, row) for row in rows]


def _spans(settings: Settings) -> list[tuple[str, str, str]]:
    day, before = settings.regression["day"], settings.regression["before"]
    return [(day, "", "day"), (before, f" offset {day}", "before")]


def _alert(table: Targets, settings: Settings, row: OperationTarget) -> AlertRule:
    rule = settings.regression
    day, before = rule["day"], rule["before"]
    selected = selector(operation=row.id)
    now, then = f"{recording.P95}day{selected}", f"{recording.P95}before{selected}"
    counted = f"{_BUCKETS}{selector(operation=row.id, le='+Inf')}"
    enough = [
        f"sum without (le) (sum_over_time({counted}[{window}]{offset})) "
        f">= {number(rule['operations'])}"
        for window, offset, _ in _spans(settings)
    ]
    quick_s = table.only(row.id).edges_s[0]
    minutes, minutes_before = promql.seconds(day) // 60, promql.seconds(before) // 60

    def case(day_s: float) -> Case:
        runs = [({quick_s: _PER_MINUTE}, minutes_before), ({day_s: _PER_MINUTE}, minutes)]
        at = f"{minutes_before + minutes}m"
        return Case(series=samples.histogram(table, row.id, runs), at=at)

    return AlertRule(
        name="LatencyRegression",
        row=row,
        kind="regression",
        symptom="latency",
        urgency="info",
        expr=all_of(f"{now} > {number(rule['factor'])} * {then}", *enough),
        summary=f"{row.title}: p95 of the last {day} is {{{{ $value | humanizeDuration }}}}, more "
        f"than {number(rule['factor'])} times that of the {before} before",
        dashboard=level_series.operation_page(row.id),
        meaning=f"The p95 of the last {day} is more than {number(rule['factor'])} times the p95 of "
        f"the {before} before, with at least {number(rule['operations'])} operations on both "
        "sides. The target may still be met.",
        limit=f"{units.three_digits(rule['factor'])} times the week before",
        look=f"{recording.P95}day / {recording.P95}before",
        command="orchwatch current --since 24h",
        labels={OPERATION: row.id},
        firing=case(row.target_s),
        silent=case(quick_s),
    )
