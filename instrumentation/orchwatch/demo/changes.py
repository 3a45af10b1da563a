"""What each type of event does to the state of the demonstration's session."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchwatch.runtime.event import Event
    from orchwatch.runtime.event_state import Change
    from orchwatch.runtime.state_tree import Writer


def task_created(state: Writer, event: Event) -> None:
    """A task waits for an agent, or for the tasks that it needs."""
    task = {"status": "pending", "agent": None, "pid": None, "kind": event.data["kind"]}
    state.set(("tasks", event.data["id"]), task)


def task_started(state: Writer, event: Event) -> None:
    """An agent has claimed it."""
    agent, pid = event.data["agent"], event.data["pid"]
    state.merge(("tasks", event.data["id"]), {"status": "active", "agent": agent, "pid": pid})
    state.set(("agents", agent, "status"), "busy")


def task_completed(state: Writer, event: Event) -> None:
    """Its results are in; a second time where its agent was killed before it could finish it."""
    agent = event.data["agent"]
    done = {"status": "completed", "agent": agent, "took_s": event.data["took_s"]}
    state.merge(("tasks", event.data["id"]), done)
    state.set(("agents", agent, "status"), "idle")
    state.increment(("agents", agent, "completed"))


def batch_read(state: Writer, event: Event) -> None:
    """The symbols of its modules are known."""
    for file, counts in event.data["modules"].items():
        state.set(("modules", file), {"batch": event.data["id"], **counts})


def section_summed(state: Writer, event: Event) -> None:
    """The sum over some of the batches is known, or over all sections."""
    state.set(("sums", event.data["id"]), event.data["counts"])


def agent_ready(state: Writer, event: Event) -> None:
    """A worker process takes work; one that replaces another keeps the record of its name."""
    path = ("agents", event.data["agent"])
    starts = state.get((*path, "starts"), 0)
    completed = state.get((*path, "completed"), 0)
    known = {"status": "idle", "pid": event.data["pid"], "starts": starts + 1}
    state.set(path, {**known, "completed": completed})


def agent_lost(state: Writer, event: Event) -> None:
    """A worker process is gone: what it had begun waits, even where its successor is there."""
    pid = event.data["pid"]
    path = ("agents", event.data["agent"])
    if state.get((*path, "pid")) == pid:
        state.set((*path, "status"), "lost")
    for name, task in state.get("tasks").items():
        if task["status"] == "active" and task["pid"] == pid:
            state.merge(("tasks", name), {"status": "pending", "agent": None, "pid": None})


CHANGES: dict[str, Change] = {
    "task.created": task_created,
    "task.started": task_started,
    "task.completed": task_completed,
    "batch.read": batch_read,
    "section.summed": section_summed,
    "agent.ready": agent_ready,
    "agent.lost": agent_lost,
}
