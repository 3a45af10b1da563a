from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime.event import Event, EventError
from orchwatch.runtime.event_processing import EventSubscriber
from orchwatch.runtime.events import EventLog, MissedEventsError
from orchwatch.testing import capture

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]

LIMIT_S = 120


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog(tmp_path / "events.sqlite3") as opened:
        opened.append(*(Event("task.done", "s1", {"n": n}) for n in range(10)))
        yield opened


def test_a_subscriber_goes_on_where_its_name_has_got_to(log: EventLog) -> None:
    seen: list[Event] = []
    assert EventSubscriber(log, "indexer").process(seen.append, limit=4) == 4
    assert log.position("indexer") == 4
    assert EventSubscriber(log, "indexer").process(seen.append) == 6
    assert EventSubscriber(log, "indexer").process(seen.append) == 0
    assert [event.position for event in seen] == list(range(1, 11))
    late: list[Event] = []
    assert EventSubscriber(log, "late", after=8).process(late.append) == 2
    log.forget("indexer")
    assert EventSubscriber(log, "indexer").position == 0


def test_each_event_that_is_handled_is_one_operation(log: EventLog) -> None:
    with capture() as captured:
        EventSubscriber(log, "indexer").process(lambda _event: None, limit=3)
    assert [one.name for one in captured.operations] == ["event.process"] * 3
    assert captured.operations[0].attributes["event.name"] == "task.done"
    assert captured.operations[0].attributes["session.id"] == "s1"


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_event_whose_handler_fails_comes_again(log: EventLog, batch_size: int) -> None:
    def fail(event: Event) -> None:
        if event.position == 7:
            raise ZeroDivisionError

    subscriber = EventSubscriber(log, "indexer")
    with capture() as captured, pytest.raises(ZeroDivisionError):
        subscriber.process(fail, batch_size=batch_size)
    assert captured.operations[-1].error_type == "ZeroDivisionError"
    assert log.position("indexer") == 6
    seen: list[Event] = []
    assert subscriber.process(seen.append) == 4
    assert seen[0].position == 7


def test_two_under_one_name_are_noticed(log: EventLog) -> None:
    first, second = EventSubscriber(log, "indexer"), EventSubscriber(log, "indexer")
    first.process(lambda _event: None)
    with pytest.raises(EventError, match="another process has acknowledged event 1 as 'indexer'"):
        second.process(lambda _event: None)
    assert log.position("indexer") == 10


def test_what_was_missed_is_said_once_and_counted(tmp_path: Path) -> None:
    with EventLog(tmp_path / "small.sqlite3", max_events=5) as log:
        subscriber = EventSubscriber(log, "slow")
        log.append(*(Event("x", "s1", {"n": n}) for n in range(12)))
        with capture() as captured, pytest.raises(MissedEventsError, match="7 events"):
            subscriber.process(lambda _event: None)
        assert [(one.name, one.value) for one in captured.counters] == [
            ("orchestration.event.missed", 7)
        ]
        assert subscriber.process(lambda _event: None) == 5


@pytest.mark.parametrize("name", ["", None, 7, "a\nb"])
def test_a_name_that_is_none_is_refused(log: EventLog, name: object) -> None:
    with pytest.raises(EventError, match="a subscriber's name must be printable text"):
        EventSubscriber(log, name)  # type: ignore[arg-type]


def test_none_that_was_acknowledged_is_handled_again_after_any_kill(
    log: EventLog, start_python: Start
) -> None:
    code = """
import sys
from pathlib import Path
from orchwatch.runtime.events import EventLog
from orchwatch.runtime.event_processing import EventSubscriber
log = EventLog(Path(sys.argv[1]))
subscriber = EventSubscriber(log, "indexer")
while True:
    subscriber.process(lambda event: print(event.position, "handled", flush=True), limit=1)
    print(subscriber.position, "acknowledged", flush=True)
"""
    handled: list[int] = []
    acknowledged = 0
    appended = log.last
    for _ in range(int(os.environ.get("ORCHWATCH_TEST_KILLS", "5"))):
        log.append(*(Event("x", "s1", {"n": n}) for n in range(40)))
        appended += 40
        process = start_python(code, log.path)
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(random.randint(1, 40))]
        process.kill()
        said += process.stdout.read().split("\n")[:-1]
        process.wait(LIMIT_S)
        for line in said:
            position, what = line.split()
            if what == "handled":
                assert int(position) > acknowledged
                handled.append(int(position))
            else:
                acknowledged = int(position)
        assert (log.position("indexer") or 0) >= acknowledged
    EventSubscriber(log, "indexer").process(lambda event: handled.append(event.position))
    assert sorted(set(handled)) == list(range(1, appended + 1))
