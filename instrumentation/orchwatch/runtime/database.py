"""A file that processes share: SQLite, written by one of them at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

from orchwatch.recording import files
from orchwatch.runtime import settings
from orchwatch.runtime.write_lock import WriteLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from orchwatch.errors import OrchwatchError
    from orchwatch.runtime.schema import Schema

Durability = Literal["process", "power"]

# https://www.sqlite.org/pragma.html#pragma_synchronous
_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
LOCK_TIMEOUT_S = 30.0
MAX_LOCK_TIMEOUT_S = 86400.0


class Database:
    """A connection for this process, and the lock that a writer holds.

    Args:
        path: The file; made if it is missing. Its lock lies beside it.
        schema: What the file holds.
        durability: `process`: what was acknowledged survives the end of every process, `kill -9`
            included; a power cut may take the last moments, and damages nothing. `power`: it
            survives that, too, and each write waits for the disk.
        lock_timeout_s: So long a write waits for others' writes.
        checkpoint_pages: Pages of the WAL after which a commit writes them back into the file; by
            default as `settings.current` has it, as for every argument that is a knob.

    Raises:
        OrchwatchError: The file cannot be used, or holds something else; of the schema's class,
            here and below.
    """

    def __init__(
        self,
        path: Path,
        schema: Schema,
        durability: Durability = "process",
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        checkpoint_pages: int | None = None,
    ) -> None:
        self._schema = schema
        if checkpoint_pages is None:
            checkpoint_pages = settings.current().checkpoint_pages
        if type(checkpoint_pages) is not int or checkpoint_pages < 1:
            rule = f"must be a whole number above 0, not {checkpoint_pages!r}"
            raise self._schema.error(f"checkpoint_pages {rule}")
        self._checkpoint_pages = checkpoint_pages
        if durability not in _SYNCHRONOUS:
            known = ", ".join(_SYNCHRONOUS)
            raise self._schema.error(f"durability must be one of {known}, not {durability!r}")
        self.path = path
        self._synchronous = _SYNCHRONOUS[durability]
        self._threads = threading.RLock()
        self._lock_timeout_s = lock_timeout_s
        self._writer = 0
        self._pid = 0
        self._connect()

    def _connect(self) -> None:
        try:
            # SQLite gives its other files the mode of this one.
            os.close(files.descriptor(self.path, os.O_RDWR | os.O_CREAT, links=False))
            self._lock = WriteLock(self.path.with_suffix(".lock"))
        except OSError as error:
            raise self._schema.error(f"{self.path}: cannot be opened: {error.strerror}") from error
        self._pid = os.getpid()
        with self._sql(), ExitStack() as undo:
            undo.callback(self._lock.close)
            self._connection = sqlite3.connect(
                self.path,
                timeout=self._lock_timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
            undo.callback(self._connection.close)
            self._connection.execute(f"PRAGMA page_size={self._schema.page_bytes}")
            self._connection.execute(f"PRAGMA synchronous={self._synchronous}")
            self._connection.execute(f"PRAGMA wal_autocheckpoint={self._checkpoint_pages}")
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

    def reading(self) -> _Reading:
        """The connection, for statements that see the state of one moment.

        Raises:
            OrchwatchError: The file cannot be read.
        """
        return _Reading(self)

    def turn(self) -> Turn:
        """A block to whose end the writes in it keep other writers out."""
        return Turn(self)

    def writing(self, turn: Turn | None = None) -> _Writing:
        """The connection, inside a transaction that is committed at the end, or not at all.

        Args:
            turn: With its end others may write; by default with the transaction's.

        Raises:
            OrchwatchError: The file cannot be written, this thread is writing already, or others
                have been writing for longer than this waits.
        """
        return _Writing(self, turn)

    def read(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        """The rows of one statement.

        Raises:
            OrchwatchError: The file cannot be read.
        """
        self._enter()
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error
        finally:
            self._threads.release()

    def write(
        self, statement: str, values: tuple[object, ...], turn: Turn | None = None
    ) -> list[Any]:
        """One statement that is a transaction of its own, and the rows that it gives.

        Args:
            statement: SQL.
            values: Its parameters.
            turn: As `writing`.

        Raises:
            OrchwatchError: As `writing`.
        """
        self._enter_writing()
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error
        finally:
            self._leave_writing(turn)

    @property
    def writes_here(self) -> bool:
        """Whether this thread is inside `writing`."""
        return self._writer == threading.get_ident()

    def begin_reading(self) -> tuple[sqlite3.Connection, bool]:
        """The connection, and whether this has begun a transaction: there may be one already."""
        self._enter()
        try:
            connection = self._connection
            begins = not connection.in_transaction
            if begins:
                with self._sql():
                    connection.execute("BEGIN")
        except BaseException:
            self._threads.release()
            raise
        return connection, begins

    def end_reading(self, error: BaseException | None, *, begun: bool) -> None:
        """Ends what `begin_reading` has begun."""
        try:
            if begun:
                self._connection.execute("ROLLBACK")
        finally:
            self._threads.release()
        if isinstance(error, sqlite3.Error):
            raise self._explained(error) from error

    def begin_writing(self) -> sqlite3.Connection:
        """The connection, in a transaction beside which no other process writes."""
        self._enter_writing()
        try:
            with self._sql():
                self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._leave_writing()
            raise
        self._writer = threading.get_ident()
        return self._connection

    def end_writing(self, error: BaseException | None, turn: Turn | None) -> None:
        """Commits, or after an error takes everything back."""
        self._writer = 0
        try:
            if error is None:
                self._connection.execute("COMMIT")
        except sqlite3.Error as failure:
            error = failure
        finally:
            try:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            finally:
                self._leave_writing(turn)
        if isinstance(error, sqlite3.Error):
            raise self._explained(error) from error

    @property
    def is_open(self) -> bool:
        """Whether it was opened in this process, and not closed since."""
        return self._pid == os.getpid()

    def close(self) -> None:
        """Closes the file; safe to call again, and without effect in a child process."""
        if not self.is_open:  # in a child, a thread of the parent's may hold the threads' lock
            return
        with self._threads:
            if not self.is_open:
                return
            self._pid = 0
            # The last to leave writes back the WAL. A writer that does not end is not waited for.
            self._lock.acquire(self._lock_timeout_s)
            self._connection.close()
            self._lock.release()  # a forked child may have the same file open
            self._lock.close()

    def _follow_fork(self) -> None:
        """Opens the file anew in a child process: SQLite must not be carried across a fork."""
        if self.is_open:
            return
        if not self._pid:
            raise self._schema.error(f"{self.path}: closed")
        # Kept: to close the parent's would drop locks that it relies on.
        self._parents = self._connection
        self._lock.close()
        self._threads = threading.RLock()
        self._connect()

    def _enter(self) -> None:
        if self._pid != os.getpid():
            self._follow_fork()
        if not self._threads.acquire(timeout=self._lock_timeout_s):
            raise self._timed_out()

    def _enter_writing(self) -> None:
        self._enter()
        try:
            if self._connection.in_transaction:
                open_already = f"{self.path}: a transaction is open; write through it"
                raise self._schema.error(open_already)  # noqa: TRY301 - it lets go of the threads' lock
            self._acquire()
        except BaseException:
            self._threads.release()
            raise

    def end_turn(self) -> None:
        """Lets others write, after one of the writes of a turn."""
        self._lock.release()
        self._threads.release()

    def _leave_writing(self, turn: Turn | None = None) -> None:
        if turn is None:
            self.end_turn()
        else:
            turn.writes += 1

    def _acquire(self) -> None:
        if not self._lock.acquire(self._lock_timeout_s):
            raise self._timed_out()

    def _timed_out(self) -> OrchwatchError:
        return self._schema.error(
            f"{self.path}: locked for {self._lock_timeout_s:g} s by another writer"
        )

    def _explained(self, error: sqlite3.Error) -> OrchwatchError:
        return self._schema.error(f"{self.path}: {error}")

    @contextmanager
    def _sql(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explained(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._acquire()
        try:
            yield
        finally:
            self._lock.release()


class _Reading:
    __slots__ = ("_begun", "_database")

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        connection, self._begun = self._database.begin_reading()
        return connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.end_reading(error, begun=self._begun)


class Turn:
    """Keeps other writers out from the first write in the block to the block's end.

    To record an operation takes about as long as to write. Recorded after others were let in, each
    write costs a switch of processes: for 32 writers on two processors, half as much CPU again.

    Attributes:
        writes: How many there were.
    """

    __slots__ = ("_database", "writes")

    def __init__(self, database: Database) -> None:
        self._database = database
        self.writes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _ in range(self.writes):
            self._database.end_turn()


class _Writing:
    __slots__ = ("_database", "_turn")

    def __init__(self, database: Database, turn: Turn | None) -> None:
        self._database = database
        self._turn = turn

    def __enter__(self) -> sqlite3.Connection:
        return self._database.begin_writing()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.end_writing(error, self._turn)
