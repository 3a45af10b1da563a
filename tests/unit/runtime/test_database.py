from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime.database import Database
from orchwatch.runtime.schema import Schema
from orchwatch.runtime.state import StateError

if TYPE_CHECKING:
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
