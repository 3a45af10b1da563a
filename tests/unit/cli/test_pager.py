"""A pager in a real terminal of 80 columns and 24 lines."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

WITHIN_S = 240
LONG = ("traces", "--limit", "0")


def write(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """One that says that it was there."""
    return write(tmp_path / "pages", 'echo "PAGER $LESS"; cat; echo END')


def on_terminal(*words: str, **environ: str) -> tuple[int, str]:
    """The exit code, and what the terminal shows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "orchwatch.cli", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", **environ},
    )
    os.close(slave)
    seen = b""
    try:
        while piece := os.read(master, 65536):
            seen += piece
    except OSError:  # closed at the other end
        pass
    os.close(master)
    return process.wait(WITHIN_S), seen.decode()


@pytest.fixture
def many(record: Record) -> None:
    for _ in range(60):
        record("state.query")


@pytest.mark.usefixtures("many")
def test_what_is_longer_than_the_terminal_comes_in_the_pager(pager: str) -> None:
    code, seen = on_terminal(*LONG, PAGER=pager)
    assert code == 0
    assert seen.startswith("PAGER FRX")
    assert seen.count("state.query") == 60
    assert seen.rstrip().endswith("END")
    _, seen = on_terminal(*LONG, PAGER=f"{pager} --of mine", LESS="S")
    assert seen.startswith("PAGER S")


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    "words",
    [
        ("traces", "--limit", "5"),
        (*LONG, "--format", "json"),
        (*LONG, "--format=json"),
        (*LONG, "--no-pager"),
        ("--no-pager", *LONG),
        ("doctor",),
        ("status-line",),
    ],
)
def test_what_fits_is_for_programs_or_shall_not_does_not(
    pager: str, words: tuple[str, ...]
) -> None:
    _, seen = on_terminal(*words, PAGER=pager)
    assert "PAGER" not in seen
    assert seen


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    "environ",
    [{"PAGER": ""}, {"PAGER": "cat"}, {"PAGER": "/no/such"}, {"PAGER": "a 'b"}, {"TERM": "dumb"}],
)
def test_without_a_pager_all_is_written(environ: dict[str, str]) -> None:
    code, seen = on_terminal(*LONG, **environ)
    assert (code, seen.count("state.query")) == (0, 60)


@pytest.mark.usefixtures("many")
def test_a_pipe_has_none(pager: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchwatch.cli", *LONG],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PAGER": pager, "TERM": "xterm"},
    )
    assert "PAGER" not in done.stdout


@pytest.mark.usefixtures("many")
def test_leaving_it_is_no_failure(tmp_path: Path) -> None:
    code, seen = on_terminal(*LONG, PAGER=write(tmp_path / "leaves", "head -n 1 >/dev/null"))
    assert (code, seen) == (0, "")


@pytest.mark.usefixtures("many")
def test_an_error_is_said_after_the_pager(pager: str) -> None:
    code, seen = on_terminal("traces", "--since", "nonsense", PAGER=pager)
    assert (code, seen.count("\n")) == (2, 1)
    assert "--since must be like" in seen
