"""Agents at work now: turns and calls that have no span yet, as they have not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.analysis.at_work import Working
from orchwatch.analysis.busy import Interval
from orchwatch.analysis.listing import MAIN_AGENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchwatch.agents.sessions.entities import Agent, Session
    from orchwatch.analysis.at_work import Phase
    from orchwatch.analysis.busy import Kind

# A session that is silent for this long waits for its user, or is gone; a tool may take that long.
QUIET_S = 600.0

_NS_PER_S = 1_000_000_000
_ID_DIGITS = 7


def intervals(sessions: Iterable[Session], now_ns: int) -> list[Interval]:
    """What goes on in sessions that were heard of lately."""
    return [
        Interval(session.session_id, agent, kind, start_ns, now_ns)
        for session in _live(sessions, now_ns)
        for agent, kind, start_ns in _at_work(session)
        if 0 < start_ns < now_ns
    ]


def agents(sessions: Iterable[Session], now_ns: int) -> list[Working]:
    """What each agent of such sessions does, by what it began last."""
    found = []
    for session in _live(sessions, now_ns):
        doing: dict[str, tuple[int, Phase, str]] = {}
        for whose, phase, detail, start_ns in _phases(session):
            if start_ns > doing.get(whose, (0, "", ""))[0]:
                doing[whose] = start_ns, phase, detail
        found += [
            Working(session.session_id, _name(session.agents.get(whose)), phase, detail, start_ns)
            for whose, (start_ns, phase, detail) in doing.items()
        ]
    return found


def _live(sessions: Iterable[Session], now_ns: int) -> Iterator[Session]:
    since_ns = now_ns - int(QUIET_S * _NS_PER_S)
    for session in sessions:
        if session.last_ns >= since_ns and session.ended_ns < session.last_ns:
            yield session


def _name(agent: Agent | None) -> str:
    """Several of one type differ by their id."""
    if agent is None:
        return MAIN_AGENT
    return f"{agent.agent_type} {agent.agent_id[:_ID_DIGITS]}".lstrip()


def _phases(session: Session) -> Iterator[tuple[str, Phase, str, int]]:
    """The agent (empty for the session's own), what it does, of what kind, and since when."""
    names = {agent.call: _name(agent) for agent in session.agents.values() if agent.call}
    for agent, kind, start_ns in _at_work(session):
        if kind == "turn":
            yield agent, "model", "", start_ns
    for tool in session.tools.values():
        if tool.end_ns:
            continue
        whose = tool.agent_id or ""
        if tool.tool_use_id in names:
            yield whose, "agent", names[tool.tool_use_id], tool.start_ns
        elif tool.asked_ns and not tool.waited:
            yield whose, "person", tool.name, max(tool.asked_ns, tool.start_ns)
        else:
            yield whose, "tool", tool.name, tool.start_ns


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
