"""Worker processes as agents: started, watched, and never left behind."""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording.metrics import gauge
from orchwatch.recording.operation import operation
from orchwatch.recording.propagation import child_environment
from orchwatch.runtime import signals
from orchwatch.runtime.messages import Channel, Message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

WORKER = (sys.executable, "-m", "orchwatch.demo.worker")
READY = "ready"
REPORT = "report"
REFUSAL = "refusal"
SPAWN_TIMEOUT_S = 10.0
LEAVE_TIMEOUT_S = 2.0
KILL_TIMEOUT_S = 5.0


class AgentError(OrchwatchError):
    """An agent could not be started, or does nothing for too long."""


@dataclass(eq=False)
class Agent:
    """One worker process and the line to it.

    Attributes:
        name: Its name; a replacement takes over the name of the one it replaces.
        process: The worker process.
        ready: Set once it has said that it is ready, or has gone without saying so.
        lost: Whether its end of the channel is gone.
    """

    name: str
    process: subprocess.Popen[bytes]
    ready: threading.Event = field(default_factory=threading.Event)
    lost: bool = False
    channel: Channel = field(init=False)

    def connect(self, connection: socket.socket, pool: AgentPool) -> None:
        """Start to read from the worker."""

        def sink(message: Message | None) -> None:
            pool.take(self, message)

        self.channel = Channel(connection, self.name, sink)


class AgentPool:
    """The agents of a session. Leaving the `with` block ends every one of them, within seconds.

    A worker lives in a process group of its own, so that Ctrl-C reaches only its supervisor, which
    then ends it in order; a worker whose supervisor was killed reads the end of its stream and
    leaves by itself. Its death, however it comes, closes its end of the channel.

    Attributes:
        agents: Those that run, by name.
    """

    def __init__(self, session_id: str, command: Sequence[str] = WORKER) -> None:
        self.agents: dict[str, Agent] = {}
        self._session_id = session_id
        self._command = command
        self._inbox: queue.SimpleQueue[tuple[Agent, Message | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def spawn(self, name: str) -> Agent:
        """Start a worker and wait until it is ready.

        Raises:
            AgentError: It did not become ready in time; it has been ended.
        """
        attributes = {
            semconv.GEN_AI_OPERATION_NAME: "create_agent",
            semconv.GEN_AI_AGENT_NAME: name,
        }
        with operation(semconv.AGENT_SPAWN, attributes) as op:
            with signals.held_back():
                agent = self._start(name)
            op.set_attribute(semconv.PROCESS_PID, agent.process.pid)
            if not agent.ready.wait(SPAWN_TIMEOUT_S) or agent.lost:
                self.end(agent)
                status = agent.process.returncode
                raise AgentError(f"agent {name} did not become ready (exit status {status})")
            gauge(semconv.AGENT_ACTIVE, len(self.agents), unit="{agent}")
            return agent

    def receive(self, timeout_s: float) -> tuple[Agent, Message | None] | None:
        """The next message and its sender, `(agent, None)` where an agent died, None in time."""
        try:
            return self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def take(self, agent: Agent, message: Message | None) -> None:
        """Sort what an agent's channel has read; called by the thread that reads it."""
        if message is None:
            agent.lost = True
            agent.ready.set()
        elif message.kind == READY:
            agent.ready.set()
            return
        self._inbox.put((agent, message))

    def end(self, agent: Agent) -> None:
        """Kill what is left of an agent and collect its exit status."""
        agent.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            agent.process.wait(KILL_TIMEOUT_S)
        agent.channel.close()
        if self.agents.get(agent.name) is agent:
            del self.agents[agent.name]
            gauge(semconv.AGENT_ACTIVE, len(self.agents), unit="{agent}")

    def close(self) -> None:
        """End all agents: hang up, give them a moment to leave, kill those that did not."""
        agents = list(self.agents.values())
        for agent in agents:
            agent.channel.close()
        deadline = time.monotonic() + LEAVE_TIMEOUT_S
        for agent in agents:
            with contextlib.suppress(subprocess.TimeoutExpired):
                agent.process.wait(max(0.0, deadline - time.monotonic()))
        for agent in agents:
            self.end(agent)

    def _start(self, name: str) -> Agent:
        ours, theirs = socket.socketpair()
        identity = {semconv.SESSION_ID: self._session_id, semconv.GEN_AI_AGENT_NAME: name}
        try:
            process = subprocess.Popen(
                [*self._command, str(theirs.fileno()), self._session_id, name],
                stdin=subprocess.DEVNULL,
                env=child_environment(identity),
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        except OSError as error:
            ours.close()
            raise AgentError(f"agent {name} cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        agent = Agent(name, process)
        agent.connect(ours, self)
        self.agents[name] = agent
        return agent
