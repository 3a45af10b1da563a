from __future__ import annotations

from orchwatch.agents.sessions.assembler import Assembler
from orchwatch.agents.sessions.facts import (
    AgentStarted,
    Fact,
    PromptSubmitted,
    SessionEnded,
    ToolEnded,
    ToolStarted,
    TurnEnded,
)
from orchwatch.analysis.busy import Interval
from orchwatch.monitor.open_work import QUIET_S, agents, intervals

S = 1_000_000_000
NOW_NS = 1_000_000 * S
STARTED = [
    PromptSubmitted(session_id="s", time_ns=NOW_NS - 100 * S, prompt_id="p"),
    ToolStarted(
        session_id="s",
        time_ns=NOW_NS - 90 * S,
        prompt_id="p",
        tool_use_id="t1",
        tool_name="Task",
        agent_type="reviewer",
    ),
    AgentStarted(session_id="s", time_ns=NOW_NS - 80 * S, agent_id="a", tool_use_id="t1"),
    ToolStarted(
        session_id="s", time_ns=NOW_NS - 70 * S, agent_id="a", tool_use_id="t2", tool_name="Bash"
    ),
]


def _found(*more: Fact, now_ns: int = NOW_NS) -> set[Interval]:
    assembler = Assembler()
    for fact in (*STARTED, *more):
        assembler.add(fact)
    assembler.finished(now_ns)
    return set(intervals(assembler.open_sessions(), now_ns))


def test_a_turn_waits_for_the_sub_agent_that_its_call_started() -> None:
    assert _found() == {
        Interval("s", "", "turn", NOW_NS - 100 * S, NOW_NS),
        Interval("s", "", "waiting", NOW_NS - 90 * S, NOW_NS),
        Interval("s", "a", "turn", NOW_NS - 80 * S, NOW_NS),
        Interval("s", "a", "work", NOW_NS - 70 * S, NOW_NS),
    }


def test_what_has_ended_is_left_to_its_span() -> None:
    done = ToolEnded(session_id="s", time_ns=NOW_NS - S // 10, agent_id="a", tool_use_id="t2")
    assert {(one.agent, one.kind) for one in _found(done)} == {
        ("", "turn"),
        ("", "waiting"),
        ("a", "turn"),
    }


def test_nothing_goes_on_in_a_session_that_is_over_or_silent() -> None:
    assert _found(now_ns=NOW_NS + int(QUIET_S * S)) == set()
    assert _found(SessionEnded(session_id="s", time_ns=NOW_NS - S)) == set()
    ended = TurnEnded(session_id="s", time_ns=NOW_NS - 50 * S, prompt_id="p")
    assert Interval("s", "", "turn", NOW_NS - 100 * S, NOW_NS) not in _found(ended)


def _agents(*more: Fact) -> dict[str, tuple[str, str]]:
    assembler = Assembler()
    for fact in (*STARTED, *more):
        assembler.add(fact)
    assembler.finished(NOW_NS)
    found = agents(assembler.open_sessions(), NOW_NS)
    return {one.agent: (one.phase, one.detail) for one in found}


def test_each_agent_does_what_it_began_last() -> None:
    assert _agents() == {"main": ("agent", "a"), "a": ("tool", "Bash")}
    done = ToolEnded(session_id="s", time_ns=NOW_NS - S // 10, agent_id="a", tool_use_id="t2")
    assert _agents(done) == {"main": ("agent", "a"), "a": ("model", "")}
    assert _agents(SessionEnded(session_id="s", time_ns=NOW_NS - S // 10)) == {}
