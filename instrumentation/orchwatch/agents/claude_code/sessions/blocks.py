"""What stands inside a message: tool calls, their answers, and what the message used."""

from __future__ import annotations

import re
from typing import Any

from orchwatch.agents.claude_code.sessions import outcomes
from orchwatch.agents.sessions.facts import (
    AGENT_TOOLS,
    BACKGROUND,
    DEFAULT_AGENT,
    ApiUsage,
    ToolEnded,
    ToolStarted,
)
from orchwatch.agents.sessions.fields import count, digest, mapping, text

_AGENT_NAMED = re.compile(r"agentId: (\w{4,64})\b")


def call(block: dict[str, Any], common: dict[str, Any]) -> ToolStarted:
    """A `tool_use` block."""
    name = text(block.get("name"))
    given = mapping(block.get("input"))
    agent_type = text(given.get("subagent_type"))
    if name in AGENT_TOOLS and not agent_type:
        agent_type = DEFAULT_AGENT
    return ToolStarted(
        **common,
        tool_use_id=text(block.get("id")),
        tool_name=name,
        agent_type=agent_type,
        task_digest=digest(given.get("prompt")) if agent_type else "",
    )


def answer(block: dict[str, Any], line: dict[str, Any], common: dict[str, Any]) -> ToolEnded:
    """A `tool_result` block; `line` is empty where its other members may be about another one."""
    outcome = mapping(line.get("toolUseResult"))
    hindered = outcomes.of_answer(block, line)
    failed = block.get("is_error") is True and not hindered
    return ToolEnded(
        **common,
        tool_use_id=text(block.get("tool_use_id")),
        error_type="tool_error" if failed else None,
        outcome=hindered,
        by_person=outcomes.by_person(line),
        agent=text(outcome.get("agentId") or outcome.get("agent_id")) or _named_agent(block),
        background=outcome.get("status") in BACKGROUND or outcome.get("isAsync") is True,
        run=text(outcome.get("runId")) or _last_part(outcome.get("transcriptDir")),
    )


def usage(message: dict[str, Any], used: dict[str, Any], common: dict[str, Any]) -> ApiUsage:
    """A message's `usage`; how the message is known stands in `common`."""
    return ApiUsage(
        **common,
        model=text(message.get("model")),
        input_tokens=count(used.get("input_tokens")),
        output_tokens=count(used.get("output_tokens")),
        cache_read_tokens=count(used.get("cache_read_input_tokens")),
        cache_creation_tokens=count(used.get("cache_creation_input_tokens")),
    )


def _last_part(path: object) -> str:
    return text(path).rstrip("/").rpartition("/")[2]


def _named_agent(block: dict[str, Any]) -> str:
    """The sub-agent that an answer names in its last text, where nothing else does."""
    content = block.get("content")
    if not isinstance(content, list) or len(content) <= 1:
        return ""
    found = _AGENT_NAMED.match(text(mapping(content[-1]).get("text")))
    return found[1] if found else ""
