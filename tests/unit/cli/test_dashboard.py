"""The command in a real terminal, and where there is none."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.conftest import Record

DASHBOARD = [sys.executable, "-m", "orchwatch.cli", "dashboard"]
WITHIN_S = 240


@pytest.mark.usefixtures("home")
def test_without_a_terminal_one_line_names_the_command_that_needs_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["dashboard"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "needs a terminal" in said.err
    assert "orchwatch current" in said.err


class Terminal:
    """A real one, of 80 columns and 24 lines."""

    def __init__(self, *options: str, **environ: str) -> None:
        self.master, slave = pty.openpty()
        os.set_inheritable(slave, True)
        os.environ["LINES"], os.environ["COLUMNS"] = "24", "80"
        self.process = subprocess.Popen(
            [*DASHBOARD, *options],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **environ},
        )
        del os.environ["LINES"], os.environ["COLUMNS"]
        os.close(slave)
        self.seen = ""

    def until(self, wanted: str) -> str:
        """Reads until it is there."""
        while not re.search(wanted, self.seen):
            ready, _, _ = select.select([self.master], [], [], WITHIN_S)
            assert ready, f"no {wanted} in {self.seen[-2000:]!r}"
            try:
                piece = os.read(self.master, 65536)
            except OSError:
                piece = b""
            assert piece, f"ended without {wanted}: {self.seen[-2000:]!r}"
            self.seen += piece.decode("utf-8", "replace")
        return self.seen

    def rest(self) -> tuple[int, str]:
        """Its exit code, and all that it wrote."""
        try:
            while piece := os.read(self.master, 65536):
                self.seen += piece.decode("utf-8", "replace")
        except OSError:
            pass
        return self.process.wait(WITHIN_S), self.seen

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    started: list[Terminal] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        os.close(one.master)


def test_it_shows_what_was_measured_and_gives_the_terminal_back(
    record: Record, terminals: list[Terminal]
) -> None:
    record("state.query")
    terminals.append(one := Terminal())
    one.until("state.query.*")
    one.press("q")
    code, seen = one.rest()
    assert code == 0
    assert seen.rindex("\x1b[?1049l") > seen.rindex("\x1b[?1049h")
    assert "Traceback" not in seen


def test_a_signal_gives_the_terminal_back_too(record: Record, terminals: list[Terminal]) -> None:
    record("state.query")
    terminals.append(one := Terminal())
    one.until("state.query")
    one.process.send_signal(signal.SIGTERM)
    code, seen = one.rest()
    assert code == 0
    assert seen.rindex("\x1b[?1049l") > seen.rindex("\x1b[?1049h")


def test_without_colour_none_is_written(record: Record, terminals: list[Terminal]) -> None:
    record("state.query")
    terminals.append(one := Terminal(NO_COLOR="1", COLORTERM="truecolor"))
    one.until("state.query")
    one.press("q")
    _, seen = one.rest()
    colours = re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", seen)
    assert colours
    assert {colour for colour in colours if len(set(colour)) > 1} == set(), "grey at most"


@pytest.mark.parametrize(
    ("asked", "code", "wanted"),
    [
        (((), "dumb"), 2, "orchwatch current prints the same"),
        ((("--since", "yesterday"), "xterm"), 2, "--since must be like"),
        ((("--until", "soon"), "xterm"), 2, "--until must be like"),
        ((("--session", "nine"), "xterm"), 1, "--session nine: matches nothing"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    record: Record,
    terminals: list[Terminal],
    asked: tuple[tuple[str, ...], str],
    code: int,
    wanted: str,
) -> None:
    options, kind = asked
    record("state.query", attributes={"session.id": "one"})
    terminals.append(one := Terminal(*options, TERM=kind))
    found, seen = one.rest()
    last = seen.rpartition("\x1b[?1049l")[2]
    assert found == code
    assert wanted in last
    assert "Traceback" not in seen


def test_a_bundle_is_opened_with_the_figures_it_was_packed_with(
    home: Path, record: Record, terminals: list[Terminal], tmp_path: Path
) -> None:
    record("my.own", duration_ns=7_000_000, end_ns=NOW_NS - 40 * 86_400 * 10**9)
    bundle = str(tmp_path / "b.zip")
    assert main(["export", "--bundle", bundle, "--since", "all"]) == 0
    home.rename(tmp_path / "away")
    terminals.append(one := Terminal("--replay", bundle))
    one.until("my.own")
    one.until("packed elsewhere")
    one.press("q")
    code, seen = one.rest()
    assert code == 0
    assert "CPU usage" not in seen


@pytest.mark.usefixtures("home")
def test_what_is_no_bundle_is_one_line(terminals: list[Terminal], tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_text("no zip")
    terminals.append(one := Terminal("--replay", str(tmp_path / "b.zip")))
    code, seen = one.rest()
    assert (code, seen.count("\n")) == (1, 1)
    assert "b.zip is no bundle of orchwatch, or damaged" in seen


@pytest.mark.usefixtures("home")
def test_without_textual_one_line_says_what_to_install(
    terminals: list[Terminal], tmp_path: Path
) -> None:
    (tmp_path / "textual").mkdir()
    (tmp_path / "textual" / "__init__.py").write_text(
        "raise ModuleNotFoundError('no textual', name='textual')"
    )
    terminals.append(one := Terminal(PYTHONPATH=str(tmp_path)))
    code, seen = one.rest()
    assert (code, "pip install 'orchwatch[tui]'" in seen) == (1, True)


@pytest.mark.usefixtures("home")
def test_neither_the_sdk_nor_a_server_is_needed(run_python: object) -> None:
    assert callable(run_python)
    imported = run_python(
        """
        import orchwatch.tui.app, orchwatch.cli.commands.dashboard
        print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
        """
    )
    assert imported == "[]\n"
