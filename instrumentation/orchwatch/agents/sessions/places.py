"""The trace and the parent span of what happened, as far as they are known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchwatch.agents.sessions import ids
from orchwatch.agents.sessions.entities import turn_key
from orchwatch.agents.sessions.spans import Place

if TYPE_CHECKING:
    from orchwatch.agents.sessions.entities import Agent, Call, Session

# Claude Code's own helpers (compaction, suggestions) that no call started: agent-a<kind>-<hex>.
_HELPER = re.compile("a([a-z_]+)-[0-9a-f]+")
_MAX_DEPTH = 64
_SKEW_NS = 1_000_000_000


def outside(session: Session) -> Place:
    """The place of what no turn holds: beside the session's start, and under nothing."""
    return Place(session.session_id, "", "")


def inside(
    session: Session,
    prompt_id: str | None,
    agent_id: str | None,
    agent_turn: str | None = None,
    *,
    last: bool = False,
) -> Place | None:
    """The place of what happened in a sub-agent's turn, or in a turn of the session.

    None while the turn is not known. A place's span is written for certain.

    Args:
        session: Where.
        prompt_id: The session's turn.
        agent_id: The sub-agent.
        agent_turn: That one's turn.
        last: Nothing more will come: a sub-agent's place is the best that there is.
    """
    if agent_id is None:
        if prompt_id is None or not is_known(session, prompt_id):
            return None
        return Place(session.session_id, prompt_id, ids.turn(session.session_id, prompt_id))
    agent = session.agents.get(agent_id)
    if agent is None:
        return None
    found = _prompt_of_agent(session, agent, last=last)
    if found is None:
        return None
    if agent_turn:
        parent = ids.agent_turn(session.session_id, agent_id, agent_turn)
    else:
        parent = ids.agent_run(session.session_id, agent_id)
    return Place(session.session_id, found, parent, agent_id, type_of(session, agent_id))


def of_agent(session: Session, agent: Agent, *, last: bool = False) -> Place | None:
    """The place of a sub-agent itself: under its call, else under the turn, else under nothing.

    Args:
        session: Where.
        agent: The sub-agent.
        last: As for `inside`.
    """
    place = inside(session, None, agent.agent_id, last=last)
    if place is None:
        return None
    if agent.part:
        return place  # under the run that it goes on with
    call = session.calls.get(agent.call)
    if call and (call.agent_id or call.prompt_id == place.prompt_id):
        return place._replace(parent=ids.tool(session.session_id, agent.call))
    if is_known(session, place.prompt_id):
        return place._replace(parent=ids.turn(session.session_id, place.prompt_id))
    return place._replace(parent="")


def _prompt_of_agent(session: Session, agent: Agent, *, last: bool) -> str | None:
    """The trace of a sub-agent: of its call's turn, else of its own, else of the time."""
    found = prompt_of(session, agent.agent_id)
    if found is not None and (last or (is_known(session, found) and _has_caller(session, agent))):
        return found
    if not last:
        return None
    if agent.hinted:
        return agent.hinted
    return turn_at(session, agent.start_ns) or ""


def _has_caller(session: Session, agent: Agent) -> bool:
    """Whether it is known who started a sub-agent, and of what type it is."""
    if is_helper(agent):
        return True
    call = session.calls.get(agent.call) or likely_call(session, agent)
    return call is not None and bool(agent.agent_type or call.agent_type)


def is_helper(agent: Agent) -> bool:
    """Whether it is one that no call starts."""
    return agent.helper or _HELPER.fullmatch(agent.agent_id) is not None


def type_of(session: Session, agent_id: str) -> str:
    """A sub-agent's type, empty where it is not known."""
    agent = session.agents.get(agent_id)
    call = None
    if agent:
        call = session.calls.get(agent.call) or likely_call(session, agent)
    helper = _HELPER.fullmatch(agent_id)
    own_type = agent.agent_type if agent else ""
    return own_type or (call.agent_type if call else "") or (helper[1] if helper else "")


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
            hinted = agent.hinted if agent.hinted and is_known(session, agent.hinted) else None
            found = agent.prompt_id or found or hinted
            if found is None and is_helper(agent):
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
    if is_helper(agent):
        return None
    hinted = agent.hinted if agent.hinted and is_known(session, agent.hinted) else None
    known = agent.prompt_id or hinted
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
        if turn.agent_id is None and not turn.part_of and 0 < turn.start_ns <= time_ns
    ]
    begun += [
        (start_ns, key)
        for key, (start_ns, _) in session.closed.items()
        if "/" not in key and "+" not in key and start_ns <= time_ns
    ]
    return max(begun)[1] if begun else None


def is_known(session: Session, prompt_id: str) -> bool:
    """Whether the session's file, or an earlier decision, has that turn."""
    key = turn_key(prompt_id, None)
    turn = session.turns.get(key)
    return key in session.closed or (turn is not None and turn.start_ns > 0)
