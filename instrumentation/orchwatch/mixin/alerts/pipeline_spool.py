"""Alerts about the spool, from what the monitor process says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.alerts.pipeline_alert import MINUTES, Text, alert
from orchwatch.mixin.lib import promql
from orchwatch.mixin.lib.promql import number
from orchwatch.mixin.rules import samples

if TYPE_CHECKING:
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.mixin.lib.rule import AlertRule

FAMILY = semconv.SPOOL_FAMILY.replace(".", "_")
REASON = semconv.LOSS_REASON.replace(".", "_")
SIZE = promql.series(semconv.SPOOL_SIZE, "By")
LIMIT = promql.series(semconv.SPOOL_LIMIT, "By")
UNREAD = promql.series(semconv.SPOOL_UNREAD, "By")
AGE = promql.series(semconv.SPOOL_UNREAD_AGE, "s")
LOST = promql.series(semconv.TELEMETRY_LOST, "{item}", counter=True)
# Of the spool's budget, what the Collector has not read.
UNREAD_SHARE = f"max(sum by (instance) ({UNREAD}) / on (instance) {LIMIT})"
UP = 'up{job="monitor"}'

_DROPPED = "budget_dropped"
# Reasons in the ledger that need no alert: values that a program passed wrongly, and what its
# own signal handlers cut short.
_IGNORED = "bad_.+|interrupted"
_LIMIT_BYTES = 1000

# Operations that no program could append.
UNWRITTEN = f'{LOST}{{{REASON}!~"{_DROPPED}|{_IGNORED}"}}'


def alerts(settings: Settings) -> list[AlertRule]:
    """From the first sign to what is lost."""
    return [
        _monitor_down(settings),
        _backlog(settings),
        _near_budget(settings),
        _operations_lost(settings),
    ]


def _monitor_down(settings: Settings) -> AlertRule:
    return alert(
        "MonitorDown",
        "info",
        f"absent({UP} == 1)",
        Text(
            title="Monitor process",
            summary="No `orchwatch monitor` answers Prometheus: what waits in the spool and what "
            "was lost is unknown",
            meaning="Nothing watches the spool and the ledger of losses, follows sessions or "
            "computes key figures. Operations are recorded and arrive all the same.",
            limit="one that answers",
            recommendation="Start `orchwatch monitor` (`make up` does), or leave it if you need "
            "none of that",
            look="up",
        ),
        for_=settings.pipeline["silent"],
        cases=({UP: samples.constant(0, MINUTES)}, {UP: samples.constant(1, MINUTES)}),
    )


def _backlog(settings: Settings) -> AlertRule:
    behind = settings.pipeline["behind"]
    behind_s = promql.seconds(behind)
    series = f"{AGE}{promql.selector(**{FAMILY: 'operations'})}"
    return alert(
        "SpoolBacklog",
        "warning",
        f"max({AGE}) > {behind_s}",
        Text(
            title="Spool that waits to be read",
            summary="The Collector has not read from the spool what happened "
            "{{ $value | humanizeDuration }} ago",
            meaning="The Collector reads more slowly than is written, or not at all. What it has "
            "not read stays on the disk, up to the spool's budget.",
            limit=f"read within {behind}",
            recommendation="Run `orchwatch doctor`: see whether the Collector runs and reads this "
            "home directory, and whether Tempo and Prometheus take what it sends",
            look=AGE,
        ),
        for_=settings.hold,
        cases=(
            {series: samples.growing(0, 60, MINUTES)},
            {series: samples.constant(behind_s * samples.SHORT, MINUTES)},
        ),
    )


def _spool(unread_share: float) -> dict[str, str]:
    monitor = {"instance": "a"}
    return {
        f"{UNREAD}{promql.selector(**monitor, **{FAMILY: 'operations'})}": samples.constant(
            unread_share * _LIMIT_BYTES, MINUTES
        ),
        f"{LIMIT}{promql.selector(**monitor)}": samples.constant(_LIMIT_BYTES, MINUTES),
    }


def _near_budget(settings: Settings) -> AlertRule:
    near = settings.pipeline["near"]
    return alert(
        "SpoolNearBudget",
        "critical",
        f"{UNREAD_SHARE} > {number(near)}",
        Text(
            title="Spool",
            summary="{{ $value | humanizePercentage }} of the spool's budget is full of what the "
            "Collector has not read",
            meaning="When the spool is full, its oldest lines go. What the Collector has read may; "
            "here it would be operations that are in neither Prometheus nor Tempo.",
            limit=f"≤ {number(near * 100)}% of the budget",
            recommendation="Start the Collector or the server that it waits for, or raise "
            "ORCHWATCH_SPOOL_BUDGET_BYTES where operations are recorded",
            look=UNREAD_SHARE,
        ),
        cases=(_spool(near * samples.BEYOND), _spool(near * samples.SHORT)),
    )


def dropped_unread(settings: Settings, window: str) -> str:
    """Lines that the spool dropped within a window while it was full of unread ones."""
    dropped = f'increase({LOST}{{{REASON}="{_DROPPED}"}}[{window}])'
    near = number(settings.pipeline["near"])
    return f"sum by ({REASON}) ({dropped}) > 0\n  and on () {UNREAD_SHARE} > {near}"


def _operations_lost(settings: Settings) -> AlertRule:
    window = settings.pipeline["window"]
    lost = f"sum by ({REASON}) (increase({UNWRITTEN}[{window}])) > 0"
    series = f"{LOST}{promql.selector(**{REASON: _DROPPED})}"
    counted = {series: samples.growing(0, 1, MINUTES)}
    return alert(
        "OperationsLost",
        "critical",
        f"{lost}\nor\n{dropped_unread(settings, window)}",
        Text(
            title="Operations",
            summary='{{ printf "%.0f" $value }} operations were lost within '
            f"{window}: {{{{ $labels.{REASON} }}}}",
            meaning="A program could not append operations to the spool, or the spool has dropped "
            "what the Collector had not read. Lines dropped after they were read are no loss.",
            limit="none",
            recommendation="Run `orchwatch doctor`: it says for each reason what to do",
            look=LOST,
        ),
        labels={REASON: _DROPPED},
        cases=(
            {**counted, **_spool(settings.pipeline["near"] * samples.BEYOND)},
            {**counted, **_spool(settings.pipeline["near"] * samples.SHORT)},
        ),
    )
