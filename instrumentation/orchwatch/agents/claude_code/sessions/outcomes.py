"""Why a tool call did not run, or not to its end, where the tool itself did not fail."""

from __future__ import annotations

import re
from typing import Any

from orchwatch import semconv
from orchwatch.agents.sessions.fields import mapping, text

# `toolDenialKind` of a file's lines; a refusal by the user is handled below.
_KINDS = {
    "permission-rule": semconv.DENIED_BY_RULE,
    "automode-blocked": semconv.DENIED_BY_RULE,
    "automode-unavailable": semconv.DENIED_BY_RULE,
    "automode-parsing-error": semconv.DENIED_BY_RULE,
    "interrupted": semconv.INTERRUPTED,
    "cancelled": semconv.CANCELLED,
}
_REJECTED = "user-rejected"
# The message to the model, for files without that member.
_MESSAGES = (
    (
        re.compile(r"(PreToolUse|PermissionRequest)(:\S+)? hook (blocking )?error\b"),
        semconv.BLOCKED_BY_HOOK,
    ),
    (re.compile(r"Hook \w+(:\S+)? denied this tool\b"), semconv.BLOCKED_BY_HOOK),
    (re.compile(r"The user doesn't want to (proceed|take)\b"), semconv.DENIED_BY_USER),
    (
        re.compile(r"Permission (to use|for this action)\b.{0,200}?\bdenied\b"),
        semconv.DENIED_BY_RULE,
    ),
    (re.compile(r"\[(Request|Tool call|Agent call) interrupted\b"), semconv.INTERRUPTED),
    (re.compile(r"\[Tool call (skipped|not completed)\b"), semconv.CANCELLED),
    (re.compile(r"(<tool_use_error>)?(Cancelled: parallel|Sibling) tool call"), semconv.CANCELLED),
)
_MAX_MESSAGE_CHARACTERS = 256
_BY_PERSON = ("user_temporary", "user_permanent", "user_reject", "user_abort")


def of_answer(block: dict[str, Any], line: dict[str, Any]) -> str:
    """The outcome of a call, empty where the tool ran to its end, well or not.

    Args:
        block: The `tool_result`.
        line: Its line, empty where that one's other members may be about another call.
    """
    if block.get("is_error") is not True:
        return ""
    decision = mapping(line.get("permissionDecision"))
    if decision.get("source") == "hook" and decision.get("decision") == "reject":
        return semconv.BLOCKED_BY_HOOK
    outcome = _by_message(block)
    if outcome == semconv.BLOCKED_BY_HOOK:
        return outcome
    kind = text(line.get("toolDenialKind")) or text(line.get("remoteToolDenialKind"))
    if kind == _REJECTED:
        refused = line.get("toolDenialBeforeRun") is True or decision.get("source") == "user_reject"
        return semconv.DENIED_BY_USER if refused else semconv.INTERRUPTED
    return _KINDS.get(kind, "") if kind else outcome


def by_person(line: dict[str, Any]) -> bool:
    """Whether a person was asked before the call, and answered."""
    if line.get("toolDenialKind") == _REJECTED and line.get("toolDenialBeforeRun") is True:
        return True
    return mapping(line.get("permissionDecision")).get("source") in _BY_PERSON


def _by_message(block: dict[str, Any]) -> str:
    content = block.get("content")
    if isinstance(content, list) and content:
        content = mapping(content[0]).get("text")
    start = content[:_MAX_MESSAGE_CHARACTERS] if isinstance(content, str) else ""
    return next((outcome for pattern, outcome in _MESSAGES if pattern.match(start)), "")
