"""The event stream: alerts, operations that failed, and operations that went beyond their warning.

Alerts are what `alert_events` wrote; operations are those of the store, judged by the table as it
is now. Imported history is among them at its own time where the selection says so, never as news.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from heapq import merge
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

from orchwatch.analysis import alert_events
from orchwatch.recording import spool
from orchwatch.store import segments, small_answers, views
from orchwatch.store.selection import ALL
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.analysis.alert_events import AlertEvent, State
    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.targets.target_table import Targets

Kind = Literal["alert", "failure", "slow"]

_NS_PER_S = 1_000_000_000
# Operations are fetched in batches of this size.
_PAGE = 10_000
# An operation that is recorded this long after its end is found by a query, not by following.
_LATE_NS = 3600 * _NS_PER_S
_STATUS_ERROR = 2  # OTLP
_LAST_TRACE_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_OPERATIONS = """
WITH warning AS (SELECT unnest($operations) AS operation, unnest($warnings_ns) AS warning_ns)
SELECT end_ns, trace_id::VARCHAR, span_id, operation, duration_ns, status, error_type, session_id,
    agent
FROM ({chosen}) LEFT JOIN warning USING (operation)
WHERE (status = 2 OR duration_ns > warning_ns)
    AND (end_ns, trace_id, span_id) > ($end_ns, $trace_id::UUID, $span_id::UBIGINT)
ORDER BY end_ns, trace_id, span_id LIMIT $page
"""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. A member is None where there is nothing to say, or it is not known.

    Attributes:
        time_ns: When: an alert's beginning or end, an operation's end; Unix time in nanoseconds.
        kind: What it is.
        severity: The alert's own; `error` for what failed, `warning` for what was slow.
        state: `firing` or `resolved`, of an alert.
        name: The alert's or the operation's.
        summary: The alert's summary.
        operation: The operation, also of an alert that is about one.
        value: What was measured, in `unit`: how long the operation took.
        target: The table's, in `unit`.
        unit: UCUM.
        error_type: Why it failed.
        fired_s: How long the alert fired that has ended.
        agent: Name or id of the agent.
        session_id: Its session.
        trace_id: 32 hexadecimal digits.
        evaluator: What detected the alert, see `alert_events`.
        recommendation: What the alert advises.
        runbook: Where its entry is.
        dashboard: Where it can be seen.
    """

    time_ns: int
    kind: Kind
    severity: str
    state: State | None = None
    name: str
    summary: str | None = None
    operation: str | None = None
    value: float | None = None
    target: float | None = None
    unit: str | None = None
    error_type: str | None = None
    fired_s: float | None = None
    agent: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    evaluator: str | None = None
    recommendation: str | None = None
    runbook: str | None = None
    dashboard: str | None = None


class EventStream:
    """Past events, then new ones as they happen.

    Args:
        home: The home directory, which need not exist.
        store: Its store.
        table: The table that operations are judged by.
        selection: Which operations; alerts are those of its window, and of its operation.
    """

    def __init__(
        self, home: Path, store: Store | SmallStore, table: Targets, selection: Selection = ALL
    ) -> None:
        self._spool = home / "spool"
        self._store = store
        self._table = table
        self._selection = selection
        self._warnings_ns = {
            row.id: int(Decimal(str(row.warning_s)) * _NS_PER_S)
            for row in table.operations.values()
        }
        self._since_ns = 0
        self._offsets: dict[str, int] = {}
        self._seen: dict[tuple[str, int], int] = {}
        self._sizes: dict[str, int] = {}

    def past(self, since_ns: int) -> Iterator[Event]:
        """What happened at that Unix time in nanoseconds or later, oldest first.

        Raises:
            OrchwatchError: The store cannot be read.
        """
        self._since_ns = since_ns
        self._sizes = self._look()
        self._refresh()
        alerts = [event for event in self._alerts() if event.time_ns >= since_ns]
        alerts.sort(key=attrgetter("time_ns"))
        operations = self._operations(replace(self._selection, since_ns=since_ns))
        yield from merge(alerts, operations, key=attrgetter("time_ns"))

    def news(self) -> list[Event]:
        """What has been recorded since the last look, oldest first.

        Raises:
            OrchwatchError: The store cannot be read.
        """
        sizes = self._look()
        if sizes == self._sizes:
            return []
        self._sizes = sizes
        self._refresh()
        since_ns = max(self._since_ns, time.time_ns() - _LATE_NS)
        self._seen = {span: end_ns for span, end_ns in self._seen.items() if end_ns >= since_ns}
        # What is imported now happened before.
        recent = replace(self._selection, since_ns=since_ns, history=False)
        found = [*self._alerts(), *self._operations(recent)]
        return sorted(found, key=attrgetter("time_ns"))

    def _refresh(self) -> None:
        if not isinstance(self._store, SmallStore):
            self._store.refresh()

    def _look(self) -> dict[str, int]:
        try:
            with os.scandir(self._spool) as entries:
                return {entry.name: entry.stat().st_size for entry in entries}
        except OSError:  # not there yet, or a segment was dropped meanwhile: look again
            return {}

    def _alerts(self) -> list[Event]:
        """Alert events that were not read yet."""
        found: list[Event] = []
        offsets = {}
        for segment in segments.find(self._spool, (spool.EVENTS,)):
            offset = self._offsets.get(segment.id, 0)
            try:
                for piece, end in segments.read(segment, offset):
                    offset = end
                    for line in piece.splitlines():
                        events = map(self._alert, alert_events.read(line))
                        found += filter(self._is_chosen, events)
            except OSError:  # dropped meanwhile, or not ours to read
                pass
            offsets[segment.id] = offset
        self._offsets = offsets
        return found

    def _is_chosen(self, alert: Event) -> bool:
        """An alert is about an operation at most, never about one session, agent or service."""
        chosen = self._selection
        if any(one is not None for one in (chosen.session_id, chosen.agent, chosen.service)):
            return False
        within = chosen.until_ns is None or alert.time_ns <= chosen.until_ns
        return within and chosen.operation in (None, alert.operation)

    def _alert(self, event: AlertEvent) -> Event:
        value, target, unit = event.value, None, None
        # Only then the value is in the row's unit: other alerts have shares, rates and forecasts.
        if event.kind == "threshold" and event.target in self._table.operations:
            target, unit = self._table.operations[event.target].target_s, "s"
        elif event.kind == "threshold" and event.target in self._table.levels:
            level = self._table.levels[event.target]
            target, unit = level.target, level.unit
        return Event(
            time_ns=event.time_ns,
            kind="alert",
            severity=event.severity,
            state=event.state,
            name=event.name,
            summary=event.summary,
            operation=event.operation,
            value=value,
            target=target,
            unit=unit,
            fired_s=event.fired_s,
            evaluator=event.evaluator,
            recommendation=event.recommendation,
            runbook=event.runbook,
            dashboard=event.dashboard,
        )

    def _operations(self, selection: Selection) -> Iterator[Event]:
        """Operations of a selection that were not seen yet."""
        recent_ns = time.time_ns() - _LATE_NS
        for end_ns, trace_id, span_id, *row in self._rows(selection):
            key = trace_id, span_id
            if key not in self._seen:
                if end_ns >= recent_ns:
                    self._seen[key] = end_ns
                yield self._operation(end_ns, trace_id, *row)

    def _rows(self, selection: Selection) -> Iterator[tuple[Any, ...]]:
        if isinstance(self._store, SmallStore):
            yield from small_answers.failed_or_slow(self._store, selection, self._warnings_ns)
            return
        sql, values = views.chosen(self._store, selection)
        last: tuple[int, str, int] = -1, _LAST_TRACE_ID, 0
        while True:
            rows = self._store.query(
                _OPERATIONS.format(chosen=sql),
                {
                    **values,
                    "operations": list(self._warnings_ns),
                    "warnings_ns": list(self._warnings_ns.values()),
                    "end_ns": last[0],
                    "trace_id": last[1],
                    "span_id": last[2],
                    "page": _PAGE,
                },
            )
            yield from rows
            if len(rows) < _PAGE:
                return
            last = rows[-1][:3]

    def _operation(
        self,
        end_ns: int,
        trace_id: str,
        operation: str,
        duration_ns: int,
        status: int,
        *who: Any,
    ) -> Event:
        error_type, session_id, agent = who
        row = self._table.operations.get(operation)
        failed = status == _STATUS_ERROR
        return Event(
            time_ns=end_ns,
            kind="failure" if failed else "slow",
            severity="error" if failed else "warning",
            name=operation,
            operation=operation,
            value=duration_ns / _NS_PER_S,
            target=row.target_s if row else None,
            unit="s",
            error_type=error_type if failed else None,
            agent=agent,
            session_id=session_id,
            trace_id=trace_id.replace("-", ""),
        )
