from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import operation
from orchwatch.cli.main import main
from orchwatch.reporters import event_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WITHIN_S = 60


def fail() -> str:
    with pytest.raises(TimeoutError), operation("state.query") as failing:
        raise TimeoutError
    return failing.trace_id


def test_what_happened_is_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert home
    trace_id = fail()
    assert main(["events"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert "error     state.query" in line
    assert "TimeoutError after " in line
    assert line.endswith(trace_id)


def test_json_is_one_object_a_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert home
    traces = [fail(), fail()]
    assert main(["events", "--format", "json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["trace_id"] for event in found] == traces


def test_the_help_documents_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(line in told for line in event_list.KEYS.splitlines())


def test_a_home_where_nothing_happened_says_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events", "--since", "15m"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Nothing happened in the last 15m in {home}:\n")
    assert main(["events", "--since", "all"]) == 0
    assert capsys.readouterr().out.startswith(f"Nothing happened yet in {home}:\n")
    assert main(["events", "--format", "json"]) == 0
    assert capsys.readouterr().out == ""
    assert not home.exists()


@pytest.mark.parametrize("since", ["", "soon", "-5m", "5", "1e3h", "9999999d"])
def test_a_window_that_is_none_is_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], since: str
) -> None:
    assert home
    assert main(["events", f"--since={since}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_home_that_is_read_only_can_be_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace_id = fail()
    directories = (home / "spool", home)
    for directory in directories:
        directory.chmod(0o500)
    try:
        assert main(["events"]) == 0
    finally:
        for directory in directories:
            directory.chmod(0o700)
    assert trace_id in capsys.readouterr().out


@pytest.fixture
def follow(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def start(*words: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchwatch.cli", "events", "--follow", *words],
            env={**os.environ, "ORCHWATCH_HOME": str(home)},
            stderr=subprocess.PIPE,
            text=True,
            **{"stdout": subprocess.PIPE, **options},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], WITHIN_S)[0]
    return process.stdout.readline()


def test_following_goes_on_until_ctrl_c(
    follow: Callable[..., subprocess.Popen[str]],
) -> None:
    first = fail()
    process = follow("--format", "json")
    assert json.loads(_line(process))["trace_id"] == first
    second = fail()
    assert json.loads(_line(process))["trace_id"] == second
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, out, err) == (0, "", "")


def test_following_ends_when_its_reader_has_gone(
    follow: Callable[..., subprocess.Popen[str]],
) -> None:
    fail()
    process = follow("--format", "json")
    _line(process)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(WITHIN_S) == 141


def test_following_with_its_output_closed_is_an_error(
    follow: Callable[..., subprocess.Popen[str]],
) -> None:
    process = follow(stdout=None, preexec_fn=lambda: os.close(1))
    assert process.wait(WITHIN_S) == 1
    assert process.stderr is not None
    assert process.stderr.read().count("\n") == 1
