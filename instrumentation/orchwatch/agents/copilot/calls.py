"""Tool calls of Copilot CLI: times, outcomes and exit codes, and the permissions they need."""

from __future__ import annotations

from typing import Any

from orchwatch import semconv
from orchwatch.agents.sessions.facts import (
    DEFAULT_AGENT,
    Fact,
    PermissionAsked,
    ToolCut,
    ToolEnded,
    ToolStarted,
)
from orchwatch.agents.sessions.fields import mapping, text, word

_TASK = "task"
_MAX_KEPT = 1000
# By the code of a call's error, or by how a permission was answered.
_OUTCOMES = {
    "rejected": semconv.DENIED_BY_USER,
    "denied": semconv.DENIED_BY_RULE,
    "denied-interactively-by-user": semconv.DENIED_BY_USER,
    "denied-by-rules": semconv.DENIED_BY_RULE,
    "denied-by-policy": semconv.DENIED_BY_RULE,
    "denied-by-content-exclusion-policy": semconv.DENIED_BY_RULE,
    "denied-no-approval-rule-and-could-not-request-from-user": semconv.DENIED_BY_RULE,
    "denied-by-permission-request-hook": semconv.BLOCKED_BY_HOOK,
}


class Calls:
    """The calls of one file.

    Args:
        state: What `events.Events` keeps: `calls` holds the open ones, and `permissions` which
            call a request is about.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state

    def started(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        """A call begins to run."""
        own, name = text(data.get("toolCallId")), word(data.get("toolName"))
        if not (own and name):
            raise ValueError(own)
        self._about(own).update(owner=common.get("agent_id") or "")
        kind = ""
        if name == _TASK:
            kind = word(mapping(data.get("arguments")).get("agent_type")) or DEFAULT_AGENT
        return [ToolStarted(**common, tool_use_id=own, tool_name=name, agent_type=kind)]

    def ended(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        """A call was answered."""
        own = text(data.get("toolCallId"))
        if not own or not isinstance(data.get("success"), bool):
            raise ValueError(own)
        about = self._state["calls"].pop(own, {})
        error_type, outcome = None, about.get("outcome", "")
        if data["success"] is False:
            code = word(mapping(data.get("error")).get("code"))
            outcome = outcome or _OUTCOMES.get(code, "")
            if not outcome:
                error_type = "tool_error" if code in ("", "failure") else code
        exit_code = mapping(data.get("shellExecution")).get("exitCode")
        permitted_ns = about.get("permitted", 0)
        ended = ToolEnded(
            **common,
            tool_use_id=own,
            error_type=error_type,
            outcome=outcome,
            by_person=outcome == semconv.DENIED_BY_USER,
            duration_ns=common["time_ns"] - permitted_ns if permitted_ns else None,
            exit_code=exit_code if type(exit_code) is int else None,
            agent=about.get("agent", ""),
            background=about.get("background", False),
        )
        return [ended]

    def starts(self, call: str, agent: str, *, is_background: bool) -> None:
        """A call has started a sub-agent."""
        self._about(call).update(agent=agent, background=is_background)

    def asked(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        """A call waits for a permission."""
        request = mapping(data.get("permissionRequest"))
        call = text(request.get("toolCallId")) or text(data.get("toolCallId"))
        if not call:
            return []
        permissions = self._state["permissions"]
        permissions[text(data.get("requestId"))] = call
        while len(permissions) > _MAX_KEPT:
            del permissions[next(iter(permissions))]
        return [PermissionAsked(**common, tool_use_id=call)]

    def permitted(
        self, _record: dict[str, Any], data: dict[str, Any], common: dict[str, Any]
    ) -> list[Fact]:
        """It has its answer."""
        call = self._state["permissions"].pop(text(data.get("requestId")), "")
        if call:
            kind = word(mapping(data.get("result")).get("kind"))
            answer = {"permitted": common["time_ns"], "outcome": _OUTCOMES.get(kind, "")}
            self._about(call).update(answer)
        return []

    def cut(self, common: dict[str, Any], reason: str) -> list[Fact]:
        """The open calls of a turn, or without a turn those of sub-agents, get no answer."""
        calls = self._state["calls"]
        of_agents = "prompt_id" not in common
        mine = [key for key, about in calls.items() if bool(about.get("owner")) == of_agents]
        for key in mine:
            del calls[key]
        at = {name: common[name] for name in ("session_id", "time_ns")}
        return [ToolCut(**at, tool_use_id=key, reason=reason) for key in mine]

    def _about(self, call: str) -> dict[str, Any]:
        calls = self._state["calls"]
        about: dict[str, Any] = calls.setdefault(call, {})
        while len(calls) > _MAX_KEPT:
            del calls[next(iter(calls))]
        return about
