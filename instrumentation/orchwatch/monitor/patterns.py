"""The table's patterns among all operations, looked for where no server does.

Prometheus has the same two alerts, of the same limits. Both may see a pattern; `alert_stream`
writes the first report.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchwatch import units
from orchwatch.analysis.alert_events import MONITOR, AlertEvent
from orchwatch.mixin.alerts import overall, patterns
from orchwatch.mixin.lib import alerting, promql
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchwatch.mixin.alerts.patterns import Pattern
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.mixin.lib.rule import AlertRule
    from orchwatch.monitor.alert_stream import AlertStream
    from orchwatch.store.spans import Work

INTERVAL_S = 15.0

_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class _Watched:
    """A pattern.

    Attributes:
        row: The table's.
        alert: What is written when it begins, but for when and how much.
        measure: Its value, of what ended within its window; None where that says nothing.
        summary: A sentence with the value.
    """

    row: Pattern
    alert: AlertEvent
    measure: Callable[[Sequence[Work]], float | None]
    summary: Callable[[float], str]


class Patterns:
    """Looks again and again.

    Args:
        work: What operations did since a moment in Unix nanoseconds.
        stream: Where it is written when one begins, and ends.

    Raises:
        ConfigError: The user's file breaks a rule.
    """

    def __init__(self, work: Callable[[int], list[Work]], stream: AlertStream) -> None:
        self._work = work
        self._stream = stream
        self._watched = _watched()
        self._seen = {one.row.id: self._own(one) is not None for one in self._watched}

    def look(self) -> None:
        """Writes what has begun and ended since; due every `INTERVAL_S`."""
        now_ns = time.time_ns()
        for one in self._watched:
            work = self._work(now_ns - one.row.window_s * _NS)
            value = one.measure(work)
            fired = self._own(one)
            event = None
            is_beyond = value is not None and value > one.row.limit
            if value is not None and is_beyond and not self._seen[one.row.id]:
                event = replace(one.alert, start_ns=now_ns, value=value, summary=one.summary(value))
            elif fired is not None and not is_beyond:
                event = replace(fired, state="resolved", end_ns=now_ns)
            if event is None or self._stream.write([event]):
                self._seen[one.row.id] = is_beyond

    def _own(self, one: _Watched) -> AlertEvent | None:
        """The firing alert of a pattern, where this process wrote it."""
        known = self._stream.latest(one.alert.subject)
        fires = known is not None and known.state == "firing" and known.evaluator == MONITOR
        return known if fires else None


def _watched() -> list[_Watched]:
    table, settings = target_table.load(), alerting.load()
    rows = patterns.load()
    alerts = {
        alert.target: _event(alert, settings)
        for alert in overall.alerts(table, settings)
        if alert.target in rows
    }
    errors, mean = rows["errors"], rows["mean.duration"]
    quick = patterns.quick(table, mean)

    def mean_s(work: Sequence[Work]) -> float | None:
        counted = [one for one in work if one.operation in quick]
        count = sum(one.count for one in counted)
        return sum(one.total_s for one in counted) / count if count else None

    found = [
        _Watched(
            row=errors,
            alert=alerts[errors.id],
            measure=lambda work: float(sum(one.errors for one in work)),
            summary=lambda value: (
                f"{value:.0f} operations failed within {promql.duration(errors.window_s)},"
                f" more than {errors.limit:g}"
            ),
        ),
    ]
    if mean.id in alerts:  # not in a table whose every operation may take longer
        found.append(
            _Watched(
                row=mean,
                alert=alerts[mean.id],
                measure=mean_s,
                summary=lambda value: (
                    f"An operation takes {units.duration(value)} on average, more than"
                    f" {units.duration(mean.limit)}"
                ),
            )
        )
    return found


def _event(alert: AlertRule, settings: Settings) -> AlertEvent:
    links = alert.data(settings)["annotations"]
    return AlertEvent(
        name=alert.name,
        state="firing",
        severity=alert.severity,
        summary="",
        start_ns=0,
        fingerprint=hashlib.sha256(f"{alert.name} {alert.target}".encode()).hexdigest()[:16],
        evaluator=MONITOR,
        kind=alert.kind,
        target=alert.target,
        recommendation=alert.recommendation,
        runbook=links["runbook_url"],
        dashboard=links["dashboard_url"],
    )
