"""Tokens that the model used, added to the turn or the sub-agent that used them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.agents.sessions import ids, owners
from orchwatch.agents.sessions.entities import Agent, Session, Turn, turn_key

if TYPE_CHECKING:
    from orchwatch.agents.sessions import facts
    from orchwatch.agents.sessions.claims import Claims


def add(session: Session, fact: facts.ApiUsage, claims: Claims) -> None:
    """What an answer used: to its turn, or where that one's span is out to a part of its own."""
    if fact.agent_id:
        _usage_of_agent(session, fact, fact.agent_id, claims)
        return
    prompt_id = fact.prompt_id
    if prompt_id is None:
        return
    key = turn_key(prompt_id, None)
    latest = session.turns.get(session.parts.get(key, key))
    if latest and fact.message_id in latest.usage.recent:  # another line of it
        part = latest.prompt_id if latest.part_of else ""
    elif fact.fresh:
        part = session.parts.get(key, prompt_id)
        span_id = ids.turn(session.session_id, part)
        is_out = part in session.closed or claims.is_marked(span_id)
        part = _part_of_new(fact, prompt_id, part, claims, is_out=is_out)
    else:
        part = claims.part(_name(fact, prompt_id))
    if part:
        session.parts[key] = part
        _add_to_part(session, fact, part, prompt_id)
        return
    found = owners.turn_of(session, fact) if fact.passive else owners.keep_alive(session, fact)
    if found:
        found.usage.add(fact)


def _add_to_part(session: Session, fact: facts.ApiUsage, part: str, prompt_id: str) -> None:
    if part in session.closed:
        return
    turn = session.turns.get(part)
    if turn is None:
        turn = session.turns[part] = Turn(prompt_id=part, part_of=prompt_id)
    turn.see(fact.time_ns, filed=True)
    turn.finish(fact.time_ns, 2)
    turn.usage.add(fact)


def _usage_of_agent(session: Session, fact: facts.ApiUsage, agent_id: str, claims: Claims) -> None:
    agent = owners.agent_of(session, fact)
    if fact.message_id in agent.usage.recent:  # another line of it
        agent.usage.add(fact)
        return
    if fact.fresh:
        part = agent.part or agent_id
        is_out = agent.done or claims.is_marked(ids.agent_run(session.session_id, part))
        part = _part_of_new(fact, agent_id, part, claims, is_out=is_out)
    else:
        part = claims.part(_name(fact, agent_id))
        if agent.part and not part:
            return  # counted with what went out before
    if part and part not in session.agents:
        session.agents[part] = Agent(
            agent_id=agent_id,
            agent_type=agent.agent_type,
            call=agent.call,
            prompt_id=agent.prompt_id,
            part=part,
            helper=agent.helper,
            spawned=True,
        )
        session.agents[part].see(fact.time_ns, filed=True)
    if part:
        session.parts[turn_key("", agent_id)] = part
        agent = session.agents[part]
    agent.usage.add(fact)


def _part_of_new(
    fact: facts.ApiUsage, whole: str, latest: str, claims: Claims, *, is_out: bool
) -> str:
    """The part that an answer belongs to which is read for the first time; empty for the whole.

    Args:
        fact: The answer.
        whole: The turn, or the sub-agent.
        latest: Its last part, or itself.
        claims: Remembers the part.
        is_out: Whether the last part's span is out.
    """
    part = f"{whole}+{fact.message_id}" if is_out else latest
    if part == whole:
        return ""
    claims.put(_name(fact, whole), part)
    return part


def _name(fact: facts.ApiUsage, whole: str) -> str:
    return f"{fact.session_id}/{whole}/{fact.message_id}"
