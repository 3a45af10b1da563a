"""`toolCalls` of a message: all begin with it, and each says when the last of them had ended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.agents.sessions.facts import AgentEnded, Fact, ToolEnded, ToolStarted, TurnEnded
from orchwatch.agents.sessions.fields import mapping, text, time_ns, word

if TYPE_CHECKING:
    from collections import Counter

_SHELL = "run_shell_command"
_DONE = "complete_task"  # by which a sub-agent ends itself
_ENDS = ("success", "error", "cancelled")
_OPEN = ("validating", "scheduled", "executing", "awaiting_approval")
_WELL = ("GOAL", "ABORTED")  # why a sub-agent ended, where it has not failed
# As the tool's own last lines, behind what the command has written. 0 is not written.
_EXIT = re.compile(
    r"\nExit Code: (\d{1,10})(?:\nSignal: \S+)?(?:\nBackground PIDs: [\d, ]+)?"
    r"(?:\nProcess Group PGID: \d+)?\s*(?:</untrusted_context>)?\s*\Z"
)
_TAIL_CHARACTERS = 512


def read(calls: list[Any], common: dict[str, Any], skipped: Counter[str]) -> list[Fact]:
    """The facts of a message's calls, which may be told of again with more of them ended.

    Args:
        calls: The calls.
        common: The members of the message's facts.
        skipped: Counts what is not understood.
    """
    facts: list[Fact] = []
    for call in map(mapping, calls):
        if not text(call.get("id")) or not text(call.get("name")):
            skipped["call without a name"] += 1
            continue
        facts.append(_start(call, common))
        facts += _end(call, common, skipped)
    return facts


def _start(call: dict[str, Any], common: dict[str, Any]) -> ToolStarted:
    name = text(call["name"])
    agent_type = word(mapping(call.get("args")).get("agent_name"))
    if not agent_type and text(call.get("agentId")):
        agent_type = word(mapping(call.get("resultDisplay")).get("agentName")) or name
    return ToolStarted(
        **common, tool_use_id=text(call["id"]), tool_name=name, agent_type=agent_type
    )


def _end(call: dict[str, Any], common: dict[str, Any], skipped: Counter[str]) -> list[Fact]:
    status = text(call.get("status"))
    if status not in _ENDS:
        if status not in _OPEN:
            skipped[f"unknown kind status/{word(status) or '?'}"] += 1
        return []
    ended_ns = time_ns(call.get("timestamp"))
    if ended_ns is None:
        skipped["no time"] += 1
        return []
    common = {**common, "time_ns": ended_ns}
    agent = text(call.get("agentId"))
    facts: list[Fact] = [
        ToolEnded(
            **common,
            tool_use_id=text(call["id"]),
            tool_name=text(call["name"]),
            error_type="tool_error" if status == "error" else None,
            outcome=semconv.CANCELLED if status == "cancelled" else "",
            exit_code=_exit_code(call),
            agent=agent,
        )
    ]
    why = word(mapping(call.get("resultDisplay")).get("terminateReason"))
    if agent and why and why not in _WELL:
        whose = {"session_id": common["session_id"], "agent_id": agent}
        facts.append(AgentEnded(**whose, time_ns=ended_ns, error_type=why.lower(), noticed=True))
    if common.get("agent_id") and call["name"] == _DONE and status == "success":
        facts.append(TurnEnded(**common))
    return facts


def _exit_code(call: dict[str, Any]) -> int | None:
    """That of a shell's command, where it is not 0."""
    results = call.get("result")
    if call["name"] != _SHELL or not isinstance(results, list):
        return None
    for result in map(mapping, results):
        answer = mapping(mapping(result.get("functionResponse")).get("response"))
        for said in (answer.get("output"), answer.get("error")):
            found = _EXIT.search(said[-_TAIL_CHARACTERS:]) if isinstance(said, str) else None
            if found:
                return int(found[1])
    return None
