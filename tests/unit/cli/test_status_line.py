from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import operation
from orchwatch.analysis import snapshot_file
from orchwatch.analysis.status import Gatherer
from orchwatch.cli.main import main
from orchwatch.reporters import status_document
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

S = 10**9


@pytest.fixture
def kept(home: Path, tmp_path: Path) -> dict[str, Any]:
    """A snapshot of real operations, as the monitor process leaves it."""
    for _ in range(3):
        identity = {"gen_ai.agent.name": "a", "session.id": "mine"}
        with operation("agent.task", identity), operation("state.query"):
            pass
    with Store(home) as store:
        gatherer = Gatherer(home, store, tmp_path)
        gatherer.measure_system()
        gatherer.measure_business()
        document = status_document.as_dict(gatherer.take(), interval_s=30)
    snapshot_file.write(str(home), document)
    return document


def run(
    *options: str, stdin: bytes = b"", **environ: str
) -> tuple[str, subprocess.CompletedProcess[bytes]]:
    process = subprocess.run(
        [sys.executable, "-m", "orchwatch.cli", "status-line", *options],
        input=stdin,
        capture_output=True,
        env={**os.environ, "COLUMNS": "120", **environ},
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, b"")
    text = process.stdout.decode()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    return text.rstrip("\n"), process


@pytest.mark.usefixtures("home")
def test_without_any_snapshot_it_says_what_to_do() -> None:
    assert run()[0] == "❓ no data yet: start orchwatch monitor"
    assert run(COLUMNS="10")[0] == "❓"
    found = json.loads(run("--format", "json")[0])
    assert found["health"]["status"] == "unknown"
    assert "orchwatch monitor" in found["health"]["error"]


@pytest.mark.usefixtures("kept")
def test_it_shows_what_the_monitor_left() -> None:
    text = run("--no-color")[0]
    assert "state.query" in text
    assert "1 agent " in text
    assert "0 errors" in text
    assert "old" not in text  # this very process wrote it, and runs
    found = json.loads(run("--format=json")[0])
    assert set(found) >= {"health", "performance", "resources", "business"}
    assert found["business"]["success_rate"] == "100%"
    assert found["business"]["quality"] is None


def test_without_a_running_monitor_it_says_how_old_its_figures_are(
    home: Path, kept: dict[str, Any]
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    snapshot_file.write(str(home), {**kept, "pid": ended.pid})
    assert " s old" in run()[0]
    snapshot_file.write(str(home), {**kept, "written_at_ns": time.time_ns() - 750 * S})
    assert "12 min old" in run(COLUMNS="40")[0]


@pytest.mark.usefixtures("kept")
def test_it_fits_the_columns_it_is_given() -> None:
    assert len(run("--no-color", COLUMNS="40")[0]) <= 40
    # Which it is depends on how busy this machine is.
    assert set("🟢🟡🔴") & set(run("--no-color", COLUMNS="9" * 5000)[0])
    for columns in ("0", "-1", "x", "٣", ""):
        assert 8 < len(run("--no-color", COLUMNS=columns)[0]) <= 80


@pytest.mark.usefixtures("kept")
def test_colours_can_be_turned_off() -> None:
    assert "\x1b[" in run(NO_COLOR="")[0]
    assert "\x1b[" not in run(NO_COLOR="1")[0]
    assert "\x1b[" not in run("--no-color", NO_COLOR="")[0]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    "stdin",
    [b"", b"{", b"\xff\xfe", b"[1]", b'{"session_id": 5}', b"[" * 100_000, b"x" * 5_000_000,
     b'{"session_id": "a", "cwd": "/", "cost": {"total_cost_usd": 1e400}}'],
    ids=["empty", "half", "bytes", "list", "number", "deep", "huge", "whole"],
)  # fmt: skip
def test_whatever_stands_on_stdin_a_line_comes_out(stdin: bytes) -> None:
    assert "state.query" in run(stdin=stdin)[0]


def test_the_session_on_stdin_is_the_one_whose_memory_is_shown(
    home: Path, kept: dict[str, Any]
) -> None:
    snapshot_file.write(str(home), {**kept, "sessions": {"mine": {"memory_bytes": 300 << 20}}})
    status = {"session_id": "mine", "model": {"id": "m"}, "workspace": {"current_dir": "/"}}
    assert "session 300MiB" in run(stdin=json.dumps(status).encode())[0]
    assert "session 300MiB" not in run(stdin=b'{"session_id": "other"}')[0]


@pytest.mark.usefixtures("kept")
def test_a_writer_that_never_writes_is_not_waited_for() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchwatch.cli", "status-line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert "state.query" in process.stdout.read().decode()
    process.communicate()
    assert process.returncode == 0


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("redirection", ["0<&-", "1>&-", "2>&-", "0</dev/null"])
def test_a_stream_that_is_closed_or_odd_is_no_error(redirection: str) -> None:
    command = f'exec "$0" -m orchwatch.cli status-line {redirection}'
    found = subprocess.run(
        ["bash", "-c", command, sys.executable], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.usefixtures("kept")
def test_the_indicator_comes_out_in_any_locale() -> None:
    assert run(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")


@pytest.mark.parametrize(
    "document",
    [{}, {"health": 1}, {"written_at_ns": "x", "interval_s": None, "pid": -1},
     {"pid_namespace": None, "pid": 2**80, "written_at_ns": 0, "interval_s": 1}],
)  # fmt: skip
def test_a_file_that_is_no_snapshot_is_no_data(home: Path, document: dict[str, Any]) -> None:
    home.mkdir()
    (home / "snapshot.json").write_text(json.dumps(document))
    assert "no data yet" in run()[0]
    assert json.loads(run("--format", "json")[0])["health"]["status"] == "unknown"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("words", [["--colour"], ["--format"], ["--format", "xml"], ["x"]])
def test_unknown_words_are_a_usage_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status-line", *words]) == 2
    assert capsys.readouterr().err.startswith("orchwatch: status-line: ")


@pytest.mark.usefixtures("kept")
def test_it_loads_nothing_that_is_slow_to_load(run_python: Callable[..., str]) -> None:
    loaded = run_python(
        """
        import os, sys
        os.close(0)
        from orchwatch.cli.main import main
        main(["status-line"])
        print("\\n".join(sys.modules))
        """,
        flags=("-I", "-S"),
    )
    modules = set(loaded.split())
    assert "orchwatch.cli.commands.status_line" in modules
    assert not modules & {
        "argparse", "asyncio", "dataclasses", "datetime", "duckdb", "json", "opentelemetry",
        "pathlib", "psutil", "re", "subprocess", "tomllib", "typing",
    }  # fmt: skip
