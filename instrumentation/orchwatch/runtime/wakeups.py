"""Waking a process that waits for another one's write, at once rather than at its next look."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Also where no process can be woken: another kind of system, a container with a network of its own.
LOOK_INTERVAL_S = 0.02
# A wake-up is only a hint: a write that gave none is still found.
_WOKEN_LOOK_INTERVAL_S = 0.05
_DATAGRAMS = socket.SOCK_DGRAM | getattr(socket, "SOCK_NONBLOCK", 0)
_DATAGRAM_BYTES = 16
_MAX_DATAGRAMS = 1024


def _address(path: Path, name: str) -> bytes:
    """Linux's abstract sockets are no files: nothing is left of a process that is killed."""
    status = os.stat(path)
    key = f"{status.st_dev}:{status.st_ino}:{name}".encode()
    return b"\0orchwatch." + hashlib.blake2b(key, digest_size=16).hexdigest().encode()


class Waiter:
    """Waits for `wake` with the same file and name. The first is woken, others poll.

    Args:
        path: A file that both know; it must exist.
        name: What is waited for.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._pid = os.getpid()
        self._socket: socket.socket | None = None
        if sys.platform == "linux":
            waiting = socket.socket(socket.AF_UNIX, _DATAGRAMS)
            try:
                waiting.bind(_address(path, name))
            except OSError:
                waiting.close()
            else:
                self._socket = waiting

    def wait(self, most_s: float) -> None:
        """Until it is time to look: woken, or after an interval, or after `most_s`."""
        if self._socket is None or self._pid != os.getpid():
            time.sleep(min(LOOK_INTERVAL_S, most_s))
            return
        waiting = select.poll()  # `select` knows no descriptor beyond 1023
        waiting.register(self._socket, select.POLLIN)
        if waiting.poll(min(_WOKEN_LOOK_INTERVAL_S, most_s) * 1000):
            with contextlib.suppress(OSError):
                for _ in range(_MAX_DATAGRAMS):
                    self._socket.recv(_DATAGRAM_BYTES)

    def close(self) -> None:
        """Let others wait in its place; safe to call again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_sending = threading.local()


def wake(path: Path, name: str) -> None:
    """Wake the process that waits for this, if any; never waits and never fails."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        if getattr(_sending, "socket", None) is None:
            _sending.socket = socket.socket(socket.AF_UNIX, _DATAGRAMS)
        _sending.socket.sendto(b"1", _address(path, name))


def may_be_read(path: Path, name: str) -> bool:
    """Whether a process may have a `Waiter` for this; False only where there is none."""
    if sys.platform != "linux":
        return True
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, _DATAGRAMS) as sending:
        try:
            sending.sendto(b"1", _address(path, name))
        except ConnectionRefusedError:
            return False
    return True
