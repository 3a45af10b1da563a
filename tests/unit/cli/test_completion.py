"""Completion in the real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.cli import completion
from orchwatch.cli.main import COMMANDS, main

if TYPE_CHECKING:
    from pathlib import Path

WITHIN_S = 240
SHELLS = ("bash", "zsh", "fish")
# What is typed, and what it becomes with the key; a space where nothing else could follow.
LINES = [
    ("orchwatch curr", "orchwatch current "),
    ("orchwatch current --form", "orchwatch current --format "),
    ("orchwatch current --format js", "orchwatch current --format json "),
    ("orchwatch baseline comp", "orchwatch baseline compare "),
    ("orchwatch status-line --color al", "orchwatch status-line --color always "),
    ("orchwatch completion fi", "orchwatch completion fish "),
    ("orchwatch help crit", "orchwatch help critical-path "),
    ("orchwatch flame --output mine-", "orchwatch flame --output mine-only.txt "),
]
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07|[\x07\x08\r]")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for place in completion.places():
        for option in place.options:
            name = option.name[2:] if shell == "fish" else option.name
            assert name in text
    assert set(COMMANDS) <= set(re.findall(r"[a-z-]+", text))


def test_another_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("typed", "wanted"), LINES, ids=lambda line: line)
def test_a_shell_completes_it(tmp_path: Path, shell: str, typed: str, wanted: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: .ci/shells installs it")
    script = tmp_path / "script"
    script.write_text(completion.script(shell))
    directory = tmp_path / "here"
    directory.mkdir()
    (directory / "mine-only.txt").touch()
    found = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}[shell](script, directory, typed)
    assert found.rstrip() == wanted.rstrip()


def in_bash(script: Path, directory: Path, typed: str) -> str:
    start = f"PS1='$ '; bind 'set enable-bracketed-paste off'; source {script}"
    return interactive(["bash", "--norc", "--noprofile", "-i"], directory, start, typed)


def in_zsh(script: Path, directory: Path, typed: str) -> str:
    start = f"PS1='$ '; autoload -Uz compinit; compinit -u -D; source {script}"
    return interactive(["zsh", "-f", "-i", "+o", "PROMPT_SP"], directory, start, typed)


def in_fish(script: Path, directory: Path, typed: str) -> str:
    found = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C {typed!r}"],
        check=True,
        capture_output=True,
        text=True,
        cwd=directory,
    ).stdout.split("\n")
    last = typed.rpartition(" ")[0]
    (only,) = [line.partition("\t")[0] for line in found if line]
    return f"{last} {only}"


def interactive(command: list[str], directory: Path, start: str, typed: str) -> str:
    """What a line becomes with the key, in a shell that a person types in."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=directory,
        start_new_session=True,
        env={**os.environ, "TERM": "dumb", "HOME": str(directory), "COLUMNS": "200"},
    )
    os.close(slave)
    try:
        # What stands in the line after the key is what it is called with.
        shows = 'orchwatch() { echo got: orchwatch "$@"; }'
        os.write(master, f"{start}; {shows}; echo rea''dy\n".encode())
        read_until(master, r"ready\s")
        os.write(master, typed.encode() + b"\t\n")
        text = read_until(master, r"got: .*\n")
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return text.rpartition("got: ")[2].partition("\n")[0]


def read_until(master: int, wanted: str) -> str:
    seen, ends_s = "", time.monotonic() + WITHIN_S
    while not re.search(wanted, seen, re.DOTALL):
        ready, _, _ = select.select([master], [], [], max(ends_s - time.monotonic(), 0))
        assert ready, seen
        seen += _CONTROL.sub("", os.read(master, 65536).decode("utf-8", "replace"))
    return seen
