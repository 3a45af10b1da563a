from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import semconv
from orchwatch.runtime.event import Event, EventError
from orchwatch.runtime.event_state import EventState
from orchwatch.runtime.events import EventLog, MissedEventsError
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.state import StateError
from orchwatch.testing import capture

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchwatch.runtime.state_tree import Writer

    Start = Callable[..., subprocess.Popen[str]]
    Release = Callable[[list[subprocess.Popen[str]]], None]

LIMIT_S = 120.0
OPEN = """
import os, sys
from pathlib import Path
from orchwatch.runtime.event import Event
from orchwatch.runtime.event_state import EventState
from orchwatch.runtime.events import EventLog
from orchwatch.runtime.session_state import SessionStateManager

def done(state, event):
    state.increment(("done", event.source))
    state.set(("last", event.source), event.data["n"])

log = EventLog(Path(sys.argv[1]) / "events.sqlite3")
state = SessionStateManager(sys.argv[1], "s1")
events = EventState(log, state, {"task.done": done})
"""


def done(state: Writer, event: Event) -> None:
    state.increment(("done", event.source))
    state.set(("last", event.source), event.data["n"])


CHANGES = {"task.done": done}


def event(number: int, source: str = "a") -> Event:
    return Event("task.done", "s1", {"n": number}, source)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog(tmp_path / "events.sqlite3") as opened:
        yield opened


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SessionStateManager]:
    with SessionStateManager(tmp_path, "s1") as opened:
        yield opened


@pytest.fixture
def events(log: EventLog, state: SessionStateManager) -> EventState:
    return EventState(log, state, CHANGES)


def test_an_event_is_kept_and_changes_the_state(
    events: EventState, log: EventLog, state: SessionStateManager
) -> None:
    with capture() as captured:
        assert [events.process(event(n)) for n in range(3)] == [1, 2, 3]
    assert [one.name for one in captured.operations].count("event.process") == 3
    assert state.get("done") == {"a": 3}
    assert (events.position, log.last, state.status) == (3, 3, "active")
    events.verify()


def test_an_event_that_comes_again_is_processed_once(
    events: EventState, state: SessionStateManager
) -> None:
    first = event(0)
    assert events.process(first) == 1
    assert events.process(event(1)) == 2
    assert events.process(first) == 1
    assert state.get("done.a") == 2


def test_what_only_the_log_has_is_made_up_for_before_the_next_event(
    events: EventState, log: EventLog, state: SessionStateManager
) -> None:
    events.process(event(0))
    log.append(event(1), Event("task.done", "s2", {"n": 9}, "b"), event(2))
    assert events.process(event(3)) == 5
    assert state.get("done") == {"a": 4}
    log.append(event(4))
    assert (events.follow(), events.follow()) == (1, 0)
    assert state.get("last.a") == 4
    events.verify()


def test_events_that_others_append_meanwhile_are_taken_in_the_log_s_order(
    log: EventLog, state: SessionStateManager
) -> None:
    others = [event(1)]

    def overtaken(writer: Writer, one: Event) -> None:
        if others:
            log.append(others.pop())
        done(writer, one)

    events = EventState(log, state, {"task.done": overtaken})
    assert events.process(event(0)) == 2
    assert (state.get("done.a"), state.get("last.a"), events.position) == (2, 0, 2)
    events.verify()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Event("task.lost", "s1"), "event 'task.lost': no handler knows it"),
        (Event("task.done", "s2", {"n": 1}), "of session 's2', not s1"),
        (Event("task.done", "s1", {"n": {1}}, "a"), "is not JSON"),
        (Event("task.done", "s1", {"n": 1}, "a", "fatal"), "severity must be one of"),  # type: ignore[arg-type]
    ],
)
def test_an_event_that_does_not_fit_changes_nothing(
    events: EventState, log: EventLog, state: SessionStateManager, wrong: Event, reason: str
) -> None:
    events.process(event(0))
    before = state.document
    with pytest.raises((EventError, StateError), match=reason):
        events.process(wrong)
    assert (log.last, state.document) == (1, before)


def test_a_state_that_is_not_what_its_events_lead_to_is_named_and_counted(
    events: EventState, state: SessionStateManager
) -> None:
    events.process(event(0))
    state.set("done.a", 7)
    with capture() as captured, pytest.raises(StateError, match=r"\$\['done'\] is not what"):
        events.verify()
    assert [one.attributes for one in captured.counters] == [{semconv.VIOLATION_KIND: "differs"}]
    state.delete("done")
    with pytest.raises(StateError, match=r"\$\['done'\]"):
        events.verify()


def test_events_that_are_no_longer_kept_are_missed_aloud(
    tmp_path: Path, state: SessionStateManager
) -> None:
    with EventLog(tmp_path / "small.sqlite3", max_events=3) as log:
        log.append(*(event(n) for n in range(9)))
        with pytest.raises(MissedEventsError, match="6 events up to position 6"):
            EventState(log, state, CHANGES).process(event(9))
        assert log.last == 9


def test_processes_at_once_keep_one_truth(
    events: EventState,
    state: SessionStateManager,
    tmp_path: Path,
    start_python: Start,
    release: Release,
) -> None:
    code = (
        OPEN + "sys.stdin.readline()\nfor n in range(40):\n"
        "    events.process(Event('task.done', 's1', {'n': n}, sys.argv[2]))\n"
    )
    release([start_python(code, tmp_path, f"p{number}") for number in range(4)])
    assert state.get("done") == {f"p{number}": 40 for number in range(4)}
    assert state.get("last") == {f"p{number}": 39 for number in range(4)}
    events.verify()


def test_no_kill_parts_the_state_from_its_events(
    events: EventState,
    log: EventLog,
    state: SessionStateManager,
    tmp_path: Path,
    start_python: Start,
) -> None:
    code = (
        OPEN + "n = int(sys.argv[2])\nwhile True:\n"
        "    events.process(Event('task.done', 's1', {'n': n}, 'a')); n += 1\n"
        "    print(n, flush=True)\n"
    )
    acknowledged = 0
    for _ in range(int(os.environ.get("ORCHWATCH_TEST_KILLS", "5"))):
        process = start_python(code, tmp_path, acknowledged)
        assert process.stdout is not None
        for _ in range(random.randint(1, 20)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        said: list[Any] = process.stdout.read().split("\n")[:-1]
        process.wait(LIMIT_S)
        acknowledged = max([acknowledged, *map(int, said)])
        events.follow()
        assert state.get("done.a") == log.last
        assert log.last - acknowledged in (0, 1)  # kept and not yet said
        acknowledged = log.last
    events.verify()
