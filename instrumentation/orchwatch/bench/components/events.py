"""Events: logged durably, and followed by the state."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench import workload
from orchwatch.bench.case import Case
from orchwatch.runtime.event import Event
from orchwatch.runtime.event_state import EventState
from orchwatch.runtime.event_writer import EventWriter
from orchwatch.runtime.events import EventLog
from orchwatch.runtime.session_state import SessionStateManager

if TYPE_CHECKING:
    from pathlib import Path

    from orchwatch.runtime.state_tree import Writer

_EVENTS = 1_000


class EventProcess(Case):
    """Takes in that a task was assigned, one after the other, in a state of 1 MB."""

    operation = semconv.EVENT_PROCESS

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._state = SessionStateManager(workspace, f"event-{os.getpid()}")
        self._state.set("$", workload.state())
        self._log = EventLog(self._state.file("events"))
        self._events = EventState(self._log, self._state, {"task.assigned": _assigned})
        self._numbers = itertools.cycle(range(workload.TASKS))

    def run(self) -> None:
        number = next(self._numbers)
        data = {"id": workload.task(number), "agent": workload.agent(number % workload.AGENTS)}
        self._events.process(Event("task.assigned", self._state.id, data, "bench"))

    def close(self) -> None:
        self._log.close()
        self._state.close()


class EventWrite(Case):
    """Hands a thousand events to a writer, one by one, until all of them are durable."""

    operation = "event.write"

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._log = EventLog(workspace / "written.sqlite3")
        self._writer = EventWriter(self._log)
        self._session = f"event-{os.getpid()}"

    def run(self) -> None:
        for number in range(_EVENTS):
            self._writer.append(Event("task.assigned", self._session, {"number": number}))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
        self._log.close()


def _assigned(state: Writer, event: Event) -> None:
    task, agent = ("tasks", event.data["id"]), event.data["agent"]
    state.merge(task, {"status": "active", "agent": agent})
    state.set(("agents", agent, "status"), "busy")
