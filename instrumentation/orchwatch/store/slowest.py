"""The traces that hold an operation's slowest calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchwatch.store import views

if TYPE_CHECKING:
    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection

_SLOWEST = """
SELECT replace(trace_id::VARCHAR, '-', ''), max(duration_ns), arg_max(end_ns, duration_ns),
    count(*), count(*) FILTER (status = 2), min(session_id), arg_max(agent, duration_ns)
FROM ({chosen}) GROUP BY trace_id ORDER BY 2 DESC, 3 DESC, 1 LIMIT $limit
"""


class SlowTrace(NamedTuple):
    """A trace, as far as a selection holds it.

    Attributes:
        trace_id: Hexadecimal.
        duration_ns: Of its slowest call.
        end_ns: When that ended, in Unix nanoseconds.
        calls: How many there are.
        errors: How many of them failed.
        session_id: None where none is known.
        agent: Whose the slowest call is, likewise.
    """

    trace_id: str
    duration_ns: int
    end_ns: int
    calls: int
    errors: int
    session_id: str | None
    agent: str | None


def traces(store: Store, selection: Selection, limit: int) -> list[SlowTrace]:
    """Those with the slowest calls of a selection, the slowest first.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    sql, values = views.chosen(store, selection)
    rows = store.query(_SLOWEST.format(chosen=sql), {**values, "limit": limit})
    return [SlowTrace(*row) for row in rows]
