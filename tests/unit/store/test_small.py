"""A small store's answers in Python are DuckDB's, to the last digit."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.analysis import hooks, kpis, listing
from orchwatch.analysis.event_stream import EventStream
from orchwatch.store import segments, small, spans
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

    from orchwatch.store.small import SmallStore

OPERATIONS = (
    "agent.turn", "agent.run", "agent.spawn", "agent.task", "tool.execute", "hook.process",
    "state.query", "message.deliver", "recovery.run", None,
)  # fmt: skip
FAMILIES = ("operations", "operations", "undelivered", "history")
SECOND_NS = 10**9
TARGETS_S = {"state.query": 0.05, "hook.process": 0.2}
TABLE = target_table.load()


def fill(record: Record, seed: int, count: int = 120) -> None:
    """Spans at random: of few sessions, agents and traces, some of them in two places."""
    draw = random.Random(seed)
    ids = [f"{draw.getrandbits(64) | 1:016x}" for _ in range(count)]
    for number, span_id in enumerate(ids):
        attributes: dict[str, Any] = {}
        if draw.random() < 0.8:
            attributes["session.id"] = draw.choice(["s1", "s2", "t-ä"])
        if draw.random() < 0.5:
            attributes["gen_ai.agent.name"] = draw.choice(["worker", "main", "compact"])
        if draw.random() < 0.3:
            attributes["gen_ai.agent.id"] = draw.choice(["a1", "a2"])
        attributes["n"] = number
        if draw.random() < 0.3:
            attributes["orchestration.hook.name"] = draw.choice(["check", 'a "b"'])
        if draw.random() < 0.2:
            attributes["orchestration.session.cost"] = draw.random()
            attributes["orchestration.session.models"] = ["m1", "m2"]
            attributes["orchestration.session.models.cost"] = [draw.random(), 1]
        end_ns = NOW_NS - draw.randrange(3000) * SECOND_NS
        operation = draw.choice(OPERATIONS)
        duration_ns = draw.choice([0, 50_000_000, draw.randrange(100 * SECOND_NS)])
        failed = draw.random() < 0.2
        trace_id = f"{draw.randrange(9) + 1:032x}"
        parent_span_id = draw.choice([*ids[: number + 1], ""])
        for family in sorted({draw.choice(FAMILIES), draw.choice(FAMILIES)}):
            record(
                operation,
                duration_ns=duration_ns,
                end_ns=end_ns,
                failed=failed,
                family=family,
                trace_id=trace_id,
                span_id=span_id,
                parent_span_id=parent_span_id,
                attributes=attributes,
                name="session.cost" if operation is None else None,
            )


def answers(home: Path, store: Store | SmallStore, selection: Selection) -> dict[str, Any]:
    since_ns = selection.since_ns
    return {
        "summaries": spans.summaries(store, selection, targets_s=TARGETS_S),
        "outside": spans.outside(store, selection),
        "latest_ns": spans.latest_before_ns(store, selection),
        "kpis": kpis.measure(store, now_ns=NOW_NS, since_ns=since_ns, selection=selection),
        "latest": spans.latest_trace_id(store, selection),
        "slowest": spans.slowest_trace_id(store, selection),
        "failed": spans.latest_failed_trace_id(store, selection),
        "ids": spans.trace_ids(store, "0000"),
        "groups": {
            kind: listing.groups(store, kind, selection, 5)
            for kind in ("session", "agent", "trace")
        },
        "values": {
            column: listing.values(store, selection, column)
            for column in ("session", "agent", "service", "operation")
        },
        "hooks": hooks.measure(store, selection),
        "events": list(EventStream(home, store, TABLE, selection).past(since_ns or 0)),
    }


@pytest.mark.any_python
@pytest.mark.parametrize("seed", range(6))
def test_both_give_the_same_answers_to_the_same_questions(
    home: Path, record: Record, seed: int
) -> None:
    fill(record, seed)
    in_python = small.read(home)
    assert in_python is not None
    draw = random.Random(seed)
    with Store(home) as store:
        for _ in range(8):
            selection = Selection(
                since_ns=draw.choice([None, NOW_NS - draw.randrange(3000) * SECOND_NS]),
                until_ns=draw.choice([None, NOW_NS - draw.randrange(500) * SECOND_NS]),
                session_id=draw.choice([None, None, "s1", "t-ä"]),
                agent=draw.choice([None, None, "worker", "a1"]),
                operation=draw.choice([None, None, None, "tool.execute"]),
                history=draw.random() < 0.5,
            )
            expected = answers(home, store, selection)
            assert answers(home, in_python, selection) == expected, selection


@pytest.mark.any_python
@pytest.mark.parametrize("seed", range(4))
def test_what_is_compacted_gives_the_same_key_figures(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "4096")
    # With and without islands, and some of each.
    bytes_a_span = [0, 10**6, 10**6, 80][seed]
    monkeypatch.setattr("orchwatch.store.archive._ISLAND_BYTES_A_SPAN", bytes_a_span)
    monkeypatch.setattr("orchwatch.store.database._PIECE_BYTES", 1)
    monkeypatch.setattr("orchwatch.store.database._SETTLED_NS", -(10**18))
    fill(record, seed)
    in_python = small.SmallStore(
        [
            row
            for segment in segments.find(home / "spool")
            for piece, _ in segments.read(segment, 0)
            for row in small._rows(piece, segment.family)
        ]
    )
    draw = random.Random(seed)
    with Store(home) as store:
        assert not store.query("FROM spool")
        assert len(list((home / "store").glob("operations-*.parquet"))) > 3
        for _ in range(12):
            selection = Selection(
                session_id=draw.choice([None, None, "s1"]),
                agent=draw.choice([None, None, "worker", "a1"]),
                operation=draw.choice([None, None, None, "tool.execute"]),
                history=draw.random() < 0.5,
            )
            window: dict[str, Any] = {
                "now_ns": NOW_NS - draw.choice([0, draw.randrange(1500) * SECOND_NS]),
                "since_ns": draw.choice([None, NOW_NS - (1500 + draw.randrange(9999)) * SECOND_NS]),
                "selection": selection,
            }
            assert kpis.measure(store, **window) == kpis.measure(in_python, **window), window


def test_a_trace_is_the_same_span_by_span(home: Path, record: Record) -> None:
    for number in range(5):
        record(
            trace_id="ab" * 16,
            span_id=f"{number + 1:016x}",
            parent_span_id=f"{number:016x}" if number else "",
            failed=number == 2,
            attributes={"gen_ai.agent.id": "a", "n": number, "list": ["x", "y"], "share": 0.5},
        )
    in_python = small.read(home)
    assert in_python is not None
    with Store(home) as store:
        assert spans.trace(in_python, "ab" * 16) == spans.trace(store, "ab" * 16)


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b'{"resourceMetrics":[]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"AB"}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[null]}]}]}',
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name"}]},"scopeSpans":[]}]}',
        b'{"resourceSpans":[],"x":"\\ud800"}',
        b'{"resourceSpans":[],"x":NaN}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_odd_is_left_to_duckdb(home: Path, record: Record, line: bytes) -> None:
    record()
    assert small.read(home) is not None
    with (home / "spool" / "operations-000001.jsonl").open("ab") as segment:
        segment.write(line + b"\n")
    assert small.read(home) is None


def test_what_is_large_or_to_be_compacted_or_was_is_left_to_duckdb(
    home: Path, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record()
    with monkeypatch.context() as patched:
        patched.setattr(small, "MAX_BYTES", 10)
        assert small.read(home) is None
    assert small.read(home) is not None
    # A copy, as this process has its own segment open.
    shutil.copytree(home, other := tmp_path / "other")
    assert small.read(other) is not None
    (other / "spool" / "operations-000002.jsonl").touch()
    assert small.read(other) is None
    Store(other).close()
    for segment in (other / "spool").glob("*.jsonl"):
        segment.unlink()
    assert small.read(other) is None


def test_both_leave_out_the_same_operation(home: Path, record: Record) -> None:
    fill(record, 1)
    in_python = small.read(home)
    assert in_python is not None
    selection = Selection(without="hook.process", history=True)
    with Store(home) as store:
        for ask in (spans.latest_trace_id, spans.slowest_trace_id, spans.latest_failed_trace_id):
            assert ask(store, selection) == ask(in_python, selection)
        by_duckdb, by_python = (
            listing.groups(one, "trace", selection, 100) for one in (store, in_python)
        )
    assert by_duckdb == by_python
    assert "hook.process" not in {group.name for group in by_python[0]}


@pytest.mark.parametrize("refreshes", ["after the window began", "before it", "alone"])
def test_no_refresh_of_a_dashboard_is_the_last_operation_unless_it_is_asked_for(
    home: Path, record: Record, refreshes: str
) -> None:
    hour_ns = 3600 * 10**9
    since_ns = time.time_ns() - hour_ns
    query_ns, refresh_ns = since_ns - 3 * hour_ns, since_ns - 2 * hour_ns
    if refreshes == "after the window began":
        refresh_ns = since_ns + hour_ns // 2
    if refreshes != "alone":
        record("state.query", end_ns=query_ns)
    record("dashboard.refresh", end_ns=refresh_ns)
    in_python = small.read(home)
    assert in_python is not None
    window = Selection(since_ns=since_ns, history=True)
    asked = replace(window, operation="dashboard.refresh")
    with Store(home) as store:
        for one in (store, in_python):
            expected = None if refreshes == "alone" else query_ns
            assert spans.latest_before_ns(one, window) == expected
            expected = None if refresh_ns > since_ns else refresh_ns
            assert spans.latest_before_ns(one, asked) == expected
