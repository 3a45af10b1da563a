"""Recovery: a lost agent is replaced and its unfinished work goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording.operation import operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.demo.crew import Crew
    from orchwatch.runtime.sessions import Session


def recover(session: Session, crew: Crew, lost: str, assign: Callable[[str, str], None]) -> int:
    """Await a lost agent's next process, hand it the unfinished tasks, verify the state.

    Args:
        session: Whose agent it was.
        crew: The agents.
        lost: The agent whose process is gone.
        assign: Hands an agent one task, both by name.

    Returns:
        The id of the process that has taken over.

    Raises:
        AgentError: None could be started.
        StateError: The state did not survive.
    """
    with operation(semconv.RECOVERY_RUN, {semconv.GEN_AI_AGENT_NAME: lost}) as op:
        unfinished = session.queries.query(
            f"$.tasks[?@.agent == '{lost}' && @.status == 'assigned'].id"
        )
        op.set_attribute(semconv.RESULT_COUNT, len(unfinished))
        session.events.process("agent.lost", agent=lost)
        pid = crew.ready(lost)
        session.events.process("agent.ready", agent=lost, pid=pid)
        session.store.persist()
        session.verify()
        for task in unfinished:
            assign(lost, task)
        return pid
