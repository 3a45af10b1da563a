"""Sessions: one orchestration's directory, state, event log and agents."""

from __future__ import annotations

import os
import shutil
import uuid
from typing import TYPE_CHECKING, Self

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.recording.operation import operation
from orchwatch.runtime.agents import AgentPool
from orchwatch.runtime.event_processing import EventProcessor, replay
from orchwatch.runtime.events import EventLog
from orchwatch.runtime.message_bus import MessageBus
from orchwatch.runtime.queries import QueryAPI
from orchwatch.runtime.state import StateError, StateStore, own

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from orchwatch.runtime.event_processing import Fold

EVENTS_FILE = "events.sqlite3"
MESSAGES_FILE = "messages.sqlite3"
SUPERVISOR = "supervisor"
KEPT_SESSIONS = 5


class SessionError(OrchwatchError):
    """A session cannot be started; the message names its directory and the reason."""


def new_id() -> str:
    """An id for a session to come."""
    return str(uuid.uuid4())


class Session:
    """One session, from nothing to status `active`; leaving the `with` block closes it.

    Args:
        root: The directory that sessions lie in.
        folds: What each type of event does to the state, `session.started` and `session.closed`
            among them.
        session_id: Its id; by default a new one.

    Attributes:
        id: Its id, also the name of its directory.
        directory: Where its files lie.
        store: Its state on disk.
        queries: JSONPath questions to its state.
        events: Takes in what happens: logs it and folds it into the state.
        agents: Its worker processes.
        bus: What they and the supervisor tell each other.
    """

    def __init__(
        self, root: Path, folds: Mapping[str, Fold], session_id: str | None = None
    ) -> None:
        self.id = session_id or new_id()
        self._folds = folds
        with operation(semconv.SESSION_INIT, {semconv.SESSION_ID: self.id}):
            self.directory = root / self.id
            try:
                _make_private(self.directory)
                self.store = StateStore(self.directory)
                self._log = EventLog(self.directory / EVENTS_FILE)
                self.bus = MessageBus(self.directory / MESSAGES_FILE, SUPERVISOR)
            except OSError as error:
                message = f"{self.directory}: a session cannot be kept there: {error.strerror}"
                raise SessionError(message) from error
            self.queries = QueryAPI(self.store)
            self.events = EventProcessor(
                self._log, self.store.document, folds, session_id=self.id, source=SUPERVISOR
            )
            self.agents = AgentPool(self.id)
            self.events.process("session.started", id=self.id)
            self.store.persist()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close("closed" if kind is None else "failed")

    @property
    def status(self) -> str:
        """`active`, `closed` or `failed`."""
        return str(self.store.document["session"]["status"])

    def verify(self) -> None:
        """Hold memory, disk and event log against each other.

        Raises:
            StateError: They contradict each other.
        """
        self.store.verify()
        if replay(self._log.read(), self._folds) != self.store.document:
            raise StateError(f"{self._log.path}: its events do not lead to the session's state")

    def close(self, status: str = "closed") -> None:
        """End the agents, write the last state, let go of the files; safe to call again."""
        try:
            self.agents.close()
            if self.status == "active":
                self.events.process("session.closed", status=status)
                self.store.persist()
        finally:
            self.bus.close()
            self._log.close()
            self.store.close()


def prune(root: Path, kept: int = KEPT_SESSIONS) -> None:
    """Remove the oldest sessions beyond `kept` that no process owns any more."""
    if not root.is_dir():
        return
    directories = sorted(root.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for directory in directories[kept:]:
        try:
            os.close(own(directory))
        except (StateError, OSError):
            continue  # in use, or no session
        shutil.rmtree(directory, ignore_errors=True)


def _make_private(directory: Path) -> None:
    """Make a directory and those above it, none of them open to others."""
    if not directory.is_dir():
        _make_private(directory.parent)
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
