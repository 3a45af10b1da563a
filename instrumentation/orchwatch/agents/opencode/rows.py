"""The rows of one session in opencode's database, as records: a message with its parts each."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from orchwatch.agents.sessions.databases import connect, is_passing
from orchwatch.agents.sessions.fields import moment_ns
from orchwatch.agents.sessions.lines import UNREAD

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

_DAMAGED = "damaged rows"
_SESSION = "SELECT * FROM {table} WHERE id = ?"
_SESSION_TABLES = ("session", "session_v2")
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_MESSAGES = """
SELECT id, time_created FROM message WHERE session_id = ? ORDER BY time_created, id
"""
_MESSAGE = "SELECT data FROM message WHERE id = ?"
_PARTS = """
SELECT id, time_created, time_updated, data FROM part WHERE message_id = ? ORDER BY id
"""
# By another index than the parts themselves: where one is damaged, the two differ.
_PART_COUNT = "SELECT count(*) FROM part WHERE session_id = ?"
_NEWER = "SELECT count(*) FROM session_message WHERE session_id = ?"


def decoded(value: bytes) -> str:
    """A text of the database, whatever its bytes."""
    return value.decode("utf-8", "replace")


def read(path: str, session_id: str, skipped: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The session itself, then its messages in order, each with its time in Unix nanoseconds.

    Args:
        path: The database.
        session_id: Whose rows.
        skipped: Counts what cannot be read, by reason.
    """
    try:
        with closing(connect(path)) as connection:
            connection.text_factory = decoded
            connection.execute("BEGIN")  # all that follows is of one moment
            yield from _Session(connection, session_id, skipped).records()
    except (OSError, sqlite3.Error) as error:
        skipped[f"{UNREAD}database" if is_passing(error) else "unreadable database"] += 1


class _Session:
    """One session's rows."""

    def __init__(
        self, connection: sqlite3.Connection, session_id: str, skipped: Counter[str]
    ) -> None:
        self._connection = connection
        self._session_id = session_id
        self._skipped = skipped
        self._tables = {name for (name,) in connection.execute(_TABLES)}

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        messages = self._rows(_MESSAGES, self._session_id) if "message" in self._tables else []
        first_ns = moment_ns(messages[0][1]) if messages else 0
        row = self._session()
        yield min(moment_ns(row.get("time_created")) or first_ns, first_ns or 1 << 62), row
        found = 0
        for message_id, created in messages:
            data = [self._json(one[0], "message") for one in self._rows(_MESSAGE, message_id)]
            parts = self._parts(message_id)
            found += len(parts)
            if not data:
                self._skipped[_DAMAGED] += 1
            record = {
                "kind": "message",
                "id": message_id,
                "time_created": created,
                "data": data[0] if data else None,
                "parts": [part for part in parts if part["data"] is not None],
            }
            if record["data"] is not None or record["parts"]:
                yield moment_ns(created), record
        self._compare(found, len(messages))

    def _session(self) -> dict[str, Any]:
        for table in _SESSION_TABLES:
            if table not in self._tables:
                continue
            try:
                cursor = self._connection.execute(_SESSION.format(table=table), [self._session_id])
                names = [column[0] for column in cursor.description]
                row = cursor.fetchone()
            except sqlite3.Error as error:
                if is_passing(error):
                    raise
                row = None
            if row is not None:
                return {"kind": "session", **dict(zip(names, row, strict=True))}
        self._skipped[_DAMAGED] += 1
        return {"kind": "session"}

    def _parts(self, message_id: object) -> list[dict[str, Any]]:
        return [
            {
                "id": part_id,
                "time_created": created,
                "time_updated": updated,
                "data": self._json(data, "part"),
            }
            for part_id, created, updated, data in self._rows(_PARTS, message_id)
        ]

    def _rows(self, query: str, key: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, [key]).fetchall()
        except sqlite3.Error as error:
            if is_passing(error):
                raise
            self._skipped[_DAMAGED] += 1
            return []

    def _json(self, value: object, what: str) -> dict[str, Any] | None:
        try:
            found = json.loads(value) if isinstance(value, str) else None
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        self._skipped[f"unreadable {what}"] += 1
        return None

    def _compare(self, parts: int, messages: int) -> None:
        """Counts parts that were not found, and what a newer version keeps elsewhere."""
        counted = self._rows(_PART_COUNT, self._session_id) if "part" in self._tables else []
        for (there,) in counted:
            if there != parts:
                self._skipped[_DAMAGED] += abs(there - parts)
        if messages:
            return
        try:
            newer = self._connection.execute(_NEWER, [self._session_id]).fetchone()[0]
        except sqlite3.Error:  # older ones have no such table
            return
        if newer:
            self._skipped["unknown kind session_message"] += newer
