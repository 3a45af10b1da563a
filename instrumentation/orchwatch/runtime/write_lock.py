"""The lock that the writers of a file queue for, in any number of processes."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING

from orchwatch.recording import files

if TYPE_CHECKING:
    from pathlib import Path

_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.1
_PATIENCE_S = 2.0


class WriteLock:
    """A lock of the kernel's, which falls with its holder.

    A waiter polls after short pauses: a process that runs meanwhile goes on without a switch for
    every write, which is most of what 32 writers on two processors can save. SQLite's own wait does
    the same with pauses of up to 100 ms and no turns. Here, a waiter that has waited for
    `_PATIENCE_S` joins the kernel's queue, and is woken when the lock is free.

    The lock also keeps two processes from writing back the WAL at once, by which SQLite before
    3.51.3 may lose commits (https://www.sqlite.org/wal.html#walresetbug).

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def acquire(self, timeout_s: float) -> bool:
        """Take the lock; False if another process holds it for longer than `timeout_s`."""
        if self._taken():
            return True
        now = time.monotonic()
        deadline, patient_until = now + timeout_s, now + min(_PATIENCE_S, timeout_s)
        pause_s = _FIRST_PAUSE_S
        while time.monotonic() < patient_until:
            time.sleep(pause_s)
            if self._taken():
                return True
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return self._queued(max(0.0, deadline - time.monotonic()))

    def release(self) -> None:
        """Let the next one write."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, and with it give up the lock."""
        os.close(self._file)

    def _open(self) -> int:
        return files.descriptor(self._path, os.O_RDWR | os.O_CREAT, links=False)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _queued(self, timeout_s: float) -> bool:
        """Wait in a thread, as the kernel's own wait knows no limit."""
        waiting = _Waiting(self._open())
        threading.Thread(target=waiting.wait, daemon=True).start()
        if not waiting.granted_within(timeout_s):
            return False
        os.close(self._file)
        self._file = waiting.file
        return True


class _Waiting:
    """A place in the kernel's queue; given up, it passes the lock on when its turn comes."""

    def __init__(self, file: int) -> None:
        self.file = file
        self._decision = threading.Lock()
        self._granted = threading.Event()
        self._given_up = False

    def wait(self) -> None:
        fcntl.flock(self.file, fcntl.LOCK_EX)
        with self._decision:
            self._granted.set()
            if self._given_up:
                self._pass_on()

    def granted_within(self, timeout_s: float) -> bool:
        try:
            self._granted.wait(timeout_s)
        except BaseException:  # Ctrl-C: nobody is there to let go of it
            with self._decision:
                self._given_up = True
                if self._granted.is_set():
                    self._pass_on()
            raise
        with self._decision:
            self._given_up = not self._granted.is_set()
            return not self._given_up

    def _pass_on(self) -> None:
        fcntl.flock(self.file, fcntl.LOCK_UN)  # a forked child may have the same file open
        os.close(self.file)
