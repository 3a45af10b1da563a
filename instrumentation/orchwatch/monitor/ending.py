"""Whether a process was told to end, by a signal that may come at any moment."""

from __future__ import annotations

import os
import select
from contextlib import suppress


class Ending:
    """A flag that a signal handler may set, and that can be waited for.

    A `threading.Event` is no such thing: a handler that sets it while the same thread is just
    inside of its `wait` waits for itself, for ever.
    """

    def __init__(self) -> None:
        self.is_told = False
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def tell(self, *_: object) -> None:
        """A signal's handler."""
        self.is_told = True
        with suppress(BlockingIOError):  # told often enough
            os.write(self._write, b".")

    def wait(self, seconds: float) -> None:
        """Until it is told, or for that long."""
        select.select([self._read], [], [], max(0.0, seconds))
