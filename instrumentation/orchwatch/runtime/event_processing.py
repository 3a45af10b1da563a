"""Handling events: each one measured, and none that was acknowledged handled again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording.metrics import count
from orchwatch.recording.operation import operation
from orchwatch.runtime.event import Event, EventError, shown
from orchwatch.runtime.events import MissedEventsError

if TYPE_CHECKING:
    from orchwatch.runtime.events import EventLog

Handler = Callable[[Event], object]


class EventSubscriber:
    """Reads a log under a name, from where that name has got to, which the log remembers.

    What it has acknowledged is never handed to that name again; what it has not is, whichever
    process was killed. One process at a time works under a name.

        EventSubscriber(log, "indexer").process(index, timeout_s=None)

    Args:
        log: The log.
        name: Whose position it is.
        after: Where a name begins that is not known yet; by default with the oldest event.

    Attributes:
        name: Whose position it is.
        position: The last event that was acknowledged.

    Raises:
        EventError: The name is none, or the log cannot be used.
    """

    def __init__(self, log: EventLog, name: str, *, after: int = 0) -> None:
        if not isinstance(name, str) or not name or not name.isprintable():
            raise EventError(f"a subscriber's name must be printable text, not {shown(name)}")
        self.name = name
        self._log = log
        known = log.position(name)
        if known is None:
            log.acknowledge(name, after)
        self.position = after if known is None else known

    def process(
        self,
        handler: Handler,
        *,
        timeout_s: float | None = 0.0,
        limit: int | None = None,
        batch_size: int = 1,
    ) -> int:
        """Hand each event to `handler`, in order, and acknowledge it when that has returned.

        Args:
            handler: What it raises goes on to the caller, and the event will come again.
            timeout_s: End after so long without an event; 0 at the end of the log, None never.
            limit: End after so many.
            batch_size: Acknowledge so many at once; after `kill -9` these come again.

        Returns:
            How many events were handled.

        Raises:
            MissedEventsError: Events were no longer kept when they were due; counted as missed, and
                called again it goes on behind them.
            EventError: The log cannot be used, or another process works under this name.
        """
        handled = 0
        at = self.position
        try:
            for event in self._log.follow(at, timeout_s=timeout_s):
                with measured(event):
                    handler(event)
                at = event.position
                handled += 1
                if handled % batch_size == 0 or handled == limit:
                    self.acknowledge(at)
                if handled == limit:
                    break
        except MissedEventsError as error:
            count(semconv.EVENT_MISSED, error.count, unit="{event}")
            at = error.position
            raise
        finally:
            if at > self.position:
                self.acknowledge(at)
        return handled

    def acknowledge(self, position: int) -> None:
        """Note that everything up to a position is done.

        Raises:
            EventError: The log cannot be written, or another process has got further.
        """
        if not self._log.acknowledge(self.name, position):
            raise EventError(
                f"{self._log.path}: another process has acknowledged event {position} as "
                f"{shown(self.name)}; one at a time may work under a name"
            )
        self.position = position


def measured(event: Event) -> operation:
    """The operation in which an event is handled."""
    return operation(
        semconv.EVENT_PROCESS,
        {semconv.EVENT_NAME: event.type, semconv.SESSION_ID: event.session_id},
    )
