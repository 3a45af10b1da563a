"""A tool call of opencode: when it ran, how it ended, and which sub-agent it started."""

from __future__ import annotations

from typing import Any, NamedTuple

from orchwatch import semconv
from orchwatch.agents.sessions.facts import (
    DEFAULT_AGENT,
    AgentStarted,
    Fact,
    ToolEnded,
    ToolStarted,
)
from orchwatch.agents.sessions.fields import mapping, moment_ns, text, word

_TASK = "task"
_INVALID = "invalid"  # stands for a tool that is not there, or was called with wrong arguments
_OPEN = ("pending", "running")
_DONE = ("completed", "error")
# How the texts begin that the client gives as a call's error.
_OUTCOMES = {
    "Tool execution aborted": semconv.INTERRUPTED,
    "The user rejected permission": semconv.DENIED_BY_USER,
    "The user has specified a rule": semconv.DENIED_BY_RULE,
    "The user dismissed": semconv.CANCELLED,
}


class Call(NamedTuple):
    """A call.

    Attributes:
        tool_use_id: Its id.
        name: Which tool was asked for.
        start_ns: When it began to run, or was asked for.
        ended: The members of `ToolEnded` besides its id, None while it is open.
        agent_type: The type of the sub-agent that it starts.
        agent: The session of that one, once known.
    """

    tool_use_id: str
    name: str
    start_ns: int
    ended: dict[str, Any] | None
    agent_type: str = ""
    agent: str = ""


def read(part: dict[str, Any]) -> Call | str:
    """The call that a part is about, or why it cannot be read.

    Args:
        part: The row, with `data` parsed.
    """
    data = part["data"]
    state = mapping(data.get("state"))
    given, more = mapping(state.get("input")), mapping(state.get("metadata"))
    status, times = text(state.get("status")), mapping(state.get("time"))
    own, name = text(data.get("callID")) or text(part.get("id")), word(data.get("tool"))
    is_invalid = name == _INVALID
    if is_invalid:
        name = word(given.get("tool")) or name
    if status not in (*_OPEN, *_DONE):
        return f"unknown kind tool state {word(status) or '?'}"
    start_ns = moment_ns(times.get("start")) or moment_ns(part.get("time_created"))
    end_ns = moment_ns(times.get("end"))
    if not (own and name and start_ns) or (status in _DONE and not end_ns):
        return "unreadable tool call"
    is_task = name == _TASK and not is_invalid
    agent = text(more.get("sessionId")) if is_task else ""
    ended: dict[str, Any] | None = None
    if status in _DONE:
        outcome = _outcome(state, more) if status == "error" else ""
        failed = "invalid_call" if is_invalid else "tool_error" if status == "error" else None
        code = more.get("exit")
        ended = {
            "time_ns": end_ns,
            "began_ns": start_ns,
            "error_type": None if outcome else failed,
            "outcome": outcome,
            "by_person": outcome == semconv.DENIED_BY_USER,
            "exit_code": code if type(code) is int else None,
            "agent": agent,
            "background": more.get("background") is True,
        }
    kind = (word(given.get("subagent_type")) or DEFAULT_AGENT) if is_task else ""
    return Call(own, name, start_ns, ended, kind, agent)


def facts(call: Call, common: dict[str, Any]) -> list[Fact]:
    """What a call says.

    Args:
        call: The call.
        common: The members of the facts of its message.
    """
    begun = {**common, "time_ns": call.start_ns}
    found: list[Fact] = [
        ToolStarted(
            **begun,
            tool_use_id=call.tool_use_id,
            tool_name=call.name,
            agent_type=call.agent_type,
        )
    ]
    if call.agent:
        found.append(
            AgentStarted(
                session_id=common["session_id"],
                time_ns=call.start_ns,
                agent_id=call.agent,
                agent_type=call.agent_type,
                tool_use_id=call.tool_use_id,
                passive=True,
            )
        )
    if call.ended is not None:
        found.append(
            ToolEnded(**{**common, **call.ended}, tool_use_id=call.tool_use_id, tool_name=call.name)
        )
    return found


def _outcome(state: dict[str, Any], more: dict[str, Any]) -> str:
    if more.get("interrupted") is True:
        return semconv.INTERRUPTED
    error = state.get("error")
    said = error if isinstance(error, str) else ""
    return next((outcome for start, outcome in _OUTCOMES.items() if said.startswith(start)), "")
