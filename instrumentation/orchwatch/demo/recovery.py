"""Recovery: a lost agent is replaced and its unfinished work goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording.operation import operation
from orchwatch.runtime.agents import Agent, AgentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.runtime.sessions import Session

SPAWN_ATTEMPTS = 3


def recover(session: Session, lost: Agent, assign: Callable[[Agent, str], None]) -> Agent:
    """Replace a lost agent, hand its unfinished tasks to the replacement, verify the state.

    Args:
        session: Whose agent it was.
        lost: The agent whose process is gone, or is to be.
        assign: Hands one task, by its id, to an agent.

    Raises:
        AgentError: No replacement could be started.
        StateError: The state did not survive.
    """
    with operation(semconv.RECOVERY_RUN, {semconv.GEN_AI_AGENT_NAME: lost.name}) as op:
        unfinished = session.queries.query(
            f"$.tasks[?@.agent == '{lost.name}' && @.status == 'assigned'].id"
        )
        op.set_attribute(semconv.RESULT_COUNT, len(unfinished))
        session.agents.end(lost)
        session.events.process("agent.lost", agent=lost.name)
        replacement = _spawn(session, lost.name)
        session.events.process("agent.ready", agent=lost.name, pid=replacement.process.pid)
        session.store.persist()
        session.verify()
        for task in unfinished:
            assign(replacement, task)
        return replacement


def _spawn(session: Session, name: str) -> Agent:
    for _ in range(SPAWN_ATTEMPTS - 1):
        try:
            return session.agents.spawn(name)
        except AgentError:
            continue  # its span is recorded as failed
    return session.agents.spawn(name)
