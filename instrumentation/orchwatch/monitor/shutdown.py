"""A flag for shutdown that signal handlers may set at any time."""

from __future__ import annotations

import os
import select
from contextlib import suppress


class ShutdownFlag:
    """A flag that a signal handler may set, and that can be waited for.

    Not a `threading.Event`: a handler that sets one while the same thread is inside its `wait`
    deadlocks.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def set(self, *_: object) -> None:
        """Sets the flag; a signal handler."""
        self.is_set = True
        with suppress(BlockingIOError):  # the pipe is full, so the waiter wakes anyway
            os.write(self._write, b".")

    def wait(self, seconds: float) -> None:
        """Waits until the flag is set, or for that long."""
        select.select([self._read], [], [], max(0.0, seconds))
