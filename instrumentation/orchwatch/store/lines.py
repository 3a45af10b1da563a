"""OTLP/JSON lines to rows, parsed by DuckDB and never trusted.

The bytes are not read by DuckDB's own NDJSON reader: it takes paths only, so it could neither stop
before a half-written last line nor go on where it stopped, it fails on a segment that is dropped
meanwhile, and one deeply nested line makes it give up the whole file (2.0.0). Parsing inside DuckDB
takes a third of the CPU of Python's `json`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.store import engine

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = """
    trace_id UUID,
    span_id UBIGINT,
    parent_span_id UBIGINT,
    name VARCHAR,
    operation VARCHAR,
    kind UTINYINT,
    end_ns BIGINT,
    duration_ns BIGINT,
    status UTINYINT,
    error_type VARCHAR,
    service VARCHAR,
    session_id VARCHAR,
    agent VARCHAR,
    agent_id VARCHAR,
    attributes VARCHAR,
    resource VARCHAR,
    scope VARCHAR,
    details VARCHAR,
    covered_ns BIGINT
"""
"""What is kept of a span. `attributes` and `resource` are the OTLP/JSON lists without what has a
column of its own, but for `agent_id`, which is kept in both; `details` holds what most spans lack:
events, links, trace state, message. The end is kept rather than the start because a window asks for
it. `covered_ns` stands in the store's files only, see `archive`."""

_PAIRS = [{"key": "VARCHAR", "value": "JSON"}]
_SPAN = {
    "traceId": "VARCHAR",
    "spanId": "VARCHAR",
    "parentSpanId": "VARCHAR",
    "traceState": "VARCHAR",
    "name": "VARCHAR",
    "kind": "VARCHAR",
    "startTimeUnixNano": "VARCHAR",
    "endTimeUnixNano": "VARCHAR",
    "attributes": _PAIRS,
    "events": "JSON",
    "links": "JSON",
    "status": {"code": "VARCHAR", "message": "VARCHAR"},
}
_SCHEMA = json.dumps(
    {
        "resourceSpans": [
            {
                "resource": {"attributes": _PAIRS},
                "scopeSpans": [{"scope": "JSON", "spans": [_SPAN]}],
            }
        ]
    }
)
_KEYS = {
    "operation": semconv.OPERATION_NAME,
    "error_type": semconv.ERROR_TYPE,
    "session_id": semconv.SESSION_ID,
    "agent": semconv.GEN_AI_AGENT_NAME,
    "agent_id": semconv.GEN_AI_AGENT_ID,
    "service": semconv.SERVICE_NAME,
    # Drawn at random by every process: 17 bytes an operation, where host and process id do as well.
    "instance": semconv.SERVICE_INSTANCE_ID,
}

_SPLIT = """
CREATE OR REPLACE TEMP TABLE line AS
SELECT line, json_valid(line) AS valid FROM (SELECT unnest(string_split($text, chr(10))) AS line)
WHERE line <> ''
"""
_REJECTED = "SELECT line FROM line WHERE NOT valid"
_NOT_SPANS = """
SELECT count(*) FROM line
WHERE valid AND json_type(line, '$.resourceSpans') IS DISTINCT FROM 'ARRAY'
"""
_FLATTEN = """
CREATE OR REPLACE TEMP TABLE flat AS
WITH document AS (SELECT from_json(line, $schema) AS document FROM line WHERE valid),
resource AS (SELECT unnest(document.resourceSpans) AS r FROM document),
scope AS (SELECT r.resource.attributes AS resource, unnest(r.scopeSpans) AS s FROM resource),
span AS (SELECT resource, s.scope AS scope, unnest(s.spans) AS span FROM scope),
keyed AS (
    SELECT *, span.attributes AS attributes,
        list_transform(span.attributes, lambda pair: pair.key) AS keys,
        list_transform(resource, lambda pair: pair.key) AS resource_keys
    FROM span
)
SELECT
    CASE WHEN length(span.traceId) = 32 THEN try_cast(span.traceId AS UUID) END AS trace_id,
    CASE WHEN length(span.spanId) = 16 THEN try_cast('0x' || span.spanId AS UBIGINT) END AS span_id,
    nullif(try_cast('0x' || span.parentSpanId AS UBIGINT), 0) AS parent_span_id,
    coalesce(span.name, '') AS name,
    text_of(attributes, keys, $operation) AS operation,
    coalesce(try_cast(span.kind AS UTINYINT), 0) AS kind,
    try_cast(span.startTimeUnixNano AS BIGINT) AS start_ns,
    try_cast(span.endTimeUnixNano AS BIGINT) AS end_ns,
    -- A clock that was set back makes no operation shorter than nothing; so does span_metrics.
    CASE WHEN start_ns > end_ns THEN 0 ELSE end_ns - start_ns END AS duration_ns,
    coalesce(try_cast(span.status.code AS UTINYINT), 0) AS status,
    text_of(attributes, keys, $error_type) AS error_type,
    text_of(resource, resource_keys, $service) AS service,
    text_of(attributes, keys, $session_id) AS session_id,
    text_of(attributes, keys, $agent) AS agent,
    text_of(attributes, keys, $agent_id) AS agent_id,
    rest_of(attributes, [$operation, $error_type, $session_id, $agent]) AS attributes,
    rest_of(resource, [$service, $instance]) AS resource,
    scope::VARCHAR AS scope,
    CASE WHEN span.events IS NOT NULL OR span.links IS NOT NULL
        OR span.traceState <> '' OR span.status.message <> ''
    THEN to_json({events: span.events, links: span.links, traceState: span.traceState,
        message: span.status.message})::VARCHAR END AS details,
    trace_id IS NOT NULL AND span_id IS NOT NULL AND duration_ns IS NOT NULL AS readable
FROM keyed
"""
_NO_SPAN = "SELECT count(*) FROM flat WHERE NOT readable"
_INSERT = """
INSERT INTO spool BY NAME
SELECT $segment AS segment, $family AS family, * EXCLUDE (start_ns, readable)
FROM flat WHERE readable
"""


def prepare(connection: engine.Connection) -> None:
    """Makes the table `spool` (segment, family, a span's columns) and what parsing needs."""
    connection.execute("CREATE TABLE spool (segment VARCHAR, family VARCHAR, " + COLUMNS + ")")
    connection.execute(
        "CREATE MACRO text_of(pairs, keys, key) AS"
        " pairs[list_position(keys, key)].value ->> '$.stringValue'"
    )
    connection.execute(
        "CREATE MACRO rest_of(pairs, taken) AS nullif(to_json(list_filter(pairs, lambda pair:"
        " NOT list_contains(taken, pair.key) OR (pair.value ->> '$.stringValue') IS NULL"
        "))::VARCHAR, '[]')"
    )


def load(connection: engine.Connection, data: bytes, *, segment: str, family: str) -> int:
    """Inserts the spans of whole lines into `spool`.

    A lone surrogate or a byte that is no UTF-8 costs that character, not the operation. Blank lines
    and lines without spans (a segment's header) are no loss.

    Returns:
        How many lines are not OTLP/JSON, plus how many spans lack ids or times.
    """
    return _load(connection, data.decode("utf-8", "replace"), segment, family)


def _load(connection: engine.Connection, text: str, segment: str, family: str) -> int:
    try:
        return _parse(connection, text, segment, family)
    except engine.BadInput:
        # One line can break the statement (nested beyond DuckDB's limit) and must not take others
        # with it.
        lines = text.split("\n")
        if len(lines) == 1:
            return 1
        middle = len(lines) // 2
        halves = ("\n".join(lines[:middle]), "\n".join(lines[middle:]))
        return sum(_load(connection, half, segment, family) for half in halves)


def _parse(connection: engine.Connection, text: str, segment: str, family: str) -> int:
    connection.execute(_SPLIT, {"text": text})
    repaired, unreadable = _repair([row[0] for row in connection.execute(_REJECTED).fetchall()])
    if repaired:
        connection.executemany("INSERT INTO line VALUES (?, true)", [[line] for line in repaired])
    connection.execute(_FLATTEN, {**_KEYS, "schema": _SCHEMA})
    for query in (_NOT_SPANS, _NO_SPAN):
        row = connection.execute(query).fetchone()
        unreadable += row[0] if row else 0
    connection.execute(_INSERT, {"segment": segment, "family": family})
    return unreadable


def _repair(rejected: Sequence[str]) -> tuple[list[str], int]:
    """Lines that only DuckDB refuses (lone surrogates), mended; and how many stay unreadable."""
    repaired = []
    unreadable = 0
    for line in rejected:
        try:
            text = json.dumps(json.loads(line), ensure_ascii=False)
        except (ValueError, RecursionError):
            unreadable += not line.isspace()
        else:
            repaired.append(text.encode("utf-8", "replace").decode("utf-8"))
    return repaired, unreadable
