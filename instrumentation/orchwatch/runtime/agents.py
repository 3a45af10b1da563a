"""Agents: processes of any command, started, watched, started again, and never left behind."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.recording.metrics import count, gauge
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import child_environment
from orchwatch.runtime import hooks, processes, signals
from orchwatch.runtime.closing import Closing
from orchwatch.runtime.launches import (
    AgentError,
    AgentEvent,
    EventKind,
    Launch,
    Limits,
    Start,
    not_ready,
)
from orchwatch.runtime.readiness import READY_FD, say_ready

if TYPE_CHECKING:
    from orchwatch.runtime.hooks import Hook

_COLLECT_TIMEOUT_S = 5.0

__all__ = ["Agent", "AgentError", "AgentEvent", "AgentPool", "Launch", "Limits", "say_ready"]


@dataclass(eq=False)
class Agent:
    """One agent of a pool, whichever process it is at the moment.

    Attributes:
        name: Its name.
        process: The process that runs, or ran last; the leader of a process group of its own.
        starts: How many processes it has been.
    """

    name: str
    start: Start
    starts: int = 0
    process: subprocess.Popen[bytes] = field(init=False)
    stopping: threading.Event = field(default_factory=threading.Event)
    watcher: threading.Thread | None = None


class AgentPool(Closing):
    """The agents of a session. Leaving the `with` block ends every one of them, within seconds.

    An agent is a process in a group of its own, so that Ctrl-C reaches only its supervisor, which
    then ends it in order: SIGTERM to the group, SIGKILL after a grace. A small process beside the
    pool (see `guard`) ends the agents and all that they started, should the supervisor be killed.

        with AgentPool("build-7") as pool:
            pool.spawn("reviewer", ["sh", "-c", "echo ready >/dev/fd/$ORCHWATCH_READY_FD; work"])
            event = pool.receive(60.0)

    Args:
        session_id: The session that the agents work for; their operations carry it.
        limits: How many, how long, how often.
        before: Asked before each process is started (`SubagentStart`); it may refuse.
        after: Run after each process has ended (`SubagentStop`).

    Attributes:
        agents: Those that run or are to be started again, by name.
        events: What happened to them, as `receive` reads it. A program that waits for something
            else, too, puts that into it.
    """

    def __init__(
        self,
        session_id: str,
        limits: Limits | None = None,
        *,
        before: Hook | None = None,
        after: Hook | None = None,
    ) -> None:
        self.agents: dict[str, Agent] = {}
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._session_id = session_id
        self._limits = limits or Limits()
        self._before, self._after = before, after
        self._mark = processes.mark(session_id, processes.identity())
        self._places = threading.BoundedSemaphore(self._limits.agents)
        self._changing = threading.Lock()
        self._closed = False
        self._guard: subprocess.Popen[bytes] | None = None

    def spawn(self, name: str, start: Start) -> Agent:
        """Start an agent, and wait until it is ready.

        Args:
            name: Unlike that of every other agent of the pool that runs.
            start: Its command, or what gives the `Launch` of each of its processes, by its name.

        Raises:
            AgentError: There is no place for it, a hook refuses it, or it did not become ready in
                time; nothing of it is left.
        """
        deadline = time.monotonic() + self._limits.ready_s
        with self._spawning(name) as op:
            agent = self._reserve(name, start, deadline)
            try:
                self._start(agent, deadline, op)
            except BaseException:
                self._give_up_place(agent)
                raise
            agent.watcher = threading.Thread(
                target=self._watch, args=(agent,), name=f"agent-{name}", daemon=True
            )
            agent.watcher.start()
            return agent

    def receive(self, timeout_s: float) -> AgentEvent | None:
        """The next thing that happened to an agent; None where nothing did in time."""
        try:
            event: AgentEvent = self.events.get(timeout=timeout_s)
        except queue.Empty:
            return None
        return event

    def stop(self, name: str) -> None:
        """End an agent: SIGTERM to its group, SIGKILL after the grace; it is not started again.

        Raises:
            AgentError: The pool has none of that name.
        """
        agent = self.agents.get(name)
        if agent is None:
            raise AgentError(f"agent {name!r} does not run")
        self._end([agent])

    def close(self, leave_s: float = 0.0) -> None:
        """End all agents; safe to call again.

        Args:
            leave_s: Seconds that they may take to leave by themselves before SIGTERM.
        """
        with self._changing:
            self._closed = True
            agents = list(self.agents.values())
        for agent in agents:
            agent.stopping.set()
        deadline = time.monotonic() + leave_s
        for agent in agents:
            if leave_s and hasattr(agent, "process"):
                processes.wait(agent.process.pid, max(0.0, deadline - time.monotonic()))
        self._end(agents)
        processes.end_all(
            lambda: processes.marked(lambda mark: mark == self._mark), self._limits.grace_s
        )
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.wait()

    def _reserve(self, name: str, start: Start, deadline: float) -> Agent:
        if not self._places.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise AgentError(
                f"agent {name}: no place for it within {self._limits.ready_s:g} s, as"
                f" {self._limits.agents} run"
            )
        with self._changing:
            closed, taken = self._closed, name in self.agents
            if not closed and not taken:
                agent = self.agents[name] = Agent(name, start)
                return agent
        self._places.release()
        reason = "the pool is closed" if closed else "another one of that name runs"
        raise AgentError(f"agent {name}: {reason}")

    def _give_up_place(self, agent: Agent) -> None:
        with self._changing:
            del self.agents[agent.name]
        self._places.release()
        self._gauge()

    def _start(self, agent: Agent, deadline: float, op: operation) -> None:
        """Start one process and wait until it is ready; where it is not, nothing of it is left."""
        self._ask(agent)
        launch = agent.start(agent.name) if callable(agent.start) else Launch(command=agent.start)
        says, told = os.pipe()
        try:
            self._run(agent, launch, told)
            op.set_attribute(semconv.PROCESS_PID, agent.process.pid)
            try:
                reason = (
                    not_ready(agent.process.pid, says, deadline, agent.stopping)
                    if launch.announces
                    else ""
                )
            except BaseException:
                self._collect(agent)
                raise
        finally:
            os.close(says)
        if reason or agent.stopping.is_set():
            status = self._collect(agent)
            reason = reason or "was stopped as it became ready"
            raise AgentError(f"agent {agent.name} {reason} (exit status {status})")
        self._gauge()
        self.events.put(AgentEvent(agent.name, "ready", agent.process.pid))

    def _run(self, agent: Agent, launch: Launch, told: int) -> None:
        try:
            with signals.held_back():
                self._watch_over()
                agent.process = self._popen(agent, launch, told)
                agent.starts += 1
        finally:
            for descriptor in (told, *launch.pass_fds):
                os.close(descriptor)

    def _popen(self, agent: Agent, launch: Launch, told: int) -> subprocess.Popen[bytes]:
        identity = {
            semconv.SESSION_ID: self._session_id,
            semconv.GEN_AI_AGENT_NAME: agent.name,
        }
        environment = {
            **child_environment(identity),
            **launch.environment,
            processes.MARK: self._mark,
            READY_FD: str(told),
        }
        try:
            return subprocess.Popen(
                list(launch.command),
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=(told, *launch.pass_fds),
                process_group=0,
            )
        except (OSError, ValueError, TypeError, IndexError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise AgentError(f"agent {agent.name} cannot be started: {reason}") from error

    def _watch_over(self) -> None:
        """Have a process beside this one that ends the agents when this one is gone."""
        with self._changing:
            if self._guard is not None and self._guard.poll() is None:
                return
            # Another supervisor's guard must not take it for one of that one's agents.
            environment = {key: os.environ[key] for key in os.environ if key != processes.MARK}
            grace = str(self._limits.grace_s)
            self._guard = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))),
                    *(str(os.getpid()), self._mark, grace),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def _watch(self, agent: Agent) -> None:
        """Wait for each process of an agent to end, and start the next one."""
        failures = 0
        while True:
            started_s = time.monotonic()
            ended = processes.wait(agent.process.pid, self._limits.run_s)
            status = self._collect(agent)
            told = agent.stopping.is_set()
            kind: EventKind = "timeout" if not ended else "ended" if not status or told else "lost"
            self._tell(agent, kind, status)
            if kind == "ended":
                return
            if time.monotonic() - started_s > self._limits.max_backoff_s:
                failures = 0
            if not self._restart(agent, failures):
                return
            failures += 1

    def _restart(self, agent: Agent, failures: int) -> bool:
        """Whether there is a process again, after as many attempts as are left; else it is over."""
        reason = f"{self._limits.restarts} restarts in a row did not help"
        for attempt in range(failures, self._limits.restarts):
            pause_s = min(self._limits.max_backoff_s, self._limits.backoff_s * 2**attempt)
            if agent.stopping.wait(pause_s):
                self._give_up_place(agent)
                return False
            count(semconv.AGENT_RESTARTS, unit="{restart}")
            deadline = time.monotonic() + self._limits.ready_s
            try:
                with self._spawning(agent.name) as op:
                    self._start(agent, deadline, op)
            except Exception as error:  # noqa: BLE001 - the caller's code, too; its span has failed
                reason = str(error) or type(error).__name__
            else:
                return True
        # Before it is told: another one of that name may be started then.
        self._give_up_place(agent)
        self.events.put(
            AgentEvent(agent.name, "failed", agent.process.pid, agent.process.returncode, reason)
        )
        return False

    def _collect(self, agent: Agent) -> int:
        """End what is left of an agent's group, and give the exit status of its process."""
        # Before it is waited for: as long as it is not, no other group can have its number.
        processes.end_group(agent.process.pid, self._limits.grace_s)
        return agent.process.wait(_COLLECT_TIMEOUT_S)

    def _end(self, agents: list[Agent]) -> None:
        """End their processes at once; each agent's watcher then ends what is left of its group."""
        for agent in agents:
            agent.stopping.set()
        running = [agent.process for agent in agents if hasattr(agent, "process")]
        for process in running:
            _signal_group(process, signal.SIGTERM)
            # One that was stopped takes SIGTERM only once it goes on.
            _signal_group(process, signal.SIGCONT)
        deadline = time.monotonic() + self._limits.grace_s
        for process in running:
            if not processes.wait(process.pid, max(0.0, deadline - time.monotonic())):
                _signal_group(process, signal.SIGKILL)
        for agent in agents:
            if agent.watcher is not None:
                agent.watcher.join(self._limits.grace_s + _COLLECT_TIMEOUT_S)

    def _ask(self, agent: Agent) -> None:
        if self._before is None:
            return
        told = {"session_id": self._session_id, "agent_id": agent.name}
        result = hooks.process(self._before, "SubagentStart", told)
        if result.outcome == "blocked":
            raise AgentError(f"agent {agent.name}: a hook refused it: {result.reason}")

    def _tell(self, agent: Agent, kind: EventKind, status: int) -> None:
        if self._after is not None:
            told = {"session_id": self._session_id, "agent_id": agent.name, "exit_status": status}
            # Its span is recorded as failed; OSError: the current directory is gone.
            with contextlib.suppress(hooks.HookError, OSError):
                hooks.process(self._after, "SubagentStop", told)
        if kind == "ended":
            self._give_up_place(agent)  # before it is told, as in `_restart`
        self.events.put(AgentEvent(agent.name, kind, agent.process.pid, status))

    def _spawning(self, name: str) -> operation:
        return operation(
            semconv.AGENT_SPAWN,
            {semconv.GEN_AI_OPERATION_NAME: semconv.CREATE_AGENT, semconv.GEN_AI_AGENT_NAME: name},
        )

    def _gauge(self) -> None:
        gauge(semconv.AGENT_ACTIVE, len(self.agents), unit="{agent}")


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
