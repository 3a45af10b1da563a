"""A session's state, shared by any number of processes."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording.operation import operation
from orchwatch.runtime import (
    session_archive,
    session_files,
    session_paths,
    state_changes,
    state_copies,
    state_paths,
    state_reader,
    state_tree,
)
from orchwatch.runtime.closing import Closing
from orchwatch.runtime.database import LOCK_TIMEOUT_S, MAX_LOCK_TIMEOUT_S, Database
from orchwatch.runtime.state import (
    CURRENT_FILE,
    PREVIOUS_FILE,
    StateError,
    count_violation,
    of_one_file,
)
from orchwatch.runtime.state_database import SCHEMA
from orchwatch.runtime.state_reader import Reader
from orchwatch.runtime.state_tree import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchwatch.runtime.database import Durability
    from orchwatch.runtime.state_changes import Change, Update
    from orchwatch.runtime.state_copies import Checkpoint

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PATH_ATTRIBUTE_CHARACTERS = 120
_POLL_S = 0.02


class SessionStateManager(Closing):
    """The state of one session: JSON in SQLite, a row for each member.

    Any number of processes may read and write it at once, with no process in the middle; readers
    never wait. A write is acknowledged by returning, and is visible to all then. Use it
    in a `with` block, or `close()` it. After `os.fork` the child opens the file anew by itself.

    Paths are `$.tasks.t1.status`, the same without `$.`, or a sequence of names; `$` is all. Lists
    are values: they are replaced as a whole.

        with SessionStateManager(workspace, "build-7") as state:
            state.set("tasks.t1", {"status": "pending", "tries": 0})
            state.increment("tasks.t1.tries")

    Args:
        root: The workspace; the files lie in `.claude/state` below it.
        session_id: Letters, digits, `.`, `_` and `-`, at most 128.
        durability: What a write survives, see `Database`.
        lock_timeout_s: Seconds that a write waits for the writes of others, then it fails.
        expires_after_s: Seconds without a write after which `session_files.cleanup_expired` may
            remove it; None leaves that to `cleanup`. Holds from then on, for every process.
        checkpoint_pages: When SQLite's WAL is written back, see `Database`.

    Attributes:
        id: The session's id.
        path: The database.
        view: The JSON view, as `export` writes it.

    Raises:
        StateError: The session cannot be opened; the message names the file and the reason.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        session_id: str,
        *,
        durability: Durability = "process",
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        expires_after_s: float | None = None,
        checkpoint_pages: int | None = None,
    ) -> None:
        if not isinstance(session_id, str) or not _ID.fullmatch(session_id):
            raise StateError(
                f"{session_id!r} cannot be a session's id: letters, digits, '.', '_' and '-', "
                "at most 128, and no '.' or '-' first"
            )
        if expires_after_s is not None and not expires_after_s > 0:
            raise StateError(f"expires_after_s must be more than 0, not {expires_after_s!r}")
        if not 0 < lock_timeout_s <= MAX_LOCK_TIMEOUT_S:
            limit = f"more than 0 and at most {MAX_LOCK_TIMEOUT_S:g}"
            raise StateError(f"lock_timeout_s must be {limit}, not {lock_timeout_s!r}")
        self.id = session_id
        with operation(semconv.SESSION_INIT, {semconv.SESSION_ID: session_id}):
            self._directory = session_files.make_directory(Path(root))
            self.path = self._directory / session_paths.database_name(session_id)
            self.view = session_paths.view(self.path)
            self._checkpoints = session_paths.checkpoints(self.path)
            with ExitStack() as undo:
                self._in_use = session_files.use(self.path)
                undo.callback(os.close, self._in_use)
                session_archive.unpack(self.path)
                self._database = Database(
                    self.path, SCHEMA, durability, lock_timeout_s, checkpoint_pages
                )
                undo.callback(self._database.close)
                self._activate(Path(root) / session_id, expires_after_s)
                undo.pop_all()

    @property
    def status(self) -> str:
        """`active`, or what `$.session.status` was set to."""
        return str(self.get(("session", "status"), "unknown"))

    @property
    def database(self) -> Database:
        """The file that holds it all, for what else is durable with the state: tasks, agents."""
        return self._database

    def file(self, name: str) -> Path:
        """Where a database lies that goes with the session, as its log of events.

        Raises:
            StateError: Its directory cannot be made.
        """
        return session_files.beside(self.path, name)

    @property
    def document(self) -> dict[str, Any]:
        """The whole state, as it is now; a copy."""
        with self._database.reading() as connection:
            state: dict[str, Any] = Reader(connection).get("$")
            return state

    def get(self, path: state_paths.Path = "$", default: Any = None) -> Any:
        """The member at `path`, or `default` where there is none.

        Raises:
            PathError: `path` names no member.
            StateError: The file cannot be read.
        """
        with self._operation(semconv.STATE_QUERY, path):
            _keys, key = state_paths.member(path)
            rows = self._database.read(state_reader.FIND, (key,))
            if rows and rows[0][0] is not None:
                return json.loads(rows[0][0])
            with self._database.reading() as connection:
                return Reader(connection).get(path, default)

    def version(self, path: state_paths.Path = "$") -> int:
        """The version that last changed the member or what is below it; 0 where there is none.

        Raises:
            PathError, StateError: As `get`.
        """
        with self._database.reading() as connection:
            return Reader(connection).version(path)

    def set(
        self, path: state_paths.Path, value: Any, *, expected_version: int | None = None
    ) -> int:
        """Set a member, see `Writer.set`; gives the version that the state has since."""
        with self._database.turn() as turn, self._operation(semconv.STATE_PERSIST, path):
            planned = state_tree.plan(path, value)
            key, text = planned.rows[0]
            if text is not None and expected_version is None:
                for (version,) in self._database.write(state_tree.REPLACE, (text, key), turn):
                    return int(version)
            with self._database.writing(turn) as connection:
                writer = Writer(connection)
                writer.put(planned, expected_version=expected_version)
        return writer.written

    def merge(
        self,
        path: state_paths.Path,
        members: Mapping[str, Any],
        *,
        expected_version: int | None = None,
    ) -> int:
        """Set some members of an object, see `Writer.merge`; gives the state's version."""
        with self._writing(path) as writer:
            writer.merge(path, members, expected_version=expected_version)
        return writer.written

    def delete(self, path: state_paths.Path, *, expected_version: int | None = None) -> bool:
        """Remove a member, see `Writer.delete`; False where there was none."""
        with self._writing(path) as writer:
            return writer.delete(path, expected_version=expected_version)

    def increment(self, path: state_paths.Path, by: float = 1) -> int | float:
        """Add to a number, see `Writer.increment`, also while other processes do."""
        with self._writing(path) as writer:
            return writer.increment(path, by)

    @contextmanager
    def transaction(self) -> Iterator[Writer]:
        """Several reads and writes as one: all of it happens, or after an exception nothing.

        No other process writes meanwhile, so keep it short.

        Raises:
            StateError: The file cannot be written, or this thread is in a transaction already.
        """
        with self._writing("$") as writer:
            yield writer

    def changes(self, path: state_paths.Path = "$", since: int = 0) -> list[Change]:
        """What any process changed at, above or below `path` after version `since`, oldest first.

        Raises:
            StateError: So many versions have followed that they are no longer kept.
        """
        with self._database.reading() as connection:
            return state_changes.changes(connection, path, since)

    def update(self, since: int) -> Update:
        """What a copy of the state of version `since` lacks; below 0, the whole state.

        Raises:
            StateError: The file cannot be read.
        """
        with self._database.reading() as connection:
            return state_changes.update(connection, since)

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside `transaction`: what it reads may never come to be."""
        return self._database.writes_here

    def subscribe(
        self,
        path: state_paths.Path = "$",
        *,
        since: int | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Change]:
        """Each change of any process at, above or below `path`, as it comes.

        Args:
            path: The member to follow.
            since: Begin after this version; by default with what comes after this call.
            timeout_s: End after so long without a change; None goes on for ever.

        Raises:
            StateError: See `changes`.
        """
        state_paths.parse(path)
        return self._followed(path, self.version() if since is None else since, timeout_s)

    def export(self) -> Path:
        """Write the JSON view, `session-<id>.json`, and the same as `orchestration.json`.

        Raises:
            StateError: They cannot be written.
        """
        with self._operation(semconv.STATE_PERSIST, "$"):
            views = (self.view, self._directory / session_paths.NEWEST_VIEW)
            state_copies.export(views, self.document)
        return self.view

    def checkpoint(self) -> Checkpoint:
        """Keep a copy of the state with its checksum; the last few are kept.

        Raises:
            StateError: It cannot be written.
        """
        with self._operation(semconv.STATE_PERSIST, "$"):
            with self._database.reading() as connection:
                reader = Reader(connection)
                version, state = reader.version(), reader.get("$")
            try:
                return state_copies.save(self._checkpoints, version, state)
            except OSError as error:
                raise StateError(f"{error.filename}: {error.strerror}") from error

    def checkpoints(self) -> list[Checkpoint]:
        """The copies that are kept, oldest first."""
        return state_copies.saved(self._checkpoints)

    def restore(self, version: int | None = None) -> Checkpoint:
        """Put a checkpoint's state in the place of the state, by default the newest one's.

        Raises:
            StateError: There is none, or its checksum does not fit, which counts as a violation.
        """
        try:
            checkpoint, state = state_copies.load(self._checkpoints, version)
        except StateError:
            if self.checkpoints():
                count_violation("damaged")
            raise
        self.set("$", state)
        return checkpoint

    def verify(self) -> None:
        """Hold the file against its own rules.

        Raises:
            StateError: It is damaged; counted as a violation.
        """
        try:
            with self._database.reading() as connection:
                state_changes.check(connection, str(self.path))
        except StateError:
            count_violation("damaged")
            raise

    def close(self) -> None:
        """Let go of the files; the session stays as it is. Safe to call again.

        Once an hour it also compresses and removes the old sessions of the workspace, as
        `[retention]` of the person's `orchwatch.toml` says.
        """
        if self._in_use >= 0:
            self._database.close()
            os.close(self._in_use)
            self._in_use = -1
            # What cannot be put away stays, and is an operation that has failed.
            with suppress(OrchwatchError, OSError):
                session_archive.retain_as_configured(self._directory)

    def cleanup(self) -> None:
        """Close, and remove the session with its view and its checkpoints.

        Raises:
            StateError: Another process has it open; it is closed here, and stays.
        """
        self.close()
        if not session_files.removed(self.path):
            raise StateError(f"{self.path}: another process has this session open")

    def _activate(self, old: Path, expires_after_s: float | None) -> None:
        with self._database.writing() as connection:
            writer = Writer(connection)
            if expires_after_s is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO facts VALUES ('expires_after_s', ?)", (expires_after_s,)
                )
            if writer.version(("session",)):
                return
            if (old / CURRENT_FILE).exists() or (old / PREVIOUS_FILE).exists():
                writer.set("$", of_one_file(old))
            started = {"id": self.id, "status": "active", "started_ns": time.time_ns()}
            writer.merge(("session",), started)

    def _followed(
        self, path: state_paths.Path, since: int, timeout_s: float | None
    ) -> Iterator[Change]:
        last_s = time.monotonic()
        while True:
            version = self.version()
            if version > since:
                for change in self.changes(path, since):
                    last_s = time.monotonic()
                    since = change.version
                    yield change
                since = max(since, version)
            elif timeout_s is not None and time.monotonic() - last_s >= timeout_s:
                return
            else:
                time.sleep(_POLL_S)

    @contextmanager
    def _writing(self, path: state_paths.Path) -> Iterator[Writer]:
        with (
            self._database.turn() as turn,
            self._operation(semconv.STATE_PERSIST, path),
            self._database.writing(turn) as connection,
        ):
            yield Writer(connection)

    def _operation(self, name: str, path: state_paths.Path) -> operation:
        shown = path if isinstance(path, str) else ".".join(map(str, path))
        return operation(
            name,
            {
                semconv.SESSION_ID: self.id,
                semconv.STATE_PATH: shown[:_PATH_ATTRIBUTE_CHARACTERS],
            },
        )
