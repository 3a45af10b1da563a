"""What each type of event does to the state of the demonstration's session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchwatch.runtime.event import Event
    from orchwatch.runtime.event_processing import Fold


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


FOLDS: dict[str, Fold] = {
    "session.started": session_started,
    "session.closed": session_closed,
    "task.created": task_created,
    "task.assigned": task_assigned,
    "task.completed": task_completed,
    "module.indexed": module_indexed,
    "agent.ready": agent_ready,
    "agent.lost": agent_lost,
}
