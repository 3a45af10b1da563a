from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.cli.main import main
from orchwatch.runtime import session_archive
from orchwatch.runtime.queries import QueryAPI
from orchwatch.runtime.session_state import SessionStateManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
pytestmark = pytest.mark.usefixtures("home")

TASKS = {f"t{number}": {"status": "active" if number % 2 else "done"} for number in range(4)}
DOCUMENT = {"tasks": TASKS, "limits": {"a.b": [1, {"x": 2}], "at": 2}, "none": None}
PATHS = [
    "$",
    "$.tasks.t1.status",
    "$['limits']['a.b']",
    "$.nothing",
    "$.tasks.*.status",
    "$.tasks[?@.status == 'active']",
    "$.tasks[?match(@.status, 'd.*')].status",
    "$.limits['a.b'][1].x",
    "$.limits['a.b'][?@.x == $.limits.at]",
    "$.tasks[?$.nothing.at]",
    "$.none.below[*]",
    "$..status",
    "$[*]",
    "$['limits']['a\\u002eb']",
    "$.tasks[?@.status == 'done'].status",
    "$.limits..x",
    "$.limits[?@[1].x == 2]",
    "$.tasks[?@.status != 'done' || !@.more].status",
]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with SessionStateManager(tmp_path, "s1") as state:
        state.set("$", DOCUMENT)
    return tmp_path


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("path", PATHS)
def test_every_path_selects_what_the_library_api_selects(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with SessionStateManager(".", "s1") as state:
        expected = QueryAPI(state).query(path)
        version = state.version()
    assert main(["state", "s1", path, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "session": "s1",
        "path": path,
        "schema_version": 1,
        "version": version,
        "values": expected,
    }
    assert main(["state", "s1", path]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == expected


def test_it_is_one_operation_and_leaves_nothing_beside_the_file(
    workspace: Path, flat_spans: Callable[[], list[dict[str, object]]]
) -> None:
    before = sorted(os.listdir(workspace / ".claude" / "state"))
    recorded = len(flat_spans())
    assert main(["state", "latest", "$.tasks.*"]) == 0
    assert sorted(os.listdir(workspace / ".claude" / "state")) == before
    (query,) = flat_spans()[recorded:]
    assert query["name"] == "state.query"
    assert query["orchestration.state.path"] == "$.tasks.*"


def test_it_is_answered_while_others_write(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        SessionStateManager(workspace, "s1") as state,
        state.transaction() as writer,
    ):
        writer.set("tasks.t1.status", "done")
        assert main(["state", "s1", "$.tasks.t1.status", "--root", str(workspace)]) == 0
    assert capsys.readouterr().out == '"active"\n'


def test_a_session_that_was_put_away_is_there_again(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace / ".claude" / "state" / "session-s1.sqlite3"
    assert session_archive.archive(path)
    assert main(["state", "s1", "$.none"]) == 0
    assert capsys.readouterr().out == "null\n"


def _damage(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def _lock(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    _kept.append(connection)


def _make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


_kept: list[sqlite3.Connection] = []
ODD: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.write_bytes(b"no database" * 100), "file is not a database"),
    (lambda path: path.write_bytes(b""), "holds no state of a session"),
    (lambda path: _damage(path, "PRAGMA user_version=99"), "holds no state of a session"),
    (lambda path: _damage(path, "UPDATE nodes SET value = '1,2' WHERE value = 'null'"), "damaged"),
    (lambda path: _damage(path, "DELETE FROM nodes WHERE path = char(31)||'tasks'"), "damaged"),
    (_lock, "database is locked"),
    (_pipe, "a pipe"),
    (_make_directory, "a directory"),
]


@pytest.mark.parametrize(("spoil", "reason"), ODD)
def test_a_file_that_cannot_be_read_is_one_line(
    workspace: Path,
    spoil: Callable[[Path], object],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(workspace / ".claude" / "state" / "session-s1.sqlite3")
    try:
        assert main(["state", "s1"]) == 1
    finally:
        while _kept:
            _kept.pop().close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert reason in captured.err
    assert "bug" not in captured.err


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ([], 2, "takes SESSION and perhaps PATH"),
        (["s1", "$", "more"], 2, "takes SESSION and perhaps PATH"),
        (["s1", "--form", "json"], 2, "unknown option --form"),
        (["s1", "--root"], 2, "--root needs a value"),
        (["s1", "--format", "yaml"], 2, "--format must be one of text, json, not 'yaml'"),
        (["s2"], 1, "no session 's2' in ./.claude/state"),
        (["../state/s1"], 1, "no session '../state/s1'"),
        (["s1", "$.tasks["], 2, "is not JSONPath"),
        (["s1", "tasks"], 2, "is not JSONPath"),
        (["latest", "--root", "/nowhere"], 1, "there is no session in /nowhere"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    words: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["state", *words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert reason in captured.err


PLAIN = ["$.tasks.t1", "$.tasks[?@.status == 'active'].status", "$..status", "$.tasks.*"]


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    "path", [*PLAIN, "$.tasks[?count(@.*) > 1]", "$.tasks[?@['status', 'id']]"]
)
def test_nothing_dear_is_imported(path: str) -> None:
    report = "print(*sys.modules, file=sys.stderr)"
    loaded, bare = (
        set(
            subprocess.run(
                [sys.executable, "-c", f"import sys; {code}", "state", "s1", path],
                capture_output=True,
                text=True,
                check=True,
            ).stderr.split()
        )
        for code in (f"from orchwatch.cli.main import main; main(sys.argv[1:]); {report}", report)
    )
    dear = {"argparse", "pathlib", "dataclasses", "inspect", "hashlib", "regex", "duckdb"}
    if path in PLAIN:
        dear |= {"re", "json", "typing", "datetime", "contextlib", "jsonpath_rfc9535", "importlib"}
    assert (loaded - bare) & dear == set()
