"""To which trace and under which span something belongs, as far as it is known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchwatch.claude import ids
from orchwatch.claude.entities import turn_key
from orchwatch.claude.spans import Place

if TYPE_CHECKING:
    from orchwatch.claude.entities import Agent, Call, Session

# Claude Code's own helpers (compaction, suggestions) that no call started: agent-a<kind>-<hex>.
_HELPER = re.compile("a([a-z_]+)-[0-9a-f]+")
_MAX_DEPTH = 64
_SKEW_NS = 1_000_000_000


def inside(
    session: Session, prompt_id: str | None, agent_id: str | None, agent_turn: str | None = None
) -> Place | None:
    """The place of what happened in a sub-agent's turn, or in a turn of the session."""
    if agent_id is None:
        if prompt_id is None:
            return None
        return Place(session.session_id, prompt_id, ids.turn(session.session_id, prompt_id))
    prompt_id = prompt_of(session, agent_id) or prompt_id
    if prompt_id is None:
        return None
    if agent_turn:
        parent = ids.agent_turn(session.session_id, agent_id, agent_turn)
    else:
        parent = ids.agent_run(session.session_id, agent_id)
    return Place(session.session_id, prompt_id, parent, agent_id, type_of(session, agent_id))


def of_agent(session: Session, agent: Agent) -> Place | None:
    """The place of a sub-agent itself: under its call, or where there is none under the turn."""
    place = inside(session, agent.prompt_id, agent.agent_id)
    if place is None:
        return None
    if agent.call:
        return place._replace(parent=ids.tool(session.session_id, agent.call))
    return place._replace(parent=ids.turn(session.session_id, place.prompt_id))


def is_helper(agent_id: str) -> bool:
    """Whether it is one that no call starts."""
    return _HELPER.fullmatch(agent_id) is not None


def type_of(session: Session, agent_id: str) -> str:
    """A sub-agent's type, empty where nobody told it."""
    agent = session.agents.get(agent_id)
    call = None
    if agent:
        call = session.calls.get(agent.call) or likely_call(session, agent)
    helper = _HELPER.fullmatch(agent_id)
    told = agent.agent_type if agent else ""
    return told or (call.agent_type if call else "") or (helper[1] if helper else "")


def prompt_of(session: Session, agent_id: str) -> str | None:
    """The user's prompt that a sub-agent works for, however deep it lies."""
    found: str | None = None
    asked: str | None = agent_id
    for _ in range(_MAX_DEPTH):
        agent = session.agents.get(asked) if asked else None
        if agent is None:
            break
        call = session.calls.get(agent.call) or likely_call(session, agent)
        if call is None:
            found = agent.prompt_id or found
            if found is None and is_helper(agent.agent_id):
                found = turn_at(session, agent.start_ns)
            break
        found = call.prompt_id or agent.prompt_id or found
        asked = call.agent_id
    return found


def likely_call(session: Session, agent: Agent, *, guess: bool = False) -> Call | None:
    """The call that can have started a sub-agent, while nothing names it.

    Args:
        session: Where to look.
        agent: The sub-agent.
        guess: Of several calls that fit alike, take the first. Otherwise only one will do, or
            several of one type from one place, which are as good for finding the trace.
    """
    if is_helper(agent.agent_id):
        return None
    known = agent.prompt_id if agent.prompt_id and is_known(session, agent.prompt_id) else None
    fitting = [
        call
        for call in session.calls.values()
        if not call.agent
        and call.start_ns <= agent.start_ns + _SKEW_NS
        and agent.task_digest in ("", call.task_digest)
        and agent.agent_type in ("", call.agent_type)
        and (agent.task_digest or agent.agent_type)
        and call.agent_id != agent.agent_id
        and known in (None, call.prompt_id or known)
    ]
    fitting.sort(key=lambda call: call.start_ns)
    alike = len({(call.prompt_id, call.agent_id, call.agent_type) for call in fitting}) == 1
    return fitting[0] if fitting and (guess or alike) else None


def turn_at(session: Session, time_ns: int) -> str | None:
    """The turn of the session that ran at a moment."""
    begun = [
        (turn.start_ns, turn.prompt_id)
        for turn in session.turns.values()
        if turn.agent_id is None and turn.start_ns <= time_ns
    ]
    begun += [
        (start_ns, key)
        for key, (start_ns, _) in session.closed.items()
        if "/" not in key and start_ns <= time_ns
    ]
    return max(begun)[1] if begun else None


def is_known(session: Session, prompt_id: str) -> bool:
    """Whether the session's file, or an earlier decision, has that turn."""
    key = turn_key(prompt_id, None)
    return key in session.closed or key in session.turns
