"""The intervals of agents that spans stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.analysis.busy import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.analysis.busy import Kind
    from orchwatch.store.small import Row

# While it compacts a session's context, its main agent waits: neither work of its own nor a task.
HELPER = "compact"
OF_MAIN = (semconv.AGENT_TURN, semconv.AGENT_RUN, semconv.TOOL_EXECUTE, semconv.USER_WAIT)
KINDS: dict[str, Kind] = {
    semconv.AGENT_TURN: "turn",
    semconv.AGENT_RUN: "turn",
    semconv.USER_WAIT: "waiting",
    semconv.AGENT_SPAWN: "alive",
    semconv.RECOVERY_RUN: "alive",
    semconv.MESSAGE_DELIVER: "alive",
}

_STATUS_ERROR = 2  # OTLP


def of_rows(rows: Iterable[Row], *, since_ns: int, now_ns: int) -> list[Interval]:
    """The intervals of agents within a window, equal to those of the query in `busy_query`."""
    acting = [
        row
        for row in rows
        if row.end_ns >= since_ns
        and row.end_ns - row.duration_ns <= now_ns
        and row.agent != HELPER
        and (row.agent is not None or (row.session_id is not None and row.operation in OF_MAIN))
    ]
    callers: dict[int, str] = {}
    for row in acting:
        if _who(row):
            callers[row.span_id] = min(_who(row), callers.get(row.span_id, _who(row)))
    waiting = {row.parent_span_id for row in acting if row.operation == semconv.AGENT_RUN}
    found = []
    for row in acting:
        who, kind = _who(row), KINDS.get(row.operation or "", "work")
        if row.operation == semconv.TOOL_EXECUTE:
            who = who or callers.get(row.parent_span_id or 0, "")
            kind = "waiting" if row.span_id in waiting else "work"
        start_ns = max(row.end_ns - row.duration_ns, since_ns)
        end_ns = min(row.end_ns, now_ns)
        session = row.session_id or ""
        if kind == "alive":
            start_ns = end_ns
        elif row.status == _STATUS_ERROR:
            found.append(Interval(session, who, "failed", start_ns, end_ns))
        found.append(Interval(session, who, kind, start_ns, end_ns))
    return found


def _who(row: Row) -> str:
    return row.agent_id or row.agent or ""
