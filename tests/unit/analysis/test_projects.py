from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.analysis import projects
from orchwatch.store import small
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

PROJECT = semconv.PROJECT_NAME


def test_a_sessions_project_is_what_its_turns_name(home: Path, record: Record) -> None:
    for session, attributes in (
        ("named", {PROJECT: 'a "shop" | ü'}),
        ("named", {PROJECT: 'a "shop" | ü'}),
        ("nameless", {}),
        ("text", {"note": f'"{PROJECT}"'}),
        ("empty", {PROJECT: ""}),
        ("other", {PROJECT: "left out"}),
    ):
        record("agent.turn", attributes={"session.id": session, **attributes})
    record("state.query", attributes={"session.id": "no turn", PROJECT: "shop"})
    asked = ["named", "nameless", "text", "empty", "no turn", "not there"]
    found = small.read(home)
    assert found is not None
    answer = projects.of_sessions(found, asked)
    assert answer == {"named": 'a "shop" | ü'}
    with Store(home) as store:
        assert projects.of_sessions(store, asked) == answer
