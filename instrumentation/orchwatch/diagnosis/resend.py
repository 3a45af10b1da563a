"""Sends stored spans once more, through the spool."""

from __future__ import annotations

import json
from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording import spool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchwatch.store.database import Store

_SPANS_PER_BATCH = 500

_SPANS = """
WITH wanted AS (
    SELECT DISTINCT unnest($trace_ids)::UUID AS trace_id,
        ('0x' || unnest($span_ids))::UBIGINT AS span_id
)
SELECT DISTINCT ON (trace_id, span_id)
    family, replace(trace_id::VARCHAR, '-', ''), printf('%016x', span_id),
    printf('%016x', parent_span_id), name, kind, end_ns - duration_ns, end_ns, status, attributes,
    {operation: operation, error_type: error_type, session_id: session_id, agent: agent},
    service, resource, scope, details
FROM span SEMI JOIN wanted USING (trace_id, span_id)
"""
_COLUMNS = {
    "operation": semconv.OPERATION_NAME,
    "error_type": semconv.ERROR_TYPE,
    "session_id": semconv.SESSION_ID,
    "agent": semconv.GEN_AI_AGENT_NAME,
}


def resend(store: Store, spans: Sequence[tuple[str, str]], *, counted: bool = False) -> int:
    """Appends spans to a family that is stored and not counted: what was counted stays so.

    Args:
        store: Holds them.
        spans: Trace and span ids, hexadecimal.
        counted: Whether those that were to be counted have not been, and so are now.

    Returns:
        How many were appended.

    Raises:
        OrchwatchError: The spool cannot be written.
    """
    sent = 0
    for start in range(0, len(spans), _SPANS_PER_BATCH):
        part = spans[start : start + _SPANS_PER_BATCH]
        rows = store.query(
            _SPANS,
            {"trace_ids": [trace for trace, _ in part], "span_ids": [span for _, span in part]},
        )
        for family, lines in _by_family(rows, counted=counted):
            if not spool.append(family, b"".join(lines), len(lines)):
                raise OrchwatchError("the spool cannot be written; see orchwatch doctor")
            sent += len(lines)
    return sent


class _Span(NamedTuple):
    """A row of the query above."""

    family: str
    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status: int
    attributes: str | None
    columns: dict[str, str | None]
    service: str | None
    resource: str | None
    scope: str | None
    details: str | None


def _by_family(
    rows: Iterable[tuple[Any, ...]], *, counted: bool
) -> Iterator[tuple[str, list[bytes]]]:
    # Imported history must not pass for something that happened here.
    kept = {spool.HISTORY, spool.OPERATIONS} if counted else {spool.HISTORY}
    lines: dict[str, list[bytes]] = {family: [] for family in (*kept, spool.UNDELIVERED)}
    for span in starmap(_Span, rows):
        to = span.family if span.family in kept else spool.UNDELIVERED
        lines[to].append(_line(span))
    return ((family, found) for family, found in lines.items() if found)


def _line(span: _Span) -> bytes:
    more = {key: value for key, value in json.loads(span.details or "{}").items() if value}
    status = {"code": span.status}
    if "message" in more:
        status["message"] = more.pop("message")
    own = {_COLUMNS[column]: value for column, value in span.columns.items()}
    document = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_span_id or "",
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _texts(own) + json.loads(span.attributes or "[]"),
        "status": status,
        **more,
    }
    service = _texts({semconv.SERVICE_NAME: span.service})
    resource = {"attributes": service + json.loads(span.resource or "[]")}
    scope = {"scope": json.loads(span.scope or "{}"), "spans": [document]}
    of_resource = {"resource": resource, "scopeSpans": [scope]}
    if scope["scope"].get("name") == semconv.SCOPE:  # of others it is not stored
        scope["schemaUrl"] = semconv.SCHEMA_URL
        of_resource["schemaUrl"] = semconv.RESOURCE_SCHEMA_URL
    line = {"resourceSpans": [of_resource]}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _texts(values: dict[str, str | None]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"stringValue": value}}
        for key, value in values.items()
        if value is not None
    ]
