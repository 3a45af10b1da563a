from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from orchwatch.cli import main as cli
from orchwatch.errors import CheckFailedError, OrchwatchError
from orchwatch.recording.version import __version__

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

ORCHWATCH = [sys.executable, "-m", "orchwatch.cli"]

SEE = "; see orchwatch {} --help"


def orchwatch(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ORCHWATCH, *words], check=False, capture_output=True, text=True, timeout=240
    )


def test_help_lists_every_command_with_what_it_does() -> None:
    shown = orchwatch("--help")
    assert shown.returncode == 0
    for name in cli.COMMANDS:
        assert f"  {name}" in shown.stdout
        assert cli.command_module(name).HELP in shown.stdout


def test_without_a_command_there_is_help() -> None:
    ended = orchwatch()
    assert (ended.returncode, ended.stdout) == (0, orchwatch("--help").stdout)


def test_help_can_be_asked_for_as_a_command() -> None:
    assert orchwatch("help").stdout == orchwatch("--help").stdout
    assert orchwatch("help", "kpi", "set").stdout == orchwatch("kpi", "set", "--help").stdout
    assert orchwatch("help", "run").stdout.startswith("usage: orchwatch run")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_of_its_own(name: str) -> None:
    shown = orchwatch(name, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"usage: orchwatch {name}")


def test_the_version_is_the_packages() -> None:
    assert orchwatch("--version").stdout == f"orchwatch {__version__}\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--no-such"], "unknown option --no-such; orchwatch --help lists them"),
        (["--hlep"], "unknown option --hlep; did you mean --help?"),
        (["curent"], "unknown command 'curent'; did you mean current?"),
        (["no-such"], f"unknown command 'no-such'; known are {', '.join(cli.COMMANDS)}"),
        (
            ["doctor", "--no-such"],
            "doctor: unknown argument '--no-such'" + SEE.format("doctor"),
        ),
        (
            ["current", "--formt=json"],
            "current: unknown argument '--formt=json'; did you mean --format?"
            + SEE.format("current"),
        ),
        (
            ["current", "--format", "jsn"],
            "current: --format must be one of table, json, not 'jsn'; did you mean json?"
            + SEE.format("current"),
        ),
        (
            ["claude", "imprt"],
            "claude: COMMAND must be one of import, install, uninstall, not 'imprt'; did you mean"
            " import?" + SEE.format("claude"),
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words: list[str], complaint: str) -> None:
    ended = orchwatch(*words)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == f"orchwatch: {complaint}\n"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], list[str]]:
    """Installs a command, `probe`, that does what the test says."""

    def install(action: Callable[[], int]) -> list[str]:
        module = ModuleType("orchwatch.cli.commands.probe")
        vars(module).update(
            HELP="probe",
            add_arguments=lambda _parser: None,
            run=lambda _arguments: action(),
        )
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(cli, "COMMANDS", ("probe",))
        return ["probe"]

    return install


@pytest.mark.parametrize(("error", "code"), [(OrchwatchError, 1), (CheckFailedError, 3)])
def test_an_error_is_one_line_and_its_exit_code(
    command: Callable[[Callable[[], int]], list[str]],
    capsys: pytest.CaptureFixture[str],
    error: type[OrchwatchError],
    code: int,
) -> None:
    def fail() -> int:
        raise error("two\nlines")

    assert cli.main(command(fail)) == code
    assert capsys.readouterr().err == "orchwatch: two lines\n"


def test_an_interrupt_is_quiet_and_130(
    command: Callable[[Callable[[], int]], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
        return 0

    assert cli.main(command(interrupt)) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_gone_is_no_error_to_talk_about() -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [*ORCHWATCH, "--help"], check=False, stdout=write, stderr=subprocess.PIPE, timeout=240
    )
    os.close(write)
    assert ended.returncode == 141
    assert ended.stderr == b""


def test_closed_streams_are_no_error() -> None:
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "-", *ORCHWATCH, "no-such"], check=False, timeout=240
    )
    assert closed.returncode == 2


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_an_output_that_takes_nothing_is_one_line_and_exit_code_1(name: str) -> None:
    for redirection in (">&-", ">/dev/full"):
        ended = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "-", *ORCHWATCH, *name.split(), "--help"],
            check=False,
            stderr=subprocess.PIPE,
            text=True,
            timeout=240,
        )
        assert ended.returncode == 1
        assert ended.stderr.startswith("orchwatch: the output cannot be written: ")
        assert ended.stderr.count("\n") == 1


@pytest.mark.usefixtures("home")
def test_an_output_without_the_characters_gets_question_marks() -> None:
    assert orchwatch("run", "--operation", "prüfen", "--", "true").returncode == 0
    ended = subprocess.run(
        [*ORCHWATCH, "trace"],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=240,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"pr?fen" in ended.stdout


@pytest.mark.parametrize(
    ("home", "rule"),
    [
        (b"/tmp/" + b"a" * 300, "File name too long"),
        (b"/tmp/\xff", "must be UTF-8"),
        (b"relative", "the current directory is gone"),
    ],
)
def test_a_home_that_cannot_be_used_is_one_line(home: bytes, rule: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1"; if [ "$2" = relative ]; then rmdir "$1"; fi; shift 2; exec "$@"'
    ended = subprocess.run(
        ["sh", "-c", script, "-", str(gone), os.fsdecode(home), *ORCHWATCH, "current"],
        check=False,
        capture_output=True,
        env={**os.environb, b"ORCHWATCH_HOME": home},
        text=True,
        timeout=240,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("orchwatch: ORCHWATCH_HOME=")
    assert ended.stderr.endswith(f": {rule}\n")


def test_help_imports_nothing_beyond_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); from orchwatch.cli.main import main;"
        "main(['--help']); print(*(set(sys.modules) - before))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=240
    )
    imported = {name.partition(".")[0] for name in shown.stdout.splitlines()[-1].split()}
    assert imported <= {"orchwatch", *sys.stdlib_module_names}


def test_any_command_takes_its_arguments_from_the_parser_that_its_help_describes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("orchwatch.cli.commands.two_words")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("number", type=int)

    vars(module).update(
        HELP="probe", add_arguments=add_arguments, run=lambda arguments: arguments.number
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cli, "COMMANDS", ("two-words",))
    assert cli.main(["two-words", "7"]) == 7
