"""A session in another program's SQLite database: read while it is written, and never changed."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchwatch.agents.sessions.lines import size_bytes
from orchwatch.recording.files import descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAGIC = b"SQLite format 3\0"
"""How a database's file begins."""
WAIT_S = 2.0
_READ_VERSION_AT = 19  # in the file
_WAL = b"\2"
_PRIMARY = 0xFF  # of an error's code: the rest tells more of the same


def connect(path: str, wait_s: float = WAIT_S) -> sqlite3.Connection:
    """Opens a database for reading only; to be closed by the caller.

    Raises:
        OSError: It is no regular file, or cannot be opened.
        sqlite3.Error: It is no database.
    """
    file = descriptor(path)
    try:
        is_wal = os.pread(file, 1, _READ_VERSION_AT) == _WAL
    finally:
        os.close(file)
    # Of one in WAL mode even a reader makes two files beside it, and leaves them there. It need
    # not where no one has it open, and all that was written is in the database itself.
    real = os.path.realpath(path)  # as SQLite has it
    is_settled = is_wal and not os.path.exists(f"{real}-shm") and not size_bytes(f"{real}-wal")
    name = quote(os.fsencode(real))
    return sqlite3.connect(
        f"file:{name}?mode=ro{'&immutable=1' if is_settled else ''}", timeout=wait_s, uri=True
    )


def is_passing(error: OSError | sqlite3.Error) -> bool:
    """Whether the same may succeed later: a lock, a full disk, a lack of permission.

    Not where there is no such file, table or column, and not where the database is damaged.
    """
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # the module's own have none
    return isinstance(error, sqlite3.OperationalError) and code & _PRIMARY != sqlite3.SQLITE_ERROR


def rows(
    path: str, query: str, values: Iterable[Any] = (), wait_s: float = WAIT_S
) -> list[dict[str, Any]]:
    """What a query finds, a row each by column.

    Args:
        path: The database.
        query: Its text.
        values: Of its parameters.
        wait_s: For how long another program's lock is waited for.

    Raises:
        OSError: As for `connect`.
        sqlite3.Error: As for `connect`, or a table or a column is not there.
    """
    with closing(connect(path, wait_s)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, tuple(values))]


class Rows:
    """A source of records (`lines.Source`) that a query gives.

    Args:
        read: Gives each record with its time in Unix nanoseconds, in that order; called once.
    """

    def __init__(self, read: Callable[[], Iterator[tuple[int, dict[str, Any]]]]) -> None:
        self.time_ns = 0
        self._read = read
        self._rows: Iterator[tuple[int, dict[str, Any]]] | None = None
        self._next: dict[str, Any] | None = None

    def peek(self) -> bool:
        """Reads the next record; False at the end."""
        if self._rows is None:
            self._rows = self._read()
        found = next(self._rows, None)
        if found is None:
            return False
        self.time_ns, self._next = found
        return True

    def take(self) -> tuple[list[dict[str, Any]], int]:
        """What `peek` has read; a row has no size."""
        found, self._next = self._next, None
        return ([] if found is None else [found]), 0

    def close(self) -> None:
        """Nothing: `peek` goes on."""
