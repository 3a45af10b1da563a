"""The demo's agents: worker processes of a pool that the supervisor talks to over the bus."""

from __future__ import annotations

import queue
import sys
import threading
from typing import TYPE_CHECKING, Self

from orchwatch.runtime.agents import AgentError, AgentEvent, Launch
from orchwatch.runtime.message import MessageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any

    from orchwatch.runtime.agents import AgentPool
    from orchwatch.runtime.message import Message
    from orchwatch.runtime.message_bus import MessageBus

WORKER = (sys.executable, "-m", "orchwatch.demo.worker")
REPORT = "report"
REFUSAL = "refusal"
LEAVE = "leave"
OVER = ("ended", "failed")
LEAVE_TIMEOUT_S = 2.0
# How long the thread that reads takes to notice that it should end.
_READ_S = 0.2


class Crew:
    """Hands work to the agents of a session, and hears from them and about them.

    Leaving the `with` block ends the thread that reads their messages; the pool ends the agents.

    Args:
        pool: The session's.
        bus: The session's, under the supervisor's name.
        session_id: Whose agents they are.
    """

    def __init__(self, pool: AgentPool, bus: MessageBus, session_id: str) -> None:
        self._pool = pool
        self._bus = bus
        self._session_id = session_id
        self._put_aside: list[tuple[str, Message | AgentEvent]] = []
        self._mailbox = bus.mailbox(sole_reader=True)
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
        self._closed.set()
        self._reader.join()
        self._mailbox.close()

    def join(self, name: str) -> int:
        """Start an agent and wait until it is ready; gives its process's id.

        Raises:
            AgentError: It did not become ready.
        """
        self._pool.spawn(name, self._launch)
        return self.ready(name)

    def ready(self, name: str) -> int:
        """Wait until an agent is ready, also one that is being started again; gives its pid.

        Raises:
            AgentError: It will not be.
        """
        earlier, self._put_aside = self._put_aside, []
        while True:
            received = about, what = earlier.pop(0) if earlier else self._next(None)
            if about == name and isinstance(what, AgentEvent):
                if what.kind == "ready":
                    self._put_aside += earlier
                    return what.pid
                if what.kind in OVER:
                    raise AgentError(f"agent {name} does not come back: {what.reason}")
            else:
                self._put_aside.append(received)

    def deliver(
        self, name: str, kind: str, body: Mapping[str, Any], baggage: Mapping[str, str]
    ) -> None:
        """Send an agent a message; if it is killed before it has taken it, the next one will.

        Raises:
            MessageError: It cannot be sent.
        """
        self._bus.send(name, kind, dict(body), baggage=baggage)

    def receive(self, timeout_s: float) -> tuple[str, Message | AgentEvent] | None:
        """The next message of an agent, or what happened to one; None where nothing did in time."""
        if self._put_aside:
            return self._put_aside.pop(0)
        try:
            return self._next(timeout_s)
        except queue.Empty:
            return None

    def kill(self, name: str) -> int:
        """Kill an agent's process without warning, and give its pid; the pool starts another."""
        process = self._pool.agents[name].process
        process.kill()
        return process.pid

    @property
    def names(self) -> list[str]:
        """The agents that run or are being started again."""
        return list(self._pool.agents)

    def leave(self) -> None:
        """Ask the agents to go, and give them the time to finish what they are recording."""
        self._bus.broadcast(LEAVE)
        self._pool.close(LEAVE_TIMEOUT_S)

    def _next(self, timeout_s: float | None) -> tuple[str, Message | AgentEvent]:
        found = self._pool.events.get(timeout=timeout_s)
        return (found.agent, found) if isinstance(found, AgentEvent) else found

    def _read(self) -> None:
        while not self._closed.is_set():
            try:
                self._mailbox.handle(
                    lambda message: self._pool.events.put((message.sender, message)),
                    timeout_s=_READ_S,
                )
            except MessageError:  # a stopped agent may hold the bus up, until it is killed
                self._closed.wait(_READ_S)

    def _launch(self, name: str) -> Launch:
        return Launch(command=[*WORKER, str(self._bus.path), self._session_id, name])
