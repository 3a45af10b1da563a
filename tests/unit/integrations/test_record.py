from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.integrations import record

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_called_stays_called_in_later_runs(home: Path) -> None:
    record.note({"a:f": (record.CALLED, "")})
    record.note({"a:f": (record.UNCALLED, "was never called"), "b:g": (record.ABSENT, "is not")})
    entries = record.read()
    assert entries["a:f"].called_ns > 0
    assert record.never_called(0) == ["b:g is not"]
    assert (home / "watched").stat().st_mode & 0o777 == 0o600


def test_a_process_that_knows_less_takes_nothing_back(home: Path) -> None:  # noqa: ARG001
    record.note({"a:f": (record.PROBLEM, "there is no 'f'")})
    for state in (record.ABSENT, record.UNIMPORTED):
        record.note({"a:f": (state, "less")})
    assert record.read()["a:f"].text == "there is no 'f'"
    record.note({"a:f": (record.UNCALLED, "now it is there")})
    assert record.read()["a:f"].state == record.UNCALLED


def test_only_what_was_found_since_then_is_said(home: Path) -> None:  # noqa: ARG001
    record.note({"a:f": (record.UNCALLED, "old")})
    since = time.time_ns()
    record.note({"a:f": (record.UNIMPORTED, "less"), "b:g": (record.UNCALLED, "new")})
    assert record.never_called(since) == ["b:g new"]


def test_names_of_any_kind_are_found_again(home: Path) -> None:
    for target in ("a\tb:f", "ä:ö\n", "x" * 500):
        record.note({target: (record.CALLED, "")})
        assert record.find(record.read(), target) is not None
    assert len((home / "watched").read_text().splitlines()) == 3


def test_the_file_is_bounded_and_keeps_the_newest(home: Path) -> None:
    for number in range(40):
        record.note({f"m{number}:f{row}": (record.CALLED, "") for row in range(20)})
    assert (home / "watched").stat().st_size < 128 * 1024
    entries = record.read()
    assert len(entries) == 256
    assert "m39:f0" in entries


@pytest.mark.parametrize("content", [b"", b"\0\xff\n", b"1\t2\tcalled\n", b"x\ty\tcalled\ta:f\t\n"])
def test_a_damaged_file_is_written_anew(home: Path, content: bytes) -> None:
    home.mkdir()
    (home / "watched").write_bytes(content)
    assert record.read() == {}
    record.note({"a:f": (record.CALLED, "")})
    assert list(record.read()) == ["a:f"]


def test_a_home_that_cannot_be_written_raises_nothing(home: Path) -> None:
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file")
    assert record.note({"a:f": (record.CALLED, "")}) is None
    assert record.read() == {}


def test_processes_that_write_at_once_lose_nothing(home: Path) -> None:  # noqa: ARG001
    code = (
        "import sys\nfrom orchwatch.integrations import record\n"
        "for row in range(20):\n"
        "    while record.note({f'm{sys.argv[1]}:f{row}': ('called', '')}) is None: pass\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(one)]) for one in range(8)]
    assert [process.wait(60) for process in started] == [0] * 8
    assert len(record.read()) == 160
