"""The writer of the event stream: each alert that fires or ends once, however often it is told.

Prometheus forgets with its process since when an alert fires, and Alertmanager with its own whom it
has told: when both have been killed, what fires on is told again, with a later start. As its end
was not told, it is the same alert; so says the start of what is told of it from then on.

Two find out about alerts: Alertmanager, and `patterns` in this process where there is no server.
Whoever writes first that an alert fires also writes when it ends; until then the other one's word
about the same is not written.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.analysis import alert_events
from orchwatch.recording import spool
from orchwatch.recording.home import spool_directory
from orchwatch.recording.otlp_json import to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.analysis.alert_events import AlertEvent

# An alert that is told again after so many others is written again.
MAX_KNOWN = 4096
# A server that is gone never says that its alert has ended: from then on others may say more.
_HELD_FOR_NS = 3600 * 1_000_000_000
# Alertmanager does not tell of an end while another alert explains the one that has ended: what
# fires so long after a start that seems to have no end is news.
_EPISODE_NS = 24 * 3600 * 1_000_000_000


class AlertStream:
    """Appends to the event stream; may be used from several threads.

    What is known comes from the stream itself, so that a process that was killed at any moment has
    written a transition or has not, and the next one knows which.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._learn()

    def write(self, events: Iterable[AlertEvent]) -> bool:
        """Writes those that are news; False where that failed, and they may be sent again."""
        with self._lock:
            return all(map(self._write, events))

    def latest(self, subject: tuple[str, str | None]) -> AlertEvent | None:
        """What was last written about an alert; None where that is nothing, or long ago."""
        with self._lock:
            return self._latest.get(subject)

    def _write(self, event: AlertEvent) -> bool:
        event = self._with_known_start(event)
        if event.key in self._known or self._is_held(event):
            return True
        if not spool.append(spool.EVENTS, to_bytes(event.encode(time.time_ns())), 0):
            return False  # at most a part of the line is there, which nobody reads
        self._remember(event)
        return True

    def _learn(self) -> None:
        self._known: OrderedDict[tuple[str, str, int], None] = OrderedDict()
        self._latest: OrderedDict[tuple[str, str | None], AlertEvent] = OrderedDict()
        self._firing: OrderedDict[str, AlertEvent] = OrderedDict()  # by fingerprint
        for event in alert_events.latest(Path(spool_directory()), MAX_KNOWN):
            self._remember(event)

    def _remember(self, event: AlertEvent) -> None:
        self._known[event.key] = None
        self._latest[event.subject] = event
        self._latest.move_to_end(event.subject)
        self._firing.pop(event.fingerprint, None)
        if event.end_ns is None:
            self._firing[event.fingerprint] = event
        for known in (self._known, self._latest, self._firing):
            while len(known) > MAX_KNOWN:
                known.popitem(last=False)

    def _with_known_start(self, event: AlertEvent) -> AlertEvent:
        known = self._firing.get(event.fingerprint)
        if known is None or not 0 < event.start_ns - known.start_ns < _EPISODE_NS:
            return event
        return replace(event, start_ns=known.start_ns)

    def _is_held(self, event: AlertEvent) -> bool:
        """Whether the other evaluator has said it, or is the one to say it."""
        known = self._latest.get(event.subject)
        if known is None or known.evaluator == event.evaluator:
            return False
        if known.end_ns is None:
            return event.end_ns is not None or event.start_ns - known.start_ns < _HELD_FOR_NS
        return event.end_ns is not None or event.start_ns <= known.end_ns
