from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from tests.unit.conftest import Record

COMMANDS = {
    "report": ["report", "--format", "md", "--since", "all", "-o"],
    "export": ["export", "--format", "csv", "--since", "all", "-o"],
    "bundle": ["export", "--since", "all", "--bundle"],
    "sql": ["sql", "select 1 as one", "-o"],
    "flame": ["flame", "--format", "chrome", "--since", "all", "-o"],
}
WORDS = pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture(autouse=True)
def _stored(record: Record) -> None:
    record(end_ns=NOW_NS)


@WORDS
def test_a_link_is_followed_and_stays(words: list[str], tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    link.symlink_to(target)
    assert main([*words, str(link)]) == 0
    assert link.is_symlink()
    assert target.read_bytes() not in (b"", b"before")


@WORDS
def test_who_reads_a_pipe_gets_all_of_it(words: list[str], tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    assert main([*words, str(pipe)]) == 0
    reader.join(60)
    assert got[0]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@WORDS
def test_a_full_device_stays_a_device_and_is_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = tmp_path / "full"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("only root makes devices")
    assert main([*words, str(device)]) == 1
    assert capsys.readouterr().err.endswith(
        f"{device} cannot be written: No space left on device\n"
    )
    assert stat.S_ISCHR(device.stat().st_mode)


def test_parquet_needs_a_plain_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert main(["sql", "select 1 as one", "--format", "parquet", "-o", str(pipe)]) == 2
    assert "--output must be a plain file for --format parquet" in capsys.readouterr().err


def test_ctrl_c_ends_a_question_that_would_take_years() -> None:
    question = "select count(*) from range(100000000000) a, range(100000) b"
    asked = [sys.executable, "-m", "orchwatch.cli", "sql", question]
    with subprocess.Popen(asked, stderr=subprocess.PIPE) as process:
        # Before the engine is there, Python is still starting, and ends in its own way.
        maps = Path(f"/proc/{process.pid}/maps")
        while process.poll() is None and "duckdb" not in maps.read_text():
            time.sleep(0.05)
        # The first one that comes too early for an answer is not the last.
        for _ in range(120):
            try:
                process.wait(0.5)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
        else:
            process.kill()
    assert process.returncode in (130, -signal.SIGINT)


@WORDS
def test_what_cannot_be_written_leaves_the_file_as_it_was_and_nothing_beside_it(
    words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    before = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))\n"
    run = "import sys; from orchwatch.cli.main import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", before + run, *words, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 1
    assert ended.stderr.endswith(f"{path} cannot be written: File too large\n")
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("out")] == ["out"]
