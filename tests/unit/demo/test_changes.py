from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchwatch.demo.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(tmp_path, "s", "supervisor") as opened:
        opened.record("agent.ready", agent="agent-1", pid=1)
        for number in (1, 2):
            opened.record("task.created", id=f"batch-{number}", kind="read")
        opened.record("task.started", id="batch-1", agent="agent-1", pid=1)
        opened.record("batch.read", id="batch-1", modules={"a.b/c.py": {"files": 1}})
        opened.record("task.completed", id="batch-1", agent="agent-1", took_s=0.5)
        opened.record("task.started", id="batch-2", agent="agent-1", pid=1)
        yield opened


def statuses(session: Session) -> tuple[str, str, str]:
    get = session.state.get
    return (
        get("agents.agent-1.status"),
        get("tasks.batch-1.status"),
        get("tasks.batch-2.status"),
    )


def test_the_state_follows_the_events(session: Session) -> None:
    assert statuses(session) == ("busy", "completed", "active")
    assert session.state.get("agents.agent-1.completed") == 1
    assert session.queries.query("$.modules[?@.batch == 'batch-1'].files") == [1]
    session.events.verify()


def test_a_lost_agent_gives_back_only_what_it_had_not_finished(session: Session) -> None:
    session.record("agent.lost", agent="agent-1", pid=1)
    assert statuses(session) == ("lost", "completed", "pending")
    session.events.verify()


def test_what_the_successor_has_begun_already_stays_with_it(session: Session) -> None:
    session.record("agent.ready", agent="agent-1", pid=2)
    session.record("task.started", id="batch-2", agent="agent-1", pid=2)
    session.record("agent.lost", agent="agent-1", pid=1)
    assert statuses(session) == ("busy", "completed", "active")
    assert session.state.get("agents.agent-1") == {
        "completed": 1,
        "pid": 2,
        "starts": 2,
        "status": "busy",
    }
