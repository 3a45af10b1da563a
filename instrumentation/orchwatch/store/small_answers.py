"""The store's questions, answered in Python from a small store's rows.

Each function gives what a query of the module that calls it gives, to the last digit: a test puts
the same questions to both.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchwatch.store.selection import Selection
    from orchwatch.store.small import Row, SmallStore

_STATUS_ERROR = 2  # OTLP
_PERCENTILES = (50, 95, 99)
_MAX_IDS = 5


def chosen(store: SmallStore, selection: Selection, *, window: bool = True) -> list[Row]:
    """The operations that a selection is about, each once: as `views.chosen`."""
    return selection.held(store.operations(selection.families), window=window)


def summaries(
    store: SmallStore, selection: Selection, targets_ns: Mapping[str, int]
) -> list[tuple[str, int, int, list[int], int]]:
    """Name, count, errors, three percentiles and how many within the target, by name."""
    return of_rows(chosen(store, selection), targets_ns)


def of_rows(
    rows: Iterable[Row], targets_ns: Mapping[str, int]
) -> list[tuple[str, int, int, list[int], int]]:
    """The same of these operations."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.operation or ""].append(row)
    found = []
    for operation in sorted(groups):
        durations = sorted(row.duration_ns for row in groups[operation])
        target_ns = targets_ns.get(operation, -1)
        found.append(
            (
                operation,
                len(durations),
                sum(row.status == _STATUS_ERROR for row in groups[operation]),
                [nearest_rank(durations, percent) for percent in _PERCENTILES],
                sum(duration_ns <= target_ns for duration_ns in durations),
            )
        )
    return found


def outside(
    store: SmallStore, selection: Selection, since_ns: int, until_ns: int
) -> tuple[int, int]:
    """How many ended before and after the window."""
    ends = [row.end_ns for row in chosen(store, selection, window=False)]
    return sum(end_ns < since_ns for end_ns in ends), sum(end_ns > until_ns for end_ns in ends)


def latest_ns(store: SmallStore, selection: Selection, now_ns: int) -> int | None:
    """When the last of all ended that has."""
    ends = (row.end_ns for row in chosen(store, selection, window=False))
    return max((end_ns for end_ns in ends if end_ns <= now_ns), default=None)


def best(store: SmallStore, selection: Selection, *, slowest: bool, failed: bool) -> str | None:
    """The trace of the slowest or of the latest operation, of all or of those that failed."""
    rows = [row for row in chosen(store, selection) if not failed or row.status == _STATUS_ERROR]
    first = min(
        rows,
        key=lambda row: (-row.duration_ns if slowest else 0, -row.end_ns, *_key(row)),
        default=None,
    )
    return first.trace_id if first else None


def trace_ids(store: SmallStore, start: str) -> list[str]:
    """The first few ids that begin so."""
    return sorted({row.trace_id for row in store.rows if row.trace_id.startswith(start)})[:_MAX_IDS]


def trace(store: SmallStore, trace_id: str) -> list[Row]:
    """The spans of a trace, each once, by start."""
    once = {row.span_id: row for row in reversed(store.rows) if row.trace_id == trace_id}
    return sorted(once.values(), key=lambda row: (row.end_ns - row.duration_ns, row.span_id))


def acting(store: SmallStore, selection: Selection) -> list[Row]:
    """The operations that filters leave, whenever, those that lie in two places twice."""
    found = selection.held(store.rows, window=False)
    return [row for row in found if row.operation is not None]


def failed_or_slow(
    store: SmallStore, selection: Selection, warnings_ns: Mapping[str, int]
) -> list[tuple[Any, ...]]:
    """What failed or took longer than its warning: as a row of `event_stream`, by its end."""
    found = [
        row
        for row in chosen(store, selection)
        if row.status == _STATUS_ERROR
        or row.duration_ns > warnings_ns.get(row.operation or "", row.duration_ns)
    ]
    found.sort(key=lambda row: (row.end_ns, *_key(row)))
    return [
        (
            *(row.end_ns, row.trace_id, row.span_id, row.operation, row.duration_ns),
            *(row.status, row.error_type, row.session_id, row.agent),
        )
        for row in found
    ]


def values(store: SmallStore, selection: Selection, column: str) -> list[str]:
    """What a column holds, by name; of agents both names and ids."""
    rows = chosen(store, selection, window=False)
    if column == "agent":
        found = {row.agent for row in rows} | {row.agent_id for row in rows}
    else:
        field = "session_id" if column == "session" else column
        found = {getattr(row, field) for row in rows}
    return sorted(value for value in found if value is not None)


def distinct(rows: Iterable[Row]) -> list[Row]:
    """Each span once."""
    return list({_key(row): row for row in rows}.values())


def _key(row: Row) -> tuple[str, int]:
    return row.trace_id, row.span_id


def nearest_rank(ascending: list[int], percent: int) -> int:
    """As DuckDB's quantile_disc, in whole numbers."""
    count = len(ascending)
    return ascending[max(1, count - count * (100 - percent) // 100) - 1]
