from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.claude_code.sessions import hook_payload
from orchwatch.agents.sessions import facts

if TYPE_CHECKING:
    from orchwatch.agents.sessions.facts import Fact

DOCUMENTED = [
    "SessionStart",
    "Setup",
    "UserPromptSubmit",
    "UserPromptExpansion",
    "PreToolUse",
    "PermissionRequest",
    "PermissionDenied",
    "PostToolUse",
    "PostToolUseFailure",
    "PostToolBatch",
    "Notification",
    "MessageDisplay",
    "SubagentStart",
    "SubagentStop",
    "TaskCreated",
    "TaskCompleted",
    "Stop",
    "StopFailure",
    "TeammateIdle",
    "InstructionsLoaded",
    "ConfigChange",
    "CwdChanged",
    "DirectoryAdded",
    "FileChanged",
    "WorktreeCreate",
    "WorktreeRemove",
    "PreCompact",
    "PostCompact",
    "Elicitation",
    "ElicitationResult",
    "SessionEnd",
]


def read(event: str, **members: Any) -> list[Fact] | None:
    payload = {"hook_event_name": event, "session_id": "s", "prompt_id": "p", **members}
    return hook_payload.read(payload, 7)


@pytest.mark.parametrize("event", DOCUMENTED)
def test_every_documented_event_is_understood_even_when_it_says_nothing(event: str) -> None:
    told = read(event)
    assert told is not None
    assert {(fact.session_id, fact.time_ns, fact.source) for fact in told} <= {("s", 7, "hook")}


def test_unknown_events_and_payloads_without_a_session_are_distinguished() -> None:
    assert read("BrandNew") is None
    assert read("Stop", session_id=None) is None
    assert hook_payload.read({}, 7) is None


@pytest.mark.parametrize(
    ("event", "members", "error_type", "outcome"),
    [
        ("PostToolUse", {}, None, ""),
        ("PostToolUseFailure", {"error": "a long story"}, "tool_error", ""),
        ("PostToolUseFailure", {"is_interrupt": True}, None, "interrupted"),
        ("PermissionDenied", {"reason": "no"}, None, "denied_by_rule"),
    ],
)
def test_a_tools_end_says_whether_it_failed_or_what_hindered_it(
    event: str, members: dict[str, Any], error_type: str | None, outcome: str
) -> None:
    told = read(event, tool_use_id="t", tool_name="Bash", duration_ms=1.5, **members)
    assert told is not None
    (ended,) = told
    assert isinstance(ended, facts.ToolEnded)
    assert (ended.tool_use_id, ended.error_type, ended.outcome) == ("t", error_type, outcome)
    assert ended.duration_ns == 1_500_000


def test_a_background_agents_call_names_it_and_does_not_end_it() -> None:
    response = {"agentId": "a1", "status": "async_launched"}
    told = read("PostToolUse", tool_use_id="t", tool_name="Agent", tool_response=response)
    assert told is not None
    (ended,) = told
    assert isinstance(ended, facts.ToolEnded)
    assert (ended.agent, ended.background) == ("a1", True)


def test_no_text_of_the_payload_is_in_a_fact() -> None:
    secret = "sk-ant-SECRET with words"
    for event in DOCUMENTED:
        told = read(
            event,
            prompt=secret,
            tool_name="Task",
            tool_use_id="t",
            tool_input={"prompt": secret, "command": secret},
            tool_response={"content": secret},
            error=secret,
            reason=secret,
            message=secret,
            cwd=secret,
            transcript_path=secret,
            task_id="1",
            task_subject=secret,
            agent_id="a",
        )
        assert secret not in repr(told)
