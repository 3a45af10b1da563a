"""What happened in a session: a log that only grows, and the handlers that fold it into state."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.operation import operation

if TYPE_CHECKING:
    from pathlib import Path

Handler = Callable[[dict[str, Any], "Event"], None]


class EventError(OrchwatchError):
    """An event does not fit the state it is about; the message names event and reason."""


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        name: What, e.g. `task.completed`; one of the handlers' names.
        data: The particulars, JSON.
        time_ns: When, in nanoseconds since the epoch.
    """

    name: str
    data: dict[str, Any]
    time_ns: int = field(default_factory=time.time_ns)


class EventLog:
    """The events of a session, one JSON line each, appended whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = files.descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, links=False)

    def append(self, event: Event) -> None:
        """Write one event with one `write(2)`, so that a reader never sees half of two.

        Raises:
            EventError: The line could not be written whole.
        """
        entry = {"time_ns": event.time_ns, "name": event.name, "data": event.data}
        line = (json.dumps(entry, separators=(",", ":")) + "\n").encode()
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise EventError(f"{self.path}: cannot be written: {error.strerror}") from error
        if written < len(line):
            raise EventError(f"{self.path}: only {written} of {len(line)} bytes were written")

    def read(self) -> Iterator[Event]:
        """The events so far, oldest first, without a last line that was cut off."""
        with files.reader(self.path, links=False) as file:
            for line in files.lines(file):
                if line.endswith(b"\n"):
                    entry = json.loads(line)
                    yield Event(entry["name"], entry["data"], entry["time_ns"])

    def close(self) -> None:
        """Close the file; safe to call again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class EventProcessor:
    """Folds each event into the state and logs it, in one timed operation."""

    def __init__(self, log: EventLog, state: dict[str, Any], handlers: dict[str, Handler]) -> None:
        self._log = log
        self._state = state
        self._handlers = handlers

    def process(self, name: str, /, **data: Any) -> None:
        """Apply the event's handler, then log the event: the log holds only what fitted.

        Raises:
            EventError: No handler knows the event, or the state has no place for it.
        """
        with operation(semconv.EVENT_PROCESS, {semconv.EVENT_NAME: name}):
            event = Event(name, data)
            handler = self._handlers.get(name)
            if handler is None:
                raise EventError(f"event {name!r}: no handler knows it")
            try:
                handler(self._state, event)
            except KeyError as error:
                raise EventError(f"event {name!r}: the state has no {error}") from error
            self._log.append(event)


def replay(events: Iterator[Event], handlers: dict[str, Handler]) -> dict[str, Any]:
    """The state that the events alone lead to: what it must be after a crash."""
    state: dict[str, Any] = {}
    for event in events:
        handlers[event.name](state, event)
    return state


def session_started(state: dict[str, Any], event: Event) -> None:
    """The first event: an empty, active session."""
    state["session"] = {"id": event.data["id"], "status": "active", "started_ns": event.time_ns}
    state |= {"agents": {}, "tasks": {}, "modules": {}}


def session_closed(state: dict[str, Any], event: Event) -> None:
    """The last event."""
    state["session"] |= {"status": event.data["status"], "closed_ns": event.time_ns}


def task_created(state: dict[str, Any], event: Event) -> None:
    """A batch of files waits for an agent."""
    task = {"id": event.data["id"], "status": "pending", "agent": None, "failures": 0}
    state["tasks"][task["id"]] = task | {"files": event.data["files"]}


def task_assigned(state: dict[str, Any], event: Event) -> None:
    """An agent has acknowledged the batch."""
    task = state["tasks"][event.data["id"]]
    task |= {"status": "assigned", "agent": event.data["agent"], "assigned_ns": event.time_ns}
    state["agents"][event.data["agent"]]["status"] = "busy"


def task_completed(state: dict[str, Any], event: Event) -> None:
    """The agent's report on the batch has been taken in."""
    task = state["tasks"][event.data["id"]]
    task |= {"status": "completed", "parse_s": event.data["parse_s"]}
    agent = state["agents"][task["agent"]]
    agent["completed"] += 1
    if not any(_is_with(other, task["agent"]) for other in state["tasks"].values()):
        agent["status"] = "idle"


def module_indexed(state: dict[str, Any], event: Event) -> None:
    """A module's symbols are known."""
    data = dict(event.data)
    state["modules"][data.pop("file")] = data


def agent_ready(state: dict[str, Any], event: Event) -> None:
    """A worker process has said that it is ready; a replacement keeps the record of its name."""
    agent = state["agents"].setdefault(event.data["agent"], {"completed": 0, "starts": 0})
    agent |= {"status": "idle", "pid": event.data["pid"], "starts": agent["starts"] + 1}


def agent_lost(state: dict[str, Any], event: Event) -> None:
    """A worker process is gone; what it had not finished waits for another one."""
    agent = state["agents"][event.data["agent"]]
    agent["status"] = "lost"
    unfinished = [task for task in state["tasks"].values() if _is_with(task, event.data["agent"])]
    if unfinished:
        # Its end can have to do with the one it worked on; the others it had not begun.
        min(unfinished, key=lambda task: task["assigned_ns"])["failures"] += 1
    for task in unfinished:
        task |= {"status": "pending", "agent": None}


def _is_with(task: dict[str, Any], agent: str) -> bool:
    """Whether an agent works on the batch, or has it in its queue."""
    return bool(task["agent"] == agent and task["status"] == "assigned")


HANDLERS: dict[str, Handler] = {
    "session.started": session_started,
    "session.closed": session_closed,
    "task.created": task_created,
    "task.assigned": task_assigned,
    "task.completed": task_completed,
    "module.indexed": module_indexed,
    "agent.ready": agent_ready,
    "agent.lost": agent_lost,
}
