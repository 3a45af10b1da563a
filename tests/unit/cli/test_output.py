from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch import operation
from orchwatch.cli.output import Output

if TYPE_CHECKING:
    from tests.unit.conftest import Record


def shown(text: str) -> str:
    stream = io.StringIO()
    Output(stream).writelines([text])
    return stream.getvalue()


@pytest.mark.parametrize(
    "text", ["state.query 45ms\n", "\x1b[1;31mmiss\x1b[0m\n\n", "└─ 🟢 größer\n"]
)
def test_what_a_command_writes_itself_passes(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b[31;2J", r"\x1b[31;2J"),
        ("\x1b[" + "1" * 40 + "m", r"\x1b[" + "1" * 40 + "m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("over\rwritten", r"over\rwritten"),
        ("\u202etxt\u2069", r"\u202etxt\u2069"),
        ("\ud800", r"\ud800"),
        ("\x1b", r"\x1b"),
        ("a\tb", r"a\tb"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_a_progress_bar_has_codes_of_its_own() -> None:
    stream = io.StringIO()
    Output(stream).control("\r\x1b[K")
    assert stream.getvalue() == "\r\x1b[K"


def test_all_else_is_the_streams_own() -> None:
    assert not Output(io.StringIO()).isatty()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LC_ALL": "C"}, "us"),
        ({"LC_ALL": "POSIX"}, "us"),
        ({"PYTHONIOENCODING": "ascii"}, "us"),
        ({"LC_ALL": "C.UTF-8"}, "\N{MICRO SIGN}s"),
    ],
)
def test_where_the_locale_has_ascii_only_that_is_what_comes_out(
    variables: dict[str, str], expected: str, record: Record
) -> None:
    record("prüfen", duration_ns=52_000, end_ns=time.time_ns())
    environment = {key: value for key, value in os.environ.items() if key != "LC_ALL"} | variables
    for words in (["current"], ["trace"], ["trace", "--format", "json"], ["traces"]):
        ended = subprocess.run(
            [sys.executable, "-m", "orchwatch.cli", *words],
            env=environment,
            capture_output=True,
            check=False,
            timeout=240,
        )
        assert (ended.returncode, ended.stderr) == (0, b"")
        if expected == "us":
            assert ended.stdout.isascii()
        if "json" in words:
            assert "prüfen" in [span["name"] for span in json.loads(ended.stdout)]
        elif words != ["traces"]:
            assert expected in ended.stdout.decode()


@pytest.mark.usefixtures("home")
def test_a_reader_that_leaves_early_hears_nothing() -> None:
    with operation("outer"):
        pass
    for words in ("current", "sessions", "traces", "trace", "kpi list", "events"):
        ended = subprocess.run(
            ["sh", "-c", f"{sys.executable} -m orchwatch.cli {words} | head -c 1"],
            capture_output=True,
            check=False,
            timeout=240,
        )
        assert (ended.returncode, ended.stderr) == (0, b"")
