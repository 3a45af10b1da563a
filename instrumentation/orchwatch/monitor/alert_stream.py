"""The writer of the event stream: each alert that fires or ends once, however often it is reported.

A killed Prometheus forgets since when an alert fires, and a killed Alertmanager which notifications
it has sent: an alert that keeps firing is then reported again, with a later start. As no end was
reported, it is the same alert, and keeps its first start in the stream.

There are two evaluators: Alertmanager, and `patterns` in this process where there is no server. The
one that first reports that an alert fires also reports its end; until then reports of the other one
about the same alert are not written.
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

# An alert that is reported again after so many others is written again.
MAX_KNOWN = 4096
# A server that is gone never reports the end of its alert: from then on the other one may.
_HELD_FOR_NS = 3600 * 1_000_000_000
# Alertmanager does not report an end while another alert inhibits the one that ended: an alert that
# fires this long after a start without an end is a new one.
_EPISODE_NS = 24 * 3600 * 1_000_000_000


class AlertStream:
    """Appends to the event stream; may be used from several threads.

    Its knowledge comes from the stream itself: a process that was killed has written a transition
    or has not, and the next one sees which.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._learn()

    def write(self, events: Iterable[AlertEvent]) -> bool:
        """Writes the new ones; False where that failed, so that they may be sent again."""
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
            return False  # at most a part of the line is there, which readers skip
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
        """Whether the other evaluator has reported it, or is the one to report it."""
        known = self._latest.get(event.subject)
        if known is None or known.evaluator == event.evaluator:
            return False
        if known.end_ns is None:
            return event.end_ns is not None or event.start_ns - known.start_ns < _HELD_FOR_NS
        return event.end_ns is not None or event.start_ns <= known.end_ns
