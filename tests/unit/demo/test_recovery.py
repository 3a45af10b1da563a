from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from orchwatch.demo import recovery
from orchwatch.demo.folds import FOLDS
from orchwatch.runtime import agents
from orchwatch.runtime.agents import AgentError
from orchwatch.runtime.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT_S = 60.0


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(tmp_path, FOLDS) as session:
        for number in (1, 2):
            agent = session.agents.spawn(f"agent-{number}")
            session.events.process("agent.ready", agent=agent.name, pid=agent.process.pid)
        for number in (1, 2, 3):
            session.events.process("task.created", id=f"task-{number}", files=["ast.py"])
        session.events.process("task.assigned", id="task-1", agent="agent-1")
        session.events.process("task.assigned", id="task-2", agent="agent-2")
        yield session


def test_a_killed_agent_is_replaced_and_its_task_handed_out_again(
    session: Session, flat_spans: Callable[[], list[dict[str, object]]]
) -> None:
    lost = session.agents.agents["agent-1"]
    os.kill(lost.process.pid, signal.SIGKILL)
    assert session.agents.receive(TIMEOUT_S) == (lost, None)
    assigned: list[tuple[str, str]] = []
    replacement = recovery.recover(
        session, lost, lambda agent, task: assigned.append((agent.name, task))
    )
    assert replacement.process.pid != lost.process.pid
    assert lost.process.returncode == -signal.SIGKILL
    assert assigned == [("agent-1", "task-1")]
    tasks = session.store.document["tasks"]
    assert [task["status"] for task in tasks.values()] == ["pending", "assigned", "pending"]
    assert session.store.document["agents"]["agent-1"]["starts"] == 2
    by_name = {span["name"]: span for span in flat_spans()}
    assert by_name["agent.spawn"]["parent"] == by_name["recovery.run"]["id"]


def test_what_lay_ready_for_a_killed_agent_is_handed_out_again_too(session: Session) -> None:
    session.events.process("task.assigned", id="task-3", agent="agent-1")
    assigned: list[str] = []
    recovery.recover(
        session, session.agents.agents["agent-1"], lambda _agent, task: assigned.append(task)
    )
    assert assigned == ["task-1", "task-3"]


def test_recovery_that_cannot_start_an_agent_ends_with_one_error(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "SPAWN_TIMEOUT_S", 0.5)
    session.agents._command = ("false",)
    lost = session.agents.agents["agent-2"]
    with pytest.raises(AgentError, match="agent-2 did not become ready"):
        recovery.recover(session, lost, lambda _agent, _task: None)
    assert list(session.agents.agents) == ["agent-1"]
