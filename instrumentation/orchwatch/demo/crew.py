"""The demo's agents: worker processes of a pool that the supervisor talks to over the bus."""

from __future__ import annotations

import queue
import sys
import threading
from typing import TYPE_CHECKING, Self

from orchwatch.runtime.agents import AgentEvent, AgentPool
from orchwatch.runtime.message import MessageError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from orchwatch.demo.session import Session
    from orchwatch.runtime.message import Message

_WORKER = (sys.executable, "-P", "-m", "orchwatch.demo.worker")
WORK = "work"
STARTED = "started"
REPORT = "report"
IDLE = "idle"
REFUSAL = "refusal"
LEAVE = "leave"
LEAVE_TIMEOUT_S = 2.0
# How long the thread that reads takes to notice that it should end.
_READ_S = 0.2


class Crew:
    """The agents of a session: starts them, hears from them and about them.

    Leaving the `with` block ends them, and the thread that reads their messages.

    Args:
        session: The supervisor's.
        root: The workspace that it lies in.
    """

    def __init__(self, session: Session, root: Path) -> None:
        self.pool = AgentPool(session.id)
        self._bus = session.bus
        self._command = [*_WORKER, str(root), session.id]
        self._mailbox = session.bus.mailbox(sole_reader=True)
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, name="messages", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.pool.close()
        finally:
            self._closed.set()
            self._reader.join()
            self._mailbox.close()

    def join(self, name: str) -> None:
        """Start an agent and wait until it is ready.

        Raises:
            AgentError: It did not become ready.
        """
        self.pool.spawn(name, [*self._command, name])

    def wake(self, name: str) -> None:
        """Tell an agent that has found nothing to do that there is something.

        Raises:
            MessageError: It cannot be sent.
        """
        self._bus.send(name, WORK)

    def receive(self, timeout_s: float) -> Message | AgentEvent | None:
        """The next message of an agent, or what happened to one; None where nothing did in time."""
        try:
            found: Message | AgentEvent = self.pool.events.get(timeout=timeout_s)
        except queue.Empty:
            return None
        return found

    def kill(self, name: str) -> int | None:
        """Kill an agent's process without warning; the pool starts another.

        Returns:
            Its pid; None where it was gone already.
        """
        agent = self.pool.agents.get(name)
        if agent is None or not agent.starts:
            return None
        agent.process.kill()
        return agent.process.pid

    @property
    def names(self) -> list[str]:
        """The agents that run or are being started again."""
        return list(self.pool.agents)

    def leave(self) -> None:
        """Ask the agents to go, and give them the time to finish what they are recording."""
        self._bus.broadcast(LEAVE)
        self.pool.close(LEAVE_TIMEOUT_S)

    def _read(self) -> None:
        while not self._closed.is_set():
            try:
                self._mailbox.handle(self.pool.events.put, timeout_s=_READ_S)
            except MessageError:  # a stopped agent may hold the bus up, until it is killed
                self._closed.wait(_READ_S)
