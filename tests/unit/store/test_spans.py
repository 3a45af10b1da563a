from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from orchwatch.recording import spool
from orchwatch.store import spans
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

NOW_NS = 1_795_000_000_000_000_000
MS = 1_000_000


def summary(home: Path, since_ns: int = 0, target_s: float = 0.05) -> spans.Summary:
    with Store(home) as store:
        (found,) = spans.summaries(
            store, Selection(since_ns=since_ns), targets_s={"state.query": target_s}
        )
    return found


@pytest.mark.parametrize("number", [1, 2, 19, 20, 21, 99, 100, 101])
def test_percentiles_are_nearest_rank(home: Path, record: Record, number: int) -> None:
    durations_ns = [index * MS for index in range(1, number + 1)]
    random.Random(number).shuffle(durations_ns)
    for duration_ns in durations_ns:
        record(duration_ns=duration_ns)
    found = summary(home)
    for share, value_s in (
        (Fraction(1, 2), found.p50_s),
        (Fraction(95, 100), found.p95_s),
        (Fraction(99, 100), found.p99_s),
    ):
        rank = math.ceil(share * number)
        assert value_s == sorted(durations_ns)[rank - 1] / 1e9


def test_a_duration_equal_to_the_target_is_under_it_and_a_nanosecond_more_is_not(
    home: Path, record: Record
) -> None:
    for target_ms in (25, 50, 100, 150, 200, 300, 500, 1000, 5000):
        assert spans.whole_ns(target_ms / 1000) == target_ms * MS
    record(duration_ns=50 * MS - 1)
    record(duration_ns=50 * MS)
    record(duration_ns=50 * MS + 1)
    assert summary(home).under_target == 2


def test_failures_are_counted_with_the_rest_and_apart(home: Path, record: Record) -> None:
    for index in range(10):
        record(failed=index < 3)
    found = summary(home)
    assert (found.count, found.errors) == (10, 3)


def test_a_window_counts_what_ended_in_it(home: Path, record: Record) -> None:
    record(end_ns=NOW_NS - 1)
    record(end_ns=NOW_NS, duration_ns=10**12)
    record(end_ns=NOW_NS + 1)
    assert summary(home, since_ns=NOW_NS).count == 2
    with Store(home) as store:
        assert spans.outside(store, Selection(since_ns=NOW_NS)).earlier == 1


def test_a_clock_that_was_set_back_gives_a_duration_of_nothing(home: Path, record: Record) -> None:
    record(duration_ns=-5 * MS)
    assert summary(home).p99_s == 0


def test_only_spans_with_an_operation_name_are_counted(home: Path, record: Record) -> None:
    record()
    record(None)
    assert summary(home).count == 1


def test_what_could_not_be_delivered_happened_and_imported_history_did_not(
    home: Path, record: Record
) -> None:
    record()
    record(family=spool.UNDELIVERED)
    record(family=spool.HISTORY)
    assert summary(home).count == 2
    with Store(home) as store:
        assert spans.totals(store) == {"operations": 1, "undelivered": 1, "history": 1}


def test_a_span_that_was_sent_again_counts_once(home: Path, record: Record) -> None:
    ids = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    record(trace_id=ids["trace_id"], span_id=ids["span_id"])
    for _ in range(3):
        record(trace_id=ids["trace_id"], span_id=ids["span_id"], family=spool.UNDELIVERED)
    record(trace_id=ids["trace_id"], span_id="b7ad6b7169203332", family=spool.UNDELIVERED)
    record(trace_id=ids["trace_id"], span_id="b7ad6b7169203332", family=spool.UNDELIVERED)
    assert summary(home).count == 2
    with Store(home) as store:
        assert len(spans.trace(store, ids["trace_id"])) == 2


def test_an_operation_without_a_target_has_no_count_under_it(home: Path, record: Record) -> None:
    record("my.own")
    assert summary(home).under_target is None


def test_a_trace_is_found_by_its_id_and_ordered_by_start(home: Path, record: Record) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    record("state.persist", end_ns=NOW_NS, duration_ns=10 * MS, trace_id=trace_id)
    record("session.init", end_ns=NOW_NS, duration_ns=20 * MS, trace_id=trace_id)
    record("state.query")
    with Store(home) as store:
        found = [span.name for span in spans.trace(store, trace_id)]
        assert found == ["session.init", "state.persist"]
        assert spans.trace(store, "no id") == []
        assert spans.trace(store, "f" * 32) == []


def test_a_trace_is_whole_when_some_of_it_is_compacted(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    for _ in range(12):
        record(trace_id=trace_id)
    with Store(home) as store:
        assert list((home / "store").glob("*.parquet"))
        assert len(spans.trace(store, trace_id)) == 12
