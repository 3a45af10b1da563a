"""Notices of ended background work in a session's messages: `<task-notification>` with a status."""

from __future__ import annotations

import re
from typing import Any

from orchwatch.agents.sessions.facts import AgentEnded, Fact
from orchwatch.agents.sessions.fields import mapping, word

NOTICE = "<task-notification>"

_ONE = re.compile(r"<task-notification>(.*?)(?:</task-notification>|$)", re.DOTALL)
_TASK = re.compile(r"<task-id>\s*([\w-]{1,64})\s*</task-id>")
_STATUS = re.compile(r"<status>\s*([\w-]{1,64})\s*</status>")
_WELL = ("completed", "success", "succeeded", "done")
_RUNS = ("running", "pending", "in_progress", "started")


def read(content: object, common: dict[str, Any]) -> list[Fact]:
    """The ends of sub-agents that a message announces.

    Args:
        content: A message's content: a str or a list of blocks.
        common: The members of the facts.
    """
    if isinstance(content, list):
        texts = [mapping(block).get("text") for block in content]
    else:
        texts = [content]
    return [
        fact
        for message in texts
        if isinstance(message, str) and NOTICE in message[:_MAX_OFFSET]
        for fact in _read(message, common)
    ]


_MAX_OFFSET = 4096  # a notice stands at the start of its message, perhaps behind a reminder


def _read(message: str, common: dict[str, Any]) -> list[Fact]:
    found: list[Fact] = []
    for notice in _ONE.findall(message):
        task = _TASK.search(notice)
        status = _STATUS.search(notice)
        outcome = word(status[1]).lower() if status else ""
        if task is None or outcome in _RUNS:
            continue
        found.append(
            AgentEnded(
                session_id=common["session_id"],
                time_ns=common["time_ns"],
                agent_id=task[1],
                error_type=outcome if outcome and outcome not in _WELL else None,
                noticed=True,
            )
        )
    return found
