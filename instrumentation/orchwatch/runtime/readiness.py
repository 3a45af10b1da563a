"""How an agent's process says that it is ready; it loads nothing that a spawn would feel."""

from __future__ import annotations

import os

READY_FD = "ORCHWATCH_READY_FD"


def say_ready() -> None:
    """Tell the pool that started this process that it is ready; nothing where none did."""
    number = os.environ.pop(READY_FD, "")
    if not number.isdecimal():
        return
    try:
        os.write(int(number), b"ready\n")
        os.close(int(number))
    except OSError:
        pass  # no one waits for it any more
