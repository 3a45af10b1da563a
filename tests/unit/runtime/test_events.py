from __future__ import annotations

import os
import random
import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.runtime.event import Event, EventError, new_id
from orchwatch.runtime.events import EventLog, MissedEventsError
from orchwatch.runtime.session_state import SessionStateManager

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]
    Release = Callable[[list[subprocess.Popen[str]]], None]

LIMIT_S = 120
OPEN = """
from pathlib import Path
from orchwatch.runtime.event import Event
from orchwatch.runtime.events import EventLog
log = EventLog(Path(sys.argv[1]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.sqlite3"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    with EventLog(path) as opened:
        yield opened


def numbered(count: int, start: int = 0) -> list[Event]:
    return [Event("task.done", "s1", {"n": n}) for n in range(start, start + count)]


def numbers(events: list[Event]) -> list[int]:
    return [event.data["n"] for event in events]


def test_what_was_appended_is_read_as_it_was(log: EventLog) -> None:
    event = Event(
        "task.failed",
        "s1",
        {"text": "ä\ud800\n", "list": [1, None, {"a": 2.5}]},
        source="agent-7",
        severity="error",
        time_ns=1_700_000_000_123_456_789,
    )
    assert log.append(event) == 1
    (found,) = log.read()
    assert (found, found.position) == (event, 1)
    assert found.as_json() == {
        "id": event.id,
        "session_id": "s1",
        "type": "task.failed",
        "severity": "error",
        "source": "agent-7",
        "timestamp": "2023-11-14T22:13:20.123457+00:00",
        "data": event.data,
    }


def test_ids_are_uuids_in_the_order_of_time() -> None:
    ids = [uuid.UUID(new_id()) for _ in range(100)]
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    milliseconds = [one.int >> 80 for one in ids]
    assert milliseconds == sorted(milliseconds)
    assert len(set(ids)) == 100


@pytest.mark.parametrize("after", [0, 1, 999, 1000, 1001, 2499, 2500, 9999])
def test_the_log_is_replayed_from_any_position(log: EventLog, after: int) -> None:
    log.append(*numbered(2500))
    assert numbers(list(log.read(after))) == list(range(after, 2500))
    assert numbers(list(log.read(after, limit=1001))) == list(range(after, 2500))[:1001]


def test_one_session_is_read_alone(log: EventLog) -> None:
    log.append(*(Event("x", f"s{n % 3}", {"n": n}) for n in range(3000)))
    assert numbers(list(log.read(session_id="s1"))) == list(range(1, 3000, 3))
    assert list(log.read(session_id="s9")) == []


def test_an_append_that_is_repeated_is_kept_once(log: EventLog) -> None:
    first, *rest = numbered(4)
    assert log.append(first) == 1
    assert log.append(first) == 1
    assert log.append(first, *rest) == 4
    assert log.append(*rest, first) == 1
    assert numbers(list(log.read())) == [0, 1, 2, 3]
    assert (log.first, log.last) == (1, 4)


def test_all_of_an_append_is_kept_or_nothing(log: EventLog) -> None:
    with pytest.raises(EventError, match="data is not JSON"):
        log.append(*numbered(3), Event("bad", "s1", {"n": float("nan")}))
    assert (list(log.read()), log.last) == ([], 0)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": ""}, "type must be printable text of 1 to 256 characters, not ''"),
        ({"type": "a\nb"}, r"type must be printable text .*, not 'a\\nb'"),
        ({"type": "\ud800"}, "type must be printable text"),
        ({"type": "x" * 257}, "type must be printable text"),
        ({"type": None}, "type must be printable text of 1 to 256 characters, not None"),
        ({"session_id": 7}, "session_id must be printable text"),
        ({"session_id": ""}, "session_id must be printable text"),
        ({"source": "\x1b[2J"}, r"source must be printable text .*, not '\\x1b\[2J'"),
        ({"id": ""}, "id must be printable text"),
        ({"severity": "fatal"}, "severity must be one of debug, .*, critical, not 'fatal'"),
        ({"severity": ["info"]}, "severity must be one of"),
        ({"time_ns": -1}, "time_ns must be nanoseconds since 1970, not -1"),
        ({"time_ns": 1.5}, "time_ns must be nanoseconds"),
        ({"time_ns": 2**63}, "time_ns must be nanoseconds"),
        ({"time_ns": True}, "time_ns must be nanoseconds"),
        ({"data": [1]}, "data must be a dict, not list"),
        ({"data": {"a": {1}}}, "data is not JSON"),
        ({"data": {"a": float("inf")}}, "data is not JSON"),
        ({"data": {"a": "x" * (16 * 1024 * 1024)}}, "at most 16777216 are kept"),
    ],
)
def test_what_is_no_event_is_refused_in_one_line(
    log: EventLog, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EventError, match=reason) as raised:
        log.append(Event(**{"type": "t", "session_id": "s1", **fields}))
    assert str(raised.value).isprintable()
    assert log.last == 0


@pytest.mark.parametrize("name", ["max_events", "max_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "9"])
def test_a_bound_is_a_whole_number(path: Path, name: str, value: object) -> None:
    with pytest.raises(EventError, match=f"{name} must be a whole number above 0"):
        EventLog(path, **{name: value})  # type: ignore[arg-type]


def test_no_more_events_are_kept_than_were_asked_for(path: Path) -> None:
    with EventLog(path, max_events=10) as log:
        for number in range(25):
            log.append(*numbered(1, number))
            assert log.last - log.first + 1 == min(number + 1, 10)
        log.append(*numbered(7, 25))
        assert numbers(list(log.read())) == list(range(22, 32))
        log.append(*numbered(30, 32))
        assert numbers(list(log.read())) == list(range(52, 62))


def test_no_more_of_the_disk_is_taken_than_was_asked_for(path: Path) -> None:
    with EventLog(path, max_bytes=4_000_000) as log:
        for number in range(8192):
            log.append(Event("x", "s1", {"n": number, "text": "x" * 2000}))
        kept = numbers(list(log.read()))
        assert kept == list(range(kept[0], 8192))
        assert len(kept) > 500  # a page each
    assert path.stat().st_size < 6_000_000


def test_a_reader_that_is_too_late_learns_what_it_missed(path: Path) -> None:
    with EventLog(path, max_events=10) as log:
        log.append(*numbered(30))
        with pytest.raises(MissedEventsError, match="15 events up to position 20") as raised:
            log.after(5, 100)
        assert (raised.value.count, raised.value.position) == (15, 20)
        assert numbers(log.after(raised.value.position, 100)) == list(range(20, 30))


def test_positions_are_not_given_twice_even_where_nothing_is_kept(path: Path) -> None:
    with EventLog(path, max_events=1) as log:
        log.append(*numbered(5))
    with EventLog(path, max_events=1) as log:
        assert log.append(*numbered(1)) == 6


def test_processes_at_once_lose_no_event_and_each_keeps_its_order(
    log: EventLog, path: Path, start_python: Start, release: Release
) -> None:
    code = (
        OPEN + "sys.stdin.readline()\nfor n in range(200):\n"
        "    log.append(Event('x', 's1', {'n': n}, source=sys.argv[2]))\n"
    )
    release([start_python(code, path, f"agent-{number}") for number in range(6)])
    by: dict[str, list[int]] = {}
    for event in log.read():
        by.setdefault(event.source, []).append(event.data["n"])
    assert by == {f"agent-{number}": list(range(200)) for number in range(6)}
    assert log.last == 1200


def test_a_follower_in_another_process_sees_each_event(
    log: EventLog, path: Path, start_python: Start
) -> None:
    process = start_python(
        OPEN + "print('open', flush=True)\n"
        "for event in log.follow(0):\n"
        "    print(event.position, event.data['n'], flush=True)\n"
        "    if event.data['n'] == 4: break\n",
        path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    for event in numbered(5):
        log.append(event)
    out, err = process.communicate(timeout=LIMIT_S)
    assert (out.splitlines(), err) == ([f"{n + 1} {n}" for n in range(5)], "")


def test_following_begins_with_what_comes_and_ends_after_the_silence(log: EventLog) -> None:
    log.append(*numbered(3))
    assert list(log.follow(timeout_s=0)) == []
    assert numbers(list(log.follow(1, timeout_s=0.05))) == [1, 2]


def test_what_was_acknowledged_survives_every_kill(path: Path, start_python: Start) -> None:
    code = (
        OPEN + "n = int(sys.argv[2])\nwhile True:\n"
        "    log.append(*(Event('x', 's1', {'n': n + i}) for i in range(3))); n += 3\n"
        "    print(n, flush=True)\n"
    )
    acknowledged = 0
    for _ in range(int(os.environ.get("ORCHWATCH_TEST_KILLS", "5"))):
        process = start_python(code, path, acknowledged)
        assert process.stdout is not None
        for _ in range(random.randint(1, 30)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        said = process.stdout.read()  # also what is in the buffer
        process.wait(LIMIT_S)
        acknowledged = max([acknowledged, *map(int, said.split("\n")[:-1])])
        with EventLog(path) as log:
            found = numbers(list(log.read()))
            assert found == list(range(len(found)))
            assert len(found) - acknowledged in (0, 3)  # written and not yet said
            acknowledged = len(found)


def test_a_child_process_opens_the_log_anew(path: Path, start_python: Start) -> None:
    process = start_python(
        OPEN + "import os\nlog.append(Event('parent', 's1'))\nchild = os.fork()\n"
        "log.append(Event('both', 's1', {'child': child == 0}))\n"
        "if child: os.waitpid(child, 0)\n",
        path,
    )
    assert process.communicate(timeout=LIMIT_S) == ("", "")
    with EventLog(path) as log:
        assert sorted(str(event.data) for event in log.read()) == [
            "{'child': False}",
            "{'child': True}",
            "{}",
        ]


def _of_a_session(path: Path) -> None:
    with SessionStateManager(path.parent, "s1") as state:
        os.link(state.path, path)


def _of_somebody(path: Path) -> None:
    sqlite3.connect(path).execute("CREATE TABLE theirs(x)")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_of_a_session, "holds no event log that this version of orchwatch knows"),
        (_of_somebody, "holds no event log that this version of orchwatch knows"),
        (lambda path: path.write_text("hello" * 1000), "file is not a database"),
        (lambda path: path.mkdir(), "cannot be opened: it is a directory, not a file"),
        (os.mkfifo, "cannot be opened: it is a pipe, not a file"),
    ],
)
def test_a_file_that_is_no_log_is_one_clear_error(
    path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(path)
    with pytest.raises(EventError, match=reason) as raised:
        EventLog(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("data", ["'{'", "'[]'", "7", "x'00ff'"])
def test_foreign_content_in_it_is_named(log: EventLog, path: Path, data: str) -> None:
    log.append(*numbered(3))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"UPDATE events SET data = {data} WHERE position = 2")
    connection.close()
    with pytest.raises(EventError, match=r"events\.sqlite3: the data of event 2 is no JSON object"):
        list(log.read())


def test_a_closed_log_says_so(path: Path) -> None:
    log = EventLog(path)
    log.close()
    log.close()
    with pytest.raises(EventError, match="closed"):
        log.append(*numbered(1))


def test_durability_is_one_of_two(path: Path) -> None:
    with EventLog(path, durability="power") as log:
        assert log.append(*numbered(1)) == 1
    with pytest.raises(EventError, match="durability must be one of process, power, not 'none'"):
        EventLog(path, durability="none")  # type: ignore[arg-type]
