from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import event_stream
from orchwatch.analysis.alert_events import ALERTMANAGER, AlertEvent
from orchwatch.analysis.event_stream import EventStream
from orchwatch.recording import spool
from orchwatch.store.database import Store
from orchwatch.targets import target_table
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.conftest import Record

TABLE = target_table.load(Config())
ROW = TABLE.operations["state.query"]
WARNING_NS = round(ROW.warning_s * 1e9)
NOW_NS = time.time_ns()


@pytest.fixture
def stream(home: Path) -> Iterator[EventStream]:
    with Store(home) as store:
        yield EventStream(home, store, TABLE)


def tell(name: str, time_ns: int, **more: object) -> None:
    event = AlertEvent(
        name=name,
        state="firing",
        severity="critical",
        summary="",
        start_ns=time_ns,
        fingerprint=name,
        evaluator=ALERTMANAGER,
        **more,  # type: ignore[arg-type]  # a test's own words
    )
    assert spool.append(spool.EVENTS, event.encode(time_ns).encode())


def test_an_empty_home_has_no_events(stream: EventStream) -> None:
    assert list(stream.past(0)) == []
    assert stream.news() == []


def test_failures_and_operations_beyond_their_warning_are_events(
    stream: EventStream, record: Record
) -> None:
    record(duration_ns=WARNING_NS, end_ns=NOW_NS - 5)
    record(
        duration_ns=WARNING_NS + 1,
        end_ns=NOW_NS - 4,
        attributes={"session.id": "s1", "gen_ai.agent.name": "worker-3"},
        trace_id="ab" * 16,
    )
    record(failed=True, end_ns=NOW_NS - 3)
    record("other", duration_ns=10**12, end_ns=NOW_NS - 2)
    record("other", failed=True, end_ns=NOW_NS - 1)
    slow, failed, other = stream.past(0)
    assert (slow.kind, slow.severity, slow.value) == ("slow", "warning", (WARNING_NS + 1) / 1e9)
    assert (slow.target, slow.unit) == (ROW.target_s, "s")
    assert (slow.agent, slow.session_id, slow.trace_id) == ("worker-3", "s1", "ab" * 16)
    assert (failed.kind, failed.severity, failed.error_type) == ("failure", "error", "TimeoutError")
    assert (other.name, other.target) == ("other", None)


def test_all_come_oldest_first_from_the_moment_asked_for(
    stream: EventStream, record: Record
) -> None:
    for seconds in (9, 3, 7, 1):
        record(failed=True, end_ns=NOW_NS - seconds * 10**9)
        tell(f"A{seconds}", NOW_NS - seconds * 10**9 - 1)
    found = list(stream.past(NOW_NS - 8 * 10**9))
    assert [event.name for event in found] == [
        "A7", "state.query", "A3", "state.query", "A1", "state.query",
    ]  # fmt: skip


def test_a_span_in_two_families_happened_once_and_imported_history_not_now(
    stream: EventStream, record: Record
) -> None:
    for family in (spool.OPERATIONS, spool.UNDELIVERED):
        record(failed=True, family=family, trace_id="ab" * 16, span_id="cd" * 8)
    record(failed=True, family=spool.HISTORY)
    assert len(list(stream.past(0))) == 1


def test_many_are_fetched_piece_by_piece(
    stream: EventStream, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "_PAGE", 3)
    for number in range(8):
        record(failed=True, end_ns=NOW_NS - number // 4)
    assert len({event.trace_id for event in stream.past(0)}) == len(list(stream.past(0))) + 8


def test_news_come_once_whatever_their_order(stream: EventStream, record: Record) -> None:
    record(failed=True)
    tell("Before", NOW_NS)
    assert len(list(stream.past(0))) == 2
    assert stream.news() == []
    record(failed=True, end_ns=NOW_NS - 60 * 10**9)
    tell("After", NOW_NS - 10**9)
    assert [event.name for event in stream.news()] == ["state.query", "After"]
    assert stream.news() == []


def test_news_go_on_over_rotation_and_compaction(
    stream: EventStream, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "1")
    told = list(stream.past(0))
    for number in range(6):
        record(failed=True)
        tell(f"A{number}", NOW_NS)
        told += stream.news()
    assert len(told) == 12


def test_a_half_written_line_is_left_out(stream: EventStream, home: Path) -> None:
    tell("Whole", NOW_NS)
    tell("Half", NOW_NS)
    segment = home / "spool" / "events-000001.jsonl"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-30])
    assert [event.name for event in stream.past(0)] == ["Whole"]
    segment.write_bytes(whole)
    assert [event.name for event in stream.news()] == ["Half"]
    segment.write_bytes(whole + whole[:-30])
    spool._spools[spool.EVENTS].close()
    tell("Next", NOW_NS)
    assert [event.name for event in stream.news()] == ["Whole", "Next"]


def test_a_thresholds_value_stands_beside_its_target(stream: EventStream) -> None:
    level = next(iter(TABLE.levels.values()))
    tell("A", NOW_NS, kind="threshold", target="state.query", value=0.08)
    tell("B", NOW_NS, kind="threshold", target=level.id, value=0.9)
    tell("C", NOW_NS, kind="burn", target="state.query", value=0.68)
    found = [(event.value, event.target, event.unit) for event in stream.past(0)]
    assert found == [(0.08, ROW.target_s, "s"), (0.9, level.target, level.unit), (0.68, None, None)]
