"""The wait for a person and a tool's own time are two spans."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.claude_code.conftest import SESSION, ns
from tests.unit.agents.claude_code.test_assembler import assemble, by_name, read_facts

from orchwatch.agents.claude_code import hook_line
from orchwatch.agents.claude_code.sessions import hook_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.unit.agents.claude_code.conftest import Recording

    from orchwatch.agents.sessions.facts import Fact
    from orchwatch.agents.sessions.spans import Span

SHARED = Path(__file__).parents[5] / "shared" / "data" / "claude-2.1.328"
MS = 1_000_000
BY_PERSON = {"decision": "accept", "source": "user_temporary"}


def hook(second: float, event: str, **members: Any) -> list[Fact]:
    """As the hook writes it down and the monitor reads it."""
    payload = {"hook_event_name": event, "session_id": SESSION, "prompt_id": "p1", **members}
    line = json.loads(hook_line.encode(json.dumps(payload).encode(), ns(second)))
    return hook_payload.read(line["payload"], line["received_ns"]) or []


def call(second: float, tool_use_id: str, command: str, **more: Any) -> list[Fact]:
    given = {"tool_name": "Bash", "tool_input": {"command": command}, **more}
    return hook(second, "PreToolUse", tool_use_id=tool_use_id, **given)


def ask(second: float, command: str, **more: Any) -> list[Fact]:
    """Without the id of the call, as Claude Code tells it."""
    given = {"tool_name": "Bash", "tool_input": {"command": command}, **more}
    return hook(second, "PermissionRequest", **given)


def done(second: float, tool_use_id: str, duration_ms: int, **more: Any) -> list[Fact]:
    given = {"tool_name": "Bash", "duration_ms": duration_ms, **more}
    return hook(second, "PostToolUse", tool_use_id=tool_use_id, **given)


def waits(spans: Iterable[Span]) -> dict[str, tuple[int, int]]:
    """From when to when each call waited, in milliseconds after the start."""
    return {
        str(span.attributes.get("gen_ai.tool.call.id", "")): _times(span)
        for span in spans
        if span.name == "user.wait"
    }


def tools(spans: Iterable[Span]) -> dict[str, tuple[int, int]]:
    return {
        str(span.attributes["gen_ai.tool.call.id"]): _times(span)
        for span in spans
        if span.name.startswith("execute_tool")
    }


def _times(span: Span) -> tuple[int, int]:
    return (span.start_ns - ns(0)) // MS, (span.end_ns - ns(0)) // MS


def allowed(session: Recording, second: float, tool_use_id: str, **more: Any) -> None:
    block = {"type": "tool_result", "tool_use_id": tool_use_id, "is_error": False}
    members = {"promptId": "p1", "permissionDecision": BY_PERSON, **more}
    session.write(second, type="user", message={"content": [block]}, **members)


def test_hooks_say_when_it_began_and_how_long_the_tool_then_ran() -> None:
    facts = [
        *hook(0, "UserPromptSubmit"),
        *call(1, "t1", "make"),
        *ask(1.5, "make"),
        *done(6, "t1", 500),
        *hook(7, "Stop"),
    ]
    spans = assemble(facts)
    assert waits(spans) == {"t1": (1500, 5500)}
    assert tools(spans) == {"t1": (5500, 6000)}
    named = by_name(spans)
    assert named["user.wait"].parent_span_id == named["execute_tool Bash"].parent_span_id
    assert named["user.wait"].attributes["orchestration.wait.reason"] == "permission"


@pytest.mark.parametrize("seed", range(10))
def test_of_several_calls_the_one_with_the_same_input_is_meant(seed: int) -> None:
    facts = [
        *hook(0, "UserPromptSubmit"),
        *call(1, "t1", "make"),
        *call(1.1, "t2", "rm"),
        *call(1.2, "t3", "make", agent_id="a1"),
        *ask(2, "rm"),
        *done(3, "t1", 900),
        *done(6, "t2", 500),
        *done(7, "t3", 500, agent_id="a1"),
        *hook(8, "Stop"),
    ]
    random.Random(seed).shuffle(facts)
    assert waits(assemble(facts)) == {"t2": (2000, 5500)}


def test_two_calls_alike_that_both_ask_wait_both() -> None:
    facts = [
        *hook(0, "UserPromptSubmit"),
        *call(1, "t1", "make"),
        *call(1.1, "t2", "make"),
        *ask(2, "make"),
        *ask(2.5, "make"),
        *done(6, "t1", 500),
        *done(7, "t2", 500),
        *hook(8, "Stop"),
    ]
    assert set(waits(assemble(facts))) == {"t1", "t2"}


def test_a_request_after_another_hook_changed_the_input_means_the_open_call() -> None:
    facts = [
        *hook(0, "UserPromptSubmit"),
        *call(1, "t1", "make"),
        *ask(1.5, "make -k"),
        *done(6, "t1", 500),
        *hook(7, "Stop"),
    ]
    assert waits(assemble(facts)) == {"t1": (1500, 5500)}


def test_a_request_that_no_call_fits_is_let_go() -> None:
    facts = [*hook(0, "UserPromptSubmit"), *ask(1.5, "make"), *hook(7, "Stop")]
    spans = assemble(facts)
    assert waits(spans) == {}
    assert "agent.turn" in by_name(spans)


def test_the_digest_distinguishes_inputs_and_reveals_nothing() -> None:
    lines = [
        hook_line.encode(
            json.dumps({"hook_event_name": "PreToolUse", "tool_input": given}).encode(), 1
        )
        for given in ({"command": "a secret"}, {"command": "a secret!"}, "\ud800", None, [1])
    ]
    assert len({json.loads(line)["payload"]["tool_input_digest"] for line in lines}) == len(lines)
    assert not any("secret" in line for line in lines)


def test_a_file_alone_says_it_once_the_turn_has_ended(session: Recording) -> None:
    session.prompt(0, promptId="p1")
    session.call(1, "t1")
    allowed(session, 5, "t1")
    session.say(5.5)
    early = read_facts(session.path)
    assert "execute_tool Bash" not in by_name(assemble(early, now_s=60))
    session.system(6, "turn_duration", durationMs=2500)
    spans = assemble(read_facts(session.path))
    assert waits(spans) == {"t1": (1000, 4500)}
    assert tools(spans) == {"t1": (4500, 5000)}


def test_hooks_need_no_end_of_the_turn(session: Recording) -> None:
    session.prompt(0, promptId="p1")
    session.call(1, "t1", command="make")
    allowed(session, 5, "t1")
    facts = [
        *read_facts(session.path),
        *call(1.01, "t1", "make"),
        *ask(1.25, "make"),
        *done(5, "t1", 500),
    ]
    assert waits(assemble(facts, now_s=10)) == {"t1": (1250, 4500)}


def test_several_of_a_turn_share_what_nothing_else_explains(session: Recording) -> None:
    session.prompt(0, promptId="p1")
    session.call(1, "t1")
    allowed(session, 3, "t1")
    session.call(4, "t2")
    allowed(session, 10, "t2")
    session.call(11, "t3", "AskUserQuestion")
    session.result(13, "t3")
    session.say(14)
    session.system(15, "turn_duration", durationMs=9000)
    assert waits(assemble(read_facts(session.path))) == {
        "t1": (1000, 2000),
        "t2": (4000, 7000),
        "t3": (11000, 13000),
    }


def test_what_a_person_allowed_for_good_waits_no_more(session: Recording) -> None:
    session.prompt(0, promptId="p1")
    session.call(1, "t1")
    allowed(session, 3, "t1", permissionDecision={"source": "user_permanent"})
    session.say(4)
    session.system(5, "turn_duration", durationMs=4990)
    spans = assemble(read_facts(session.path))
    assert waits(spans) == {}
    assert tools(spans) == {"t1": (1000, 3000)}


def test_a_persons_no_ends_the_wait_and_the_tool_never_ran(session: Recording) -> None:
    session.prompt(0, promptId="p1")
    session.call(1, "t1")
    block = {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": "no"}
    denied = {"toolDenialKind": "user-rejected", "toolDenialBeforeRun": True}
    session.write(4, type="user", message={"content": [block]}, promptId="p1", **denied)
    session.say(5)
    spans = assemble(read_facts(session.path))
    assert waits(spans) == {"t1": (1000, 4000)}
    assert tools(spans) == {"t1": (4000, 4000)}


@pytest.mark.parametrize(
    ("tool", "reason"), [("AskUserQuestion", "question"), ("ExitPlanMode", "plan")]
)
def test_a_tool_that_asks_is_a_wait(session: Recording, tool: str, reason: str) -> None:
    session.prompt(0)
    session.call(1, "t1", tool)
    session.result(9, "t1")
    session.say(10)
    spans = assemble(read_facts(session.path))
    assert waits(spans) == {"t1": (1000, 9000)}
    assert by_name(spans)["user.wait"].attributes["orchestration.wait.reason"] == reason


def test_a_question_in_a_terminal_waited_as_long_as_its_turn_did(session: Recording) -> None:
    session.prompt(0, promptId="p1")
    session.call(1, "t1", "AskUserQuestion")
    allowed(session, 9, "t1")
    session.say(10)
    session.system(11, "turn_duration", durationMs=4000)
    spans = assemble(read_facts(session.path))
    assert waits(spans) == {"t1": (1000, 8000)}
    assert tools(spans) == {"t1": (8000, 9000)}


def test_a_tool_that_could_not_ask_has_not_waited(session: Recording) -> None:
    session.prompt(0)
    session.call(1, "t1", "AskUserQuestion")
    session.result(9, "t1", is_error=True)
    session.say(10)
    assert waits(assemble(read_facts(session.path))) == {}


def test_a_servers_request_for_input_is_a_wait_until_it_is_answered() -> None:
    facts = [
        *hook(0, "UserPromptSubmit"),
        *hook(2, "Elicitation", mcp_server_name="shop", elicitation_id="e1"),
        *hook(6, "ElicitationResult", mcp_server_name="shop", elicitation_id="e1"),
        *hook(7, "Elicitation", mcp_server_name="shop"),
        *hook(8, "ElicitationResult", mcp_server_name="shop"),
        *hook(8.5, "Elicitation", mcp_server_name="gone"),
        *hook(9, "Stop"),
    ]
    spans = [span for span in assemble(facts) if span.name == "user.wait"]
    assert sorted(map(_times, spans)) == [(2000, 6000), (7000, 8000)]


def test_a_spawn_does_not_wait_for_the_permission(
    session: Recording, agent: Callable[[str], Recording]
) -> None:
    session.prompt(0, promptId="p1")
    session.call(1, "t1", "Task", subagent_type="scout", prompt="look")
    inner = agent("a1")
    inner.prompt(5.5, "look")
    inner.say(6)
    session.result(7, "t1", agentId="a1", status="completed")
    session.say(8)
    given = {"tool_name": "Task", "tool_input": {"prompt": "look"}}
    facts = [
        *read_facts(session.path, inner.path),
        *hook(1.01, "PreToolUse", tool_use_id="t1", **given),
        *hook(1.25, "PermissionRequest", **given),
        *hook(7, "PostToolUse", tool_use_id="t1", tool_name="Task", duration_ms=2000),
    ]
    spawn = by_name(assemble(facts))["agent.spawn"]
    assert _times(spawn) == (5000, 6000)


@pytest.mark.skipif(not SHARED.exists(), reason="the recorded sessions are not here")
def test_the_recorded_session_waited_as_long_as_its_person_took() -> None:
    (path,) = SHARED.glob("3-interactive/projects/*/69ffe1a6-*.jsonl")
    spans = assemble(read_facts(path), now_s=10**8)
    found = sorted(
        (span.end_ns - span.start_ns) / 1e9 for span in spans if span.name == "user.wait"
    )
    assert found == pytest.approx([1.78, 2.45, 2.75], abs=0.05)
