"""What was emitted here against what Tempo and Prometheus hold, and why the two differ."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchwatch.diagnosis import prometheus_audit, servers, tempo
from orchwatch.recording import losses, spool
from orchwatch.store.selection import ALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchwatch.diagnosis.prometheus_audit import InPrometheus
    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection

# What ended this recently may still be on its way.
VISIBLE_AFTER_S = servers.VISIBLE_AFTER_S

_NS_PER_S = 1_000_000_000
_TRACES_PER_BATCH = 2000
_MAX_RANGE_S = 3600

_AUDITED = """
CREATE OR REPLACE TEMP TABLE audited AS
SELECT *, min(start_s) OVER (PARTITION BY trace_id) AS trace_start_s FROM (
    SELECT trace_id, span_id, max(end_ns) AS end_ns,
        min(end_ns - duration_ns) // 1_000_000_000 AS start_s
    FROM span WHERE {where} GROUP BY trace_id, span_id
) ORDER BY trace_start_s
"""
_EMITTED = """
SELECT family, count(DISTINCT (trace_id, span_id)) FROM span WHERE {where} GROUP BY family
"""
_STARTS = """
SELECT trace_start_s, count(DISTINCT trace_id) FROM audited GROUP BY ALL ORDER BY trace_start_s
"""
_TRACES = """
SELECT replace(trace_id::VARCHAR, '-', ''), list(printf('%016x', span_id)) FROM audited
WHERE trace_start_s >= $start_s AND trace_start_s < $end_s GROUP BY trace_id
"""
_GONE = """
CREATE OR REPLACE TEMP TABLE gone AS
SELECT unnest($trace_ids::VARCHAR[])::UUID AS trace_id,
    ('0x' || unnest($span_ids::VARCHAR[]))::UBIGINT AS span_id
"""
# A span that was sent again, or imported, was written after it ended: its segment shows that.
_MISSING = """
SELECT replace(trace_id::VARCHAR, '-', ''), printf('%016x', span_id), end_ns
FROM audited SEMI JOIN gone USING (trace_id, span_id) ANTI JOIN (
    FROM spool WHERE list_contains($young::VARCHAR[], segment)
) USING (trace_id, span_id)
WHERE end_ns < $young_ns ORDER BY end_ns
"""
_NEWEST = "SELECT max(end_ns) FROM audited ANTI JOIN gone USING (trace_id, span_id)"
_EARLIER = """
SELECT count(DISTINCT (trace_id, span_id)) FROM span WHERE {where} AND end_ns < $before_ns
"""


SpanId = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class InTempo:
    """The spans that Tempo should hold, each counted once.

    Attributes:
        expected: How many; the sum of all that follow.
        found: How many it holds.
        pending: How many it does not hold yet, too young to count as missing.
        lost: Trace and span ids, hexadecimal, of those that ended before one that it holds: it
            had them and was killed before they were on disk.
        undelivered: Likewise of the other missing ones: nothing that ended later has arrived
            either.
    """

    expected: int
    found: int
    pending: int
    lost: tuple[SpanId, ...]
    undelivered: tuple[SpanId, ...]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result of an audit.

    Attributes:
        emitted: Spans by family that ended in the window, each once.
        earlier: How many ended before the window.
        dropped: Losses since the ledger was created, by reason.
        unreadable: Unreadable lines and spans of the spool.
        tempo: Spans in Tempo.
        prometheus: Operations in Prometheus; None where the selection asks for what its counters do
            not distinguish.
    """

    emitted: Mapping[str, int]
    earlier: int
    dropped: Mapping[str, int]
    unreadable: int
    tempo: InTempo
    prometheus: InPrometheus | None

    @property
    def counting_is_explained(self) -> bool:
        """Whether all differences from what Prometheus counted have known reasons.

        A Collector that was killed forgets what it had counted since its last flush, and no more.
        Lines that the spool's budget dropped may be missing on either side.
        """
        if self.prometheus is None:
            return True
        dropped = self.dropped.get("budget_dropped", 0)
        surplus = sum(self.prometheus.surplus.values())
        return self.prometheus.unexplained <= dropped and surplus <= dropped


def examine(
    store: Store,
    *,
    tempo_url: str,
    prometheus_url: str,
    selection: Selection = ALL,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Audit:
    """Asks both servers for everything that the store holds as emitted.

    Counters know an operation by its name, not by its session, agent or service, and what ended up
    to a moment in the past may have been counted later: Prometheus is not asked for these.

    Args:
        store: Of the home that is audited.
        tempo_url: The root of Tempo's HTTP interface.
        prometheus_url: The root of Prometheus's HTTP interface.
        selection: Only these spans; imported ones among them whether it says so or not.
        progress: Called with the number of spans asked for so far, and of all.

    Raises:
        OrchwatchError: A server cannot be reached or is something else, or the store cannot be
            read.
    """
    # What Prometheus had by now was emitted by now, and so is in the store once it has looked.
    now_ns = time.time_ns()
    store.refresh()
    where, values = _where(selection)
    emitted = dict(store.query(_EMITTED.format(where=where), values))
    counted = None
    if selection.until_ns is None and not replace(selection, operation=None).filters:
        counted = prometheus_audit.examine(
            store,
            prometheus_url,
            since_ns=selection.since_ns or 0,
            now_ns=now_ns,
            operation=selection.operation,
        )
    held = _in_tempo(store, tempo_url, selection, now_ns, progress)
    return Audit(
        emitted={family: emitted.get(family, 0) for family in spool.FAMILIES[:3]},
        earlier=_earlier(store, selection),
        dropped=losses.read(),
        unreadable=sum(store.unreadable().values()),
        tempo=held,
        prometheus=counted,
    )


def in_tempo(store: Store, tempo_url: str, *, selection: Selection = ALL) -> InTempo:
    """Asks Tempo alone; the arguments and errors are those of `examine`."""
    now_ns = time.time_ns()
    store.refresh()
    return _in_tempo(store, tempo_url, selection, now_ns, lambda _done, _all: None)


def _where(selection: Selection) -> tuple[str, dict[str, Any]]:
    """A condition in SQL, and its parameters; without an end, what is dated later counts, too."""
    where, values = selection.where(window=False)
    for column, sign in (("since_ns", ">="), ("until_ns", "<=")):
        moment = getattr(selection, column)
        if moment is not None:
            where += f" AND end_ns {sign} ${column}"
            values[column] = moment
    return where, values


def _earlier(store: Store, selection: Selection) -> int:
    """How many ended before the window."""
    if not selection.since_ns:
        return 0
    where, values = selection.where(window=False)
    asked = {**values, "before_ns": selection.since_ns}
    return int(store.query(_EARLIER.format(where=where), asked)[0][0])


def _in_tempo(
    store: Store,
    url: str,
    selection: Selection,
    now_ns: int,
    progress: Callable[[int, int], None],
) -> InTempo:
    where, values = _where(selection)
    store.query(_AUDITED.format(where=where), values)
    expected = int(store.query("SELECT count(*) FROM audited")[0][0])
    asked = 0
    gone: list[tuple[str, str]] = []
    for start_s, end_s in _ranges(store.query(_STARTS)):
        traces = dict(store.query(_TRACES, {"start_s": start_s, "end_s": end_s}))
        gone += tempo.missing(url, traces, start_s=start_s, end_s=end_s)
        asked += sum(map(len, traces.values()))
        progress(asked, expected)
    store.query(
        _GONE, {"trace_ids": [one for one, _ in gone], "span_ids": [one for _, one in gone]}
    )
    young_ns = now_ns - int(VISIBLE_AFTER_S * _NS_PER_S)
    young = store.live_since(young_ns, (spool.UNDELIVERED, spool.HISTORY))
    missing = store.query(_MISSING, {"young_ns": young_ns, "young": young})
    newest_ns = store.query(_NEWEST)[0][0] or 0
    return InTempo(
        expected=expected,
        found=expected - len(gone),
        pending=len(gone) - len(missing),
        lost=tuple((trace, span) for trace, span, end_ns in missing if end_ns < newest_ns),
        undelivered=tuple((trace, span) for trace, span, end_ns in missing if end_ns >= newest_ns),
    )


def _ranges(starts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges of whole seconds in which no more traces began than one search should list."""
    begin_s, end_s, traces = 0, 0, 0
    for start_s, number in starts:
        if traces and (traces + number > _TRACES_PER_BATCH or start_s - begin_s > _MAX_RANGE_S):
            yield begin_s, end_s
            traces = 0
        if not traces:
            begin_s = start_s
        end_s = start_s + 1
        traces += number
    if traces:
        yield begin_s, end_s
