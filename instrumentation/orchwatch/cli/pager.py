"""A pager for an answer that is longer than the terminal, and for nothing else."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from orchwatch.cli.output import Output, charset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

OPTION = "--no-pager"

PAGED = frozenset(
    {
        "agents", "baseline", "critical-path", "current", "events", "flame", "forecast", "hooks",
        "kpi", "sessions", "sql", "tokens", "trace", "traces",
    }
)  # fmt: skip
"""The commands that answer, and end. The others speak while they work."""

_DEFAULT = "less"
# As git has it: an answer that fits after all ends at once, and colours stay.
_SETTINGS = {"LESS": "FRX", "LV": "-c"}
_FOLLOWED = "--follow"


@contextmanager
def around(name: str, words: Sequence[str]) -> Iterator[None]:
    """Sends what a command writes to a pager, once it is too long for the terminal."""
    command = _command(name, words)
    if not command:
        yield
        return
    before = sys.stdout
    paged = _Paged(before, command)
    sys.stdout = Output(paged, charset=charset(before))  # type: ignore[arg-type]
    try:
        with suppress(_GoneError):
            yield
    finally:
        sys.stdout = before
        paged.close()


def _command(name: str, words: Sequence[str]) -> list[str]:
    """How the pager is called; empty for none."""
    if name not in PAGED or OPTION in words or _FOLLOWED in words or _is_for_programs(words):
        return []
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stdout)):
        return []
    if os.environ.get("TERM", "dumb") == "dumb":
        return []
    try:
        command = shlex.split(os.environ.get("PAGER", _DEFAULT))
    except ValueError:
        return []
    if not command or command[0] == "cat" or shutil.which(command[0]) is None:
        return []
    return command


def _is_for_programs(words: Sequence[str]) -> bool:
    """Whether another form than a table is asked for."""
    for place, word in enumerate(words):
        option, has_value, value = word.partition("=")
        if option == "--format":
            return (value if has_value else "".join(words[place + 1 : place + 2])) != "table"
    return False


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


class _GoneError(Exception):
    """A person has left the pager: the rest of the answer is not wanted, which is no failure."""


class _Paged:
    """Holds back what fits; the rest and that go to the pager."""

    def __init__(self, stream: TextIO, command: Sequence[str]) -> None:
        self._stream = stream
        self._command = command
        self._size = shutil.get_terminal_size()
        self._held: list[str] = []
        self._rows = 0
        self._pager: subprocess.Popen[str] | None = None

    def write(self, text: str) -> int:
        if self._pager is None:
            self._held.append(text)
            self._rows += sum(
                max(-(-len(line) // max(self._size.columns, 1)), 1)
                for line in text.split("\n")[:-1]
            )
            # The prompt takes a row, too.
            if self._rows < self._size.lines:
                return len(text)
            self._start()
            text = "".join(self._held)
        self._send(text)
        return len(text)

    def flush(self) -> None:
        """What is held back stays."""

    def close(self) -> None:
        """Shows what fits, or waits until a person has seen enough."""
        if self._pager is None:
            self._stream.write("".join(self._held))
            self._stream.flush()
            return
        with suppress(BrokenPipeError):
            if self._pager.stdin is not None:
                self._pager.stdin.close()
        while True:
            # Ctrl-C is the pager's own.
            with suppress(KeyboardInterrupt):
                self._pager.wait()
                return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _start(self) -> None:
        self._pager = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=self._stream.fileno(),
            text=True,
            encoding=self._stream.encoding,
            errors="replace",
            env={**_SETTINGS, **os.environ},
        )

    def _send(self, text: str) -> None:
        try:
            if self._pager is not None and self._pager.stdin is not None:
                self._pager.stdin.write(text)
        except BrokenPipeError:
            raise _GoneError from None
