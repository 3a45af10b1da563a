from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.demo.folds import FOLDS
from orchwatch.runtime.event_processing import EventProcessor, replay
from orchwatch.runtime.events import EventLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog(tmp_path / "events.sqlite3") as opened:
        yield opened


def processor(log: EventLog, state: dict[str, Any]) -> EventProcessor:
    return EventProcessor(log, state, FOLDS, session_id="s", source="test")


def processed(log: EventLog) -> dict[str, Any]:
    state: dict[str, Any] = {}
    events = processor(log, state)
    events.process("session.started", id="s")
    events.process("agent.ready", agent="agent-1", pid=1)
    for number in (1, 2):
        events.process("task.created", id=f"task-{number}", files=[f"{number}.py"])
        events.process("task.assigned", id=f"task-{number}", agent="agent-1")
    events.process("task.completed", id="task-1", parse_s=0.5)
    events.process("agent.lost", agent="agent-1")
    return state


def test_events_are_folded_into_the_state(log: EventLog) -> None:
    state = processed(log)
    assert state["session"]["status"] == "active"
    assert state["agents"]["agent-1"] == {
        "completed": 1,
        "starts": 1,
        "status": "lost",
        "pid": 1,
    }
    assert state["tasks"]["task-1"]["status"] == "completed"


def test_a_lost_agent_gives_back_only_what_it_had_not_finished(log: EventLog) -> None:
    tasks = processed(log)["tasks"]
    assert (tasks["task-1"]["status"], tasks["task-1"]["agent"]) == ("completed", "agent-1")
    assert (tasks["task-2"]["status"], tasks["task-2"]["agent"]) == ("pending", None)


def test_only_the_batch_that_an_agent_worked_on_can_have_been_its_end(log: EventLog) -> None:
    state: dict[str, Any] = {}
    events = processor(log, state)
    events.process("session.started", id="s")
    events.process("agent.ready", agent="agent-1", pid=1)
    for task in ("task-1", "task-2", "task-3"):
        events.process("task.created", id=task, files=["ast.py"])
    for task in ("task-2", "task-1"):
        events.process("task.assigned", id=task, agent="agent-1")
    events.process("agent.lost", agent="agent-1")
    assert [task["failures"] for task in state["tasks"].values()] == [0, 1, 0]


def test_an_agent_is_busy_until_its_last_batch_is_done(log: EventLog) -> None:
    state: dict[str, Any] = {}
    events = processor(log, state)
    events.process("session.started", id="s")
    events.process("agent.ready", agent="agent-1", pid=1)
    for task in ("task-1", "task-2"):
        events.process("task.created", id=task, files=["ast.py"])
        events.process("task.assigned", id=task, agent="agent-1")
    seen = []
    for task in ("task-1", "task-2"):
        events.process("task.completed", id=task, parse_s=0.5)
        seen.append(state["agents"]["agent-1"]["status"])
    assert seen == ["busy", "idle"]


def test_the_log_alone_leads_to_the_same_state(log: EventLog) -> None:
    state = processed(log)
    assert replay(log.read(), FOLDS) == state
