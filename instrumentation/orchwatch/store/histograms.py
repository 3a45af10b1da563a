"""Durations as Prometheus counts them: by service, operation and outcome, under each edge."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.store import small_answers, views
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection

_ASKED = """
SELECT service, operation, status, error_type, {bucket} AS bucket, count(*),
    sum(duration_ns)::HUGEINT
FROM ({chosen}) GROUP BY ALL
"""


class Histogram(NamedTuple):
    """The durations of an operation that ended in the same way.

    Attributes:
        service: Which recorded it; None where unknown.
        operation: Its name.
        status: OTLP's code.
        error_type: None where it has not failed.
        number: How many.
        sum_ns: How long all of them took together.
        within: By edge, how many took at most so long.
    """

    service: str | None
    operation: str
    status: int
    error_type: str | None
    number: int
    sum_ns: int
    within: tuple[int, ...]


def read(
    store: Store | SmallStore, selection: Selection, edges_ns: Sequence[int]
) -> list[Histogram]:
    """Of all that a selection is about, by service, operation and outcome.

    Args:
        store: What is asked.
        selection: A window and filters.
        edges_ns: Ascending.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        counted: Iterable[tuple[Any, ...]] = (
            (
                *(row.service, row.operation or "", row.status, row.error_type),
                *(bisect_left(edges_ns, row.duration_ns), 1, row.duration_ns),
            )
            for row in small_answers.chosen(store, selection)
        )
    else:
        sql, values = views.chosen(store, selection)
        bucket = _bucket(edges_ns, 0, len(edges_ns))
        counted = store.query(_ASKED.format(chosen=sql, bucket=bucket), values)
    return sorted(_of_buckets(counted, len(edges_ns)), key=_order)


def _bucket(edges_ns: Sequence[int], low: int, high: int) -> str:
    """The first edge that holds a duration, in SQL, by halves: a filter for each takes longer."""
    if low == high:
        return str(low)
    middle = (low + high) // 2
    return (
        f"CASE WHEN duration_ns <= {int(edges_ns[middle])}"
        f" THEN {_bucket(edges_ns, low, middle)} ELSE {_bucket(edges_ns, middle + 1, high)} END"
    )


def _of_buckets(rows: Iterable[tuple[Any, ...]], edges: int) -> list[Histogram]:
    counts: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * (edges + 1))
    sums: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    for *key, bucket, number, sum_ns in rows:
        counts[tuple(key)][bucket] += number
        sums[tuple(key)] += int(sum_ns)
    return [
        Histogram._make((*key, sum(own), sums[key], tuple(accumulate(own[:-1]))))
        for key, own in counts.items()
    ]


def _order(one: Histogram) -> tuple[str, str, int, str]:
    return one.service or "", one.operation, one.status, one.error_type or ""
