"""Signals at a bad moment: held back while a new child process is not registered yet."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """Let SIGINT and SIGTERM act only after the block.

    Between the start of a child and its registration an exception from a signal handler would
    leave a process that nothing ends. Handlers run in the main thread only; a mask would not do,
    as any other thread could take the signal.
    """
    handlers = {number: signal.getsignal(number) for number in ENDING}
    if threading.current_thread() is not threading.main_thread() or None in handlers.values():
        yield
        return
    received: list[int] = []
    for number in ENDING:
        signal.signal(number, lambda caught, _frame: received.append(caught))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught in received:
            signal.raise_signal(caught)
