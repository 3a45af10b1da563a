"""Requests to a model that failed, were tried again, or were cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.claude_code.conftest import ns
from tests.unit.agents.claude_code.test_assembler import assemble, by_name, read_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.agents.claude_code.conftest import Recording

    from orchwatch.agents.sessions.spans import Span

STATUS = "http.response.status_code"
ATTEMPTS = "orchestration.api.attempts"
OUTCOME = "orchestration.outcome"
OVERLOADED = '529 {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'


def asked(session: Recording, second: float, request: str, source: str = "sdk") -> None:
    session.write(
        second, type="api-request", id=request, querySource=source, params={"model": "model-1"}
    )


def failed(session: Recording, second: float, **members: Any) -> None:
    message = {"id": "e", "model": "<synthetic>", "content": [{"type": "text", "text": "no"}]}
    session.write(second, type="assistant", message=message, isApiErrorMessage=True, **members)


def interrupted(session: Recording, second: float) -> None:
    content = [{"type": "text", "text": "[Request interrupted by user]"}]
    session.write(second, type="user", message={"content": content})


def named(session: Recording) -> dict[str, Span]:
    return by_name(assemble(read_facts(session.path)))


@pytest.mark.parametrize(
    ("members", "kind", "status"),
    [
        (
            {"error": "unknown", "apiErrorStatus": 400, "apiErrorType": "invalid_request_error"},
            "invalid_request_error",
            400,
        ),
        ({"error": "rate_limit", "apiErrorStatus": 429}, "rate_limit", 429),
        ({"error": "unknown", "apiErrorStatus": 500}, "500", 500),
        ({"error": "unknown"}, "unknown", None),
        ({}, "api_error", None),
        ({"apiErrorType": "a sentence about it", "apiErrorStatus": "many"}, "api_error", None),
        ({"apiErrorType": ["x"], "apiErrorStatus": -4}, "api_error", None),
    ],
)
def test_an_error_for_good_says_what_it_was_on_itself_and_on_its_turn(
    session: Recording, members: dict[str, Any], kind: str, status: int | None
) -> None:
    session.prompt(0)
    failed(session, 2, **members)
    spans = named(session)
    assert spans["api.error"].error_type == spans["agent.turn"].error_type == kind
    assert spans["api.error"].attributes.get(STATUS) == status


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"message": OVERLOADED, "status": 529}, "overloaded_error", 529),
        (
            {"error": {"error": {"type": "rate_limit_error"}}, "status": 429},
            "rate_limit_error",
            429,
        ),
        ({"message": "529 a secret", "status": 529}, "529", 529),
        ({"cause": {"code": "ECONNRESET"}}, "ECONNRESET", None),
        ({"message": 5, "status": True}, "api_error", None),
        ("x", "api_error", None),
    ],
)
def test_a_request_that_is_tried_again_says_why(
    session: Recording, error: Any, kind: str, status: int | None
) -> None:
    session.prompt(0)
    session.system(1, "api_error", error=error, retryAttempt=1, retryInMs=581)
    session.say(2)
    spans = named(session)
    assert spans["api.error"].error_type == kind
    assert spans["api.error"].attributes.get(STATUS) == status
    assert spans["agent.turn"].error_type == ""


def test_it_says_how_often_it_was_asked(session: Recording) -> None:
    session.prompt(0)
    asked(session, 0.5, "r0")
    session.say(1, message={"stop_reason": "end_turn"}, requestRef="r0")
    session.prompt(10)
    for second in (11, 12, 13):
        asked(session, second, f"r{second}")
    failed(session, 14, error="unknown", apiErrorType="overloaded_error")
    session.prompt(20)
    failed(session, 21)
    spans = [span for span in assemble(read_facts(session.path)) if span.name == "api.error"]
    assert [span.attributes.get(ATTEMPTS) for span in spans] == [3, None]


def test_an_answer_that_was_cut_off_is_a_request_that_did_not_fail(session: Recording) -> None:
    session.prompt(0)
    asked(session, 1, "r1")
    session.say(3, "half an", requestRef="r1", requestId="req-1")
    interrupted(session, 3.5)
    chat = named(session)["chat model-1"]
    assert (chat.start_ns, chat.end_ns) == (ns(1), ns(3.5))
    assert (chat.attributes[OUTCOME], chat.status, chat.error_type) == ("interrupted", 0, "")
    assert chat.attributes["gen_ai.response.id"] == "req-1"


def test_a_request_that_was_cut_off_before_its_answer_began_is_one_too(
    session: Recording,
) -> None:
    session.prompt(0)
    asked(session, 1, "r1")
    asked(session, 2, "r2")  # the first one was tried again
    interrupted(session, 3)
    chats = [span for span in assemble(read_facts(session.path)) if span.name[:4] == "chat"]
    assert [(chat.start_ns, chat.end_ns) for chat in chats] == [(ns(2), ns(3))]


def test_a_tool_that_was_cut_off_cuts_off_no_request(session: Recording) -> None:
    session.prompt(0)
    asked(session, 0.5, "r0")
    asked(session, 0.6, "r1")
    session.say(1, message={"stop_reason": "tool_use"}, requestRef="r1")
    session.call(1.5, "t1")
    interrupted(session, 3)
    chats = [span for span in assemble(read_facts(session.path)) if span.name[:4] == "chat"]
    assert [OUTCOME in chat.attributes for chat in chats] == [False]


def test_a_sub_agents_answer_is_cut_off_too(
    session: Recording, agent: Callable[[str], Recording]
) -> None:
    session.prompt(0)
    session.call(1, "t1", "Task", subagent_type="scout", prompt="look")
    inner = agent("b1")
    inner.prompt(1.25, "look")
    asked(inner, 2, "r1", "agent:builtin:scout")
    interrupted(inner, 4)
    interrupted(session, 4)
    chat = by_name(assemble(read_facts(session.path, inner.path)))["chat model-1"]
    assert chat.attributes["gen_ai.agent.id"] == "b1"
    assert (chat.end_ns, chat.attributes[OUTCOME]) == (ns(4), "interrupted")
