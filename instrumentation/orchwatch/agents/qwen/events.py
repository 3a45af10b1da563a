"""What the client reports of requests and calls (`ui_telemetry`), in its session's file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from orchwatch.agents.qwen import tools
from orchwatch.agents.sessions.facts import ApiFailed, Fact, ModelAnswered, TurnEnded
from orchwatch.agents.sessions.fields import count, milliseconds, text, word

if TYPE_CHECKING:
    from collections.abc import Callable

_OF_AGENT = re.compile(r"[^#]*#([^#]+)#")  # `prompt_id`: the session, the sub-agent, a number
_USED = {
    "promptTokenCount": "input_token_count",
    "candidatesTokenCount": "output_token_count",
    "thoughtsTokenCount": "thoughts_token_count",
    "cachedContentTokenCount": "cached_content_token_count",
    "totalTokenCount": "total_token_count",
}


def agent_of(event: dict[str, Any]) -> str:
    """The sub-agent whose request or call it is, empty for the conversation's own."""
    found = _OF_AGENT.match(text(event.get("prompt_id")))
    return text(event.get("subagent_id")) or (found[1] if found else "")


def began_ns(event: dict[str, Any], ended_ns: int) -> int:
    """When it was begun, as far as it says how long it took."""
    return ended_ns - (milliseconds(event.get("duration_ms")) or 0)


def usage(event: dict[str, Any]) -> dict[str, Any]:
    """What a request used, named as in messages; empty where it says nothing of it."""
    return {name: event[other] for name, other in _USED.items() if other in event}


def _answered(event: dict[str, Any], common: dict[str, Any], record_id: str) -> list[Fact]:
    return [
        ModelAnswered(
            **common,
            record_id=record_id,
            start_ns=began_ns(event, common["time_ns"]),
            model=text(event.get("model")),
            request_id=text(event.get("response_id")),
            first_ns=milliseconds(event.get("ttft_ms")),
        )
    ]


def _called(event: dict[str, Any], common: dict[str, Any], _record_id: str) -> list[Fact]:
    return [tools.reported(event, common)]


def _failed(event: dict[str, Any], common: dict[str, Any], record_id: str) -> list[Fact]:
    """Only requests that were given up are told of."""
    error = word(event.get("error_type")) or "api_error"
    failed = ApiFailed(
        **common, record_id=record_id, error_type=error, status=count(event.get("status_code"))
    )
    ended = [] if common["passive"] else [TurnEnded(**common, error_type=error)]
    return [failed, *ended]


READERS: dict[str, Callable[[dict[str, Any], dict[str, Any], str], list[Fact]]] = {
    "api_response": _answered,
    "tool_call": _called,
    "api_error": _failed,
}
