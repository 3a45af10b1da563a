"""Other members of the kinds of faults that `test_cases` has one file of each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.claude_code.conftest import SESSION, Recording, ns
from tests.unit.agents.claude_code.test_assembler import (
    assemble,
    by_name,
    hook_facts,
    payloads,
    read_facts,
)

from orchwatch.agents.sessions import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from orchwatch.agents.importer import Summary
    from orchwatch.agents.sessions.spans import Span

UNFINISHED = "orchestration.unfinished.reason"
NOTICE = "<task-notification><task-id>{}</task-id><status>{}</status></task-notification>"


def orphans(spans: Iterable[Span]) -> list[str]:
    """Spans under something that is not there, or in another trace."""
    found = list(spans)
    there = {(span.trace_id, span.span_id) for span in found}
    return [
        span.name
        for span in found
        if span.parent_span_id and (span.trace_id, span.parent_span_id) not in there
    ]


def test_hooks_without_prompt_ids_leave_no_span_under_one_that_is_not_there() -> None:
    told = [
        (second, {key: value for key, value in payload.items() if key != "prompt_id"})
        for second, payload in payloads()
    ]
    spans = assemble(hook_facts(told))
    assert not orphans(spans)
    tools = [span for span in spans if span.name.startswith("execute_tool")]
    assert len(tools) == 6
    runs = {span.attributes["gen_ai.agent.id"] for span in spans if span.name[:6] == "invoke"}
    assert runs == {"a-p1", "a-p2"}


@pytest.mark.parametrize("outcome", ["completed", "failed", "killed", "stopped", "timed-out"])
@pytest.mark.parametrize("place", ["queue", "attachment", "prompt", "prompt in a list"])
def test_the_end_of_a_background_agent_is_read_from_any_notice(
    session: Recording, agent: Callable[[str], Recording], outcome: str, place: str
) -> None:
    session.prompt(0, promptId="p1")
    session.call(1, "t1", "Agent", subagent_type="scout", prompt="look")
    session.result(1.5, "t1", agentId="b1", status="async_launched")
    session.say(2, message={"stop_reason": "end_turn"})
    inner = agent("b1")
    inner.prompt(1.25, "look")
    inner.call(3, "t2", "Read")
    told = NOTICE.format("b1", outcome)
    if place == "queue":
        session.write(40, type="queue-operation", operation="enqueue", content=told)
    elif place == "attachment":
        session.write(40, type="attachment", attachment={"type": "queued_command", "prompt": told})
    else:
        content = [{"type": "text", "text": told}] if place.endswith("list") else told
        session.write(40, type="user", message={"content": content}, promptId="p2")
    run = by_name(assemble(read_facts(session.path, inner.path)))["invoke_agent scout"]
    assert (run.start_ns, run.end_ns) == (ns(1.25), ns(40))
    assert run.error_type == ("" if outcome == "completed" else outcome)
    assert UNFINISHED not in run.attributes


def test_an_interruption_ends_the_sub_agent_of_the_call_that_it_ends(
    session: Recording, agent: Callable[[str], Recording]
) -> None:
    session.prompt(0)
    session.call(1, "t1", "Task", subagent_type="scout", prompt="look")
    inner = agent("b1")
    inner.prompt(1.25, "look")
    inner.call(3, "t2", "Read")
    text = [{"type": "text", "text": "[Request interrupted by user for tool use]"}]
    session.write(5, type="user", message={"content": text})
    session.prompt(500)
    session.say(501)
    spans = assemble(read_facts(session.path, inner.path))
    named = by_name(spans)
    for name in ("execute_tool Task", "invoke_agent scout"):
        assert named[name].end_ns == ns(5), name
        assert named[name].attributes[UNFINISHED] == "interrupted", name
    assert not orphans(spans)


@pytest.mark.parametrize("gone", ["main", "outer", "inner"])
def test_whatever_file_is_missing_every_parent_is_there_and_every_agent_has_its_id(
    session: Recording, agent: Callable[[str], Recording], gone: str
) -> None:
    outer, inner = agent("b1"), agent("b2")
    session.prompt(0)
    session.call(1, "t1", "Task", subagent_type="scout", prompt="look")
    outer.prompt(2, "look")
    outer.call(3, "t2", "Task", subagent_type="digger", prompt="dig")
    inner.prompt(4, "dig")
    inner.call(5, "t3", "Read")
    inner.result(6, "t3")
    inner.say(7)
    outer.result(8, "t2", agentId="b2", status="completed")
    outer.say(9)
    session.result(10, "t1", agentId="b1", status="completed")
    session.say(11)
    files = {"main": session.path, "outer": outer.path, "inner": inner.path}
    spans = assemble(read_facts(*(path for name, path in files.items() if name != gone)))
    assert not orphans(spans)
    told = {span.attributes.get("gen_ai.agent.id") for span in spans if span.name[:6] == "invoke"}
    assert told == {"b1", "b2"}
    for span in spans:
        if span.name == "execute_tool Read":
            assert span.attributes["gen_ai.agent.id"] == "b2"


@pytest.mark.parametrize(
    "late",
    [
        {"type": "system", "subtype": "api_error", "error": {"status": 529}},
        {"type": "system", "subtype": "compact_boundary", "compactMetadata": {}},
        {"type": "system", "subtype": "local_command"},
        {"type": "progress", "data": {"type": "bash_progress"}},
        {"type": "user", "message": {"content": "<command-name>/cost</command-name>"}},
        {"type": "user", "message": {"content": "<bash-input>ls</bash-input>"}},
        {"type": "user", "message": {"content": "note"}, "isMeta": True},
        {"type": "user", "message": {"content": "all"}, "isCompactSummary": True},
        {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t1"}]}},
        {"type": "attachment", "attachment": {"type": "hook_success", "durationMs": 5}},
        {"type": "system", "subtype": "turn_duration"},
        {"type": "system", "subtype": "stop_hook_summary"},
        {
            "type": "assistant",
            "message": {"content": []},
            "isApiErrorMessage": True,
        },
    ],
    ids=lambda line: json.dumps(line)[:60],
)
def test_nothing_that_comes_after_a_recorded_end_is_part_of_the_turn(
    session: Recording, late: dict[str, Any]
) -> None:
    session.prompt(0)
    session.call(1, "t1")
    session.say(2)
    session.system(2.5, "turn_duration")
    session.write(3600, **late)
    session.write(7200, **late)
    spans = assemble(read_facts(session.path), now_s=1e6)
    turn = by_name(spans)["agent.turn"]
    assert (turn.span_id, turn.end_ns) == (ids.turn(SESSION, "main-1"), ns(2.5))
    assert UNFINISHED not in turn.attributes
    assert [span.name for span in spans].count("agent.turn") == 1
    assert not orphans(spans)


def test_a_copy_that_comes_first_owns_what_it_copied(
    session: Recording,
    projects: Path,
    run_import: Callable[..., Summary],
    history: Callable[[], list[dict[str, Any]]],
) -> None:
    session.prompt(0)
    session.call(1, "t1")
    session.result(2, "t1")
    session.say(3)
    fork = "1" + SESSION[1:]
    copied = session.path.read_text().replace(SESSION, fork).replace('"main-', '"other-')
    (projects / "-fork").mkdir()
    (projects / "-fork" / f"{fork}.jsonl").write_text(copied)
    assert run_import(projects / "-fork").turns == 1
    session.prompt(60)
    session.say(61)
    assert run_import(session.path).turns == 1
    paid = [span["attributes"].get("orchestration.api.requests", 0) for span in history()]
    assert sum(paid) == 3


def test_an_answered_request_is_a_span_of_its_turn_once_whatever_lines_it_comes_in(
    session: Recording,
) -> None:
    session.prompt(0)
    for second, request in ((1.0, "refused"), (2.0, "answered")):
        session.write(second, type="api-request", id=request, querySource="sdk")
    for second in (5, 5.01):
        session.say(
            second,
            requestRef="answered",
            requestId="req_1",
            message={"id": "msg_1", "stop_reason": "end_turn"},
        )
    spans = assemble(read_facts(session.path))

    (request_span,) = (span for span in spans if span.name.startswith("chat"))
    turn = by_name(spans)["agent.turn"]
    assert request_span.name == "chat model-1"
    assert (request_span.start_ns, request_span.end_ns) == (ns(2), ns(5))
    assert (request_span.trace_id, request_span.parent_span_id) == (turn.trace_id, turn.span_id)
    assert request_span.attributes["gen_ai.response.id"] == "req_1"
    assert not request_span.operation
    assert turn.attributes["orchestration.api.requests"] == 1
