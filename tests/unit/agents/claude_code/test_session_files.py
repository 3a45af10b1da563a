from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orchwatch.agents.claude_code.sessions import session_files
from orchwatch.agents.reader import RecordedSession

if TYPE_CHECKING:
    from pathlib import Path

ONE = "0f7b6f0e-1111-4222-8333-444455556666"
TWO = "1f7b6f0e-1111-4222-8333-444455556666"


def write(path: Path, **members: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "user", "path": str(path), **members}) + "\n")
    return path


def found(*paths: Path) -> dict[str, list[str | None]]:
    sessions, _ = session_files.find(map(str, paths))
    return {session.session_id: [file.agent_id for file in session.files] for session in sessions}


def test_a_directory_gives_all_sessions_with_their_sub_agents(tmp_path: Path) -> None:
    write(tmp_path / "p" / f"{ONE}.jsonl")
    write(tmp_path / "p" / ONE / "subagents" / "agent-a1.jsonl")
    write(tmp_path / "p" / ONE / "subagents" / "workflows" / "w" / "agent-a2.jsonl")
    write(tmp_path / "q" / f"{TWO}.jsonl")
    assert found(tmp_path) == {ONE: [None, "a1", "a2"], TWO: [None]}


def test_a_sessions_own_file_brings_its_sub_agents_along(tmp_path: Path) -> None:
    own = write(tmp_path / f"{ONE}.jsonl")
    write(tmp_path / ONE / "subagents" / "agent-a1.jsonl")
    assert found(own) == {ONE: [None, "a1"]}


def test_older_files_beside_the_sessions_own_say_inside_where_they_belong(tmp_path: Path) -> None:
    write(tmp_path / "p" / f"{ONE}.jsonl")
    write(tmp_path / "p" / "agent-a1.jsonl", sessionId=ONE)
    write(tmp_path / "p" / "renamed.jsonl", sessionId=TWO)
    assert found(tmp_path) == {ONE: [None, "a1"], TWO: [None]}


def test_a_copy_of_a_file_is_the_same_file(tmp_path: Path) -> None:
    own = write(tmp_path / "p" / f"{ONE}.jsonl")
    copy = tmp_path / "backup" / own.name
    copy.parent.mkdir()
    copy.write_bytes(own.read_bytes())
    other = write(tmp_path / "other" / own.name)
    assert found(own, copy) == {ONE: [None]}
    assert found(own, other) == {ONE: [None, None]}


def test_files_of_no_session_are_named_and_empty_ones_are_nothing(tmp_path: Path) -> None:
    strange = write(tmp_path / "history.jsonl")
    for number, nothing in enumerate(("", "\n", " \n\n")):
        (tmp_path / f"{number}{ONE[1:]}.jsonl").write_text(nothing)
    sessions, left = session_files.find([str(tmp_path)])
    assert not sessions
    assert left == [str(strange)]


# By what wrote it: lines of another agent that names its sessions as Claude Code does.
OTHERS: dict[str, list[dict[str, object]]] = {
    "Copilot CLI's output": [
        {"type": "assistant.message", "id": "1"},
        {"type": "result", "sessionId": ONE, "exitCode": 0},
    ],
    "Qwen Code's session": [
        {"type": "system", "uuid": "u1", "sessionId": ONE, "subtype": "ui_telemetry"},
        {"type": "user", "uuid": "u2", "sessionId": ONE, "message": {"parts": [{"text": "x"}]}},
    ],
    "Qwen Code's sub-agent": [
        {"uuid": "u", "sessionId": ONE, "isSidechain": True, "message": {"parts": []}}
    ],
    "Qwen Code's usage": [{"version": 1, "sessionId": ONE, "timestamp": 1}],
    "Gemini CLI's session": [
        {"sessionId": ONE, "projectHash": "x", "kind": "main"},
        {"id": "m1", "type": "user", "content": [{"text": "x"}]},
    ],
}


@pytest.mark.parametrize("whose", OTHERS)
@pytest.mark.parametrize("name", ["out.jsonl", f"{ONE}.jsonl", f"{ONE}/subagents/agent-a.jsonl"])
def test_another_agents_lines_are_no_session_however_the_file_is_called(
    tmp_path: Path, whose: str, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in OTHERS[whose]))
    assert session_files.find([str(tmp_path)]) == ([], [str(path)])


@pytest.mark.parametrize("kind", ["queue-operation", "cost-state", "last-prompt", "mode"])
def test_a_line_without_an_id_names_the_session_where_claude_code_writes_its_kind(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "renamed.jsonl"
    path.write_text(json.dumps({"type": kind, "sessionId": TWO}) + "\n")
    assert found(path) == {TWO: [None]}


def test_a_path_that_is_gone_since_it_was_listed_is_of_no_session(tmp_path: Path) -> None:
    gone = str(tmp_path / "none.jsonl")
    assert session_files.find([gone]) == ([], [gone])


@pytest.mark.parametrize(
    ("project", "belongs"),
    [("/work/my.shop", True), ("my.shop", True), ("shop", True), ("op", False), ("/work", False)],
)
def test_a_project_is_known_by_its_directory_or_the_end_of_it(
    project: str, *, belongs: bool
) -> None:
    session = RecordedSession(ONE, "-work-my-shop", ())
    assert session_files.is_in_project(session, project) is belongs


def test_the_last_time_is_read_from_the_end_of_the_files(tmp_path: Path) -> None:
    own = write(tmp_path / f"{ONE}.jsonl", timestamp="2026-01-01T00:00:00.000Z")
    own.write_text(own.read_text() + '{"timestamp":"2026-01-01T00:00:02.000Z"}\n')
    (session,), _ = session_files.find([str(own)])
    assert session_files.last_time_ns(session) == 1_767_225_602_000_000_000
