"""The database as a file: what reading it leaves behind, and when its sessions were written."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.agents.damage import without_rights
from tests.unit.agents.imported import add
from tests.unit.agents.opencode.conftest import START_MS, Database, step

from orchwatch.agents import inventory, registry
from orchwatch.agents.opencode.reader import OpenCode
from orchwatch.agents.reader import why_strange
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def folder(database: Database) -> Iterator[Path]:
    """Holds a database with one turn, which nothing has open, and nothing else.

    Another user may get there, which is not so of a test's own folder.
    """
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    database.assistant("ses_a", "a1", "u1", 2, step(1, 1), done=5)
    database.connection.close()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.environ["TMPDIR"])) as name:
        made = Path(name)
        made.chmod(0o755)
        shutil.move(database.path, made / "opencode.db")
        yield made
        made.chmod(0o755)


def test_reading_a_database_that_nothing_has_open_leaves_nothing_beside_it(
    folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(folder / "opencode.db")
    assert add(OpenCode(), folder).spans == 1
    assert add(OpenCode(), link).unchanged == 1
    assert os.listdir(folder) == ["opencode.db"]


def test_a_database_where_nothing_can_be_written_is_read(folder: Path) -> None:
    path = str(folder / "opencode.db")
    folder.chmod(0o555)
    with without_rights():
        found, strange = OpenCode().find([path])
    assert [session.session_id for session in found] == ["ses_a"]
    assert not strange


def test_a_database_that_cannot_be_opened_is_not_called_no_session(folder: Path) -> None:
    path = str(folder / "opencode.db")
    (folder / "opencode.db-wal").write_bytes(bytes(100))  # cannot be read without a file beside it
    folder.chmod(0o555)
    with without_rights():
        assert OpenCode().find([path]) == ([], [path])
        assert why_strange(path) == "unreadable database"


def test_what_is_written_beside_a_database_is_read_while_it_is_open(database: Database) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    database.assistant("ses_a", "a1", "u1", 2, step(1, 1), done=5)
    assert (database.path.parent / "opencode.db-wal").stat().st_size
    assert add(OpenCode(), database.path).spans == 1


def test_when_a_session_was_written_to_is_what_the_database_says_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(tmp_path / "opencode.db")
    monkeypatch.setenv("OPENCODE_DB", str(database.path))
    database.session("ses_old")
    database.user("ses_old", "u1", 1)
    database.connection.execute("UPDATE session SET version = '1.0.0'")
    database.start_ms = round(time.time() * 1000)
    database.session("ses_new", -900)
    database.user("ses_new", "u2", -60)
    os.utime(database.path, (0, 0))  # of which the newest is not in the file yet
    found, _ = registry.find([OpenCode()], [])
    times = {one.session.session_id: registry.written_ns(one.session) for one in found}
    assert times == {
        "ses_old": (START_MS + 1000) * 1_000_000,
        "ses_new": database.ms(-60) * 1_000_000,
    }
    (kept,) = inventory.kept([OpenCode()])
    assert (kept.version, kept.latest_ns) == ("1.18.33", times["ses_new"])
    command = ["import", "--agent", "opencode", "--since", "15m", "--format", "json"]
    assert main(command) == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["sessions"] + added["unchanged"], added["open_turns"]) == (1, 1)
    database.connection.close()


NEWER = """
CREATE TABLE session_v2 (id TEXT PRIMARY KEY, parent_id TEXT, directory TEXT, version TEXT,
  agent TEXT, time_created INTEGER, time_updated INTEGER);
CREATE TABLE session_message (id TEXT PRIMARY KEY, session_id TEXT, type TEXT, seq INTEGER,
  time_created INTEGER, time_updated INTEGER, data TEXT);
"""


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside version 1's"])
def test_what_version_2_keeps_is_counted_and_not_guessed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, beside: bool
) -> None:
    path = tmp_path / "opencode.db"
    if beside:
        old = Database(path)
        old.connection.execute("DROP TABLE session_message")
        old.session("ses_a")
        old.user("ses_a", "msg_1", 1)
        old.assistant("ses_a", "msg_2", "msg_1", 2, done=3)
        old.connection.close()
    at = 1_780_000_000_000
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(NEWER)
        for own, parent in (("ses_b", None), ("ses_c", "ses_b")):
            row = (own, parent, "/home/ada/shop", "2.0.8", "build", at, at)
            connection.execute("INSERT INTO session_v2 VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            for number in range(3):
                message = (f"{own}/{number}", own, "user", number, at, at, '{"text": "a secret"}')
                connection.execute(
                    "INSERT INTO session_message VALUES (?, ?, ?, ?, ?, ?, ?)", message
                )
    assert main(["import", str(path), "--format", "json"]) == 0
    added = json.loads(capsys.readouterr().out)
    assert added["skipped"] == {"unknown kind session_message": 6}
    assert added["turns"] == int(beside)
    main(["doctor", "--format", "json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert "2.0.8 (newer than" in checks["agent opencode"]["found"]
