"""A session's state that follows from its events: what it holds is what the log replays to."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from orchwatch.runtime.event import EventError, shown
from orchwatch.runtime.event_processing import measured
from orchwatch.runtime.state import StateError, count_violation
from orchwatch.runtime.state_database import SCHEMA
from orchwatch.runtime.state_tree import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchwatch.runtime.event import Event
    from orchwatch.runtime.events import EventLog
    from orchwatch.runtime.session_state import SessionStateManager

    # What a type of event does to the state, through the transaction that it is in.
    Change = Callable[[Writer, Event], None]

# The state's own members: who it is, and up to where the log is in it.
_SESSION = "session"
POSITION = (_SESSION, "events")
_CHUNK = 1_000


class _OvertakenError(Exception):
    """Another process appended to the log: the state follows in the log's order."""


class EventState:
    """Logs each event and changes the session's state as it asks, so that a kill parts them never.

    The log is the truth: the state knows up to which event it has followed, and follows the rest
    before anything else. Any number of processes may do so at once. Events change any member but
    `$.session`, and nothing else changes what they change.

        def created(state, event):
            state.set(("tasks", event.data["id"]), {"status": "pending"})

        events = EventState(log, session, {"task.created": created})
        events.process(Event("task.created", session.id, {"id": "t1"}))

    Args:
        log: Where events are kept, those of other sessions too.
        state: The session's state.
        changes: What each type of event does; it may read the state, and must not look elsewhere.
    """

    def __init__(
        self, log: EventLog, state: SessionStateManager, changes: Mapping[str, Change]
    ) -> None:
        self._log = log
        self._state = state
        self._changes = changes

    @property
    def position(self) -> int:
        """The last event of the log that is in the state."""
        return int(self._state.get(POSITION, 0))

    def process(self, event: Event) -> int:
        """Keep an event and what it does, both or neither; gives its position.

        One whose id is in the log already has been processed, and is not again.

        Raises:
            EventError: Nothing is known of such events, it is another session's, or it is none.
            MissedEventsError: See `follow`.
            StateError: The state has no place for it.
        """
        if event.session_id != self._state.id:
            raise EventError(
                f"event {shown(event.type)}: of session {shown(event.session_id)}, "
                f"not {self._state.id}"
            )
        with measured(event):
            with suppress(_OvertakenError), self._state.transaction() as writer:
                at, _ = self._follow(writer)
                known = self._log.find(event.id)
                if known is not None:
                    return known
                # The log holds only what fitted; if the state is not written after it, the next
                # who comes makes up for that.
                self._change(writer, event)
                position = self._log.append(event)
                if position != at + 1:
                    raise _OvertakenError
                writer.set(POSITION, position)
                return position
            self.follow()
            return position

    def follow(self) -> int:
        """Take into the state what the log has and it has not; gives how many events.

        Raises:
            MissedEventsError: Some are no longer kept.
            EventError, StateError: See `process`.
        """
        if self._log.last == self.position:
            return 0
        with self._state.transaction() as writer:
            return self._follow(writer)[1]

    def verify(self) -> None:
        """Replay the whole log, and hold what comes out against the state.

        Raises:
            StateError: They differ; counted as a violation.
            MissedEventsError: The log has lost its beginning.
            EventError: See `process`.
        """
        connection = sqlite3.connect(":memory:", isolation_level=None)
        try:
            connection.executescript(SCHEMA.statements)
            replayed = Writer(connection)
            with self._state.transaction() as writer:
                self._follow(writer)
                self._fold(replayed, 0)
                found = writer.get("$")
            expected = replayed.get("$")
        finally:
            connection.close()
        differing = sorted(
            name
            for name in {*found, *expected} - {_SESSION}
            if found.get(name, found) != expected.get(name, expected)
        )
        if differing:
            count_violation("differs")
            raise StateError(
                f"{self._state.path}: $[{shown(differing[0])}] is not what the events of "
                f"{self._log.path} lead to"
            )

    def _follow(self, writer: Writer) -> tuple[int, int]:
        """The position that the state has then, and how many events that took."""
        before = int(writer.get(POSITION, 0))
        at, number = self._fold(writer, before)
        if at != before:
            writer.set(POSITION, at)
        return at, number

    def _fold(self, writer: Writer, at: int) -> tuple[int, int]:
        number = 0
        while events := self._log.after(at, _CHUNK):
            for event in events:
                if event.session_id == self._state.id:
                    self._change(writer, event)
                    number += 1
            at = events[-1].position
        return at, number

    def _change(self, writer: Writer, event: Event) -> None:
        change = self._changes.get(event.type)
        if change is None:
            raise EventError(f"event {shown(event.type)}: no handler knows it")
        change(writer, event)
