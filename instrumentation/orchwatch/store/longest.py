"""The traces that took longest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchwatch.store import small_answers, views
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection

_ASKED = """
SELECT replace(trace_id::VARCHAR, '-', ''), min(end_ns - duration_ns) AS first_ns,
    max(end_ns) AS last_ns, count(*), count(*) FILTER (status = 2)
FROM ({chosen}) GROUP BY trace_id ORDER BY last_ns - first_ns DESC, trace_id LIMIT $limit
"""
_STATUS_ERROR = 2  # OTLP


class Trace(NamedTuple):
    """A trace, as far as a selection holds it.

    Attributes:
        trace_id: Hexadecimal.
        start_ns: When its first operation began, in Unix nanoseconds.
        end_ns: When its last one ended.
        operations: How many.
        errors: How many of those failed.
    """

    trace_id: str
    start_ns: int
    end_ns: int
    operations: int
    errors: int


def traces(store: Store | SmallStore, selection: Selection, limit: int) -> list[Trace]:
    """Those from whose first start to whose last end it took longest.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if not isinstance(store, SmallStore):
        sql, values = views.chosen(store, selection)
        rows = store.query(_ASKED.format(chosen=sql), {**values, "limit": limit})
        return [Trace(*row) for row in rows]
    found: dict[str, Trace] = {}
    for row in small_answers.chosen(store, selection):
        start_ns = row.end_ns - row.duration_ns
        before = found.get(row.trace_id) or Trace(row.trace_id, start_ns, row.end_ns, 0, 0)
        found[row.trace_id] = Trace(
            row.trace_id,
            min(start_ns, before.start_ns),
            max(row.end_ns, before.end_ns),
            before.operations + 1,
            before.errors + (row.status == _STATUS_ERROR),
        )
    ordered = sorted(found.values(), key=lambda one: (one.start_ns - one.end_ns, one.trace_id))
    return ordered[:limit]
