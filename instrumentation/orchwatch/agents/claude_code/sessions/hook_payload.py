"""One hook payload to facts, whether it came over HTTP or from the spool.

Which event ends which: PreToolUse and PostToolUse(Failure) or PermissionDenied by `tool_use_id`,
SubagentStart and SubagentStop by `agent_id`, UserPromptSubmit and Stop(Failure) by `prompt_id`,
TaskCreated and TaskCompleted by `task_id`. Compactions are known from the session's file; a hook
only says when one began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.agents.sessions.facts import (
    AGENT_TOOLS,
    BACKGROUND,
    DEFAULT_AGENT,
    Activity,
    AgentEnded,
    AgentStarted,
    CompactStarted,
    Fact,
    InputAsked,
    PermissionAsked,
    PromptSubmitted,
    SessionEnded,
    SessionReady,
    SessionStarted,
    TaskChanged,
    ToolEnded,
    ToolStarted,
    TurnEnded,
)
from orchwatch.agents.sessions.fields import (
    count,
    digest,
    mapping,
    milliseconds,
    text,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Sources of `SessionStart` by which no session begins.
_GOES_ON = ("compact", "resume")


def read(payload: dict[str, Any], received_ns: int, started_ns: int = 0) -> list[Fact] | None:
    """The facts of a payload; None when its event is unknown or it names no session.

    Args:
        payload: The object that Claude Code wrote, with or without its content.
        received_ns: When it came, Unix time in nanoseconds; payloads carry no time.
        started_ns: When Claude Code's process was started, likewise; 0 where that is not known.
    """
    event = payload.get("hook_event_name")
    reader = _READERS.get(event) if isinstance(event, str) else None
    session_id = text(payload.get("session_id"))
    if reader is None or not session_id:
        return None
    common: dict[str, Any] = {
        "session_id": session_id,
        "time_ns": received_ns,
        "source": "hook",
        "prompt_id": text(payload.get("prompt_id")) or None,
        "agent_id": text(payload.get("agent_id")) or None,
    }
    facts = reader(payload, common)
    if started_ns and event == "SessionStart" and payload.get("source") == "startup":
        facts.append(SessionStarted(**{**_of_session(common), "time_ns": started_ns}))
    return facts


def _nothing(_payload: dict[str, Any], _common: dict[str, Any]) -> list[Fact]:
    return []


def _activity(_payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return [Activity(**common)]


def _session_start(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    if payload.get("source") in _GOES_ON:
        return [Activity(**common)]
    return [SessionReady(**_of_session(common))]


def _session_end(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return [SessionEnded(**_of_session(common), reason=word(payload.get("reason")))]


def _prompt(_payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return [PromptSubmitted(**common)]


def _stop(_payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return [TurnEnded(**common)]


def _stop_failure(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return [TurnEnded(**common, error_type=word(payload.get("error")) or "stop_failure")]


def _tool_start(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    name = text(payload.get("tool_name"))
    given = mapping(payload.get("tool_input"))
    agent_type = ""
    if name in AGENT_TOOLS:
        agent_type = text(given.get("subagent_type")) or DEFAULT_AGENT
    started = ToolStarted(
        **common,
        tool_use_id=text(payload.get("tool_use_id")),
        tool_name=name,
        agent_type=agent_type,
        task_digest=digest(given.get("prompt")) if agent_type else "",
        input_digest=count(payload.get("tool_input_digest")),
    )
    return [started] if started.tool_use_id else [Activity(**common)]


def _tool_end(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return _answer(payload, common)


def _tool_failure(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    if payload.get("is_interrupt") is True:
        return _answer(payload, common, outcome=semconv.INTERRUPTED)
    return _answer(payload, common, error_type="tool_error")


def _tool_denied(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return _answer(payload, common, outcome=semconv.DENIED_BY_RULE)


def _answer(
    payload: dict[str, Any],
    common: dict[str, Any],
    *,
    error_type: str | None = None,
    outcome: str = "",
) -> list[Fact]:
    response = mapping(payload.get("tool_response"))
    name = text(payload.get("tool_name"))
    ended = ToolEnded(
        **common,
        tool_use_id=text(payload.get("tool_use_id")),
        tool_name=name,
        error_type=error_type,
        outcome=outcome,
        duration_ns=milliseconds(payload.get("duration_ms")),
        agent=text(response.get("agentId")) if name in AGENT_TOOLS else "",
        background=response.get("status") in BACKGROUND,
    )
    return [ended] if ended.tool_use_id else [Activity(**common)]


def _permission(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    asked = PermissionAsked(
        **common,
        tool_use_id=text(payload.get("tool_use_id")),
        tool_name=text(payload.get("tool_name")),
        input_digest=count(payload.get("tool_input_digest")),
    )
    return [asked]


def _input_asked(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return _input(payload, common, answered=False)


def _input_given(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return _input(payload, common, answered=True)


def _input(payload: dict[str, Any], common: dict[str, Any], *, answered: bool) -> list[Fact]:
    input_id = text(payload.get("elicitation_id")) or text(payload.get("mcp_server_name"))
    if not input_id:
        return [Activity(**common)]
    return [InputAsked(**common, input_id=input_id, answered=answered)]


def _agent_start(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    if not common["agent_id"]:
        return []
    return [AgentStarted(**common, agent_type=text(payload.get("agent_type")))]


def _agent_stop(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    if not common["agent_id"]:
        return []
    return [*_agent_start(payload, common), AgentEnded(**common)]


def _compact_start(_payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return [CompactStarted(**common)]


def _task_created(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return _task(payload, common, completed=False)


def _task_completed(payload: dict[str, Any], common: dict[str, Any]) -> list[Fact]:
    return _task(payload, common, completed=True)


def _task(payload: dict[str, Any], common: dict[str, Any], *, completed: bool) -> list[Fact]:
    task_id = text(payload.get("task_id"))
    return [TaskChanged(**common, task_id=task_id, completed=completed)] if task_id else []


def _of_session(common: dict[str, Any]) -> dict[str, Any]:
    """What belongs to the session, to no turn and no sub-agent."""
    return {**common, "prompt_id": None, "agent_id": None}


_READERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], list[Fact]]] = {
    "SessionStart": _session_start,
    "Setup": _nothing,
    "InstructionsLoaded": _nothing,
    "UserPromptSubmit": _prompt,
    "UserPromptExpansion": _activity,
    "PreToolUse": _tool_start,
    "PermissionRequest": _permission,
    "PermissionDenied": _tool_denied,
    "PostToolUse": _tool_end,
    "PostToolUseFailure": _tool_failure,
    "PostToolBatch": _activity,
    "Notification": _nothing,
    "MessageDisplay": _activity,
    "SubagentStart": _agent_start,
    "SubagentStop": _agent_stop,
    "TaskCreated": _task_created,
    "TaskCompleted": _task_completed,
    "Stop": _stop,
    "StopFailure": _stop_failure,
    "TeammateIdle": _nothing,
    "ConfigChange": _nothing,
    "CwdChanged": _activity,
    "DirectoryAdded": _nothing,
    "FileChanged": _nothing,
    "WorktreeCreate": _nothing,
    "WorktreeRemove": _nothing,
    "PreCompact": _compact_start,
    "PostCompact": _activity,
    "Elicitation": _input_asked,
    "ElicitationResult": _input_given,
    "SessionEnd": _session_end,
}
EVENTS = tuple(_READERS)
