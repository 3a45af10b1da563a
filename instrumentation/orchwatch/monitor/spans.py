"""Questions to the store: operations in a window, the spans of a trace, totals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchwatch.monitor.store import Store

NS_PER_S = 1_000_000_000

_SUMMARIES = """
WITH target AS (SELECT unnest($operations) AS operation, unnest($targets_ns) AS target_ns)
SELECT operation, count(*), count(*) FILTER (status = 2),
    quantile_disc(duration_ns, [0.5, 0.95, 0.99]), count(*) FILTER (duration_ns <= target_ns)
FROM counted LEFT JOIN target USING (operation)
WHERE end_ns >= $since_ns
GROUP BY operation ORDER BY operation
"""
_WORK = """
SELECT operation, count(*), count(*) FILTER (status = 2), sum(duration_ns)
FROM counted WHERE end_ns >= $since_ns GROUP BY operation
"""
_EARLIER = "SELECT count(*) FROM counted WHERE end_ns < $since_ns"
_TOTALS = "SELECT family, count(*) FROM span GROUP BY family"
_LATEST = """
SELECT replace(trace_id::VARCHAR, '-', '') FROM span
WHERE family <> 'history' AND operation IS NOT NULL ORDER BY end_ns DESC LIMIT 1
"""
_SLOWEST = """
SELECT replace(trace_id::VARCHAR, '-', '') FROM span
WHERE family <> 'history' AND operation = $operation ORDER BY duration_ns DESC, end_ns DESC LIMIT 1
"""
_LATEST_FAILED = """
SELECT replace(trace_id::VARCHAR, '-', '') FROM span
WHERE family <> 'history' AND operation IS NOT NULL AND status = 2
    AND ($operation IS NULL OR operation = $operation)
ORDER BY end_ns DESC LIMIT 1
"""
_BEGINS = """
SELECT DISTINCT replace(trace_id::VARCHAR, '-', '') FROM span
WHERE trace_id BETWEEN try_cast($lowest AS UUID) AND try_cast($highest AS UUID) ORDER BY 1 LIMIT 5
"""
_TRACE = """
SELECT DISTINCT ON (span_id)
    family, replace(trace_id::VARCHAR, '-', ''), printf('%016x', span_id),
    printf('%016x', parent_span_id), name, operation, kind, end_ns - duration_ns, duration_ns,
    status, error_type, service, session_id, agent, attributes, resource
FROM span WHERE trace_id = try_cast($trace_id AS UUID) ORDER BY end_ns - duration_ns, span_id
"""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How often an operation ran and how long it took.

    Percentiles are nearest-rank: the smallest duration that at least that share of all is equal to
    or shorter than, so each is a duration that really occurred.

    Attributes:
        operation: Its name.
        count: How often it ended in the window.
        errors: How many of those failed.
        p50_s: Median duration.
        p95_s: 95th percentile.
        p99_s: 99th percentile.
        under_target: How many took at most the target, as a Prometheus `le` bucket counts them;
            None without a target.
    """

    operation: str
    count: int
    errors: int
    p50_s: float
    p95_s: float
    p99_s: float
    under_target: int | None


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an operation did in a window.

    Attributes:
        operation: Its name.
        count: How often it ended.
        errors: How many of those failed.
        total_s: How long all of them took together.
    """

    operation: str
    count: int
    errors: int
    total_s: float


@dataclass(frozen=True)
class Span:
    """One span, as stored. Ids are hexadecimal, times Unix nanoseconds, status is OTLP's code."""

    family: str
    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    operation: str | None
    kind: int
    start_ns: int
    duration_ns: int
    status: int
    error_type: str | None
    service: str | None
    session_id: str | None
    agent: str | None
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]


def summaries(store: Store, *, since_ns: int, targets_s: Mapping[str, float]) -> list[Summary]:
    """Each operation that ended at `since_ns` (Unix nanoseconds) or later, by name."""
    rows = store.query(
        _SUMMARIES,
        {
            "operations": list(targets_s),
            "targets_ns": [_whole_ns(target_s) for target_s in targets_s.values()],
            "since_ns": since_ns,
        },
    )
    return [
        Summary(
            operation=operation,
            count=count,
            errors=errors,
            p50_s=p50_ns / NS_PER_S,
            p95_s=p95_ns / NS_PER_S,
            p99_s=p99_ns / NS_PER_S,
            under_target=under_target if operation in targets_s else None,
        )
        for operation, count, errors, (p50_ns, p95_ns, p99_ns), under_target in rows
    ]


def work(store: Store, *, since_ns: int) -> list[Work]:
    """Each operation that ended at `since_ns` or later, as `summaries`, with no percentiles."""
    return [
        Work(operation=operation, count=count, errors=errors, total_s=int(total_ns) / NS_PER_S)
        for operation, count, errors, total_ns in store.query(_WORK, {"since_ns": since_ns})
    ]


def count_before(store: Store, since_ns: int) -> int:
    """How many operations ended before a moment."""
    return int(store.query(_EARLIER, {"since_ns": since_ns})[0][0])


def totals(store: Store) -> dict[str, int]:
    """Spans by family; those without an operation's name and repeated ones included."""
    return dict(store.query(_TOTALS))


def latest_trace_id(store: Store) -> str | None:
    """The trace of the operation that ended last; None where there is none."""
    return _one(store.query(_LATEST))


def slowest_trace_id(store: Store, operation: str) -> str | None:
    """The trace of an operation's slowest call, the latest of equals; None where there is none."""
    return _one(store.query(_SLOWEST, {"operation": operation}))


def latest_failed_trace_id(store: Store, operation: str | None = None) -> str | None:
    """The trace of the operation that failed last, of that name if one is given."""
    return _one(store.query(_LATEST_FAILED, {"operation": operation}))


def trace_ids(store: Store, start: str) -> list[str]:
    """The first few of the ids that begin with these hexadecimal digits."""
    ends = {"lowest": start.ljust(32, "0"), "highest": start.ljust(32, "f")}
    return [str(row[0]) for row in store.query(_BEGINS, ends)]


def trace(store: Store, trace_id: str) -> list[Span]:
    """The spans of a trace, by start; none where the id is unknown or no id at all."""
    rows = store.query(_TRACE, {"trace_id": trace_id})
    return [Span(*(*row[:-2], _values(row[-2]), _values(row[-1]))) for row in rows]


def _one(rows: list[tuple[Any, ...]]) -> str | None:
    return str(rows[0][0]) if rows else None


def _whole_ns(target_s: float) -> int:
    """The longest duration in whole nanoseconds that is not above a target."""
    return int(Decimal(str(target_s)) * NS_PER_S)


def _values(pairs: str | None) -> dict[str, Any]:
    """An OTLP/JSON attribute list as a dict; bytes and nested maps stay as OTLP writes them."""
    try:
        return {pair["key"]: _value(pair["value"]) for pair in json.loads(pairs or "[]")}
    except RecursionError:
        # Somebody nested thousands of lists in each other: the span is worth more than those.
        return {}


def _value(value: dict[str, Any] | None) -> Any:
    kind, content = next(iter((value or {"stringValue": None}).items()))
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [_value(element) for element in content.get("values", [])]
    return content
