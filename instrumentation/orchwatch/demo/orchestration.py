"""A whole orchestration: agents read the standard library, one is killed, nothing is lost."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.demo import policy, recovery, symbols
from orchwatch.demo.crew import REFUSAL, REPORT, Crew
from orchwatch.demo.dependencies import DependencyGraph
from orchwatch.demo.folds import FOLDS
from orchwatch.errors import OrchwatchError
from orchwatch.recording.metrics import count
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import attach
from orchwatch.runtime import hooks, sessions
from orchwatch.runtime.agents import AgentEvent
from orchwatch.runtime.message import MessageError
from orchwatch.runtime.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchwatch.runtime.message import Message

TASK = "task"
# Small batches, so that messages, events and states come often; several for each agent, so that
# there is work left when one is killed.
MAX_BATCH_FILES = 10
BATCHES_AN_AGENT = 4
# One that an agent works on and one that lies ready, so that it need not wait for the next.
BATCHES_AT_HAND = 2
REFRESH_INTERVAL_S = 0.5
TASK_TIMEOUT_S = 60.0
TASK_ATTEMPTS = 3
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
        totals: The symbols found, summed over the session's state.
        cycles: How many groups of modules import each other.
        recovered: The agents that were lost and replaced.
    """

    session_id: str
    trace_id: str
    totals: symbols.Totals
    cycles: int
    recovered: tuple[str, ...]


class Orchestration:
    """One run: hands batches of files to agents and takes in what they report.

    Args:
        root: The directory that sessions lie in.
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
        self._graph = DependencyGraph()
        self._refresh_at_s = 0.0
        self._victim = ""
        # Killed or lost, and not back yet: nothing is handed to them.
        self._away: set[str] = set()
        self._recovered: list[str] = []
        self._cycles = 0

    def run(self) -> Outcome:
        """Do the work, under one root operation.

        Raises:
            OrchwatchError: It cannot be done; every agent has been ended.
        """
        session_id = sessions.new_id()
        with operation(
            semconv.ORCHESTRATION_RUN,
            {semconv.GEN_AI_OPERATION_NAME: "invoke_workflow", semconv.SESSION_ID: session_id},
        ) as op:
            baggage = {semconv.SESSION_ID: session_id}
            with (
                attach(baggage=baggage),
                Session(self._root, FOLDS, session_id) as session,
                Crew(session.agents, session.bus, session_id) as crew,
            ):
                self._session = session
                self._crew = crew
                self._start()
                self._supervise()
                self._end()
                return Outcome(
                    session_id=session_id,
                    trace_id=op.trace_id,
                    totals=self._totals(),
                    cycles=self._cycles,
                    recovered=tuple(self._recovered),
                )

    def _start(self) -> None:
        self._hook("SessionStart", source="startup")
        size = len(self._files) // (self._agents * BATCHES_AN_AGENT)
        size = max(1, min(size, MAX_BATCH_FILES))
        for number, start in enumerate(range(0, len(self._files), size), 1):
            files = self._files[start : start + size]
            self._process("task.created", id=f"task-{number:03}", files=files)
        for number in range(1, self._agents + 1):
            agent = f"agent-{number}"
            self._process("agent.ready", agent=agent, pid=self._crew.join(agent))
            self._supply(agent)
        self._session.store.persist()
        tasks = len(self._session.store.document["tasks"])
        self._say(f"{self._agents} agents ready; {len(self._files)} files wait in {tasks} batches")

    def _supervise(self) -> None:
        while self._unfinished():
            self._refresh_if_due()
            received = self._crew.receive(TASK_TIMEOUT_S)
            if received is None:
                self._kill_the_silent()
                continue
            agent, what = received
            if isinstance(what, AgentEvent):
                if what.kind in ("lost", "timeout"):
                    self._recover(agent)
            elif what.kind == REPORT:
                self._take(agent, what)
                self._supply(agent)
                self._kill_one(agent)
            elif what.kind == REFUSAL:
                raise OrchestrationError(f"a hook refused {what.body['id']}: {what.body['reason']}")

    def _end(self) -> None:
        self._crew.leave()
        self._session.verify()
        self._refresh_dashboard()
        self._hook("SessionEnd", reason="other")

    def _unfinished(self) -> bool:
        return bool(self._session.queries.query("$.tasks[?@.status != 'completed'].id"))

    def _supply(self, agent: str) -> None:
        """Hand an agent what it has room for; where it is gone, recovery hands out what it had."""
        if agent in self._away:
            return
        query = self._session.queries.query
        at_hand = query(f"$.tasks[?@.agent == '{agent}' && @.status == 'assigned'].id")
        waiting = query("$.tasks[?@.status == 'pending'].id")
        for task_id in waiting[: BATCHES_AT_HAND - len(at_hand)]:
            self._assign(agent, task_id)

    def _assign(self, agent: str, task_id: str) -> None:
        (task,) = self._session.queries.query(f"$.tasks['{task_id}']")
        if task["failures"] >= TASK_ATTEMPTS:
            raise OrchestrationError(f"{task_id} failed {TASK_ATTEMPTS} times, its agents died")
        self._process("task.assigned", id=task_id, agent=agent)
        body = {"id": task_id, "files": task["files"]}
        try:
            self._crew.deliver(agent, TASK, body, {semconv.GEN_AI_AGENT_NAME: agent})
        except MessageError:
            # An agent that was stopped in the middle of a write holds up all.
            self._kill_the_silent()

    def _take(self, agent: str, message: Message) -> None:
        """Fold an agent's report into the state, unless another agent has the task by now."""
        task_id = message.body["id"]
        (task,) = self._session.queries.query(f"$.tasks['{task_id}']")
        if task["status"] != "assigned" or task["agent"] != agent:
            return
        with attach(message.headers):
            for report in message.body["modules"]:
                module = symbols.from_report(report)
                self._graph.add(symbols.module_name(module.file), module.imports)
                self._process("module.indexed", file=module.file, **asdict(module.totals))
            self._process("task.completed", id=task_id, parse_s=message.body["parse_s"])
            count(semconv.TASK_COMPLETED, unit="{task}")
            self._cycles = len(self._graph.resolve().cycles)
            self._session.store.persist()

    def _kill_one(self, agent: str) -> None:
        """Once in a run, kill an agent that has a batch, without warning."""
        tasks = self._session.store.document["tasks"]
        completed = self._session.queries.query("$.tasks[?@.status == 'completed'].id")
        if self._victim or len(completed) < len(tasks) * KILL_AT_SHARE:
            return
        if self._session.store.document["agents"][agent]["status"] == "busy":
            self._victim = agent
            pid = self._kill(agent)
            self._say(f"{agent} (pid {pid}) killed in the middle of its work")

    def _kill_the_silent(self) -> None:
        """Ends all agents, as none reported in time; recovery hands their work out again."""
        for agent in self._crew.names:
            self._kill(agent)

    def _kill(self, agent: str) -> int:
        self._away.add(agent)
        return self._crew.kill(agent)

    def _recover(self, lost: str) -> None:
        self._away.discard(lost)
        pid = recovery.recover(self._session, self._crew, lost, self._assign)
        self._recovered.append(lost)
        self._say(f"{lost} replaced by pid {pid}, its batches handed out again")
        self._supply(lost)

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

    def _process(self, name: str, /, **data: object) -> None:
        self._session.events.process(name, **data)

    def _totals(self) -> symbols.Totals:
        totals = symbols.Totals()
        for counts in self._session.queries.query("$.modules.*"):
            totals.add(symbols.Totals(**counts))
        return totals
