"""The turn and the sub-agent that a fact is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.agents.sessions.entities import Agent, Session, Turn, turn_key

if TYPE_CHECKING:
    from orchwatch.agents.sessions.facts import Fact


def turn_of(session: Session, fact: Fact) -> Turn | None:
    """The turn that a fact is about; None where its span was written."""
    prompt_id = fact.agent_turn if fact.agent_id else fact.prompt_id
    if prompt_id is None:
        return None
    key = turn_key(prompt_id, fact.agent_id)
    if key in session.closed:
        return None
    turn = session.turns.get(key)
    if turn is None:
        turn = Turn(prompt_id=prompt_id, agent_id=fact.agent_id)
        session.turns[key] = turn
    return turn


def keep_alive(session: Session, fact: Fact) -> Turn | None:
    """Records a sign of life of a fact's turn and sub-agent; returns the turn."""
    if fact.passive:
        return None
    filed = fact.source == "file"
    if fact.agent_id:
        agent_of(session, fact).see(fact.time_ns, filed=filed)
    turn = turn_of(session, fact)
    if turn:
        turn.see(fact.time_ns, filed=filed)
    return turn


def agent_of(session: Session, fact: Fact) -> Agent:
    """The sub-agent that a fact is about, or what goes on of it after its span was written."""
    assert fact.agent_id
    agent = session.agents.get(fact.agent_id)
    if agent is None:
        agent = session.agents[fact.agent_id] = Agent(agent_id=fact.agent_id)
    if fact.source == "file":
        agent.prompt_id = agent.prompt_id or fact.prompt_id
    else:
        agent.hinted = agent.hinted or fact.prompt_id
    part = session.agents.get(session.parts.get(turn_key("", fact.agent_id), ""))
    return part or agent


def owners_of(session: Session, fact: Fact, turn: Turn | None) -> list[Turn | Agent]:
    """The turn, where there is one, and the sub-agent, where the fact names one."""
    owners: list[Turn | Agent] = [turn] if turn else []
    if fact.agent_id:
        owners.append(agent_of(session, fact))
    return owners
