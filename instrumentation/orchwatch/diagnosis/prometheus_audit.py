"""The operations that were emitted here against those that Prometheus has counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch.diagnosis import prometheus, servers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchwatch.store.database import Store

# span_metrics' metrics_flush_interval in collector/config.yaml: a Collector that is killed forgets
# what it counted since.
FLUSH_INTERVAL_S = 2.0
# An operation that ended this long before a flush may have been read only after it: the receivers'
# poll_interval there is a fifth of that, and the machine may be busy.
_READ_WITHIN_S = 1.0

_NS_PER_S = 1_000_000_000

_COUNTED = """
SELECT operation, count(*), count(*) FILTER (end_ns >= $pending_ns), min(end_ns)
FROM operations WHERE operation = coalesce($only, operation) AND end_ns >= $since_ns
GROUP BY operation
"""
_HELD_AT_RESTARTS = """
SELECT operation, count(*) FROM operations
WHERE operation IS NOT NULL AND end_ns >= $since_ns AND EXISTS (
    FROM (SELECT unnest($flushes_ns::BIGINT[]) AS flush_ns)
    WHERE end_ns > flush_ns - $before_ns AND end_ns <= flush_ns + $after_ns
) GROUP BY operation
"""


@dataclass(frozen=True, kw_only=True)
class InPrometheus:
    """The operations that Prometheus should have counted.

    Attributes:
        since_ns: Ended then or later; earlier than asked for where the window's edge cut through.
        expected: How many; the sum of those found, pending and uncounted.
        found: How many of them it counted.
        pending: How many it has not counted yet, too young to count as missing.
        uncounted: By operation, how many are missed although they are not too young.
        forgotten: By operation, how many of the uncounted a restart of the Collector can explain:
            those that ended shortly before it last sent its counts, or a flush interval after.
        surplus: By operation, how many were counted and not emitted here.
        restarts: How often the Collector restarted its counters.
    """

    since_ns: int
    expected: int
    found: int
    pending: int
    uncounted: Mapping[str, int]
    forgotten: Mapping[str, int]
    surplus: Mapping[str, int]
    restarts: int

    @property
    def unexplained(self) -> int:
        """How many are missed and no restart explains."""
        return sum(self.uncounted.values()) - sum(self.forgotten.values())


def examine(
    store: Store, url: str, *, since_ns: int, now_ns: int, operation: str | None = None
) -> InPrometheus:
    """Compares within the window; where that does not fit, from the first operation on.

    An operation that ended before the window may be counted in it, and the other way round, so only
    the whole can be compared exactly.

    Args:
        store: What was emitted.
        url: The root of Prometheus's HTTP interface.
        since_ns: Only what ended at this Unix time in nanoseconds or later.
        now_ns: When Prometheus is asked.
        operation: Only this one; None for all.

    Raises:
        OrchwatchError: Prometheus cannot be reached or is something else, or the store cannot be
            read.
    """
    found = _compare(store, url, since_ns, now_ns, operation)
    if since_ns and (found.uncounted or found.surplus):
        found = _compare(store, url, 0, now_ns, operation)
    return found


def _compare(
    store: Store, url: str, since_ns: int, now_ns: int, operation: str | None
) -> InPrometheus:
    young_ns = now_ns - int(servers.VISIBLE_AFTER_S * _NS_PER_S)
    asked = {"since_ns": since_ns, "pending_ns": young_ns, "only": operation}
    rows = store.query(_COUNTED, asked)
    first_ns = min((first_ns for *_, first_ns in rows), default=now_ns)
    begin_ns = since_ns or first_ns - _NS_PER_S
    counted = prometheus.counted(url, since_s=begin_ns / _NS_PER_S, until_s=now_ns / _NS_PER_S)
    expected = {name: count for name, count, *_ in rows}
    young = {name: number for name, _, number, _ in rows}
    held = _held_at_restarts(store, counted.last_flushes_s, since_ns)
    pending: dict[str, int] = {}
    uncounted: dict[str, int] = {}
    surplus: dict[str, int] = {}
    for name in sorted(expected.keys() | counted.operations.keys()):
        if operation not in (None, name):
            continue
        lacking = expected.get(name, 0) - counted.operations.get(name, 0)
        if lacking < 0:
            surplus[name] = -lacking
            continue
        pending[name] = min(lacking, young.get(name, 0))
        if lacking > pending[name]:
            uncounted[name] = lacking - pending[name]
    of_all = sum(expected.values())
    return InPrometheus(
        since_ns=since_ns,
        expected=of_all,
        found=of_all - sum(pending.values()) - sum(uncounted.values()),
        pending=sum(pending.values()),
        uncounted=uncounted,
        forgotten={
            name: min(number, held[name]) for name, number in uncounted.items() if name in held
        },
        surplus=surplus,
        restarts=counted.restarts,
    )


def _held_at_restarts(store: Store, flushes_s: Iterable[float], since_ns: int) -> dict[str, int]:
    """By operation, how many ended while a Collector counted what it never sent."""
    return dict(
        store.query(
            _HELD_AT_RESTARTS,
            {
                "since_ns": since_ns,
                "flushes_ns": [int(flush_s * _NS_PER_S) for flush_s in flushes_s],
                "before_ns": int(_READ_WITHIN_S * _NS_PER_S),
                "after_ns": int(FLUSH_INTERVAL_S * _NS_PER_S),
            },
        )
    )
