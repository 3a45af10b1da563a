"""What `configure` installs in the whole process: around a fork, and for signals that end it.

A signal handler in Python is a risk to its host: a child inherits it with `fork`, and loses a
signal that comes before its first bytecode, so that a parent that waits for the child waits for
ever (`multiprocessing.Pool` does). So there is a handler only in the very process that was
configured, never in its children nor in those of `multiprocessing`, and only for signals that would
end the process; while it forks, these signals wait. Spans of children are written as they end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from orchwatch.recording import in_flight

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SIGNAL_LIMIT_S = 5.0  # for writing a full queue that a dead server has not taken

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal is closed
_ENDING_SWITCH_INTERVAL_S = 0.0005
_AGAIN_S = 0.05


def is_multiprocessing_child() -> bool:
    """Whether `multiprocessing` has started this process, and so ends it by a signal."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def finalize(flush: Callable[[], None]) -> None:
    """Calls it as a child of `multiprocessing` ends, which may run no exit handlers."""
    if is_multiprocessing_child():
        sys.modules["multiprocessing.util"].Finalize(None, flush, exitpriority=1)


class EndingSignals:
    """Flushes before a signal ends the process, unless the host handles that signal itself.

    Args:
        flush: Called in a thread; given up after `SIGNAL_LIMIT_S`.
    """

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._flushing = self._flushed = False
        self._handled: list[int] = []
        self._masks = threading.local()  # two threads may fork at once
        if threading.current_thread() is threading.main_thread() and not is_multiprocessing_child():
            for number in _ENDING_SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, self._handle)
                    self._handled.append(number)

    def hold(self) -> None:
        """Before a fork: blocks the signals that are still handled here."""
        ours = [number for number in self._handled if signal.getsignal(number) == self._handle]
        if ours:
            self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)

    def release(self) -> None:
        """After a fork, in the parent."""
        before = getattr(self._masks, "before", None)
        if before is not None:
            self._masks.before = None
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def drop(self) -> None:
        """After a fork, in the child, which such a signal ends at once."""
        for number in self._handled:
            if signal.getsignal(number) == self._handle:
                signal.signal(number, signal.SIG_DFL)
        self._handled = []
        self.release()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._flushed:
            self._end(number)
        if self._flushing:
            return
        self._flushing = True
        in_flight.note(signal.Signals(number).name)
        # The host goes on meanwhile: what the signal interrupted may hold a lock that is needed.
        try:
            threading.Thread(target=self._flush_and_end, args=(number,)).start()
        except RuntimeError:  # the interpreter is ending, and has flushed already
            self._end(number)

    def _flush_and_end(self, number: int) -> None:
        # A busy host would hold the GIL for 5 ms after each system call of the flush.
        sys.setswitchinterval(_ENDING_SWITCH_INTERVAL_S)
        flushing = threading.Thread(target=self._flush, daemon=True)
        flushing.start()
        flushing.join(SIGNAL_LIMIT_S)
        self._flushed = True
        # Repeated: the main thread misses a signal that arrives just before it starts to wait.
        while True:
            os.kill(os.getpid(), number)
            threading.Event().wait(_AGAIN_S)

    @staticmethod
    def _end(number: int) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
