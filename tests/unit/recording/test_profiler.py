from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import Profiler, operation
from orchwatch.cli.main import main
from orchwatch.recording import profiler as module
from orchwatch.recording.operation import MAX_EVENTS
from orchwatch.store import small, spans
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MS = 1_000_000


def test_a_trace_is_an_operation_with_its_events(
    home: Path, named: Callable[[str], dict[str, Any]]
) -> None:
    assert home
    profiler = Profiler()
    profiler.start_trace("job-7", "state.persist")
    profiler.add_event("job-7", "encoded", {"bytes": 512})
    profiler.add_event("job-7", "written")
    trace = profiler.end_trace("job-7")
    assert trace is not None
    span = named("state.persist")
    assert (trace["name"], trace["trace_id"]) == ("state.persist", span["traceId"])
    length_ns = int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])
    assert 0 < trace["duration_ms"] * MS <= length_ns
    assert [event["name"] for event in span["events"]] == ["encoded", "written"]
    assert span["events"][0]["attributes"] == [{"key": "bytes", "value": {"intValue": "512"}}]
    times = [int(event["timeUnixNano"]) for event in span["events"]]
    assert int(span["startTimeUnixNano"]) <= times[0] <= times[1] <= int(span["endTimeUnixNano"])
    assert trace["events"][0]["data"] == {"bytes": 512}


@pytest.mark.usefixtures("home")
def test_the_flame_graph_has_real_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ns = [10 * MS]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: clock_ns[0])
    profiler = Profiler()
    profiler.start_trace("a", "state.query")
    for name, passed_ms, data in (
        ("read", 1, None),
        ("parse", 3, {"duration_ms": 9}),
        ("find", 4, None),
    ):
        clock_ns[0] += passed_ms * MS
        profiler.add_event("a", name, data)
    clock_ns[0] += 2 * MS
    profiler.end_trace("a")
    (frame,) = profiler.generate_flame_graph_data()["flame_graph"]
    assert (frame["name"], frame["duration"]) == ("state.query", 10.0)
    durations = {child["name"]: child["duration"] for child in frame["children"]}
    assert durations == pytest.approx({"read": 3.0, "parse": 9.0, "find": 2.0}, abs=1e-3)


@pytest.mark.usefixtures("home")
def test_ids_that_are_unknown_and_used_twice_do_no_harm(
    flat_spans: Callable[[], list[dict[str, Any]]],
) -> None:
    profiler = Profiler()
    profiler.add_event("none", "x")
    assert profiler.end_trace("none") is None
    profiler.start_trace("a", "first")
    profiler.start_trace("a", "second")
    profiler.end_trace("a", ValueError())
    assert [(span["name"], span["failed"]) for span in flat_spans()] == [
        ("first", False), ("second", True)
    ]  # fmt: skip
    frames = profiler.generate_flame_graph_data()["flame_graph"]
    assert [frame["name"] for frame in frames] == ["first", "second"]


@pytest.mark.usefixtures("home")
def test_only_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COMPLETED", 3)
    profiler = Profiler()
    for number in range(5):
        profiler.start_trace("a", f"op.{number}")
        profiler.end_trace("a")
    frames = profiler.generate_flame_graph_data()["flame_graph"]
    assert [frame["name"] for frame in frames] == ["op.2", "op.3", "op.4"]


def test_a_trace_shows_events_from_either_store(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with operation("agent.task") as task:
        for _ in range(3):
            task.add_event("cache.miss", {"key": "a"})
        task.add_event("\x1b[2Jodd", {"list": ["a", "b"]})
        with operation("state.query"):
            pass
    read = small.read(home)
    assert read is not None
    with Store(home) as store:
        by_duckdb, by_python = (spans.trace(one, task.trace_id) for one in (store, read))
    assert by_duckdb == by_python
    events = by_python[0].events
    assert [event.name for event in events] == ["cache.miss"] * 3 + ["\x1b[2Jodd"]
    assert events[0].attributes == {"key": "a"}
    assert events[3].attributes == {"list": ["a", "b"]}
    assert by_python[1].events == ()
    capsys.readouterr()
    assert main(["trace"]) == 0
    text = capsys.readouterr().out
    assert "· cache.miss" in text
    assert "· \\x1b[2Jodd" in text
    assert [line.split()[-1] for line in text.splitlines() if "cache.miss" in line] == ["3"]


def test_of_too_many_the_first_are_kept_and_the_rest_counted(home: Path) -> None:
    with operation("state.query") as op:
        for number in range(MAX_EVENTS + 7):
            op.add_event(f"e{number}")
    read = small.read(home)
    assert read is not None
    (span,) = spans.trace(read, op.trace_id)
    assert [event.name for event in span.events] == [f"e{number}" for number in range(MAX_EVENTS)]
    assert span.attributes["orchestration.events.dropped"] == 7


@pytest.mark.usefixtures("home")
def test_what_is_no_event_costs_its_host_nothing(lost: Callable[[], dict[str, int]]) -> None:
    op = operation("state.query")
    op.add_event("before the start")
    with op:
        op.add_event(5)  # type: ignore[arg-type]
        op.add_event("x", 5)  # type: ignore[arg-type]
        op.add_event("x", {"a": object()})  # type: ignore[dict-item]
    assert lost() == {"bad_attribute": 3, "bad_name": 1}


@pytest.mark.parametrize(
    "events",
    [
        '"x"',
        "5",
        "[5]",
        '[{"name":"x"}]',
        '[{"timeUnixNano":"x","name":"x"}]',
        "[" * 5000 + "]" * 5000,
    ],
)
def test_malformed_events_are_left_out(home: Path, record: Any, events: str) -> None:
    record("state.query", trace_id="ab" * 16, more=f',"events":{events}')
    with Store(home) as store:
        assert [span.events for span in spans.trace(store, "ab" * 16)] in ([()], [])


@pytest.mark.parametrize("how", ["", "orchwatch.configure()"])
def test_the_sdk_records_the_same_events(
    run_python: Callable[..., str], named: Callable[[str], dict[str, Any]], how: str
) -> None:
    run_python(
        f"""
        import orchwatch
        {how}
        with orchwatch.operation("state.query") as op:
            op.add_event("cache.miss", {{"key": "a", "number": 3}})
        """
    )
    span = named("state.query")
    (event,) = span["events"]
    assert (event["name"], event["attributes"]) == (
        "cache.miss",
        [
            {"key": "key", "value": {"stringValue": "a"}},
            {"key": "number", "value": {"intValue": "3"}},
        ],
    )
    start, at, end = (
        int(text)
        for text in (span["startTimeUnixNano"], event["timeUnixNano"], span["endTimeUnixNano"])
    )
    assert start <= at <= end
