"""Events in batches: many that come one by one become few durable writes."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from orchwatch.runtime import settings
from orchwatch.runtime.closing import Closing
from orchwatch.runtime.event import Event, EventError, to_row

if TYPE_CHECKING:
    from orchwatch.runtime.events import EventLog

MAX_WAITING = 100_000


class EventWriter(Closing):
    """Collects events and writes them together; leaving the `with` block writes the rest.

    An event is acknowledged once `flush` has returned, or `written` has reached its number. One
    that was only collected is lost with its process. Any thread may append; their order is kept.

        with EventWriter(log) as writer:
            writer.append(Event("file.read", "build-7", {"name": name}))

    Args:
        log: Where they go; it stays open.
        batch_size: That many are written at once, by the caller that appends the last of them; by
            default as the settings say.
        flush_interval_s: After so long at most, what waits is written by a thread; likewise.

    Attributes:
        appended: How many events were taken.
        written: How many of them are durable.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        batch_size: int | None = None,
        flush_interval_s: float | None = None,
    ) -> None:
        if batch_size is None:
            batch_size = settings.current().batch_size
        if flush_interval_s is None:
            flush_interval_s = settings.current().flush_interval_s
        if type(batch_size) is not int or batch_size < 1:
            raise EventError(f"batch_size must be a whole number above 0, not {batch_size!r}")
        if not 0 < flush_interval_s < threading.TIMEOUT_MAX:
            raise EventError(f"flush_interval_s must be above 0, not {flush_interval_s!r}")
        self.appended = 0
        self.written = 0
        self._log = log
        self._batch_size = batch_size
        self._flush_interval_s = flush_interval_s
        self._waiting: list[Event] = []
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._idle = False
        self._thread: threading.Thread | None = None

    def append(self, event: Event) -> int:
        """Take an event; gives its number among those that this writer has taken, from 1.

        Raises:
            EventError: It is none and was not taken; or the batch that it completes cannot be
                written, and waits with it for the next `flush`.
        """
        to_row(event)
        with self._lock:
            if self._closed:
                raise EventError("the writer is closed")
            if len(self._waiting) >= max(MAX_WAITING, self._batch_size):
                self.flush()
            self._waiting.append(event)
            self.appended += 1
            number = self.appended
            if len(self._waiting) >= self._batch_size:
                self.flush()
            elif len(self._waiting) == 1:
                self._start()
                if self._idle:
                    self._changed.notify()
        return number

    def flush(self) -> int:
        """Write what waits; gives the number of events that are durable.

        Raises:
            EventError: They cannot be written; they wait for the next `flush`.
        """
        with self._lock:
            if self._waiting:
                self._log.append(*self._waiting)
                self.written += len(self._waiting)
                self._waiting.clear()
            return self.written

    def close(self) -> None:
        """Write what waits and end; safe to call again.

        Raises:
            EventError: It cannot be written; it waits, and `close` may be called again.
        """
        with self._lock:
            self._closed = True
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.flush()

    def _start(self) -> None:
        # A thread does not live on in a forked child.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        with self._lock:
            while not self._closed:
                if not self._waiting:
                    self._idle = True
                    self._changed.wait()
                    self._idle = False
                    continue
                self._changed.wait(self._flush_interval_s)
                if not self._closed:
                    with suppress(EventError):  # they wait, and are tried again
                        self.flush()
