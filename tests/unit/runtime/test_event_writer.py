from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime.event import Event, EventError
from orchwatch.runtime.event_writer import EventWriter
from orchwatch.runtime.events import EventLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 60.0
NEVER_S = 10_000.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog(tmp_path / "events.sqlite3") as opened:
        yield opened


def numbered(number: int) -> Event:
    return Event("x", "s1", {"n": number})


def test_a_full_batch_is_written_at_once(log: EventLog) -> None:
    with EventWriter(log, batch_size=4, flush_interval_s=NEVER_S) as writer:
        for number in range(1, 4):
            assert writer.append(numbered(number)) == number
        assert (log.last, writer.written) == (0, 0)
        writer.append(numbered(4))
        assert (log.last, writer.written) == (4, 4)
        writer.append(numbered(5))
    assert [event.data["n"] for event in log.read()] == [1, 2, 3, 4, 5]
    assert (writer.appended, writer.written) == (5, 5)


def test_what_waits_is_written_after_the_interval(log: EventLog) -> None:
    with EventWriter(log, flush_interval_s=0.01) as writer:
        for number in range(1, 4):
            writer.append(numbered(number))
            deadline = time.monotonic() + LIMIT_S
            while log.last < number:
                assert time.monotonic() < deadline
                time.sleep(0.001)


def test_flush_acknowledges_what_was_appended_before(log: EventLog) -> None:
    with EventWriter(log, flush_interval_s=NEVER_S) as writer:
        writer.append(numbered(1))
        assert writer.flush() == 1
        assert writer.flush() == 1
        assert log.last == 1


def test_threads_lose_nothing_and_each_keeps_its_order(log: EventLog) -> None:
    with EventWriter(log, batch_size=7, flush_interval_s=0.001) as writer:

        def append(source: str) -> None:
            for number in range(300):
                writer.append(Event("x", "s1", {"n": number}, source=source))

        threads = [threading.Thread(target=append, args=(f"t{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
    by: dict[str, list[int]] = {}
    for event in log.read():
        by.setdefault(event.source, []).append(event.data["n"])
    assert by == {f"t{n}": list(range(300)) for n in range(4)}


def test_what_cannot_be_written_waits_for_the_next_flush(log: EventLog) -> None:
    connection = sqlite3.connect(log.path, isolation_level=None)
    connection.execute("ALTER TABLE events RENAME TO away")
    writer = EventWriter(log, batch_size=2, flush_interval_s=0.001)
    writer.append(numbered(1))
    with pytest.raises(EventError, match="no such table"):
        writer.append(numbered(2))
    with pytest.raises(EventError, match="no such table"):
        writer.close()
    assert (writer.appended, writer.written) == (2, 0)
    connection.execute("ALTER TABLE away RENAME TO events")
    connection.close()
    writer.close()
    assert writer.written == 2
    assert [event.data["n"] for event in log.read()] == [1, 2]


def test_what_is_no_event_is_refused_at_once(log: EventLog) -> None:
    with EventWriter(log) as writer:
        with pytest.raises(EventError, match="type must be printable text"):
            writer.append(Event("", "s1"))
        assert writer.appended == 0
    with pytest.raises(EventError, match="the writer is closed"):
        writer.append(numbered(1))


@pytest.mark.parametrize(
    "setting",
    [{"batch_size": 0}, {"batch_size": 1.5}, {"flush_interval_s": 0}, {"flush_interval_s": -1}],
)
def test_a_setting_that_is_none_is_refused(log: EventLog, setting: dict[str, int]) -> None:
    with pytest.raises(EventError, match=next(iter(setting))):
        EventWriter(log, **setting)


def test_a_killed_process_loses_no_more_than_what_only_waited(
    log: EventLog, start_python: object
) -> None:
    assert callable(start_python)
    process = start_python(
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from orchwatch.runtime.event import Event\n"
        "from orchwatch.runtime.events import EventLog\n"
        "from orchwatch.runtime.event_writer import EventWriter\n"
        "writer = EventWriter(EventLog(Path(sys.argv[1])), flush_interval_s=1000)\n"
        "for n in range(1000): writer.append(Event('x', 's1', {'n': n}))\n"
        "print(writer.written, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n",
        log.path,
    )
    out, _ = process.communicate(timeout=LIMIT_S)
    assert int(out) == log.last == 768


class OnceFull(EventLog):
    """A log whose disk is full at first."""

    refusals = 1

    def append(self, *events: Event) -> int:
        if self.refusals:
            self.refusals -= 1
            raise EventError("no space left")
        return super().append(*events)


def test_what_could_not_be_written_once_is_tried_again_after_the_interval(tmp_path: Path) -> None:
    with (
        OnceFull(tmp_path / "full.sqlite3") as log,
        EventWriter(log, flush_interval_s=0.01) as writer,
    ):
        writer.append(numbered(1))
        deadline = time.monotonic() + LIMIT_S
        while writer.written < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert (log.refusals, log.last) == (0, 1)
