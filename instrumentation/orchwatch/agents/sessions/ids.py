"""Ids of traces and spans, derived from Claude Code's own, so that any process can join a trace.

An id is the start of the SHA-256 of its kind and parts joined by NUL bytes. These rules never
change: stored traces and an import that runs again depend on them.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

_TRACE_DIGITS = 32
_SPAN_DIGITS = 16


def trace_id(session_id: str, prompt_id: str) -> str:
    """The trace of a turn; with an empty prompt id, of what no turn holds (session start)."""
    return _digest("trace", session_id, prompt_id)[:_TRACE_DIGITS]


def session_init(session_id: str) -> str:
    """The span of a session's start."""
    return _span("session.init", session_id)


def turn(session_id: str, prompt_id: str) -> str:
    """The span of a turn: the root of its trace."""
    return _span("turn", session_id, prompt_id)


def agent_turn(session_id: str, agent_id: str, prompt_id: str) -> str:
    """The span of a sub-agent's own turn."""
    return _span("agent.turn", session_id, agent_id, prompt_id)


def tool(session_id: str, tool_use_id: str) -> str:
    """The span of a tool call."""
    return _span("tool", session_id, tool_use_id)


def agent_run(session_id: str, agent_id: str) -> str:
    """The span of a sub-agent's life."""
    return _span("agent.run", session_id, agent_id)


def agent_spawn(session_id: str, agent_id: str) -> str:
    """The span from the call that asks for a sub-agent to its first sign of life."""
    return _span("agent.spawn", session_id, agent_id)


def wait(session_id: str, asked_id: str) -> str:
    """The span of a wait for a person, by the tool call or the request that asks."""
    return _span("user.wait", session_id, asked_id)


def event(kind: str, session_id: str, record_id: str) -> str:
    """The span of an event that a single record describes: a hook, a compaction, an API error."""
    return _span(kind, session_id, record_id)


@lru_cache(maxsize=4096)  # a call's is asked for at its start, at its end, and as it is written
def _span(*parts: str) -> str:
    return _digest(*parts)[:_SPAN_DIGITS]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
