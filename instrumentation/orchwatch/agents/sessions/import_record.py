"""What was imported already: durable, and exact through a kill at any moment.

No file is trusted to be what it was: a session with a file that has changed is read again from its
start, and the record says which of its spans were written before.

Spool and record are two files, so nothing can write both at once. Before spans are appended, one
transaction keeps them here together with their ids; afterwards they are deleted. After a kill, the
next import looks in the spool which of them arrived, and appends the rest.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from array import array
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from orchwatch.agents.sessions.databases import rows
from orchwatch.errors import OrchwatchError
from orchwatch.recording import spool
from orchwatch.recording.files import descriptor, reader
from orchwatch.recording.files import lines as lines_of
from orchwatch.recording.home import DIRECTORY_MODE, home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

_NAME = "claude-import"
_IDS = "Q"  # of spans: 8 bytes each
_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (session TEXT PRIMARY KEY, open INTEGER, files TEXT);
CREATE TABLE IF NOT EXISTS about (session TEXT PRIMARY KEY, agent TEXT, version TEXT, skipped TEXT);
CREATE TABLE IF NOT EXISTS written (session TEXT, spans BLOB);
CREATE INDEX IF NOT EXISTS written_session ON written (session);
CREATE TABLE IF NOT EXISTS pending (segment INTEGER, "offset" INTEGER, lines BLOB);
"""


_VERSION = 1
# In this order: whose a session is stands in `about`, and Claude Code's once did not.
_NAME_AGENT = """
UPDATE {table} SET session = coalesce(
    (SELECT agent FROM about AS whose WHERE whose.session = {table}.session), 'claude-code'
) || '/' || session
"""


@dataclass
class ImportedSession:
    """What was imported of a session.

    Attributes:
        is_open: Something in it may still go on.
        files: How each of its files looked, by path.
        spans: The ids of its spans that are out.
    """

    is_open: bool
    files: dict[str, list[int | str]]
    spans: set[int]


class About(NamedTuple):
    """Who wrote a session that was imported.

    Attributes:
        agent: The name of its reader.
        version: That agent's version, as the session says; empty where it does not.
        skipped: How many lines of it were passed over, by reason.
    """

    agent: str
    version: str
    skipped: dict[str, int]


def imported() -> list[About]:
    """What was imported by now, a session each; nothing where the record cannot be read."""
    path = os.path.join(home(), f"{_NAME}.sqlite")
    try:
        found = rows(path, "SELECT agent, version, skipped FROM about")
        return [About(row["agent"], row["version"], json.loads(row["skipped"])) for row in found]
    except (OSError, sqlite3.Error, ValueError):
        return []


class ImportRecord:
    """Used as a context manager, by one process at a time: others wait.

    Args:
        on_wait: Called once when another import has to be waited for.

    Raises:
        OrchwatchError: The record cannot be opened.
    """

    def __init__(self, on_wait: Callable[[], None]) -> None:
        directory = home()
        self._path = os.path.join(directory, f"{_NAME}.sqlite")
        opened = ExitStack()
        try:
            os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT
            lock = os.path.join(directory, f"{_NAME}.lock")
            lock_descriptor = descriptor(lock, flags, links=False)
            opened.callback(os.close, lock_descriptor)
            try:
                fcntl.flock(lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(lock_descriptor, fcntl.LOCK_EX)
            os.close(descriptor(self._path, flags, links=False))
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            opened.callback(self._connection.close)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # Survives a killed process, not a power failure: no more does the spool.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_SCHEMA)
            self._upgrade()
            self._recover()
        except (OSError, sqlite3.Error) as error:
            opened.close()
            if isinstance(error, OSError):
                why = f"{error.filename or self._path}: {error.strerror}"
            else:
                why = f"{self._path}: {error}; once it is moved away, all is imported anew"
            raise OrchwatchError(why) from None
        self._opened = opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def session(self, agent: str, session_id: str) -> ImportedSession:
        """What was seen of a session.

        Args:
            agent: The name of its reader.
            session_id: Its id, which another agent's may have, too.
        """
        key = _key(agent, session_id)
        row = self._connection.execute(
            "SELECT open, files FROM seen WHERE session = ?", [key]
        ).fetchone()
        if row is None:
            return ImportedSession(is_open=False, files={}, spans=set())
        spans: set[int] = set()
        for (ids,) in self._connection.execute(
            "SELECT spans FROM written WHERE session = ?", [key]
        ):
            spans.update(array(_IDS, ids))
        return ImportedSession(is_open=bool(row[0]), files=json.loads(row[1]), spans=spans)

    def keep(
        self,
        agent: str,
        session_id: str,
        seen: ImportedSession,
        new: Iterable[int],
        lines: Sequence[bytes],
    ) -> None:
        """Appends spans to the spool and keeps what was seen, both or neither.

        Args:
            agent: As for `session`.
            session_id: The session.
            seen: What was seen of it; its `spans` grow by the new ones.
            new: The ids of the spans.
            lines: The spans.

        Raises:
            OrchwatchError: The record or the spool cannot be written.
        """
        key = _key(agent, session_id)
        try:
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            execute(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)",
                [key, seen.is_open, json.dumps(seen.files)],
            )
            ids = array(_IDS, new)
            if ids:
                execute("INSERT INTO written VALUES (?, ?)", [key, ids.tobytes()])
                seen.spans.update(ids)
            if lines:
                execute("INSERT INTO pending VALUES (?, ?, ?)", [*_end(), b"".join(lines)])
            execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise OrchwatchError(f"{self._path}: {error}") from None
        if lines:
            self._append(lines)

    def describe(self, session_id: str, about: About) -> None:
        """Notes who wrote a session, and what of it is not understood.

        Raises:
            OrchwatchError: The record cannot be written.
        """
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO about VALUES (?, ?, ?, ?)",
                [
                    _key(about.agent, session_id),
                    about.agent,
                    about.version,
                    json.dumps(about.skipped),
                ],
            )
        except sqlite3.Error as error:
            raise OrchwatchError(f"{self._path}: {error}") from None

    def _append(self, lines: Sequence[bytes]) -> None:
        if not spool.append(spool.HISTORY, b"".join(lines), len(lines)):
            raise OrchwatchError("the spool cannot be written; see orchwatch doctor")
        self._connection.execute("DELETE FROM pending")

    def _upgrade(self) -> None:
        """Names the agent in what an earlier version noted by a session's id alone."""
        execute = self._connection.execute
        if execute("PRAGMA user_version").fetchone()[0] >= _VERSION:
            return
        execute("BEGIN IMMEDIATE")
        if execute("PRAGMA user_version").fetchone()[0] < _VERSION:
            for table in ("seen", "written", "about"):
                execute(_NAME_AGENT.format(table=table))
            execute(f"PRAGMA user_version = {_VERSION}")
        execute("COMMIT")

    def _recover(self) -> None:
        row = self._connection.execute('SELECT segment, "offset", lines FROM pending').fetchone()
        if row is None:
            return
        arrived = _arrived(row[0], row[1])
        missing = [] if arrived is None else _without(row[2], arrived)
        if missing:
            self._append(missing)
        self._connection.execute("DELETE FROM pending")


def _key(agent: str, session_id: str) -> str:
    return f"{agent}/{session_id}"


def _end() -> tuple[int, int]:
    """The highest segment of the history and its size."""
    directory = spool.make_directory()
    numbers = spool.segment_numbers(directory, spool.HISTORY)
    if not numbers:
        return 0, 0
    path = spool.segment_path(directory, spool.HISTORY, numbers[-1])
    return numbers[-1], os.stat(path).st_size


def _arrived(segment: int, offset: int) -> set[str] | None:
    """The ids of the spans after a position; None where that segment is gone.

    A reader may have moved it into its archive: then it was closed, so what was to be written is.
    """
    directory = spool.make_directory()
    numbers = spool.segment_numbers(directory, spool.HISTORY)
    if segment and segment not in numbers:
        return None
    arrived: set[str] = set()
    for number in (number for number in numbers if number >= segment):
        with (
            suppress(OSError),
            reader(spool.segment_path(directory, spool.HISTORY, number)) as stream,
        ):
            stream.seek(offset if number == segment else 0)
            for line in lines_of(stream):
                arrived.update(span["spanId"] for span in _spans(line))
    return arrived


def _without(lines: bytes, arrived: set[str]) -> list[bytes]:
    missing = []
    for line in lines.splitlines():
        document = json.loads(line)
        scope = document["resourceSpans"][0]["scopeSpans"][0]
        scope["spans"] = [span for span in scope["spans"] if span["spanId"] not in arrived]
        if scope["spans"]:
            missing.append(json.dumps(document, separators=(",", ":")).encode() + b"\n")
    return missing


def _spans(line: bytes) -> list[dict[str, Any]]:
    try:
        document = json.loads(line)
    except ValueError:
        return []
    return [
        span
        for resource in document.get("resourceSpans", [])
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
