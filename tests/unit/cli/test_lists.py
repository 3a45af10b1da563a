from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import record as record  # noqa: PLC0414 - a fixture

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

S = 10**9
NOW_NS = time.time_ns()
SESSION = "1f3c9e0a-aaaa"
OTHER = "1f3d0000-bbbb"
TRACE = "ab" * 16


@pytest.fixture(params=["history", "operations"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def session(record: Record, family: str) -> None:
    """A turn of ten seconds a week ago: three of them a tool, one a hook; then another session."""
    start_ns = NOW_NS - 7 * 86_400 * S
    own: dict[str, Any] = {"session.id": SESSION}
    for name, begin_s, length_s in (
        ("tool.execute", 2, 3),
        ("hook.process", 6, 1),
        ("agent.turn", 0, 10),
    ):
        record(
            name,
            duration_ns=length_s * S,
            end_ns=start_ns + (begin_s + length_s) * S,
            failed=name == "tool.execute",
            family=family,
            trace_id=TRACE,
            span_id=f"{begin_s + 1:016x}",
            parent_span_id="" if name == "agent.turn" else f"{1:016x}",
            attributes=own,
        )
    record(
        "agent.task",
        duration_ns=S,
        end_ns=start_ns + 20 * S,
        family=family,
        attributes={"session.id": OTHER, "gen_ai.agent.name": "worker", "gen_ai.agent.id": "a7"},
    )


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("session")
def test_sessions_are_listed_with_where_their_time_went(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = shown(capsys, "sessions")
    assert [one["id"] for one in found["sessions"]] == [OTHER, SESSION]
    first = found["sessions"][1]
    assert (first["operations"], first["errors"], first["agents"]) == (3, 1, 0)
    assert (first["duration_s"], first["busy_s"]) == (10, 10)
    assert (first["tools_share"], first["hooks_share"], first["model_share"]) == (0.3, 0.1, 0.6)
    assert found["sessions"][0]["tools_share"] is None


@pytest.mark.usefixtures("session")
def test_agents_and_traces_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    agents = shown(capsys, "agents")["agents"]
    assert [(one["id"], one["name"], one["session_id"]) for one in agents] == [
        ("a7", "worker", OTHER),
        ("main", "main", SESSION),
    ]
    traces = shown(capsys, "traces", "--limit", "1")
    assert (len(traces["traces"]), traces["of_all"]) == (1, 2)
    assert shown(capsys, "traces", "--session", SESSION[:4])["traces"][0]["name"] == "agent.turn"


@pytest.mark.usefixtures("session")
def test_the_table_fits_80_columns_and_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("sessions", "agents", "traces"):
        assert main([command]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        assert "orchwatch trace" in lines[-1]


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("command", ["sessions", "agents", "traces"])
def test_time_of_turns_that_may_be_a_persons_is_not_called_the_models(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == 0
    table, notes = capsys.readouterr().out.split("\n\n")
    assert "tools hooks rest" in " ".join(table.splitlines()[0].split())
    assert "model" not in table
    said = " ".join(notes.split())
    assert "rest: turns outside of tools and hooks: the model, waits for a person, idle." in said


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(
    "words",
    [
        ["current"],
        ["kpi", "list"],
        ["trace"],
        ["trace", "--failed"],
        ["trace", "--slowest", "agent.turn"],
        ["events", "--since", "all"],
        ["sessions"],
    ],
)
def test_what_lies_outside_of_the_default_window_is_found(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "Nothing was" not in out
    assert "Nothing happened" not in out


@pytest.mark.usefixtures("session")
def test_current_shows_the_last_day_that_has_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "current")["operations"]["tool.execute"]["errors"] == 1
    assert main(["current"]) == 0
    assert capsys.readouterr().out.startswith("Nothing ended in the last 24h: these are the 24h")
    asked = shown(capsys, "current", "--since", "24h")
    assert "tool.execute" not in asked["operations"]
    assert asked["earlier"] == 4


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("ago_s", [0, 2 * 86_400])
def test_a_dashboard_that_was_opened_once_empties_no_list(
    record: Record, capsys: pytest.CaptureFixture[str], ago_s: int
) -> None:
    record("dashboard.refresh", end_ns=time.time_ns() - ago_s * S, family="operations")
    assert main(["kpi", "list"]) == 0
    out = capsys.readouterr().out
    assert "until the last operation" in out
    assert "2 agents" in out
    assert shown(capsys, "current")["operations"]["tool.execute"]["errors"] == 1


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("command", [["current"], ["kpi", "list"], ["trace"], ["traces"]])
@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("--session", "nope", "orchwatch sessions shows what there is"),
        ("--session", "1f3", f"begins more than one: {SESSION}, {OTHER}"),
        ("--agent", "wroker", "did you mean worker?"),
        ("--operation", "tool.exec", "did you mean tool.execute?"),
        ("--service", "x", "orchwatch current shows what there is"),
    ],
)
def test_a_filter_that_matches_nothing_or_too_much_is_one_line_that_names_it(
    command: list[str], option: str, value: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, option, value]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"orchwatch: {option} {value}: ")
    assert error.count("\n") == 1
    assert hint in error


@pytest.mark.usefixtures("session")
def test_every_filter_means_the_same_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    for option, value, count in (
        ("--session", SESSION, 3),
        ("--session", "1f3c", 3),
        ("--agent", "worker", 1),
        ("--agent", "a7", 1),
        ("--operation", "tool.execute", 1),
        ("--service", "orchestration", 4),
    ):
        operations = shown(capsys, "current", option, value)["operations"]
        assert sum(row["count"] for row in operations.values()) == count
        traces = shown(capsys, "traces", option, value)["traces"]
        assert sum(row["operations"] for row in traces) == count


def test_times_can_be_said(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    now_ns = time.time_ns()
    record("state.query", end_ns=now_ns - 3600 * S)
    record("state.query", end_ns=now_ns)
    for words, count in (
        (["--since", "30m"], 1),
        (["--until", "30m"], 1),
        (["--since", "2h", "--until", "30m"], 1),
        (["--since", "2020-01-01"], 2),
        (["--since", "2020-01-01T10:00", "--until", "2020-01-02T10:00+02:00"], 0),
    ):
        found = shown(capsys, "current", *words)
        assert found["operations"]["state.query"]["count"] == count, words
    assert main(["current", "--since", "1h", "--until", "2h"]) == 2
    assert main(["current", "--until", "soon"]) == 2


def test_an_empty_home_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("sessions", "agents", "traces"):
        assert main([command]) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        assert str(home) in out
        assert "orchwatch import" in out
        assert shown(capsys, command)["of_all"] == 0
    assert main(["sessions", "--limit", "-1"]) == 2
    assert not home.exists()


def test_ids_that_begin_alike_are_shown_as_far_as_they_differ(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids of version 7 of UUIDs begin with the time."""
    for session in ("01a22962-e3c1-7000", "01a22962-e3d5-7000", "2f"):
        record("agent.turn", attributes={"session.id": session})
    assert main(["sessions"]) == 0
    _, *rows = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert {row.split()[0] for row in rows} == {"01a22962-e3c", "01a22962-e3d", "2f"}
    assert main(["agents"]) == 0
    out = capsys.readouterr().out
    assert "01a22962-e3c " in out
    assert "01a22962-e3d " in out


def test_an_agent_is_busy_no_longer_than_it_took_and_only_with_what_is_its_own(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    """A session's start and hooks that name no agent are the session's, not its main agent's."""
    now_ns = time.time_ns()
    own: dict[str, Any] = {"attributes": {"session.id": SESSION}}
    record("session.init", duration_ns=60 * S, end_ns=now_ns - 30 * S, **own)
    record("agent.turn", duration_ns=10 * S, end_ns=now_ns - 10 * S, **own)
    record("hook.process", duration_ns=5 * S, end_ns=now_ns, **own)
    (agent,) = shown(capsys, "agents")["agents"]
    assert (agent["duration_s"], agent["busy_s"], agent["operations"]) == (10, 10, 1)
    assert (agent["hooks_share"], agent["model_share"]) == (None, 1)
    (session,) = shown(capsys, "sessions")["sessions"]
    assert session["busy_s"] == 75


def test_what_compacts_a_context_is_no_agent_of_its_own(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    for who in ({}, {"gen_ai.agent.name": "compact", "gen_ai.agent.id": "acompact-1f"}):
        record("agent.run", attributes={"session.id": SESSION, **who})
    record("tool.execute", attributes={"session.id": SESSION, "gen_ai.agent.name": "compact"})
    found = shown(capsys, "agents")
    assert ([one["name"] for one in found["agents"]], found["of_all"]) == (["main"], 1)
    assert shown(capsys, "kpi", "list")["kpis"]["agents"] == 1


@pytest.mark.parametrize("named", [{}, {"gen_ai.agent.name": "general-purpose"}])
def test_the_ids_of_two_agents_are_shown_as_far_as_they_differ(
    record: Record, capsys: pytest.CaptureFixture[str], named: dict[str, str]
) -> None:
    ids = [f"general-purpose-call_0104_{number}" for number in range(2)]
    for agent_id in ids:
        own = {"session.id": SESSION, "gen_ai.agent.id": agent_id}
        record("agent.run", attributes={**own, **named})
    assert main(["agents"]) == 0
    table = capsys.readouterr().out.split("\n\n")[0]
    assert max(map(len, table.splitlines())) <= 80
    for agent_id in ids:
        assert agent_id in table
        assert main(["traces", "--agent", agent_id]) == 0
