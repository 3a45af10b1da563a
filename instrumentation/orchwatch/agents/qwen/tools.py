"""Tool calls: asked for in a message, reported by an event, answered in a line of their own."""

from __future__ import annotations

import re
from typing import Any

from orchwatch import semconv
from orchwatch.agents.sessions.facts import DEFAULT_AGENT, AgentEnded, Fact, ToolEnded, ToolStarted
from orchwatch.agents.sessions.fields import mapping, milliseconds, text, word

AGENT_TOOLS = ("agent", "task")  # newer and older name
_SHELL = "run_shell_command"
_EXITED = "shell_execute_error"  # a command that exited with something else than 0
BACKGROUND = "background"
_WELL = "completed"
_TASK = re.compile(r"<task-id>\s*([\w.:-]{1,128})\s*</task-id>")
_CALL = re.compile(r"<tool-use-id>\s*([\w.:-]{1,128})\s*</tool-use-id>")
_STATUS = re.compile(r"<status>\s*([\w-]{1,64})\s*</status>")
_NOTICE_CHARACTERS = 2000
# As the tool's own last lines, behind what the command has written.
_EXIT = re.compile(
    r"\nExit Code: (\d{1,10})\nSignal: \S+(?:\nBackground PIDs: \S.*)?"
    r"\nProcess Group PGID: \S+\s*\Z"
)
_TAIL_CHARACTERS = 512


def asked(call: dict[str, Any], common: dict[str, Any]) -> ToolStarted:
    """A `functionCall`."""
    name = text(call.get("name"))
    agent_type = ""
    if name in AGENT_TOOLS:
        agent_type = word(mapping(call.get("args")).get("subagent_type")) or DEFAULT_AGENT
    return ToolStarted(
        **common, tool_use_id=text(call.get("id")), tool_name=name, agent_type=agent_type
    )


def reported(event: dict[str, Any], common: dict[str, Any]) -> ToolEnded:
    """An event `tool_call`, which comes as the call ends and says how long it took."""
    status = text(event.get("status"))
    duration_ns = milliseconds(event.get("duration_ms"))
    failed = status == "error" and event.get("error_type") != _EXITED
    return ToolEnded(
        **common,
        tool_use_id=text(event.get("call_id")),
        tool_name=text(event.get("function_name")),
        error_type="tool_error" if failed else None,
        outcome=_outcome(status, event.get("execution_status")),
        duration_ns=duration_ns,
        began_ns=0 if duration_ns is None else common["time_ns"] - duration_ns,
    )


def answered(record: dict[str, Any], common: dict[str, Any]) -> tuple[ToolEnded, str]:
    """A `tool_result`, and its status: that of a sub-agent's says no more than its answer."""
    result = mapping(record.get("toolCallResult"))
    response = _response(record)
    answer = mapping(response.get("response"))
    status = text(result.get("status")) or ("error" if "error" in answer else "success")
    exit_code = _exit_code(result, answer) if response.get("name") == _SHELL else None
    failed = status == "error" and not exit_code
    ended = ToolEnded(
        **common,
        tool_use_id=text(result.get("callId")) or text(response.get("id")),
        tool_name=text(response.get("name")),
        error_type="tool_error" if failed else None,
        outcome=_outcome(status, result.get("executionStatus")),
        duration_ns=milliseconds(result.get("durationMs")),
        exit_code=exit_code,
    )
    return ended, status


def started_agent(record: dict[str, Any]) -> tuple[str, str]:
    """How the sub-agent is that a call has started, and why it ended so; empty for other calls."""
    display = mapping(mapping(record.get("toolCallResult")).get("resultDisplay"))
    if display.get("type") != "task_execution":
        return "", ""
    return word(display.get("status")), word(display.get("terminateReason"))


def agent_ended(record: dict[str, Any], call_id: str, common: dict[str, Any]) -> list[Fact]:
    """The end of a sub-agent that the answer to its call reports; it goes on in the background."""
    status, why = started_agent(record)
    if status in ("", BACKGROUND, "running"):
        return []
    display = mapping(mapping(record.get("toolCallResult")).get("resultDisplay"))
    agent_id = f"{text(display.get('subagentName'))}-{call_id}"
    error = None if status == _WELL else why.lower() or status
    return [_end(agent_id, error, common)]


def noticed(record: dict[str, Any], common: dict[str, Any]) -> tuple[list[Fact], str]:
    """The end of background work that a notice reports; and the call that had started it."""
    parts = mapping(record.get("message")).get("parts")
    first = mapping(parts[0]).get("text") if isinstance(parts, list) and parts else ""
    said = first[:_NOTICE_CHARACTERS] if isinstance(first, str) else ""
    task, call, status = (pattern.search(said) for pattern in (_TASK, _CALL, _STATUS))
    if task is None or status is None or status[1] == "running":
        return [], ""
    error = None if status[1] == _WELL else status[1]
    return [_end(task[1], error, common)], call[1] if call else ""


def _end(agent_id: str, error: str | None, common: dict[str, Any]) -> AgentEnded:
    return AgentEnded(
        session_id=common["session_id"],
        time_ns=common["time_ns"],
        agent_id=agent_id,
        error_type=error,
        noticed=True,
    )


def _outcome(status: str, execution: object) -> str:
    if status != "cancelled":
        return ""
    return semconv.CANCELLED if execution == "not_started" else semconv.INTERRUPTED


def _response(record: dict[str, Any]) -> dict[str, Any]:
    parts = mapping(record.get("message")).get("parts")
    for part in map(mapping, parts if isinstance(parts, list) else []):
        if "functionResponse" in part:
            return mapping(part["functionResponse"])
    return {}


def _exit_code(result: dict[str, Any], answer: dict[str, Any]) -> int | None:
    """That of a shell's command."""
    display = mapping(result.get("resultDisplay"))
    if display.get("type") == "shell_result":
        code = display.get("exitCode")
        return code if type(code) is int and 0 <= code < 1 << 32 else None
    for said in (answer.get("output"), answer.get("error")):
        found = _EXIT.search(said[-_TAIL_CHARACTERS:]) if isinstance(said, str) else None
        if found:
            return int(found[1])
    return None
