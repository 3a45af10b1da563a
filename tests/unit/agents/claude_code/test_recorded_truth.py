"""Sessions of the real client beside the log of the model that it asked: what is recorded is so.

With hooks and without: their events are made from the files here, as they come some time later.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.claude_client.model_stub import Request
from tests.claude_client.watch import Span as SpoolSpan
from tests.claude_client.watch import read, summary, truth

from orchwatch.agents.claude_code.sessions import hook_payload, session_files
from orchwatch.agents.claude_code.sessions.session_files import agent_origin
from orchwatch.agents.claude_code.sessions.transcript import Transcript
from orchwatch.agents.sessions.assembler import Assembler
from orchwatch.agents.sessions.claims import Claims
from orchwatch.agents.sessions.fields import time_ns
from orchwatch.agents.sessions.spans import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.agents.reader import RecordedSession, SessionFile
    from orchwatch.agents.sessions.facts import Fact
    from orchwatch.agents.sessions.spans import Span

SHARED = Path(__file__).parents[5] / "shared" / "data" / "claude-2.1.328"
WITHIN_S = 0.05
OK = 200
LONG_NS = 36_000 * 1_000_000_000
Way = Callable[["list[Fact]", "list[Fact]"], "list[Fact]"]


def hook(after_s: float, name: str, line: dict[str, Any], **members: object) -> tuple[int, Any]:
    """An event that comes so long after a line was written, and its time."""
    payload = {
        "hook_event_name": name,
        "session_id": line["sessionId"],
        "prompt_id": line.get("promptId"),
        "agent_id": line.get("agentId"),
        **members,
    }
    return (time_ns(line["timestamp"]) or 0) + int(after_s * 1e9), payload


def hooks(lines: list[dict[str, Any]], agent_type: str) -> Iterator[tuple[int, Any]]:
    """What Claude Code posts while it writes these lines of one file."""
    prompt_id = None
    for line in lines:
        agent = {"agent_type": agent_type} if line.get("agentId") else {}
        message = line.get("message") or {}
        asked = line.get("turnOrigin") or (agent and prompt_id is None)
        if line.get("promptId") and asked:
            prompt_id = line["promptId"]
            start = "SubagentStart" if agent else "UserPromptSubmit"
            yield hook(-0.02 if agent else 0.06, start, line, **agent)
        content = message.get("content")
        for block in content if isinstance(content, list) else []:
            told = {**agent, "prompt_id": prompt_id}
            if block.get("type") == "tool_use":
                used = {"tool_use_id": block["id"], "tool_name": block["name"]}
                given = {"tool_input": block["input"]}
                yield hook(0.02, "PreToolUse", line, **told, **used, **given)
            if block.get("type") == "tool_result" and not block.get("is_error"):
                used = {"tool_use_id": block["tool_use_id"]}
                yield hook(-0.01, "PostToolUse", line, **told, **used)
        if message.get("stop_reason") == "end_turn":
            stop = "SubagentStop" if agent else "Stop"
            yield hook(0.09, stop, line, **agent, prompt_id=prompt_id)
        if line.get("isApiErrorMessage") and not agent:
            yield hook(0.09, "StopFailure", line, prompt_id=prompt_id, error=line.get("error"))


def own_lines(path: str, session_id: str) -> list[dict[str, Any]]:
    """What a session has written itself, and not copied."""
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    foreign = [
        number
        for number, line in enumerate(lines)
        if line.get("requestSessionId", session_id) != session_id
    ]
    return [line for line in lines[max(foreign, default=-1) + 1 :] if line.get("timestamp")]


class Recorded:
    """A set of sessions and the model's log of them."""

    def __init__(self, directory: Path) -> None:
        self.sessions, _ = session_files.find([str(directory / "projects")])
        told = [json.loads(line) for line in (directory / "stub.jsonl").read_text().splitlines()]
        # The one that summarises stands in no line of a file.
        self.requests = [_request(one) for one in told if one["scenario"] != "compact"]

    def spans(self, mix: Way) -> list[Span]:
        """Of all sessions; `mix` puts a file's facts and those of hooks together."""
        assembler, claims, last_ns = Assembler(), Claims(), 0
        for session in self.sessions:
            facts = [fact for file in session.files for fact in _of_file(session, file, claims)]
            events = sorted(
                (event for file in session.files for event in _of_hooks(session, file)),
                key=itemgetter(0),
            )
            posted = [fact for at, told in events for fact in hook_payload.read(told, at) or []]
            for fact in mix(facts, posted):
                assembler.add(fact)
                last_ns = max(last_ns, fact.time_ns)
        return assembler.finished(last_ns + LONG_NS)


def _of_file(session: RecordedSession, file: SessionFile, claims: Claims) -> list[Fact]:
    origin = agent_origin(file.path) if file.agent_id else {}
    reader = Transcript(session.session_id, file.agent_id, None, claims, **origin)
    return [
        fact for line in Path(file.path).read_bytes().splitlines() for fact in reader.read(line)
    ]


def _of_hooks(session: RecordedSession, file: SessionFile) -> Iterator[tuple[int, Any]]:
    agent_type = agent_origin(file.path)["agent_type"] if file.agent_id else ""
    return hooks(own_lines(file.path, session.session_id), agent_type)


def _request(told: dict[str, Any]) -> Request:
    usage = dict(told.get("usage") or {})
    if told.get("cut"):  # by the client, which was told of one token so far
        usage["output_tokens"] = 1
    return Request(
        session_id=told["session"],
        agent_id=told["agent"] or "",
        status=told["status"],
        received_s=told["t_recv"],
        first_byte_s=told.get("t_first", 0.0),
        ended_s=told.get("t_end", told["t_recv"]),
        usage=usage,
        tools=tuple((one["id"], one["name"]) for one in told.get("tool_uses") or ()),
        results=tuple((one["id"], bool(one["is_error"])) for one in told["results"]),
    )


def files_alone(facts: list[Fact], _: list[Fact]) -> list[Fact]:
    return facts


def hooks_first(facts: list[Fact], posted: list[Fact]) -> list[Fact]:
    return posted + facts


def hooks_last(facts: list[Fact], posted: list[Fact]) -> list[Fact]:
    return facts + posted


def by_time(facts: list[Fact], posted: list[Fact]) -> list[Fact]:
    return sorted(facts + posted, key=lambda fact: fact.time_ns)


WAYS = (files_alone, hooks_first, hooks_last, by_time)


@pytest.fixture(params=sorted(SHARED.glob("*/projects")) or [SHARED], ids=str)
def recorded(request: pytest.FixtureRequest) -> Recorded:
    if request.param == SHARED:
        pytest.skip("the sessions are not here")
    return Recorded(request.param.parent)


@pytest.mark.parametrize("way", WAYS)
def test_requests_tokens_and_tools_are_what_the_model_says(recorded: Recorded, way: Way) -> None:
    spans = read(encode(recorded.spans(way), "claude-code"))
    # The model is told of an error where a person said No or stopped it.
    told = [
        replace(span, failed=span.failed or "orchestration.outcome" in span.attributes)
        for span in spans
    ]
    assert summary(told) == truth(recorded.requests)


@pytest.mark.parametrize("way", WAYS)
def test_turns_end_with_the_models_last_answer(recorded: Recorded, way: Way) -> None:
    turns = [
        span
        for span in read(encode(recorded.spans(way), "claude-code"))
        if span.attributes.get("orchestration.operation.name") == "agent.turn"
    ]
    for session in recorded.sessions:
        asked = [
            one
            for one in recorded.requests
            if one.session_id == session.session_id and not one.agent_id
        ]
        ended = {turn.end_s: turn for turn in turns if is_of(turn, session.session_id)}
        answers = [one.ended_s for one in asked if one.status == OK and not one.tools]
        for at in answers:
            assert min(abs(at - end_s) for end_s in ended) < WITHIN_S
        for end_s, turn in ended.items():
            if turn.failed or "orchestration.unfinished.reason" in turn.attributes:
                continue  # of which the client and not the model was the end
            assert min(abs(at - end_s) for at in answers) < WITHIN_S


@pytest.mark.parametrize("way", WAYS[1:])
def test_hooks_change_neither_turns_nor_sub_agents(recorded: Recorded, way: Way) -> None:
    kinds = ("agent.turn", "agent.run", "agent.spawn", "session.init")
    wanted, found = (
        {span.span_id: span for span in recorded.spans(one) if span.operation in kinds}
        for one in (files_alone, way)
    )
    assert found == wanted


def test_sub_agents_stand_under_the_calls_that_started_them(recorded: Recorded) -> None:
    spans = {span.span_id: span for span in recorded.spans(files_alone)}
    calls = {call: name for one in recorded.requests for call, name in one.tools}
    runs = [span for span in spans.values() if span.operation == "agent.run"]
    above = [spans[run.parent_span_id].attributes["gen_ai.tool.call.id"] for run in runs]
    assert sorted(map(str, above)) == sorted(
        call for call, name in calls.items() if name == "Agent"
    )


def is_of(turn: SpoolSpan, session_id: str) -> bool:
    return str(turn.attributes["session.id"]) == session_id
