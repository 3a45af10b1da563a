from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.claude_code.conftest import SESSION, Recording, at, ns

from orchwatch.agents.claude_code.sessions.transcript import Transcript
from orchwatch.agents.sessions import facts

if TYPE_CHECKING:
    from orchwatch.agents.sessions.facts import Fact

TEXT = [{"type": "text", "text": "[Request interrupted by user]"}]


def read(recording: Recording, **given: Any) -> list[Fact]:
    reader = Transcript(SESSION, recording.agent_id or None, **given)
    return [fact for line in recording.path.read_bytes().splitlines() for fact in reader.read(line)]


def prompts(recording: Recording) -> list[str | None]:
    return [fact.prompt_id for fact in read(recording) if isinstance(fact, facts.PromptSubmitted)]


def test_a_prompt_is_known_by_claude_codes_own_id_or_else_by_its_lines(
    session: Recording,
) -> None:
    session.prompt(0)
    session.prompt(1, promptId="p1")
    session.prompt(2, promptId="p1")
    assert prompts(session) == ["main-1", "p1"]


@pytest.mark.parametrize(
    "members",
    [
        {"isMeta": True},
        {"isCompactSummary": True},
        {"message": {"role": "user", "content": "<local-command-stdout>x"}},
        {"message": {"role": "user", "content": "<bash-input>ls"}},
        {"message": {"role": "user", "content": "<task-notification>x"}},
        {"message": {"role": "user", "content": TEXT}},
        {"origin": {"kind": "task-notification"}},
    ],
    ids=str,
)
def test_what_the_host_injects_begins_no_turn(session: Recording, members: dict[str, Any]) -> None:
    session.prompt(0)
    message = {"role": "user", "content": "x"}
    session.write(1, **{"type": "user", "message": message, **members})
    session.say(2)
    assert prompts(session) == ["main-1"]


def test_a_command_is_a_turn_only_if_the_model_answers_it(session: Recording) -> None:
    session.prompt(0, "<command-name>/model</command-name>")
    session.prompt(1, "<command-name>/review</command-name>")
    session.say(2)
    assert prompts(session) == ["main-2"]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "look"}, {"type": "image"}],
        [{"type": "image"}],
        [{"type": "document", "source": {}}, {"type": "text", "text": "sum it up"}],
        [{"type": "text", "text": "<ide_opened_file>x</ide_opened_file>"}, {"text": "look"}],
        [{"type": "text", "text": "<system-reminder>x</system-reminder>"}, {"type": "image"}],
    ],
    ids=str,
)
def test_a_prompt_may_have_any_shape(session: Recording, content: list[Any]) -> None:
    for version in ("2.1.140", "1.0.30"):
        session.write(0, type="user", message={"content": content}, version=version)
        session.say(1)
    assert prompts(session) == ["main-1", "main-3"]


@pytest.mark.parametrize("content", [None, [], {}, 7, ""], ids=str)
def test_a_prompt_of_unknown_shape_is_counted(session: Recording, content: object) -> None:
    reader = Transcript(SESSION)
    session.write(0, type="user", message={"content": content})
    reader.read(session.path.read_bytes())
    assert reader.skipped == {"user line of unknown shape": 1}


def test_an_interruption_ends_the_turn_with_that_reason(session: Recording) -> None:
    session.prompt(0)
    session.write(3, type="user", message={"role": "user", "content": TEXT})
    (ended,) = (fact for fact in read(session) if isinstance(fact, facts.TurnEnded))
    assert (ended.time_ns, ended.prompt_id, ended.reason) == (ns(3), "main-1", "interrupted")


def test_reading_can_stop_and_go_on_in_another_process(session: Recording) -> None:
    session.prompt(0)
    stop = {"type": "hook_progress", "hookEvent": "Stop", "hookName": "Stop"}
    session.write(1, type="progress", data=stop)
    session.system(2, "stop_hook_summary", hookInfos=[{}])
    session.call(3, "t1")
    whole = read(session)
    piecewise: list[Fact] = []
    state = None
    for line in session.path.read_bytes().splitlines():
        reader = Transcript(SESSION, state=state)
        piecewise += reader.read(line)
        state = json.loads(json.dumps(reader.state()))
    assert piecewise == whole


def test_context_copied_into_a_helper_is_no_sign_of_its_life(
    agent: Any,  # the fixture's maker
) -> None:
    helper = agent("acompact-0123ab")
    helper.prompt(-500, isMeta=True)
    helper.prompt(10)
    told = read(helper)
    assert {fact.time_ns for fact in told} == {ns(10)}
    assert any(isinstance(fact, facts.CompactStarted) for fact in told)


def test_what_lies_beside_a_sub_agents_file_links_it_to_its_call(agent: Any) -> None:
    helper = agent("b1")
    helper.prompt(1)
    (started,) = (
        fact
        for fact in read(helper, agent_type="scout", tool_use_id="t9")
        if isinstance(fact, facts.AgentStarted)
    )
    assert (started.agent_type, started.tool_use_id) == ("scout", "t9")


@pytest.mark.parametrize(
    "line",
    [
        {"type": "user", "message": {"content": [None, 3, {"type": "tool_result"}]}},
        {"type": "user", "message": "text", "toolUseResult": ["x"]},
        {"type": "assistant", "message": {"content": [{"type": "tool_use"}], "usage": {"x": []}}},
        {"type": "assistant", "message": {"content": "text", "usage": 7}},
        {"type": "system", "subtype": ["x"], "hookInfos": 3},
        {"type": "system", "subtype": "stop_hook_summary", "hookInfos": {"a": 1}},
        {"type": "system", "subtype": "api_error", "error": "x", "retryInMs": "soon"},
        {"type": {"a": 1}},
        {"type": "user", "timestamp": "9999-12-31T23:59:59.999+23:59"},
        {"type": "progress", "data": None},
        {"type": "progress", "data": {"type": "agent_progress"}},
        {"type": "attachment", "attachment": {"type": "hook_success", "durationMs": 1e999}},
    ],
    ids=str,
)
def test_members_of_unexpected_types_break_nothing(line: dict[str, Any]) -> None:
    reader = Transcript(SESSION)
    reader.read(json.dumps({"timestamp": at(0), **line}).encode())
    after = {"type": "user", "uuid": "u", "timestamp": at(1), "message": {"content": "x"}}
    told = reader.read(json.dumps(after).encode())
    assert any(isinstance(fact, facts.PromptSubmitted) for fact in told)
