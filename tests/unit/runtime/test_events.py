from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.runtime.events import HANDLERS, EventError, EventLog, EventProcessor, replay
from orchwatch.testing import capture

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events.jsonl")


def processed(log: EventLog) -> dict[str, Any]:
    state: dict[str, Any] = {}
    events = EventProcessor(log, state, HANDLERS)
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
    events = EventProcessor(log, state, HANDLERS)
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
    events = EventProcessor(log, state, HANDLERS)
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
    assert replay(log.read(), HANDLERS) == state


def test_a_line_that_was_cut_off_is_not_read(log: EventLog) -> None:
    processed(log)
    names = [event.name for event in log.read()]
    data = log.path.read_bytes()
    log.path.write_bytes(data[:-5])
    assert [event.name for event in log.read()] == names[:-1]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("task.exploded", {}, "no handler knows it"),
        ("task.assigned", {"id": "task-9", "agent": "agent-1"}, "the state has no 'task-9'"),
    ],
)
def test_an_event_that_does_not_fit_is_refused_and_not_logged(
    log: EventLog, name: str, data: dict[str, str], reason: str
) -> None:
    events = EventProcessor(log, {"tasks": {}, "agents": {}}, HANDLERS)
    with pytest.raises(EventError, match=reason):
        events.process(name, **data)
    assert list(log.read()) == []


def test_each_event_is_recorded_by_its_name(log: EventLog) -> None:
    with capture() as captured:
        processed(log)
    recorded = [(one.name, one.attributes["event.name"]) for one in captured.operations]
    assert recorded == [("event.process", event.name) for event in log.read()]
