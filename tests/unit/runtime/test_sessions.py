from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from orchwatch.demo.folds import FOLDS
from orchwatch.runtime.sessions import Session, SessionError, prune
from orchwatch.runtime.state import StateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def on_disk(session: Session) -> dict[str, dict[str, object]]:
    state: dict[str, dict[str, object]] = json.loads(
        (session.directory / "state.json").read_text()
    )["state"]
    return state


def test_a_new_session_is_active_on_disk(
    tmp_path: Path, spans: Callable[[], list[dict[str, object]]]
) -> None:
    with Session(tmp_path / "sessions", FOLDS) as session:
        assert session.status == "active"
        assert on_disk(session)["session"]["status"] == "active"
        (init,) = (span for span in spans() if span["name"] == "session.init")
        assert init["session.id"] == session.id
    assert on_disk(session)["session"]["status"] == "closed"


def test_a_session_that_breaks_off_is_marked_and_its_agents_are_ended(tmp_path: Path) -> None:
    session = Session(tmp_path, FOLDS)
    agent = session.agents.spawn(
        "agent-1", ["sh", "-c", "echo ready >/dev/fd/$ORCHWATCH_READY_FD; sleep 600"]
    )
    session.__exit__(RuntimeError, RuntimeError("broke off"), None)
    assert on_disk(session)["session"]["status"] == "failed"
    assert agent.process.returncode is not None


def test_directories_are_private(tmp_path: Path) -> None:
    with Session(tmp_path / "home" / "sessions", FOLDS) as session:
        directories = [session.directory, *session.directory.parents[:2]]
        assert {path.stat().st_mode & 0o777 for path in directories} == {0o700}


def test_a_place_that_cannot_hold_a_session_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SessionError, match="a session cannot be kept there: File exists"):
        Session(tmp_path / "file" / "sessions", FOLDS)


def test_memory_disk_and_event_log_are_held_against_each_other(tmp_path: Path) -> None:
    with Session(tmp_path, FOLDS) as session:
        session.verify()
        session.store.document["tasks"]["task-1"] = {"status": "running"}
        session.store.persist()
        with pytest.raises(StateError, match="events do not lead to the session's state"):
            session.verify()


def test_old_sessions_are_removed_but_none_in_use(tmp_path: Path) -> None:
    sessions = [Session(tmp_path / "sessions", FOLDS) for _ in range(4)]
    for age, session in enumerate(sessions):
        os.utime(session.directory, (age, age))
    for session in sessions[1:]:
        session.close()
    for age, session in enumerate(sessions):
        os.utime(session.directory, (age, age))
    prune(tmp_path / "sessions", kept=1)
    left = {path.name for path in (tmp_path / "sessions").iterdir()}
    assert left == {sessions[0].id, sessions[3].id}
    sessions[0].close()
    prune(tmp_path / "nowhere")
