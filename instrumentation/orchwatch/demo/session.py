"""The demo's session as each of its processes has it open: state, events, tasks, messages."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from orchwatch.demo.changes import CHANGES
from orchwatch.runtime.closing import Closing
from orchwatch.runtime.event import Event
from orchwatch.runtime.event_state import EventState
from orchwatch.runtime.events import EventLog
from orchwatch.runtime.message_bus import MessageBus
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.tasks import TaskGraph

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from orchwatch.runtime.queries import QueryAPI

SUPERVISOR = "supervisor"
TASK_ATTEMPTS = 3


class Session(Closing):
    """One session, under the name of the agent that has it open.

    Args:
        root: The workspace.
        session_id: Its id; a new one is made, and is active then.
        name: Who sends, claims and says what happened.

    Attributes:
        id: Its id.
        name: As above.
        state: What all of them know.
        tasks: What is to be done, and what must be done before.
        bus: What they tell each other.
        events: What happened, and that the state follows from it.

    Raises:
        OrchwatchError: It cannot be kept there.
    """

    def __init__(self, root: Path, session_id: str, name: str) -> None:
        self.id = session_id
        self.name = name
        with ExitStack() as undo:
            self.state = undo.enter_context(SessionStateManager(root, session_id))
            log = undo.enter_context(EventLog(self.state.file("events")))
            self.bus = undo.enter_context(MessageBus(self.state.file("messages"), name))
            self.tasks = TaskGraph(self.state, max_attempts=TASK_ATTEMPTS)
            self.events = EventState(log, self.state, CHANGES)
            self._open = undo.pop_all()

    @cached_property
    def queries(self) -> QueryAPI:
        """Questions to the state."""
        # Slow, and an agent that reads has none to ask.
        from orchwatch.runtime.queries import QueryAPI  # noqa: PLC0415

        return QueryAPI(self.state)

    def record(self, event_type: str, /, **data: Any) -> None:
        """Something happened: it is logged, and the state follows.

        Raises:
            EventError, StateError: See `EventState.process`.
        """
        self.events.process(Event(event_type, self.id, data, self.name))

    def close(self) -> None:
        """Let go of the files; the session stays as it is. Safe to call again."""
        self._open.close()
