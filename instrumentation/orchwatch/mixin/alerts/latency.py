"""Alerts about how long an operation takes: one of each kind for each operation of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import units
from orchwatch.mixin.alerts.budget import Budget
from orchwatch.mixin.alerts.trend import crosses, is_there
from orchwatch.mixin.lib import level_series, promql
from orchwatch.mixin.lib.promql import OPERATION, all_of, number, selector
from orchwatch.mixin.lib.rule import AlertRule, Case
from orchwatch.mixin.rules import recording, samples

if TYPE_CHECKING:
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import OperationTarget, Targets

_MINUTES = 20
_PER_MINUTE = 1000
_QUANTILE = 0.95
_SUMMARY_P95 = "p95 is {{ $value | humanizeDuration }}"


def alerts(table: Targets, settings: Settings) -> list[AlertRule]:
    """The kinds in the order of the runbook."""
    rows = list(table.operations.values())
    followed = [row for row in rows if can_be_followed(table, row)]
    return [
        *(_burn(table, settings, row) for row in rows),
        *(_threshold(table, settings, row) for row in rows if row.alert_s is not None),
        *(_trend(table, settings, row) for row in followed),
        *(_anomaly(table, settings, row) for row in followed),
    ]


def can_be_followed(table: Targets, row: OperationTarget) -> bool:
    """Whether the histogram has edges well below the target."""
    return 2 * table.only(row.id).edges_s[0] <= row.target_s


def _burn(table: Targets, settings: Settings, row: OperationTarget) -> AlertRule:
    selected = selector(operation=row.id)
    target = units.duration(row.target_s)
    slow_s = samples.next_edge(table.only(row.id), row.target_s)
    budget = Budget(
        objective=row.objective,
        bad_share=lambda window: f"1 - {recording.WITHIN_RATIO}{window}{selected}",
        bad=lambda window: (
            f"{recording.ENDED}{window}{selected} - {recording.WITHIN}{window}{selected}"
        ),
    )

    def case(good_and_slow: tuple[int, int]) -> Case:
        good, slow = good_and_slow
        runs = [({row.target_s: good, slow_s: slow}, _MINUTES)]
        return Case(series=samples.histogram(table, row.id, runs), at=f"{_MINUTES}m")

    return AlertRule(
        name="LatencyBudgetBurn",
        row=row,
        kind="burn",
        symptom="latency",
        expr=budget.burns(settings),
        for_=settings.settled,
        summary=f"{row.title}: {{{{ $value | humanizePercentage }}}} took longer than {target}, "
        f"{budget.allowed()}",
        dashboard=level_series.operation_page(row.id),
        meaning="So many operations take longer than their target that the objective of the "
        f"period ({settings.period}) will be missed. It was so over the long window, in which at "
        f"least {settings.bad_operations} took longer, and still is over the short one.",
        limit=f"{units.share(row.objective)} within {target}",
        look=f"{recording.WITHIN_RATIO}{settings.burns[0].long}",
        labels={OPERATION: row.id},
        firing=case(budget.firing(settings)),
        silent=case(budget.silent(settings)),
    )


def _threshold(table: Targets, settings: Settings, row: OperationTarget) -> AlertRule:
    alert_s = row.alert_s or row.warning_s
    p95 = f"{recording.P95}{settings.window}{selector(operation=row.id)}"
    limit = units.duration(alert_s)

    def case(duration_s: float) -> Case:
        series = samples.histogram(table, row.id, [({duration_s: _PER_MINUTE}, _MINUTES)])
        return Case(series=series, at=f"{_MINUTES}m")

    return AlertRule(
        name="LatencyOverThreshold",
        row=row,
        kind="threshold",
        symptom="latency",
        # The threshold is an edge: the p95 lies beyond it exactly when fewer than 95 % are within.
        expr=f"{p95} > {number(alert_s)}",
        # Together with the burn that explains it.
        for_=settings.settled,
        summary=f"{row.title}: {_SUMMARY_P95}, the alert threshold is {limit}",
        dashboard=level_series.operation_page(row.id),
        meaning=f"The p95 of the last {settings.window} is beyond the alert threshold that the "
        "table gives for this operation.",
        limit=f"p95 ≤ {limit}",
        look=f"{recording.P95}{settings.window}",
        labels={OPERATION: row.id},
        firing=case(samples.next_edge(table.only(row.id), alert_s)),
        silent=case(alert_s),
    )


def _trend(table: Targets, settings: Settings, row: OperationTarget) -> AlertRule:
    trend, horizon = settings.prediction["trend"], settings.prediction["horizon"]
    p95 = f"{recording.P95}{settings.window}{selector(operation=row.id)}"
    minutes = promql.seconds(trend) // 60 + _MINUTES
    before_s = samples.edge_before(table.only(row.id), row.target_s)

    # The p95 lies as far into the bucket before the target as the positions say.
    def case(positions: list[float]) -> Case:
        shares = [(_QUANTILE - position) / (1 - position) for position in positions]
        counts = [round(share * _PER_MINUTE) for share in shares]
        runs = [({before_s: count, row.target_s: _PER_MINUTE - count}, 1) for count in counts]
        return Case(series=samples.histogram(table, row.id, runs), at=f"{minutes}m")

    return AlertRule(
        name="LatencyTrend",
        row=row,
        kind="prediction",
        symptom="latency",
        urgency="info",
        expr=crosses(p95, row.target_s, ">", settings),
        for_=settings.hold,
        keep_firing_for=settings.hold,
        summary=f"{row.title}: {_SUMMARY_P95} and will exceed {units.duration(row.target_s)} "
        f"within {horizon}",
        dashboard=level_series.operation_page(row.id),
        meaning=f"A straight line through the p95 of the last {trend} crosses the target within "
        f"the next {horizon}; nothing is missed yet.",
        limit=f"p95 ≤ {units.duration(row.target_s)} in {horizon}",
        look=f"predict_linear({recording.P95}{settings.window}[{trend}], "
        f"{promql.seconds(horizon)})",
        labels={OPERATION: row.id},
        firing=case([0.9 * minute / minutes for minute in range(minutes)]),
        silent=case([0.9] * minutes),
    )


def _anomaly(table: Targets, settings: Settings, row: OperationTarget) -> AlertRule:
    anomaly = settings.anomaly
    selected = selector(operation=row.id)
    p95 = f"{recording.P95}{settings.window}{selected}"
    past = f"{p95}[{settings.past}] offset {settings.window}"
    upper, lower = f"quantile_over_time(0.75, {past})", f"quantile_over_time(0.25, {past})"
    ended = f"{recording.ENDED}{settings.window}{selected}"
    minutes = promql.seconds(settings.past) // 60
    quick_s = table.only(row.id).edges_s[0]

    def case(after_s: float) -> Case:
        runs = [({quick_s: _PER_MINUTE}, minutes), ({after_s: _PER_MINUTE}, _MINUTES)]
        return Case(series=samples.histogram(table, row.id, runs), at=f"{minutes + _MINUTES}m")

    return AlertRule(
        name="LatencyAnomaly",
        row=row,
        kind="anomaly",
        symptom="latency",
        urgency="info",
        expr=all_of(
            f"{p95} > {upper} + {number(anomaly['fences'])} * ({upper} - {lower})",
            f"{p95} > {number(anomaly['factor'])} * {upper}",
            f"{ended} >= {number(anomaly['operations'])}",
            is_there(p95, settings.past, anomaly["filled"], f" offset {settings.window}"),
        ),
        summary=f"{row.title}: {_SUMMARY_P95}, far from what it was in the {settings.past} before",
        dashboard=level_series.operation_page(row.id),
        meaning=f"The p95 of the last {settings.window} lies far outside of what the same "
        f"operation did in the {settings.past} before: beyond the outer fence of its quartiles. "
        "The target may still be met.",
        limit="outer fence of its own past",
        look=f"quantile_over_time(0.75, {recording.P95}{settings.window}[{settings.past}])",
        command=f"orchwatch current --since {settings.window}",
        labels={OPERATION: row.id},
        firing=case(row.target_s),
        silent=case(quick_s),
    )
