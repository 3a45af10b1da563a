"""How far something is, on a terminal and nowhere else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_WIDTH = 30
_INTERVAL_S = 0.1
_BYTES_PER_MB = 1_000_000


def _megabytes(done: float, total: float) -> str:
    return f"{done / _BYTES_PER_MB:.0f} of {total / _BYTES_PER_MB:.0f} MB"


class ProgressBar:
    """A bar; a context manager that wipes it in the end.

    Args:
        to: Where it is drawn, if that is a terminal.
        total: How much there is to do, by default in bytes.
        words: What stands behind the bar, given what is done and the total.
    """

    def __init__(
        self,
        to: TextIO | None,
        total: float,
        words: Callable[[float, float], str] = _megabytes,
    ) -> None:
        self._to = to if to is not None and to.isatty() else None
        self._total = total
        self._words = words
        self._done = 0.0
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write("\r\x1b[K")

    def advance(self, done: float) -> None:
        """Advances the bar by what was done since."""
        self._done += done
        now = time.monotonic()
        if self._to is None or now < self._next:
            return
        self._next = now + _INTERVAL_S
        share = min(self._done / self._total, 1.0) if self._total else 1.0
        bar = "#" * round(share * _WIDTH)
        self._write(f"\r[{bar:<{_WIDTH}}] {self._words(self._done, self._total)}\x1b[K")

    def _write(self, text: str) -> None:
        if self._to is not None:
            write_control(self._to, text)


def write_control(to: TextIO, text: str) -> None:
    """Writes what a terminal is to obey, which a command's stderr would show otherwise."""
    getattr(to, "control", to.write)(text)
    to.flush()
