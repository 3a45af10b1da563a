"""Times of call paths through the real spool, over several processes, against `orchwatch flame`."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import semconv
from orchwatch.analysis import flame_query
from orchwatch.monitor import call_times, call_traces
from orchwatch.monitor.call_paths import MAX_PATHS
from orchwatch.monitor.call_times import CallTimes
from orchwatch.monitor.intake import Intake
from orchwatch.monitor.window import Window
from orchwatch.recording import spool
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection
from orchwatch.targets import target_table

# Operations of anybody's.
pytestmark = pytest.mark.own_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Record

S = 1_000_000_000
TABLE = target_table.load()
SERVICE = "orchestration"  # as `record` writes it


class Process:
    """What a monitor process knows of call paths."""

    def __init__(self, home: Path) -> None:
        self.window = Window(TABLE, 3600 * S)
        self.window.move_on(time.time_ns())
        self.times = CallTimes(home)
        self.intake = Intake(home, self.window, self.times)

    def read(self) -> None:
        """Takes in all that is in the spool."""
        deadline = time.monotonic() + 120
        while not self.intake.is_complete:
            self._step(deadline)
        self.intake._look_at_s = 0.0
        while not self.intake._look_at_s:
            self._step(deadline)

    def _step(self, deadline: float) -> None:
        assert time.monotonic() < deadline
        self.intake.step(time.monotonic())
        time.sleep(0.01)

    def end(self) -> None:
        """As a signal ends it."""
        self.intake.close()
        self.times.export(time.time_ns())

    def kill(self) -> None:
        """Without a word more."""
        self.intake.close()


def turn(record: Record, trace: int, *, ended: bool = True, tools: int = 2) -> None:
    """A turn of ten seconds that called a tool each second for half of it; it ends last."""
    now_ns = time.time_ns()
    own: dict[str, Any] = {"trace_id": f"{trace:032x}"}
    for tool in range(tools):
        record(
            semconv.TOOL_EXECUTE,
            duration_ns=S // 2,
            end_ns=now_ns - (8 - tool) * S,
            span_id=f"{tool + 2:016x}",
            parent_span_id=f"{1:016x}",
            name=f"{semconv.EXECUTE_TOOL} Bash",
            **own,
        )
    if ended:
        record(semconv.AGENT_TURN, duration_ns=10 * S, end_ns=now_ns, span_id=f"{1:016x}", **own)


def counters(lines: Callable[[str], Any]) -> list[dict[str, float]]:
    """Seconds of each path's own that each line of the spool's metrics tells."""
    parsed, _ = lines("metrics")
    found = []
    for line in parsed:
        for resource in line.get("resourceMetrics", ()):
            (scope,) = resource["scopeMetrics"]
            own, _ = scope["metrics"]
            assert own["name"] == semconv.CALL_SELF_TIME
            found.append(
                {
                    _attributes(point)[semconv.CALL_PATH]: point["asDouble"]
                    for point in own["sum"]["dataPoints"]
                }
            )
    return found


def _attributes(point: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in point["attributes"]}


def own_s(times: CallTimes) -> dict[str, float]:
    return {one.text: one.told_ns / S for one in times._paths.told() if one.told_ns}


def flame_s(home: Path) -> dict[str, float]:
    """What `orchwatch flame` says of all that is stored."""
    with Store(home) as store:
        graph = flame_query.merged(store, Selection())
    found: Counter[str] = Counter()
    paths: list[str] = []
    for frame in graph.frames:
        paths.append(frame.name if frame.parent is None else f"{paths[frame.parent]};{frame.name}")
        found[paths[-1]] += frame.self_ns
    return {path: ns / S for path, ns in found.items() if ns}


def test_each_line_of_the_spool_counts_once_whatever_ends_the_process(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")  # so that most of it is compacted
    turn(record, 1)
    first = Process(home)
    first.read()
    turn(record, 2, ended=False)
    first.read()
    first.end()
    expected = {"agent.turn": 9.0, "agent.turn;Bash": 1.0}
    assert own_s(first.times) == expected
    # What nobody saw happen, and the end of what waited.
    record(
        semconv.AGENT_TURN,
        duration_ns=10 * S,
        end_ns=time.time_ns(),
        trace_id=f"{2:032x}",
        span_id=f"{1:016x}",
    )
    turn(record, 3)
    second = Process(home)
    second.read()
    second.times.export(time.time_ns())
    expected = {"agent.turn": 27.0, "agent.turn;Bash": 3.0}
    assert own_s(second.times) == expected
    turn(record, 4)
    second.read()
    second.kill()
    third = Process(home)
    third.read()
    third.end()
    assert own_s(third.times) == flame_s(home) == {"agent.turn": 36.0, "agent.turn;Bash": 4.0}


def test_what_was_told_is_told_again_by_the_next_process_before_anything_is_added(
    home: Path, record: Record, lines: Callable[[str], Any]
) -> None:
    turn(record, 1)
    first = Process(home)
    first.read()
    first.kill()
    assert counters(lines) == []
    second = Process(home)
    second.read()
    second.end()
    told = {"all": 0.0, "agent.turn": 9.0, "agent.turn;Bash": 1.0}
    assert counters(lines) == [told]
    third = Process(home)
    assert counters(lines) == [told, told]
    turn(record, 2)
    third.read()
    third.end()
    assert counters(lines)[2:] == [{"all": 0.0, "agent.turn": 18.0, "agent.turn;Bash": 2.0}]


def test_a_counter_is_a_sum_since_its_path_was_called_first(
    home: Path, record: Record, lines: Callable[[str], Any]
) -> None:
    turn(record, 1)
    started_ns = time.time_ns()
    process = Process(home)
    process.read()
    process.end()
    parsed, _ = lines("metrics")
    (resource,) = parsed[-1]["resourceMetrics"]
    assert _attributes(resource["resource"]) == {semconv.SERVICE_NAME: SERVICE}
    own, total = resource["scopeMetrics"][0]["metrics"]
    assert (own["name"], total["name"]) == (semconv.CALL_SELF_TIME, semconv.CALL_TIME)
    for metric in (own, total):
        assert metric["unit"] == "s"
        assert metric["sum"]["aggregationTemporality"] == 2
        assert metric["sum"]["isMonotonic"] is True
        for point in metric["sum"]["dataPoints"]:
            # Prometheus has milliseconds, and 0 then if it is before.
            start_ns, at_ns = int(point["startTimeUnixNano"]), int(point["timeUnixNano"])
            assert started_ns - 2 * S < start_ns <= at_ns - S
    levels = {
        _attributes(one)[semconv.CALL_PATH]: (_attributes(one)[semconv.CALL_LEVEL], one["asDouble"])
        for one in total["sum"]["dataPoints"]
    }
    assert levels == {"all": ("0", 10), "agent.turn": ("1", 10), "agent.turn;Bash": ("2", 1)}


def test_only_what_has_changed_is_told_and_all_of_it_now_and_then(
    home: Path, record: Record, lines: Callable[[str], Any]
) -> None:
    turn(record, 1)
    process = Process(home)
    process.read()
    now_ns = time.time_ns()
    process.times.export(now_ns)
    process.times.export(now_ns + 60 * S)
    assert len(counters(lines)) == 1
    record("state.query", duration_ns=S, end_ns=time.time_ns())
    process.read()
    process.times.export(now_ns + 120 * S)
    assert counters(lines)[1:] == [{"all": 0.0, "state.query": 1.0}]
    process.times.export(now_ns + call_times._REPEAT_NS)
    assert len(counters(lines)[2]) == 2
    process.kill()


def test_what_they_take_of_the_disk_is_bounded(
    home: Path, record: Record, lines: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_times, "BYTES_A_DAY", 50_000)
    process = Process(home)
    started_ns = time.time_ns()
    for minute in range(1000):
        record("state.query", duration_ns=S, end_ns=time.time_ns())
        if not minute % 100:
            process.read()
        process.times._traces.count(time.monotonic(), time.time_ns(), quiet_s=0)
        for path in process.times._paths.told():
            path.self_ns += S  # as if it were called all the time
        process.times.export(started_ns + minute * 60 * S)
    process.kill()
    segments = (home / "spool").glob("metrics-*.jsonl")
    written = sum(path.stat().st_size for path in segments)
    # What was saved up, and the share of 1,000 minutes; the last line may go beyond.
    assert 40_000 < written < 50_000 * (1 + 1000 / 1440) + 2_000
    assert len(counters(lines)) < 900


def test_what_is_counted_as_it_is_told_is_stored(
    home: Path, record: Record, lines: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that never came is given up between two looks."""
    record("state.query", duration_ns=S, end_ns=time.time_ns(), parent_span_id="e" * 16)
    process = Process(home)
    process.read()
    process.times.export(time.time_ns())
    later_s = time.monotonic() + call_traces.WAIT_S
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: later_s)
        process.times.export(time.time_ns())
    process.kill()
    told = [{"all": 0.0, "state.query": 1.0}]
    assert counters(lines) == told
    Process(home).kill()
    assert counters(lines) == 2 * told


def test_what_cannot_be_stored_is_not_told(
    home: Path, record: Record, lines: Callable[[str], Any]
) -> None:
    turn(record, 1)
    process = Process(home)
    process.read()
    (home / "monitor").mkdir(exist_ok=True)
    (home / "monitor" / "call-paths.json").mkdir()
    with pytest.raises(OSError, match="call-paths"):
        process.times.export(time.time_ns())
    assert counters(lines) == []
    (home / "monitor" / "call-paths.json").rmdir()
    process.times.export(time.time_ns())
    assert counters(lines)[0]["agent.turn;Bash"] == 1.0
    process.kill()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"\xff",
        lambda _: b"[]",
        lambda _: b"[" * 100_000,
        lambda saved: json.dumps({**saved, "version": 99}).encode(),
        lambda saved: json.dumps({**saved, "paths": [["s", 7, "a", "b", 1, 1, 1, 1, 1]]}).encode(),
        lambda saved: json.dumps({**saved, "paths": 3}).encode(),
        lambda saved: json.dumps({**saved, "waiting": [["one"]]}).encode(),
        lambda saved: json.dumps({**saved, "offsets": None}).encode(),
        lambda _: json.dumps({"version": 1}).encode(),
    ],
)
def test_of_a_damaged_file_it_begins_anew(
    home: Path, record: Record, damage: Callable[[Any], bytes]
) -> None:
    turn(record, 1)
    process = Process(home)
    process.read()
    process.end()
    path = home / "monitor" / "call-paths.json"
    path.write_bytes(damage(json.loads(path.read_text())))
    process = Process(home)
    process.read()
    process.end()
    assert own_s(process.times) == {"agent.turn": 9.0, "agent.turn;Bash": 1.0}


def test_made_up_names_fill_neither_prometheus_nor_the_disk(
    home: Path, record: Record, lines: Callable[[str], Any]
) -> None:
    for number in range(2 * MAX_PATHS):
        record(f"made.up.{number}", duration_ns=S, end_ns=time.time_ns())
    process = Process(home)
    process.read()
    process.end()
    (told,) = counters(lines)
    assert len(told) == MAX_PATHS + 2
    assert told["other paths"] == MAX_PATHS
    assert (home / "monitor" / "call-paths.json").stat().st_size < 100_000


def test_spans_that_are_no_operations_and_those_sent_otherwise(home: Path, record: Record) -> None:
    trace: dict[str, Any] = {"trace_id": "a" * 32, "end_ns": time.time_ns()}
    record(None, name="GET /", duration_ns=4 * S, span_id="b" * 16, **trace)
    record("state.query", duration_ns=S, span_id="c" * 16, parent_span_id="b" * 16, **trace)
    # Its sender has counted it, and it is not here that it happened.
    record("state.query", duration_ns=S, end_ns=time.time_ns(), family=spool.UNDELIVERED)
    record("state.query", duration_ns=S, end_ns=time.time_ns(), family=spool.HISTORY)
    process = Process(home)
    process.read()
    process.end()
    assert own_s(process.times) == {"GET /": 3.0, "GET /;state.query": 1.0}
