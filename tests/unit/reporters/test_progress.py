from __future__ import annotations

import io

from orchwatch.reporters.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_how_much_is_done_and_is_wiped_in_the_end() -> None:
    terminal = Terminal()
    with ProgressBar(terminal, 4_000_000) as bar:
        bar.advance(1_000_000)
    shown = terminal.getvalue()
    assert "########  " in shown
    assert "1 of 4 MB" in shown
    assert shown.endswith("\r\x1b[K")


def test_nothing_is_written_where_the_output_is_no_terminal() -> None:
    pipe = io.StringIO()
    for to in (pipe, None):
        with ProgressBar(to, 10) as bar:
            bar.advance(5)
    assert pipe.getvalue() == ""


def test_an_import_of_nothing_is_done_at_once() -> None:
    terminal = Terminal()
    with ProgressBar(terminal, 0) as bar:
        bar.advance(0)
    assert "0 of 0 MB" in terminal.getvalue()
