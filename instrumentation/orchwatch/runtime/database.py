"""A file that processes share: SQLite, written by one of them at a time."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.errors import OrchwatchError

Durability = Literal["process", "power"]

# https://www.sqlite.org/pragma.html#pragma_synchronous
_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
_BUSY_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What a file holds.

    Attributes:
        holds: In words, for the error where it holds something else.
        application_id: SQLite's number for the kind of file, so that no other kind is taken for it.
        version: Of the tables; a file of another version is refused.
        statements: SQL that makes the tables.
        error: What is raised where the file cannot be used; its message is one line.
    """

    holds: str
    application_id: int = 0
    version: int
    statements: str
    error: type[OrchwatchError]


class Database:
    """A connection for this process, and the lock that whoever writes holds.

    Writers queue for a lock of the kernel, which wakes the next one at once and falls with its
    holder. SQLite's own lock is asked for again after ever longer pauses: beside the same writes
    under this lock, the slowest of 32 processes waited more than four times as long. It also keeps
    two processes from writing back the WAL at once, by which SQLite before 3.51.3 may lose commits
    (https://www.sqlite.org/wal.html#walresetbug).

    Args:
        path: The file; made if it is missing. Its lock lies beside it.
        schema: What the file holds.
        durability: `process`: what was acknowledged survives the end of every process, `kill -9`
            included; a power cut may take the last moments, and damages nothing. `power`: it
            survives that, too, and each write waits for the disk.

    Raises:
        OrchwatchError: The file cannot be used, or holds something else; of the schema's class,
            here and below.
    """

    def __init__(self, path: Path, schema: Schema, durability: Durability = "process") -> None:
        self._schema = schema
        if durability not in _SYNCHRONOUS:
            known = ", ".join(_SYNCHRONOUS)
            raise self._schema.error(f"durability must be one of {known}, not {durability!r}")
        self.path = path
        self._synchronous = _SYNCHRONOUS[durability]
        self._threads = threading.RLock()
        self._pid = 0
        self._connect()

    def _connect(self) -> None:
        try:
            lock_path = self.path.with_suffix(".lock")
            self._lock = files.descriptor(lock_path, os.O_RDWR | os.O_CREAT, links=False)
            # SQLite gives its other files the mode of this one.
            os.close(files.descriptor(self.path, os.O_RDWR | os.O_CREAT, links=False))
        except OSError as error:
            raise self._schema.error(f"{self.path}: cannot be opened: {error.strerror}") from error
        self._pid = os.getpid()
        with self._explained(), ExitStack() as undo:
            undo.callback(os.close, self._lock)
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            undo.callback(self._connection.close)
            self._connection.execute(f"PRAGMA synchronous={self._synchronous}")
            with self._locked():
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._make()
            undo.pop_all()

    def _make(self) -> None:
        schema = self._schema
        found = (self._number("PRAGMA application_id"), self._number("PRAGMA user_version"))
        if found == (schema.application_id, schema.version):
            return
        if any(found) or self._number("SELECT count(*) FROM sqlite_master"):
            raise schema.error(
                f"{self.path}: holds no {schema.holds} that this version of orchwatch knows"
            )
        self._connection.executescript(
            f"BEGIN;{schema.statements}PRAGMA application_id={schema.application_id};"
            f"PRAGMA user_version={schema.version};COMMIT;"
        )

    def _number(self, statement: str) -> int:
        (number,) = self._connection.execute(statement).fetchone()
        return int(number)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for statements that see the state of one moment.

        Raises:
            OrchwatchError: The file cannot be read.
        """
        self._follow_fork()
        with self._threads, self._explained():
            connection = self._connection
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, inside a transaction that is committed at the end, or not at all.

        Raises:
            OrchwatchError: The file cannot be written, or this thread is writing already.
        """
        self._follow_fork()
        with self._threads, self._explained():
            connection = self._connection
            if connection.in_transaction:
                raise self._schema.error(f"{self.path}: a transaction is open; write through it")
            with self._locked():
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")

    @property
    def is_open(self) -> bool:
        """Whether it was opened in this process, and not closed since."""
        return self._pid == os.getpid()

    def close(self) -> None:
        """Closes the file; safe to call again, and without effect in a child process."""
        with self._threads:
            if not self.is_open:
                return
            self._pid = 0
            # The last to leave writes back the WAL.
            with self._locked():
                self._connection.close()
            os.close(self._lock)

    def _follow_fork(self) -> None:
        """Opens the file anew in a child process: SQLite must not be carried across a fork."""
        if self.is_open:
            return
        if not self._pid:
            raise self._schema.error(f"{self.path}: closed")
        # Kept: to close the parent's would drop locks that it relies on.
        self._parents = self._connection
        os.close(self._lock)
        self._threads = threading.RLock()
        self._connect()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._schema.error(f"{self.path}: {error}") from error
