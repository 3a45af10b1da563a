from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime.database import Database
from orchwatch.runtime.schema import Schema
from orchwatch.runtime.state import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = Schema(
    holds="test",
    application_id=1,
    version=1,
    statements="CREATE TABLE number (value INTEGER);",
    error=StateError,
)
WAITING = """
import sys
from pathlib import Path
from orchwatch.runtime.wakeups import Waiter
held = [open("/dev/null") for _ in range(1100)]
waiter = Waiter(Path(sys.argv[1]), "name")
waiter.wait(0.01)
print(waiter._socket.fileno())
"""


def write(database: Database, value: int) -> None:
    with database.writing() as connection:
        connection.execute("INSERT INTO number VALUES (?)", [value])


def test_a_closed_file_is_free_although_a_forked_child_lives(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sqlite3"
    database = Database(path, SCHEMA)
    write(database, 1)
    pid = os.fork()
    if not pid:
        signal.pause()
    try:
        database.close()
        other = Database(path, SCHEMA, lock_timeout_s=5.0)
        write(other, 2)
        other.close()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_file_that_cannot_be_opened_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "numbers.sqlite3").mkdir()
    gc.collect()  # what other tests left open is closed now, not while descriptors are counted
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(StateError, match="cannot be opened"):
            Database(tmp_path / "numbers.sqlite3", SCHEMA)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_with_a_thousand_files_open_can_wait(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def allow() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))

    said = subprocess.run(
        [sys.executable, "-c", WAITING, tmp_path / "file"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=allow,
    )
    assert int(said.stdout) > 1024


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Database, Database]]:
    """The same file, opened twice; the second does not wait for long."""
    path = tmp_path / "numbers.sqlite3"
    first, second = Database(path, SCHEMA), Database(path, SCHEMA, lock_timeout_s=0.05)
    yield first, second
    first.close()
    second.close()


def test_a_turn_keeps_others_out_to_its_end_and_readers_in(
    two: tuple[Database, Database],
) -> None:
    first, second = two
    with first.turn() as turn:
        write(second, 1)  # it begins with the first write
        first.write("INSERT INTO number VALUES (?)", (2,), turn)
        with first.writing(turn) as connection:
            connection.execute("INSERT INTO number VALUES (3)")
        with pytest.raises(StateError, match=r"locked for 0\.05 s by another writer"):
            write(second, 4)
        assert second.read("SELECT value FROM number", ()) == [(1,), (2,), (3,)]
    write(second, 5)
    write(first, 6)


def test_a_turn_ends_though_its_write_fails(two: tuple[Database, Database]) -> None:
    first, second = two
    with pytest.raises(StateError, match="no such table"), first.turn() as turn:
        first.write("INSERT INTO letter VALUES (1)", (), turn)
    with pytest.raises(ZeroDivisionError), first.turn() as turn, first.writing(turn):
        raise ZeroDivisionError
    write(second, 1)
    with first.turn():
        pass
    write(second, 2)


def test_a_turn_keeps_other_threads_out_too(two: tuple[Database, Database]) -> None:
    first, _ = two
    found = []

    def other() -> None:
        write(first, 2)
        found.extend(first.read("SELECT value FROM number", ()))

    thread = threading.Thread(target=other)
    with first.turn() as turn:
        first.write("INSERT INTO number VALUES (1)", (), turn)
        thread.start()
        first.write("INSERT INTO number VALUES (1)", (), turn)
    thread.join()
    assert found == [(1,), (1,), (2,)]
