"""The log of what happened: it only grows at its end, and any number of processes share it."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import TYPE_CHECKING, cast

from orchwatch.runtime.closing import Closing
from orchwatch.runtime.database import Database
from orchwatch.runtime.event import Event, EventError, to_row
from orchwatch.runtime.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.runtime.database import Durability
    from orchwatch.runtime.event import Row, Severity

MAX_EVENTS = 1_000_000
MAX_BYTES = 1024 * 1024 * 1024
SCHEMA = Schema(
    holds="event log",
    application_id=0x4F774576,  # "OwEv"
    version=1,
    statements="""
CREATE TABLE events(
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, session_id TEXT NOT NULL, type TEXT NOT NULL, severity TEXT NOT NULL,
    source TEXT NOT NULL, time_ns INTEGER NOT NULL, data TEXT NOT NULL
);
CREATE TABLE subscribers(name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
""",
    error=EventError,
)
_INSERT = """
INSERT INTO events(id, session_id, type, severity, source, time_ns, data)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_POSITION = "SELECT position FROM events WHERE id = ?"
_COLUMNS = "position, id, session_id, type, severity, source, time_ns, data"
_CHUNK = 1_000
_SIZED_EVERY = 256
_POLL_S = 0.02


class EventLog(Closing):
    """A log of events, appended to and read by any number of processes at once.

    An append is acknowledged by returning: the events are visible to all then, and survive
    whatever `durability` says. After `os.fork` the child opens the file anew by itself.

        with EventLog(path) as log:
            position = log.append(Event("task.created", "build-7", {"id": "t1"}, source="planner"))
            for event in log.read(after=position):
                ...

    Args:
        path: The file; made if it is missing.
        durability: What an append survives, see `Database`.
        max_events: How many are kept; the oldest go as newer ones come.
        max_bytes: How much of the disk they take; likewise, looked at every few hundred events.
        checkpoint_pages: When SQLite's WAL is written back, see `Database`.

    Attributes:
        path: The file.

    Raises:
        EventError: It cannot be opened; the message names the file and the reason.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "process",
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
        checkpoint_pages: int | None = None,
    ) -> None:
        for name, value in (("max_events", max_events), ("max_bytes", max_bytes)):
            if type(value) is not int or value < 1:
                raise EventError(f"{name} must be a whole number above 0, not {value!r}")
        self.path = path
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._database = Database(path, SCHEMA, durability, checkpoint_pages=checkpoint_pages)

    @property
    def first(self) -> int:
        """The position of the oldest event that is kept; one after `last` where none is."""
        with self._database.reading() as connection:
            return _first(connection)

    @property
    def last(self) -> int:
        """The position of the newest event that there ever was; 0 in a new log."""
        with self._database.reading() as connection:
            return _last(connection)

    def append(self, *events: Event) -> int:
        """Keep events, all of them or none, in one durable write.

        One whose id is in the log already is not kept again, so that an append of which nobody
        knows whether it happened may be repeated.

        Args:
            events: In the order in which they shall stand.

        Returns:
            The position of the last of them.

        Raises:
            EventError: One is none, or the file cannot be written; nothing was kept.
        """
        if not events:
            raise EventError("append takes one event or more")
        rows = [to_row(event) for event in events]
        with self._database.writing() as connection:
            added = _insert(connection, rows)
            newest = _last(connection)
            last = newest
            if added < len(rows):
                (last,) = connection.execute(_POSITION, (rows[-1][0],)).fetchone()
            if added:
                self._drop_oldest(connection, newest, added)
        return last

    def read(
        self, after: int = 0, *, session_id: str | None = None, limit: int | None = None
    ) -> Iterator[Event]:
        """The events behind a position, oldest first, up to what is there as the reader gets there.

        Args:
            after: A position; 0 begins with the oldest one that is kept.
            session_id: Those of one session only.
            limit: At most so many.

        Raises:
            EventError: The file cannot be read, or holds what is no event.
        """
        left = limit
        while left is None or left > 0:
            count = _CHUNK if left is None else min(left, _CHUNK)
            events = self._chunk(after, session_id, count)
            yield from events
            if len(events) < count:
                return
            after = events[-1].position
            left = None if left is None else left - len(events)

    def follow(
        self, after: int | None = None, *, timeout_s: float | None = None
    ) -> Iterator[Event]:
        """Each event behind a position, as any process appends it.

        Args:
            after: A position; by default the last event's, at the first step.
            timeout_s: End after so long without an event; None goes on for ever.

        Raises:
            EventError: See `read`; or events behind the position are no longer kept.
        """
        at = self.last if after is None else after
        since_s = time.monotonic()
        while True:
            events = self.after(at, _CHUNK)
            for event in events:
                yield event
                at = event.position
            if events:
                since_s = time.monotonic()
            elif timeout_s is not None and time.monotonic() - since_s >= timeout_s:
                return
            else:
                time.sleep(_POLL_S)

    def after(self, position: int, limit: int) -> list[Event]:
        """The next events behind a position, none of them left out.

        Raises:
            MissedEventsError: Some of them are no longer kept.
            EventError: See `read`.
        """
        with self._database.reading() as connection:
            first = _first(connection)
            if position + 1 < first:
                raise MissedEventsError(self.path, first - 1 - position, first - 1)
            return _events(connection, self.path, position, None, limit)

    def find(self, event_id: str) -> int | None:
        """The position of the event with an id, None where none is kept."""
        with self._database.reading() as connection:
            row = connection.execute(_POSITION, (event_id,)).fetchone()
        return None if row is None else int(row[0])

    def position(self, subscriber: str) -> int | None:
        """The last position that a subscriber has acknowledged, None for one that is not known."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT position FROM subscribers WHERE name = ?", (subscriber,)
            ).fetchone()
        return None if row is None else int(row[0])

    def acknowledge(self, subscriber: str, position: int) -> bool:
        """Note that a subscriber has done with everything up to a position.

        Returns:
            False where it had got so far already; nothing was written.

        Raises:
            EventError: The file cannot be written.
        """
        with self._database.writing() as connection:
            written = connection.execute(
                "INSERT INTO subscribers VALUES (?, ?) ON CONFLICT(name) "
                "DO UPDATE SET position = excluded.position WHERE position < excluded.position",
                (subscriber, position),
            )
            return written.rowcount > 0

    def forget(self, subscriber: str) -> None:
        """Remove a subscriber's position."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM subscribers WHERE name = ?", (subscriber,))

    def close(self) -> None:
        """Let go of the file; safe to call again."""
        self._database.close()

    def _chunk(self, after: int, session_id: str | None, count: int) -> list[Event]:
        with self._database.reading() as connection:
            return _events(connection, self.path, after, session_id, count)

    def _drop_oldest(self, connection: sqlite3.Connection, last: int, added: int) -> None:
        if last > self._max_events:
            connection.execute("DELETE FROM events WHERE position <= ?", (last - self._max_events,))
        if last % _SIZED_EVERY >= added:
            return
        while _bytes(connection) > self._max_bytes:
            first = _first(connection)
            bound = min(first + _SIZED_EVERY - 1, last - added)
            if bound < first:
                return
            connection.execute("DELETE FROM events WHERE position <= ?", (bound,))


class MissedEventsError(EventError):
    """A reader is so late that events are no longer kept.

    Attributes:
        count: How many.
        position: The last of them; those behind it are there.
    """

    def __init__(self, path: Path, count: int, position: int) -> None:
        super().__init__(f"{path}: {count} events up to position {position} are no longer kept")
        self.count = count
        self.position = position


def _events(
    connection: sqlite3.Connection, path: Path, after: int, session_id: str | None, count: int
) -> list[Event]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM events WHERE position > :after "  # noqa: S608 - a constant
        "AND (:session_id IS NULL OR session_id = :session_id) ORDER BY position LIMIT :count",
        {"after": after, "session_id": session_id, "count": count},
    )
    return [_event(path, row[0], row[1:]) for row in rows]


def _event(path: Path, position: int, row: Row) -> Event:
    event_id, session_id, event_type, severity, source, time_ns, text = row
    try:
        data = {} if text == "{}" else json.loads(text)
    except (ValueError, TypeError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise EventError(f"{path}: the data of event {position} is no JSON object")
    known = cast("Severity", severity)
    return Event(event_type, session_id, data, source, known, time_ns, event_id, position)


def _insert(connection: sqlite3.Connection, rows: list[Row]) -> int:
    """How many were new; to ignore the others in SQL would leave holes between positions."""
    before = connection.total_changes
    try:
        connection.executemany(_INSERT, rows)
    except sqlite3.IntegrityError:  # those before it are in
        for row in rows:
            if connection.execute(_POSITION, (row[0],)).fetchone() is None:
                connection.execute(_INSERT, row)
    return connection.total_changes - before


def _first(connection: sqlite3.Connection) -> int:
    (first,) = connection.execute("SELECT min(position) FROM events").fetchone()
    return _last(connection) + 1 if first is None else int(first)


def _last(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return 0 if row is None else int(row[0])


def _bytes(connection: sqlite3.Connection) -> int:
    """What the events take; pages that are free are used again."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
