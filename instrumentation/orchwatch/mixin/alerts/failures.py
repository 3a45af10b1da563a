"""Alerts about operations that fail, and about state that contradicts itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv, units
from orchwatch.mixin.alerts.budget import Budget, at_most
from orchwatch.mixin.lib import level_series
from orchwatch.mixin.lib.promql import OPERATION, indented, number
from orchwatch.mixin.lib.rule import AlertRule, Case
from orchwatch.mixin.rules import recording, samples

if TYPE_CHECKING:
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import LevelTarget, Targets

_MINUTES = 20
_QUERIES_A_MINUTE = 100
_STATUSES = (semconv.STATUS_OK, semconv.STATUS_ERROR)


def alerts(table: Targets, settings: Settings) -> list[AlertRule]:
    """All operations together, each one, and the state."""
    return [
        _availability(table, settings, table.levels[level_series.AVAILABILITY]),
        _error_rate(table, settings, table.levels[level_series.ERROR_RATE]),
        _consistency(table, settings, table.levels[level_series.CONSISTENCY]),
    ]


def _availability(table: Targets, settings: Settings, row: LevelTarget) -> AlertRule:
    budget = Budget(
        objective=level_series.objectives(table)[row.id],
        bad_share=lambda window: f"1 - {recording.AVAILABILITY}{window}",
        bad=lambda window: f"{recording.ALL_FAILED}{window}",
    )
    operation = _any_operation(table)
    return AlertRule(
        name="AvailabilityBudgetBurn",
        row=row,
        kind="burn",
        symptom="errors",
        expr=budget.burns(settings),
        for_=settings.settled,
        summary="{{ $value | humanizePercentage }} of the operations with a target failed, "
        f"{budget.allowed()}",
        dashboard=level_series.dashboard(row),
        meaning=_meaning("Operations", settings),
        limit=f"≥ {units.share(row.target)} succeed",
        look=f"{recording.AVAILABILITY}{settings.burns[0].long}",
        firing=_case(table, operation, budget.firing(settings)),
        silent=_case(table, operation, budget.silent(settings)),
    )


def _error_rate(table: Targets, settings: Settings, row: LevelTarget) -> AlertRule:
    """For each operation of the table: it names the culprit."""
    budget = Budget(
        objective=level_series.objectives(table)[row.id],
        bad_share=lambda window: f"{recording.ERROR_RATIO}{window}",
        bad=lambda window: f"{recording.FAILED}{window}",
    )
    operation = _any_operation(table)
    name = f"$labels.{OPERATION}"
    return AlertRule(
        name="ErrorBudgetBurn",
        row=row,
        kind="burn",
        symptom="errors",
        expr=f"(\n{indented(budget.burns(settings))}\n)\n{recording.OF_THE_TABLE}",
        for_=settings.settled,
        summary=f"{{{{ {name} }}}}: {{{{ $value | humanizePercentage }}}} failed, "
        f"{budget.allowed()}",
        dashboard=f"{level_series.OPERATIONS_DASHBOARD}?var-operation={{{{ {name} | urlquery }}}}",
        meaning=_meaning("Operations of one name", settings),
        limit=f"≤ {units.share(row.target)} fail",
        look=f"{recording.ERROR_RATIO}{settings.burns[0].long}",
        labels={OPERATION: operation},
        firing=_case(table, operation, budget.firing(settings)),
        silent=_case(table, operation, budget.silent(settings)),
    )


def _meaning(what: str, settings: Settings) -> str:
    return (
        f"{what} fail so often that the error budget of the period ({settings.period}) will be "
        "spent. It was so over the long window, in which at least "
        f"{settings.bad_operations} failed, and still is over the short one. Operations without "
        "a target do not count. Where the table allows no failure at all, one is enough."
    )


def _any_operation(table: Targets) -> str:
    return next(iter(table.operations))


def _case(table: Targets, operation: str, good_and_failed: tuple[int, int]) -> Case:
    series: dict[str, str] = {}
    for status, count in zip(_STATUSES, good_and_failed, strict=True):
        runs = [({table.ladder_s[0]: count}, _MINUTES)]
        series |= samples.histogram(table, operation, runs, status)
    return Case(series=series, at=f"{_MINUTES}m")


def _consistency(table: Targets, settings: Settings, row: LevelTarget) -> AlertRule:
    ratio = f"{recording.CONSISTENCY}{settings.window}"
    limit = level_series.limit(row)
    runs = [({table.ladder_s[0]: _QUERIES_A_MINUTE}, _MINUTES)]
    traffic = samples.histogram(table, level_series.STATE_OPERATIONS[0], runs)

    def case(violations: float) -> Case:
        grows = samples.growing(0, violations, _MINUTES)
        return Case(series={**traffic, level_series.VIOLATIONS: grows}, at=f"{_MINUTES}m")

    allowed = (1 - limit) * _QUERIES_A_MINUTE
    return AlertRule(
        name="ConsistencyLow",
        row=row,
        kind="threshold",
        symptom="state",
        expr=f"1 - {ratio} > {number(1 - limit)}",
        summary=f"{row.title}: {{{{ $value | humanizePercentage }}}} of the operations on a "
        f"session's state found it inconsistent, {at_most(1 - limit)}",
        dashboard=level_series.dashboard(row),
        meaning=f"In the last {settings.window} a session's state was found to contradict "
        "itself: its checksum, its version or its references.",
        limit=f"≥ {units.share(limit)}",
        look=ratio,
        firing=case(allowed * samples.BEYOND or 1),
        silent=case(allowed * samples.SHORT),
    )
