"""A whole orchestration: agents read the standard library, one is killed, nothing is lost."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.demo import plan, policy, session, symbols
from orchwatch.demo.crew import IDLE, REFUSAL, STARTED, Crew
from orchwatch.demo.session import SUPERVISOR, Session
from orchwatch.errors import OrchwatchError
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import attach
from orchwatch.runtime import hooks, recovery
from orchwatch.runtime.agents import AgentError, AgentEvent
from orchwatch.runtime.message import MessageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchwatch.runtime.message import Message

REFRESH_INTERVAL_S = 0.5
TASK_TIMEOUT_S = 60.0
# The share of the work that is done when one agent is killed.
KILL_AT_SHARE = 1 / 3


class OrchestrationError(OrchwatchError):
    """The orchestration could not do its work, or did it wrong."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out.

    Attributes:
        session_id: The session that did it.
        trace_id: The trace that shows it, from the first operation to the last.
        totals: The symbols found, as the agents have summed them.
        recovered: The agents that were lost and replaced.
    """

    session_id: str
    trace_id: str
    totals: symbols.Totals
    recovered: tuple[str, ...]


class Orchestration:
    """One run: agents do the tasks of a graph, and the supervisor sees to it that all get done.

    Args:
        root: The workspace that sessions lie in.
        files: What to read, relative to the library.
        agents: How many worker processes.
        refresh: Renders the dashboard, from what is stored up to now.
        say: Reports progress to a person, a line at a time.
    """

    def __init__(
        self,
        *,
        root: Path,
        files: list[str],
        agents: int,
        refresh: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._root = root
        self._files = files
        self._agents = agents
        self._refresh = refresh
        self._say = say
        self._refresh_at_s = 0.0
        self._victim = ""
        self._idle: set[str] = set()
        # Gone, and not replaced yet, with what is handed out again of theirs.
        self._lost: dict[str, list[str]] = {}
        self._recovered: list[str] = []

    def run(self) -> Outcome:
        """Do the work, under one root operation.

        Raises:
            OrchwatchError: It cannot be done; every agent has been ended.
        """
        # A person finds it by this.
        session_id = f"demo-{datetime.now(UTC):%Y-%m-%d-%H.%M.%S}Z-{os.urandom(2).hex()}"
        with operation(
            semconv.ORCHESTRATION_RUN,
            {
                semconv.GEN_AI_OPERATION_NAME: semconv.INVOKE_WORKFLOW,
                semconv.SESSION_ID: session_id,
            },
        ) as op:
            baggage = {semconv.SESSION_ID: session_id}
            with (
                attach(baggage=baggage),
                Session(self._root, session_id, SUPERVISOR) as opened,
                _ending(opened),
                Crew(opened, self._root) as crew,
            ):
                self._session = opened
                self._crew = crew
                self._start()
                self._supervise()
                self._end()
                return Outcome(
                    session_id=session_id,
                    trace_id=op.trace_id,
                    totals=self._totals(),
                    recovered=tuple(self._recovered),
                )

    def _start(self) -> None:
        self._hook("SessionStart", source="startup")
        tasks = plan.tasks(self._files, self._agents)
        self._session.tasks.add_all(tasks)
        for task in tasks:
            self._session.record("task.created", id=task.id, kind=task.data["kind"])
        for number in range(1, self._agents + 1):
            self._crew.join(f"agent-{number}")
        self._session.state.checkpoint()
        self._say(
            f"{self._agents} agents ready; {len(self._files)} files to read, {len(tasks)} tasks"
        )

    def _supervise(self) -> None:
        while self._session.tasks.unfinished or self._lost:
            self._refresh_if_due()
            received = self._crew.receive(TASK_TIMEOUT_S)
            if received is None:
                self._kill_the_silent()
            elif isinstance(received, AgentEvent):
                self._notice(received)
            else:
                with attach(received.headers):
                    self._take(received)

    def _end(self) -> None:
        self._crew.leave()
        self._session.state.verify()
        self._session.events.verify()
        self._refresh_dashboard()
        self._hook("SessionEnd", reason="other")

    def _take(self, message: Message) -> None:
        if message.kind == REFUSAL:
            raise OrchestrationError(
                f"a hook refused {message.body['id']}: {message.body['reason']}"
            )
        if message.kind == IDLE:
            self._idle.add(message.sender)
        elif message.kind == STARTED:
            self._kill_one(message.sender, message.body["id"])
        self._wake()

    def _wake(self) -> None:
        """As many agents as there are tasks for them; the others go on waiting."""
        ready = self._session.tasks.counts().get("ready", 0)
        for agent in sorted(self._idle)[:ready]:
            self._idle.discard(agent)
            try:
                self._crew.wake(agent)
            except MessageError:
                # An agent that was stopped in the middle of a write holds up all.
                self._kill_the_silent()

    def _notice(self, event: AgentEvent) -> None:
        if event.kind in {"lost", "timeout"}:
            self._recover(event)
        elif event.kind in {"ended", "failed"}:
            reason = event.reason or "it has left by itself"
            raise AgentError(f"agent {event.agent} does not come back: {reason}")
        elif event.agent in self._lost:
            again = ", ".join(self._lost.pop(event.agent)) or "nothing"
            self._recovered.append(event.agent)
            self._say(f"{event.agent} replaced by pid {event.pid}; handed out again: {again}")

    def _recover(self, lost: AgentEvent) -> None:
        """Have done again what a process that is gone had begun."""
        found = recovery.run(self._session.state, max_attempts=session.TASK_ATTEMPTS)
        self._session.record("agent.lost", agent=lost.agent, pid=lost.pid)
        if found.failed:
            times = session.TASK_ATTEMPTS
            raise OrchestrationError(f"{found.failed[0]} failed {times} times, its agents died")
        self._lost.setdefault(lost.agent, []).extend(found.requeued)
        self._idle.discard(lost.agent)
        self._session.state.checkpoint()
        self._wake()

    def _kill_one(self, agent: str, task: str) -> None:
        """Once in a run, kill an agent that has begun to read a batch, without warning."""
        if self._victim:
            return
        query = self._session.queries.query
        statuses = query("$.tasks.*.status")
        # What it has sent long ago, as others were being started, may be over.
        active = query(f"$.tasks['{task}'].status") == ["active"]
        if not active or statuses.count("completed") < len(statuses) * KILL_AT_SHARE:
            return
        pid = self._crew.kill(agent)
        if pid is not None:
            self._victim = agent
            self._say(f"{agent} (pid {pid}) killed in the middle of {task}")

    def _kill_the_silent(self) -> None:
        """Ends all agents, as none reported in time; what they had begun is done again."""
        for agent in self._crew.names:
            if agent not in self._lost:  # those are being started
                self._crew.kill(agent)

    def _refresh_if_due(self) -> None:
        if time.monotonic() >= self._refresh_at_s:
            self._refresh_dashboard()
            self._refresh_at_s = time.monotonic() + REFRESH_INTERVAL_S

    def _refresh_dashboard(self) -> None:
        with operation(semconv.DASHBOARD_REFRESH):
            self._refresh()

    def _hook(self, event_name: str, **fields: object) -> None:
        fields_of_hook = {"session_id": self._session.id, **fields}
        result = hooks.process(policy.BATCH_POLICY, event_name, fields_of_hook)
        if result.outcome == "blocked":
            raise OrchestrationError(f"a hook refused {event_name}: {result.reason}")

    def _totals(self) -> symbols.Totals:
        (counts,) = self._session.queries.query(f"$.sums['{plan.TOTAL}']")
        return symbols.totals(counts)


@contextmanager
def _ending(opened: Session) -> Iterator[None]:
    """The session says how it ended, once its agents are gone."""
    status = "failed"
    try:
        yield
        status = "closed"
    finally:
        opened.state.merge("session", {"status": status, "ended_ns": time.time_ns()})
        opened.state.export()
