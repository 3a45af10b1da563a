"""What was imported already: durable, and exact through a kill at any moment.

Spool and record are two files, so nothing can write both at once. Before spans are appended, one
transaction keeps them here together with how far the files were read; afterwards they are struck
out. Whoever finds some after a kill looks in the spool which of them arrived, and appends the rest.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any, Self

from orchwatch import spool
from orchwatch.errors import OrchwatchError
from orchwatch.files import descriptor, reader
from orchwatch.files import lines as lines_of
from orchwatch.home import DIRECTORY_MODE, home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

_NAME = "claude-import"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (key TEXT PRIMARY KEY, "offset" INTEGER, state TEXT);
CREATE TABLE IF NOT EXISTS session (id TEXT PRIMARY KEY, open INTEGER, state TEXT);
CREATE TABLE IF NOT EXISTS pending (segment INTEGER, "offset" INTEGER, lines BLOB);
"""


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
        try:
            os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT
            lock = os.path.join(directory, f"{_NAME}.lock")
            self._lock = descriptor(lock, flags, links=False)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            os.close(descriptor(self._path, flags, links=False))
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # Survives a killed process, not a power failure: no more does the spool.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_SCHEMA)
            self._recover()
        except (OSError, sqlite3.Error) as error:
            raise OrchwatchError(f"{self._path}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
        os.close(self._lock)

    def file(self, key: str) -> tuple[int, dict[str, Any] | None]:
        """How far a file was read, and what its reader kept."""
        row = self._connection.execute(
            'SELECT "offset", state FROM file WHERE key = ?', [key]
        ).fetchone()
        return (row[0], json.loads(row[1])) if row else (0, None)

    def session(self, session_id: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether something of a session was left open, and what is known of it."""
        row = self._connection.execute(
            "SELECT open, state FROM session WHERE id = ?", [session_id]
        ).fetchone()
        return (bool(row[0]), json.loads(row[1])) if row else (False, None)

    def keep(
        self,
        session_id: str,
        state: dict[str, Any],
        *,
        is_open: bool,
        files: Iterable[tuple[str, int, dict[str, Any]]],
        lines: Sequence[bytes],
    ) -> None:
        """Appends spans to the spool and keeps how far the files were read, both or neither.

        Raises:
            OrchwatchError: The record or the spool cannot be written.
        """
        try:
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            execute(
                "INSERT OR REPLACE INTO session VALUES (?, ?, ?)",
                [session_id, is_open, json.dumps(state)],
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?)",
                [(key, offset, json.dumps(kept)) for key, offset, kept in files],
            )
            if lines:
                execute("INSERT INTO pending VALUES (?, ?, ?)", [*_end(), b"".join(lines)])
            execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise OrchwatchError(f"{self._path}: {error}") from None
        if lines:
            self._append(lines)

    def _append(self, lines: Sequence[bytes]) -> None:
        if not spool.append(spool.HISTORY, b"".join(lines), len(lines)):
            raise OrchwatchError("the spool cannot be written; see orchwatch doctor")
        self._connection.execute("DELETE FROM pending")

    def _recover(self) -> None:
        row = self._connection.execute('SELECT segment, "offset", lines FROM pending').fetchone()
        if row is None:
            return
        arrived = _arrived(row[0], row[1])
        missing = [] if arrived is None else _without(row[2], arrived)
        if missing:
            self._append(missing)
        self._connection.execute("DELETE FROM pending")


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
        with reader(spool.segment_path(directory, spool.HISTORY, number)) as stream:
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
