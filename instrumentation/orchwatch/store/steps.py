"""The past in steps of equal length: each operation's summary in each of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from orchwatch.store import small_answers, spans, views
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import Row
    from orchwatch.store.spans import Summary

_ASKED = """
SELECT end_ns // $step_ns * $step_ns AS start_ns, operation, count(*),
    count(*) FILTER (status = 2), quantile_disc(duration_ns, [0.5, 0.95, 0.99]),
    count(*) FILTER (duration_ns <= map($operations::VARCHAR[], $targets_ns::BIGINT[])[operation])
FROM ({chosen}) GROUP BY ALL ORDER BY ALL
"""


_FIRST = "SELECT min(end_ns), max(end_ns) FROM ({chosen})"


def reach_ns(store: Store | SmallStore, selection: Selection) -> tuple[int, int] | None:
    """When the first and the last operation of a selection ended; None where there is none.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        ends = [row.end_ns for row in small_answers.chosen(store, selection)]
        return (min(ends), max(ends)) if ends else None
    sql, values = views.chosen(store, selection)
    first_ns, last_ns = store.query(_FIRST.format(chosen=sql), values)[0]
    return None if first_ns is None else (first_ns, last_ns)


def read(
    store: Store | SmallStore,
    selection: Selection,
    *,
    step_ns: int,
    targets_s: Mapping[str, float],
) -> list[tuple[int, Summary]]:
    """When each step begins, in Unix nanoseconds, and what ended in it; by time, then by name.

    Steps begin at whole multiples of their length, in UTC; in one that is missing nothing ended.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        parts: defaultdict[int, list[Row]] = defaultdict(list)
        for row in small_answers.chosen(store, selection):
            parts[row.end_ns // step_ns * step_ns].append(row)
        targets_ns = {name: spans.whole_ns(target_s) for name, target_s in targets_s.items()}
        return [
            (start_ns, spans.summary(row, targets_s))
            for start_ns in sorted(parts)
            for row in small_answers.of_rows(parts[start_ns], targets_ns)
        ]
    sql, values = views.chosen(store, selection)
    asked = {
        **values,
        "step_ns": step_ns,
        "operations": list(targets_s),
        "targets_ns": [spans.whole_ns(target_s) for target_s in targets_s.values()],
    }
    rows = store.query(_ASKED.format(chosen=sql), asked)
    return [(start_ns, spans.summary(row, targets_s)) for start_ns, *row in rows]
