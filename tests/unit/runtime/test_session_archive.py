from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime import session_archive, session_files
from orchwatch.runtime.event import Event
from orchwatch.runtime.events import EventLog
from orchwatch.runtime.message_bus import MessageBus
from orchwatch.runtime.session_paths import STATE_DIRECTORY
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.state import StateError
from orchwatch.runtime.tasks import TaskGraph
from orchwatch.testing import capture

if TYPE_CHECKING:
    from pathlib import Path

MEMBERS = {str(number): "x" * 100 for number in range(500)}
# Archives a session again and again, and brings it back, until it is killed.
ARCHIVING = """
import sys
from orchwatch.runtime import session_archive
from orchwatch.runtime.session_state import SessionStateManager
while True:
    with SessionStateManager(sys.argv[1], "s1") as state:
        path = state.path
    session_archive.archive(path)
    print("archived", flush=True)
"""
OPENING = """
import sys
from orchwatch.runtime.session_state import SessionStateManager
sys.stdin.readline()
with SessionStateManager(sys.argv[1], "s1") as state:
    state.increment("opened")
"""


def made(root: Path, session_id: str = "s1") -> Path:
    """A session that holds something, and is closed."""
    with SessionStateManager(root, session_id) as state:
        state.set("members", MEMBERS)
        TaskGraph(state).add("a")
        state.export()
        state.checkpoint()
        return state.path


def age(path: Path, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))


def test_a_session_that_was_put_away_is_small_and_opens_as_it_was(tmp_path: Path) -> None:
    path = made(tmp_path)
    size_bytes = path.stat().st_size
    assert session_archive.archive(path)
    names = sorted(file.name for file in path.parent.rglob("*") if file.is_file())
    assert names == ["orchestration.json", f"{path.name}.gz"]
    packed = path.parent / "archive" / f"{path.name}.gz"
    assert packed.stat().st_size < size_bytes / 5
    assert packed.stat().st_mode & 0o777 == 0o600
    assert gzip.decompress(packed.read_bytes()).startswith(b"SQLite format 3")
    with SessionStateManager(tmp_path, "s1") as state:
        assert state.get("members") == MEMBERS
        assert TaskGraph(state).counts() == {"ready": 1}
        state.verify()
    assert not packed.exists()


def test_a_session_that_is_open_is_not_put_away(tmp_path: Path) -> None:
    with SessionStateManager(tmp_path, "s1") as state:
        assert not session_archive.archive(state.path)
        state.set("a", 1)


def test_a_session_that_is_removed_does_not_come_back(tmp_path: Path) -> None:
    path = made(tmp_path)
    session_archive.archive(path)
    with SessionStateManager(tmp_path, "s1") as state:
        state.cleanup()
    with SessionStateManager(tmp_path, "s1") as state:
        assert state.get("members") is None


@pytest.mark.parametrize("damage", ["torn", "garbage", "other"])
def test_a_damaged_archive_is_one_clear_line_and_stays(tmp_path: Path, damage: str) -> None:
    path = made(tmp_path)
    session_archive.archive(path)
    packed = path.parent / "archive" / f"{path.name}.gz"
    whole = packed.read_bytes()
    content = {
        "torn": whole[: len(whole) // 2],
        "garbage": b"no gzip",
        "other": gzip.compress(b"no database"),
    }
    packed.write_bytes(content[damage])
    with pytest.raises(StateError) as raised:
        SessionStateManager(tmp_path, "s1")
    assert "\n" not in str(raised.value)
    assert path.name in str(raised.value)
    if damage != "other":
        assert packed.exists()
        assert not path.exists()
    assert list(path.parent.rglob("*.tmp")) == []


def test_many_that_open_it_at_once_find_one_session(tmp_path: Path) -> None:
    session_archive.archive(made(tmp_path))
    opening = [
        subprocess.Popen([sys.executable, "-c", OPENING, str(tmp_path)], stdin=subprocess.PIPE)
        for _ in range(6)
    ]
    for process in opening:
        process.communicate(b"\n")
    assert [process.returncode for process in opening] == [0] * 6
    with SessionStateManager(tmp_path, "s1") as state:
        assert state.get("opened") == 6
        assert state.get("members") == MEMBERS


def test_a_kill_at_any_moment_of_it_loses_nothing(tmp_path: Path) -> None:
    path = made(tmp_path)
    for kill in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", ARCHIVING, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(kill + 1):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with SessionStateManager(tmp_path, "s1") as state:
            assert state.get("members") == MEMBERS
            state.verify()
    assert path.exists()


def test_old_sessions_are_put_away_and_old_archives_go(tmp_path: Path) -> None:
    directory = tmp_path / STATE_DIRECTORY
    for number in range(4):
        age(made(tmp_path, f"s{number}"), number * 10)
    day_s = 24 * 3600
    found = session_archive.retain(directory, archive_after_s=5 * day_s, remove_after_s=25 * day_s)
    assert found == session_archive.Retained(("s1", "s2", "s3"), ("s3",))
    found = session_archive.retain(directory, archive_after_s=5 * day_s)
    assert found == session_archive.Retained((), ())
    one = (directory / "archive" / "session-s1.sqlite3.gz").stat().st_size
    found = session_archive.retain(
        directory, archive_after_s=5 * day_s, max_archive_bytes=one + one // 2
    )
    assert found.removed == ("s2",)
    assert sorted(path.name for path in directory.glob("*.sqlite3")) == ["session-s0.sqlite3"]


def test_sessions_are_kept_as_the_persons_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orchwatch.toml").write_text(
        "[retention]\nsession_idle_days = 5\nsession_days = 25\n"
    )
    directory = tmp_path / STATE_DIRECTORY
    for number in range(4):
        age(made(tmp_path, f"s{number}"), number * 10)
    made(tmp_path, "now")  # not due: it was done as the second one was closed
    assert len(list(directory.glob("*.sqlite3"))) == 5
    age(directory / "retention.last", days=1)
    with SessionStateManager(tmp_path, "s2"), capture() as captured:
        made(tmp_path, "then")
    (done,) = (one for one in captured.operations if one.name == "session.retention")
    assert done.attributes["orchestration.sessions.archived"] == 2
    left = sorted(path.name for path in directory.glob("*.sqlite3"))
    assert left == [f"session-{name}.sqlite3" for name in ("now", "s0", "s2", "then")]
    assert sorted(path.name for path in (directory / "archive").iterdir()) == [
        "session-s1.sqlite3.gz"
    ]


@pytest.mark.parametrize("text", ["[retention]\nsession_idle_days = 0", "[retention]\nwrong = 1"])
def test_no_limit_and_a_broken_file_put_nothing_away(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orchwatch.toml").write_text(text)
    age(made(tmp_path, "old"), days=400)
    assert made(tmp_path, "now").exists()
    assert (tmp_path / STATE_DIRECTORY / "session-old.sqlite3").exists()


def test_a_session_that_expires_goes_with_the_next_that_is_closed(tmp_path: Path) -> None:
    with SessionStateManager(tmp_path, "short", expires_after_s=60.0) as state:
        path = state.path
    age(path, days=0.5)
    made(tmp_path, "now")
    assert not path.exists()


def test_events_and_messages_go_with_the_session_and_come_back_with_it(tmp_path: Path) -> None:
    with (
        SessionStateManager(tmp_path, "s1") as state,
        EventLog(state.file("events")) as log,
        MessageBus(state.file("messages"), "a") as bus,
    ):
        bus.mailbox().close()
        log.append(Event("x", "s1", {"n": 1}))
        path, events = state.path, state.file("events")
    assert session_archive.archive(path)
    assert not events.exists()
    assert not list(tmp_path.rglob("*.sqlite3"))
    with SessionStateManager(tmp_path, "s1") as state:
        with EventLog(state.file("events")) as log:
            assert [event.data for event in log.read()] == [{"n": 1}]
        with MessageBus(state.file("messages"), "a") as bus:
            assert bus.unread() == {"a": 0}
    assert not list(tmp_path.rglob("*.gz"))
    age(path, days=30)
    assert session_archive.archive(path)
    found = session_archive.retain(path.parent, archive_after_s=1, remove_after_s=24 * 3600.0)
    assert found.removed == ("s1",)
    assert [file for file in path.parent.rglob("*") if file.is_file()] == []


def test_what_a_kill_has_left_half_put_away_is_whole_again(tmp_path: Path) -> None:
    with SessionStateManager(tmp_path, "s1") as state, EventLog(state.file("events")) as log:
        log.append(Event("x", "s1", {"n": 1}))
        path, events = state.path, state.file("events")
    kept = path.read_bytes()
    assert session_archive.archive(path)
    path.write_bytes(kept)  # as if it had been killed before it removed the state, the last
    with SessionStateManager(tmp_path, "s1"), EventLog(events) as log:
        assert len(list(log.read())) == 1


def test_a_session_that_was_written_to_since_its_age_was_looked_at_stays(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert not session_archive.archive(path, idle_s=3600.0)
    age(path, days=1)
    assert session_archive.archive(path, idle_s=3600.0)


def test_a_session_that_is_gone_leaves_no_file_behind(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert session_files.removed(path)
    with pytest.raises(FileNotFoundError):
        session_archive.archive(path)
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == ["orchestration.json"]


def test_where_nothing_is_there_nothing_is_done(tmp_path: Path) -> None:
    found = session_archive.retain(tmp_path / "none", archive_after_s=0)
    assert found == session_archive.Retained((), ())


def test_a_session_is_not_put_away_while_its_expiry_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its database would be open twice, and what was written last not in the archive.
    path = made(tmp_path)
    put_away = []

    def look(path: Path) -> None:
        put_away.append(session_archive.archive(path))

    monkeypatch.setattr(session_files, "_expiry_s", look)
    assert session_files.cleanup_expired(tmp_path, older_than_s=3600.0) == []
    assert put_away == [False]
    assert path.exists()


def test_a_killed_session_is_as_old_as_its_last_write(tmp_path: Path) -> None:
    writing = (
        "import os, signal, sys\n"
        "from orchwatch.runtime.session_state import SessionStateManager\n"
        "state = SessionStateManager(sys.argv[1], 's1')\n"
        "state.set('a', 1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", writing, tmp_path], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    path = tmp_path / STATE_DIRECTORY / "session-s1.sqlite3"
    for file in (path, path.with_suffix(".sqlite3-wal")):
        age(file, days=3)
    assert session_files.cleanup_expired(tmp_path, older_than_s=24 * 3600.0) == ["s1"]
