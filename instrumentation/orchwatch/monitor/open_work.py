"""Agents at work now: turns and calls that have no span yet, as they have not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.analysis.busy import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchwatch.agents.claude_code.sessions.entities import Session
    from orchwatch.analysis.busy import Kind

# A session that is silent for this long waits for its user, or is gone; a tool may take that long.
QUIET_S = 600.0

_NS_PER_S = 1_000_000_000


def intervals(sessions: Iterable[Session], now_ns: int) -> list[Interval]:
    """What goes on in sessions that were heard of lately."""
    since_ns = now_ns - int(QUIET_S * _NS_PER_S)
    return [
        Interval(session.session_id, agent, kind, start_ns, now_ns)
        for session in sessions
        if session.last_ns >= since_ns and session.ended_ns < session.last_ns
        for agent, kind, start_ns in _at_work(session)
        if 0 < start_ns < now_ns
    ]


def _at_work(session: Session) -> Iterator[tuple[str, Kind, int]]:
    """The agent (empty for the session's own), what it does and since when."""
    started = {agent.call for agent in session.agents.values() if agent.call}
    for turn in session.turns.values():
        if turn.agent_id is None:
            yield "", "turn", turn.start_ns
    for agent in session.agents.values():
        if not agent.done:
            yield agent.agent_id, "turn", agent.start_ns
    for tool in session.tools.values():
        if not tool.end_ns:
            waits = tool.tool_use_id in started
            yield tool.agent_id or "", "waiting" if waits else "work", tool.start_ns
