from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from orchwatch.demo import recovery
from orchwatch.demo.crew import Crew
from orchwatch.demo.folds import FOLDS
from orchwatch.runtime.agents import AgentError, AgentEvent
from orchwatch.runtime.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT_S = 60.0


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(tmp_path, FOLDS) as session:
        yield session


@pytest.fixture
def crew(session: Session) -> Iterator[Crew]:
    with Crew(session.agents, session.bus, session.id) as crew:
        _start(session, crew)
        yield crew


def _start(session: Session, crew: Crew) -> None:
    for agent in ("agent-1", "agent-2"):
        session.events.process("agent.ready", agent=agent, pid=crew.join(agent))
    for number in (1, 2, 3):
        session.events.process("task.created", id=f"task-{number}", files=["ast.py"])
    session.events.process("task.assigned", id="task-1", agent="agent-1")
    session.events.process("task.assigned", id="task-2", agent="agent-2")


def lost(crew: Crew, agent: str) -> int:
    """Kill an agent, and wait until the pool says so."""
    pid = crew.kill(agent)
    while (received := crew.receive(TIMEOUT_S)) is not None:
        about, event = received
        if about == agent and isinstance(event, AgentEvent) and event.kind == "lost":
            return pid
    raise AssertionError(agent)


def test_a_killed_agent_is_replaced_and_its_task_handed_out_again(
    session: Session, crew: Crew, flat_spans: Callable[[], list[dict[str, object]]]
) -> None:
    before = lost(crew, "agent-1")
    assigned: list[tuple[str, str]] = []
    pid = recovery.recover(
        session, crew, "agent-1", lambda agent, task: assigned.append((agent, task))
    )
    assert pid != before
    assert session.agents.agents["agent-1"].process.pid == pid
    assert assigned == [("agent-1", "task-1")]
    tasks = session.store.document["tasks"]
    assert [task["status"] for task in tasks.values()] == ["pending", "assigned", "pending"]
    assert session.store.document["agents"]["agent-1"]["starts"] == 2
    recorded = flat_spans()
    assert [span["name"] for span in recorded].count("agent.spawn") == 3
    assert [span["name"] for span in recorded].count("recovery.run") == 1


def test_what_lay_ready_for_a_killed_agent_is_handed_out_again_too(
    session: Session, crew: Crew
) -> None:
    session.events.process("task.assigned", id="task-3", agent="agent-1")
    lost(crew, "agent-1")
    assigned: list[str] = []
    recovery.recover(session, crew, "agent-1", lambda _agent, task: assigned.append(task))
    assert assigned == ["task-1", "task-3"]


def test_recovery_that_cannot_start_an_agent_ends_with_one_error(
    session: Session, crew: Crew
) -> None:
    session.agents.agents["agent-2"].start = ["false"]
    lost(crew, "agent-2")
    with pytest.raises(AgentError, match="agent-2 does not come back: agent agent-2 did not"):
        recovery.recover(session, crew, "agent-2", lambda _agent, _task: None)


def test_a_batch_that_an_agent_was_killed_over_is_done_by_the_next_one(
    session: Session, crew: Crew
) -> None:
    stopped = session.agents.agents["agent-1"].process
    stopped.send_signal(signal.SIGSTOP)
    os.waitpid(stopped.pid, os.WUNTRACED)  # until it has stopped
    crew.deliver("agent-1", "task", {"id": "task-1", "files": ["ast.py"]}, {})
    lost(crew, "agent-1")
    recovery.recover(session, crew, "agent-1", lambda _agent, _task: None)
    reports: list[tuple[str, str, str]] = []
    while not reports and (received := crew.receive(TIMEOUT_S)) is not None:
        agent, report = received
        if not isinstance(report, AgentEvent):
            reports.append((agent, report.kind, report.body["id"]))
    assert reports == [("agent-1", "report", "task-1")]
