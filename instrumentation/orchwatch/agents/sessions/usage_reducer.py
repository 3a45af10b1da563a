"""Tokens that the model used, added to the turn or the sub-agent that used them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.agents.sessions import ids, owners
from orchwatch.agents.sessions.entities import Agent, Session, Turn, turn_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.agents.sessions import facts


def add(session: Session, fact: facts.ApiUsage, written: Callable[[str], bool]) -> None:
    """What an answer used: to its turn, or where that one's span is out to a part of its own."""
    if fact.agent_id:
        _usage_of_agent(session, fact, written)
        return
    prompt_id = fact.prompt_id
    if prompt_id is None:
        return
    key = turn_key(prompt_id, None)
    span_id = ids.turn(session.session_id, prompt_id)
    begun = session.turns.get(session.parts.get(key, ""))
    if begun and fact.message_id in begun.usage.recent:  # another line of it
        begun.usage.add(fact)
        return
    if _goes_on(fact, span_id, written, done=key in session.closed):
        part = session.parts.setdefault(key, f"{prompt_id}+{fact.message_id}")
        if part in session.closed:
            return
        turn = session.turns.get(part)
        if turn is None:
            turn = session.turns[part] = Turn(prompt_id=part, part_of=prompt_id)
        turn.see(fact.time_ns, filed=True)
        turn.finish(fact.time_ns, 2)
        turn.usage.add(fact)
        return
    found = owners.turn_of(session, fact) if fact.passive else owners.keep_alive(session, fact)
    if found:
        found.usage.add(fact)


def _usage_of_agent(session: Session, fact: facts.ApiUsage, written: Callable[[str], bool]) -> None:
    agent = owners.agent_of(session, fact)
    run = ids.agent_run(session.session_id, agent.agent_id)
    if not agent.part and _goes_on(fact, run, written, done=agent.done):
        part = f"{agent.agent_id}+{fact.message_id}"
        session.parts[turn_key("", agent.agent_id)] = part
        session.agents[part] = Agent(
            agent_id=agent.agent_id,
            agent_type=agent.agent_type,
            call=agent.call,
            prompt_id=agent.prompt_id,
            part=part,
            helper=agent.helper,
            spawned=True,
        )
        agent = session.agents[part]
        agent.see(fact.time_ns, filed=True)
    elif agent.part and not fact.fresh and fact.message_id not in agent.usage.recent:
        return  # counted with the part before
    agent.usage.add(fact)


def _goes_on(
    fact: facts.ApiUsage, span_id: str, written: Callable[[str], bool], *, done: bool
) -> bool:
    """Whether it came after the span of what it belongs to went out."""
    return fact.fresh and (done or written(span_id))
