"""Questions to the store: operations in a window, the spans of a trace, totals."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv
from orchwatch.store import small_answers, views
from orchwatch.store.selection import AHEAD_NS, ALL
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import Row

NS_PER_S = 1_000_000_000

_SUMMARIES = """
SELECT operation, count(*), count(*) FILTER (status = 2),
    quantile_disc(duration_ns, [0.5, 0.95, 0.99]),
    count(*) FILTER (duration_ns <= map($operations::VARCHAR[], $targets_ns::BIGINT[])[operation])
FROM ({chosen}) GROUP BY operation ORDER BY operation
"""
_WORK = """
SELECT operation, count(*), count(*) FILTER (status = 2), sum(duration_ns)
FROM counted WHERE end_ns >= $since_ns GROUP BY operation
"""
# Apart, so that DuckDB passes over the files and rows that a condition leaves out.
_OUTSIDE = """
SELECT (SELECT count(*) FROM ({chosen}) WHERE end_ns < $since_ns),
    (SELECT count(*) FROM ({chosen}) WHERE end_ns > $until_ns)
"""
_WITHIN = "SELECT 1 FROM ({chosen}) LIMIT 1"
_LATEST = "SELECT max(end_ns) FROM ({chosen}) WHERE end_ns <= $now_ns"
_TOTALS = "SELECT family, count(*) FROM span GROUP BY family"
# Of all rows only one column is looked at: sorting all of them by three takes three times as long.
_BEST = """
WITH wanted AS NOT MATERIALIZED (SELECT * FROM ({chosen}) WHERE {condition})
SELECT replace(trace_id::VARCHAR, '-', '') FROM wanted
WHERE {most} = (SELECT max({most}) FROM wanted) ORDER BY end_ns DESC, trace_id, span_id LIMIT 1
"""
_BEGINS = """
SELECT DISTINCT replace(trace_id::VARCHAR, '-', '') FROM span
WHERE trace_id BETWEEN try_cast($lowest AS UUID) AND try_cast($highest AS UUID) ORDER BY 1 LIMIT 5
"""
_TRACE = """
SELECT DISTINCT ON (span_id)
    family, replace(trace_id::VARCHAR, '-', ''), printf('%016x', span_id),
    printf('%016x', parent_span_id), name, operation, kind, end_ns - duration_ns, duration_ns,
    status, error_type, service, session_id, agent, attributes, resource,
    details->'$.events'
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
    """How often an operation ended in a window, and how long it took.

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
class Event:
    """What happened within a span; the time is Unix nanoseconds."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any]


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
    events: tuple[Event, ...] = ()


class OutsideWindow(NamedTuple):
    """How many operations ended outside a window.

    Attributes:
        earlier: How many operations ended before it.
        later: How many ended after it; of a window that ends now, those dated in the future.
    """

    earlier: int
    later: int


def summaries(
    store: Store | SmallStore, selection: Selection = ALL, *, targets_s: Mapping[str, float]
) -> list[Summary]:
    """Each operation that ended within a selection, by name."""
    targets_ns = {operation: whole_ns(target_s) for operation, target_s in targets_s.items()}
    if isinstance(store, SmallStore):
        rows = small_answers.summaries(store, selection, targets_ns)
    else:
        sql, values = views.chosen(store, selection)
        asked = {"operations": list(targets_ns), "targets_ns": list(targets_ns.values())}
        rows = store.query(_SUMMARIES.format(chosen=sql), {**values, **asked})
    return [summary(row, targets_s) for row in rows]


def summary(row: Sequence[Any], targets_s: Mapping[str, float]) -> Summary:
    """A row of name, count, errors, three percentiles in nanoseconds and how many within target."""
    operation, count, errors, percentiles_ns, under_target = row
    p50_ns, p95_ns, p99_ns = percentiles_ns
    return Summary(
        operation=operation,
        count=count,
        errors=errors,
        p50_s=p50_ns / NS_PER_S,
        p95_s=p95_ns / NS_PER_S,
        p99_s=p99_ns / NS_PER_S,
        under_target=under_target if operation in targets_s else None,
    )


def work(store: Store, *, since_ns: int) -> list[Work]:
    """Each operation that ended at `since_ns` or later, as `summaries`, with no percentiles."""
    return [
        Work(operation=operation, count=count, errors=errors, total_s=int(total_ns) / NS_PER_S)
        for operation, count, errors, total_ns in store.query(_WORK, {"since_ns": since_ns})
    ]


def outside(store: Store | SmallStore, selection: Selection) -> OutsideWindow:
    """How many operations ended before and after a selection's window."""
    since_ns, until_ns = selection.since_ns or 0, selection.last_ns
    if isinstance(store, SmallStore):
        return OutsideWindow(*small_answers.outside(store, selection, since_ns, until_ns))
    if store.is_within(since_ns, until_ns):
        return OutsideWindow(0, 0)
    sql, values = views.chosen(store, selection, window=False)
    asked = {**values, "since_ns": since_ns, "until_ns": until_ns}
    return OutsideWindow(*store.query(_OUTSIDE.format(chosen=sql), asked)[0])


def latest_before_ns(store: Store | SmallStore, selection: Selection) -> int | None:
    """When the last operation ended, in Unix nanoseconds, if that was before the window.

    A dashboard's refreshes do not count, unless they are asked for.
    """
    selection = _without_refreshes(selection)
    now_ns = time.time_ns() + AHEAD_NS
    if isinstance(store, SmallStore):
        found = small_answers.latest_ns(store, selection, now_ns)
    else:
        sql, values = views.chosen(store, selection)
        if store.query(_WITHIN.format(chosen=sql), values):
            return None
        sql, values = views.chosen(store, selection, window=False)
        found = store.query(_LATEST.format(chosen=sql), {**values, "now_ns": now_ns})[0][0]
    if found is None or found >= (selection.since_ns or 0):
        return None
    return int(found)


def totals(store: Store) -> dict[str, int]:
    """Spans by family; those without an operation's name and repeated ones included."""
    return dict(store.query(_TOTALS))


def latest_trace_id(store: Store | SmallStore, selection: Selection = ALL) -> str | None:
    """The trace of the operation that ended last; None where there is none.

    A dashboard that watches records its refreshes: unless they are asked for, or nothing else is
    there, none of them is the latest.
    """
    found = _best(store, _without_refreshes(selection))
    return found if found is not None else _best(store, selection)


def _without_refreshes(selection: Selection) -> Selection:
    """The same without what a dashboard records while it watches, unless that is asked for."""
    if selection.operation is not None:
        return selection
    return replace(selection, without=semconv.DASHBOARD_REFRESH)


def slowest_trace_id(store: Store | SmallStore, selection: Selection = ALL) -> str | None:
    """The trace of the slowest call, the latest of equals; None where there is none."""
    return _best(store, selection, slowest=True)


def latest_failed_trace_id(store: Store | SmallStore, selection: Selection = ALL) -> str | None:
    """The trace of the operation that failed last; None where there is none."""
    return _best(store, selection, failed=True)


def _best(
    store: Store | SmallStore,
    selection: Selection,
    *,
    slowest: bool = False,
    failed: bool = False,
) -> str | None:
    if isinstance(store, SmallStore):
        return small_answers.best(store, selection, slowest=slowest, failed=failed)
    sql, values = views.chosen(store, selection)
    question = _BEST.format(
        chosen=sql,
        condition="status = 2" if failed else "true",
        most="duration_ns" if slowest else "end_ns",
    )
    rows = store.query(question, values)
    return str(rows[0][0]) if rows else None


def trace_ids(store: Store | SmallStore, start: str) -> list[str]:
    """The first few of the ids that begin with these hexadecimal digits."""
    if isinstance(store, SmallStore):
        return small_answers.trace_ids(store, start.lower())
    ends = {"lowest": start.ljust(32, "0"), "highest": start.ljust(32, "f")}
    return [str(row[0]) for row in store.query(_BEGINS, ends)]


def trace(store: Store | SmallStore, trace_id: str) -> list[Span]:
    """The spans of a trace, by start; none where the id is unknown or no id at all."""
    if isinstance(store, SmallStore):
        return [_span(row) for row in small_answers.trace(store, trace_id.lower())]
    rows = store.query(_TRACE, {"trace_id": trace_id})
    return [
        Span(*(*row[:-3], _values(row[-3]), _values(row[-2]), tuple(_events(row[-1]))))
        for row in rows
    ]


def _span(row: Row) -> Span:
    return Span(
        family=row.family,
        trace_id=row.trace_id,
        span_id=f"{row.span_id:016x}",
        parent_span_id=None if row.parent_span_id is None else f"{row.parent_span_id:016x}",
        name=row.name,
        operation=row.operation,
        kind=row.kind,
        start_ns=row.end_ns - row.duration_ns,
        duration_ns=row.duration_ns,
        status=row.status,
        error_type=row.error_type,
        service=row.service,
        session_id=row.session_id,
        agent=row.agent,
        attributes=_values(row.attributes),
        resource=_values(row.resource),
        events=tuple(_events(row.events)),
    )


def whole_ns(target_s: float) -> int:
    """The longest duration in whole nanoseconds that is not above a target."""
    return int(Decimal(str(target_s)) * NS_PER_S)


def _values(pairs: str | None) -> dict[str, Any]:
    """An OTLP/JSON attribute list as a dict; bytes and nested maps stay as OTLP writes them."""
    try:
        return _dictionary(json.loads(pairs or "[]"))
    except RecursionError:
        # Thousands of lists nested in each other: the rest of the span is worth keeping.
        return {}


def _events(listed: str | None) -> Iterator[Event]:
    """An OTLP/JSON list of events, by time; those that are malformed are left out."""
    try:
        found = json.loads(listed or "[]")
    except RecursionError:
        return
    events = []
    for event in found if isinstance(found, list) else ():
        try:
            time_ns = int(event["timeUnixNano"])
            events.append(Event(str(event["name"]), time_ns, _dictionary(event.get("attributes"))))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            continue
    yield from sorted(events, key=lambda event: event.time_ns)


def _dictionary(pairs: object) -> dict[str, Any]:
    """The members as a dict; malformed ones are left out, or stay as they were written."""
    return {
        pair["key"]: _value(pair.get("value"))
        for pair in (pairs if isinstance(pairs, list) else ())
        if isinstance(pair, dict) and isinstance(pair.get("key"), str)
    }


def _value(value: object) -> Any:
    if not isinstance(value, dict) or not value:
        return value or None
    kind, content = next(iter(value.items()))
    if kind == "intValue":
        try:
            return int(content)
        except (ValueError, TypeError, OverflowError):
            return content
    if kind == "arrayValue":
        elements = content.get("values", []) if isinstance(content, dict) else None
        return [_value(one) for one in elements] if isinstance(elements, list) else content
    return content
