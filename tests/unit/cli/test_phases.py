from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from tests.unit.conftest import Record

pytestmark = pytest.mark.usefixtures("home")
S = 1_000_000_000
SESSIONS = Path(__file__).parents[2] / "data" / "claude"
TRACE, TURN = "a" * 32, "b" * 16
PARTS = ("person", "retries", "compaction", "hooks", "tools", "agents", "model", "idle")


def turn(record: Record, trace_id: str = TRACE, end_ns: int = NOW_NS, session: str = "s") -> None:
    """Of 20 s, with a wait of 5 s, a tool of 4 s, and a sub-agent that is waited for, for 6 s."""
    own: dict[str, Any] = {"trace_id": trace_id, "attributes": {"session.id": session}}
    record("agent.turn", duration_ns=20 * S, end_ns=end_ns, span_id=TURN, **own)
    below = {**own, "parent_span_id": TURN}
    record("user.wait", duration_ns=5 * S, end_ns=end_ns - 10 * S, **below)
    record("tool.execute", duration_ns=4 * S, end_ns=end_ns - 6 * S, name="execute_tool x", **below)
    agent = {"session.id": session, "gen_ai.agent.name": "Explore\x1b[2J", "gen_ai.agent.id": "e"}
    named = {**below, "attributes": agent, "name": "invoke_agent Explore"}
    record("agent.run", duration_ns=6 * S, end_ns=end_ns, **named)


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--format", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_turns_are_listed_with_their_phases_and_the_sum(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    turn(record)
    turn(record, "c" * 32, NOW_NS - 60 * S)
    assert main(["phases"]) == 0
    out = capsys.readouterr().out
    head, first, second, total, *rest = out.splitlines()
    assert head.split() == ["turn", "time", "person", "tools", "model"]
    assert first.split()[2:] == ["aaaaaaaa", "20s", "5s", "4s", "11s"]
    assert second.split()[2:] == ["cccccccc", "20s", "5s", "4s", "11s"]
    assert total.split() == ["all", "2", "40s", "10s", "8s", "22s"]
    assert "No time in: retries after API errors, compaction, hooks, idle." in " ".join(rest)
    assert all(len(line) <= 80 for line in out.splitlines())


@pytest.mark.parametrize("by", ["turn", "session"])
def test_an_id_that_is_printed_can_be_asked_for_where_several_begin_alike(
    record: Record, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    ids = ["01a22962e3c1" + end * 20 for end in "bcd"]
    for number, one in enumerate(ids):
        turn(record, one if by == "turn" else f"{number + 1}" * 32, NOW_NS - number * S, one)
    assert main(["phases", "--by", by]) == 0
    _, *rows = capsys.readouterr().out.splitlines()[:4]
    printed = [row.split()[2] for row in rows]
    assert printed == [one[:13] for one in ids]
    for one in printed:
        assert main(["phases", one] if by == "turn" else ["phases", "--session", one]) == 0


def test_a_session_has_what_lies_between_its_turns(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    turn(record)
    turn(record, "c" * 32, NOW_NS - 60 * S)
    found = answer(capsys, "phases", "--by", "session")
    (one,) = found["phases"]
    assert (one["session_id"], one["turns"], one["time_s"], one["idle_s"]) == ("s", 2, 80, 40)


def test_by_agent_each_has_its_own_time(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    turn(record)
    found = answer(capsys, "phases", "--by", "agent")
    main_agent, explore = found["phases"]
    assert (main_agent["agent"], main_agent["agents_s"], main_agent["model_s"]) == ("main", 6, 5)
    assert (explore["agent"], explore["time_s"], explore["model_s"]) == ("Explore\x1b[2J", 6, 6)
    assert found["total"] is None
    assert main(["phases", "--agent", "e"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[2:] == ["aaaaaaaa", "6s", "6s"]
    assert main(["phases", "--by", "agent"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_one_trace_is_named_by_the_first_digits_of_its_id(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    turn(record)
    turn(record, "c" * 32)
    found = answer(capsys, "phases", "ccc")
    assert [one["trace_id"] for one in found["phases"]] == ["c" * 32]
    assert main(["phases", "ccc", "--session", "s"]) == 2
    assert "phases: an ID names one trace, so --session" in capsys.readouterr().err
    assert main(["phases", "ddd"]) == 1
    assert "no span of ddd is stored" in capsys.readouterr().err
    record("state.query", trace_id="e" * 32)
    assert main(["phases", "eee"]) == 0
    assert capsys.readouterr().out == f"Trace {'e' * 32} holds no turn.\n"


def test_trace_current_and_the_key_figures_say_it_too(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    turn(record)
    assert main(["trace", "aaa"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    parts = "the model 11s (55%), waiting for a person 5s (25%), tools 4s (20%)"
    assert f"Time of the turn, 20s: {parts}." in said
    assert main(["current"]) == 0
    assert "time of the latest 1 turn" in capsys.readouterr().out
    assert main(["kpi", "list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Turn", "time:", "waiting", "for", "a", "person", "25%", "of", "1", "turn"] in lines
    for command in ("current", "kpi list"):
        found = answer(capsys, *command.split())["phases"]
        assert (found["turns"], found["time_s"], found["person_s"]) == (1, 20, 5)


def test_where_there_is_no_turn_a_line_says_so(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record("state.query")
    assert main(["phases"]) == 0
    assert capsys.readouterr().out.startswith("No turn of an agent is stored in ")
    assert answer(capsys, "current")["phases"] is None
    assert main(["phases", "--by", "month"]) == 2


def test_more_than_the_limit_are_counted_and_in_the_sum(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        turn(record, f"{number:032x}", session=f"s{number}")
    for by in ("turn", "session"):
        found = answer(capsys, "phases", "--by", by, "--limit", "1")
        assert (len(found["phases"]), found["of_all"], found["total"]["time_s"]) == (1, 3, 60)
        assert main(["phases", "--by", by, "--limit", "1"]) == 0
        assert f"2 other {by}s; --limit 0 shows all." in capsys.readouterr().out


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_narrow_terminal_shows_every_phase(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["import", str(SESSIONS)]) == 0
    monkeypatch.setenv("COLUMNS", str(columns))
    capsys.readouterr()
    assert main(["phases", "--since", "all"]) == 0
    out = capsys.readouterr().out
    assert all(len(line) <= columns for line in out.splitlines())
    assert "person" in out
    found = answer(capsys, "phases", "--since", "all", "--limit", "0")
    for one in found["phases"]:
        assert sum(one[f"{part}_s"] for part in PARTS) == pytest.approx(one["time_s"], abs=1e-6)
