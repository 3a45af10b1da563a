"""Alerts about all operations together, and about the disk: the table's patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv, units
from orchwatch.mixin.alerts import patterns
from orchwatch.mixin.alerts.trend import crosses
from orchwatch.mixin.lib import level_series, promql
from orchwatch.mixin.lib.promql import DURATION, number, selector
from orchwatch.mixin.lib.rule import AlertRule, Case, NoRow
from orchwatch.mixin.rules import recording, samples

if TYPE_CHECKING:
    from orchwatch.mixin.alerts.patterns import Pattern
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import Targets

_FREE_BYTES = 100e9
_DISK = NoRow(
    title="Free space on the spool's disk",
    severity="critical",
    recommendation="Free some space, or lower the spool's budget (ORCHWATCH_SPOOL_BUDGET_BYTES)",
)


def alerts(table: Targets, settings: Settings) -> list[AlertRule]:
    """Many errors, slow on average, disk full soon."""
    rows = patterns.load()
    mean = rows["mean.duration"]
    # A table may hold none.
    quick = patterns.quick(table, mean)
    return [
        _many_errors(table, settings, rows["errors"]),
        *([_slow_on_average(table, settings, mean, quick)] if quick else []),
        _disk(settings),
    ]


def _many_errors(table: Targets, settings: Settings, row: Pattern) -> AlertRule:
    window = promql.duration(row.window_s)
    minutes = row.window_s // 60
    failed = f"{DURATION}_count{selector(status_code=semconv.STATUS_ERROR)}"
    operation = next(iter(table.operations.values()))

    def case(failures: float) -> Case:
        runs = [({operation.target_s: failures / minutes}, minutes + 1)]
        series = samples.histogram(table, operation.id, runs, semconv.STATUS_ERROR)
        return Case(series=series, at=f"{minutes + 1}m")

    return AlertRule(
        name="ManyErrors",
        row=row,
        kind="pattern",
        symptom="errors",
        # Whole operations: an increase is extrapolated to a little more.
        expr=f"sum(increase({failed}[{window}])) >= {number(row.limit + 1)}",
        for_=settings.settled,
        summary=f'{{{{ printf "%.0f" $value }}}} operations failed within {window}, '
        f"more than {number(row.limit)}",
        dashboard=level_series.OPERATIONS_DASHBOARD,
        meaning=f"More than {number(row.limit)} operations of any kind failed within {window}, "
        "however many went well.",
        limit=f"≤ {number(row.limit)} in {window}",
        look=f"sum by ({promql.OPERATION}) (increase({failed}[{window}]))",
        command=f"orchwatch current --since {window}",
        firing=case(row.limit * samples.BEYOND),
        silent=case(row.limit * samples.SHORT),
    )


def _slow_on_average(
    table: Targets, settings: Settings, row: Pattern, quick: list[str]
) -> AlertRule:
    window = promql.duration(row.window_s)
    minutes = row.window_s // 60
    selected = promql.one_of(quick)
    total_s = f"sum(increase({DURATION}_sum{selected}[{window}]))"
    count = f"sum(increase({DURATION}_count{selected}[{window}]))"

    def case(factor: float) -> Case:
        runs = [({row.limit * factor: 10.0}, 2 * minutes)]
        return Case(series=samples.histogram(table, quick[0], runs), at=f"{2 * minutes}m")

    return AlertRule(
        name="SlowOnAverage",
        row=row,
        kind="pattern",
        symptom="latency",
        expr=f"{total_s} / ({count} > 0) > {number(row.limit)}",
        # The two sums do not begin in one instant when Prometheus starts.
        for_=settings.hold,
        summary="An operation takes {{ $value | humanizeDuration }} on average, more than "
        f"{units.duration(row.limit)}",
        dashboard=level_series.OPERATIONS_DASHBOARD,
        meaning="The mean duration of all operations whose own target is at most "
        f"{units.duration(row.limit)} has exceeded that within {window}.",
        limit=f"≤ {units.duration(row.limit)} in {window}",
        look=f"{recording.MEAN}{settings.window}",
        command=f"orchwatch current --since {window}",
        firing=case(samples.BEYOND),
        silent=case(samples.SHORT),
    )


def _disk(settings: Settings) -> AlertRule:
    trend = settings.prediction["slow_trend"]
    horizon = settings.prediction["slow_horizon"]
    minutes = promql.seconds(trend) // 60 + 30

    def case(lost_share: float) -> Case:
        text = samples.growing(_FREE_BYTES, -lost_share * _FREE_BYTES / minutes, minutes)
        return Case(series={level_series.FREE: text}, at=f"{minutes}m")

    return AlertRule(
        name="DiskSoonFull",
        row=_DISK,
        kind="prediction",
        symptom="resource",
        expr=crosses(level_series.DISK_FREE, 0, "<=", settings, "slow_"),
        for_=settings.hold,
        keep_firing_for=settings.hold,
        summary="{{ $value | humanize1024 }}B are left on the disk that holds the spool, and none "
        f"will be within {horizon}",
        dashboard=level_series.RESOURCES_DASHBOARD,
        meaning=f"A straight line through the free bytes of the last {trend} reaches zero within "
        f"{horizon}. On a full disk operations are not recorded any more, which is counted.",
        limit=f"free space in {horizon}",
        look=level_series.DISK_FREE,
        command="orchwatch doctor",
        firing=case(0.5),
        silent=case(0.05),
    )
