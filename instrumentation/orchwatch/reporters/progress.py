"""How far something is, on a terminal and nowhere else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from types import TracebackType

_WIDTH = 30
_INTERVAL_S = 0.1
_BYTES_PER_MB = 1_000_000


class ProgressBar:
    """A bar over a number of bytes; a context manager that wipes it in the end."""

    def __init__(self, to: TextIO | None, total_bytes: int) -> None:
        self._to = to if to is not None and to.isatty() else None
        self._total_bytes = total_bytes
        self._done_bytes = 0
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

    def advance(self, done_bytes: int) -> None:
        """Advances the bar by a number of bytes."""
        self._done_bytes += done_bytes
        now = time.monotonic()
        if self._to is None or now < self._next:
            return
        self._next = now + _INTERVAL_S
        share = min(self._done_bytes / self._total_bytes, 1.0) if self._total_bytes else 1.0
        bar = "#" * round(share * _WIDTH)
        done_mb, total_mb = (size / _BYTES_PER_MB for size in (self._done_bytes, self._total_bytes))
        self._write(f"\r[{bar:<{_WIDTH}}] {done_mb:.0f} of {total_mb:.0f} MB")

    def _write(self, text: str) -> None:
        if self._to is not None:
            write_control(self._to, text)


def write_control(to: TextIO, text: str) -> None:
    """Writes what a terminal is to obey, which a command's stderr would show otherwise."""
    getattr(to, "control", to.write)(text)
    to.flush()
