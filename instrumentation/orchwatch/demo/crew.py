"""The demo's agents: worker processes of a pool, each with a line to the supervisor."""

from __future__ import annotations

import queue
import socket
import sys
import time
from typing import TYPE_CHECKING

from orchwatch.runtime.agents import AgentError, AgentEvent, Launch
from orchwatch.runtime.messages import Channel, Message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from orchwatch.runtime.agents import AgentPool

WORKER = (sys.executable, "-m", "orchwatch.demo.worker")
REPORT = "report"
REFUSAL = "refusal"
OVER = ("ended", "failed")
LEAVE_TIMEOUT_S = 2.0

Received = tuple[str, Message | AgentEvent]


class Crew:
    """Hands work to the agents of a session, and hears from them and about them.

    Args:
        pool: The session's.
        session_id: Whose agents they are.
    """

    def __init__(self, pool: AgentPool, session_id: str) -> None:
        self._pool = pool
        self._session_id = session_id
        self._channels: dict[str, Channel] = {}
        self._put_aside: list[Received] = []

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
        """Send an agent a message.

        Raises:
            DeliveryError: It is gone, or did not acknowledge in time.
        """
        self._channels[name].deliver(kind, body, baggage)

    def receive(self, timeout_s: float) -> Received | None:
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
        """Hang up, and give the agents the time to finish what they are recording."""
        for channel in self._channels.values():
            channel.close()
        self._pool.close(LEAVE_TIMEOUT_S)

    def _next(self, timeout_s: float | None) -> Received:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            found = self._pool.events.get(timeout=left_s)
            return (found.agent, found) if isinstance(found, AgentEvent) else found

    def _launch(self, name: str) -> Launch:
        ours, theirs = socket.socketpair()

        def sink(message: Message | None) -> None:
            if message is not None:  # the pool says when a process has ended
                self._pool.events.put((name, message))

        before = self._channels.pop(name, None)
        if before is not None:
            before.close()
        self._channels[name] = Channel(ours, name, sink)
        descriptor = theirs.detach()
        return Launch(command=[*WORKER, str(descriptor), self._session_id], pass_fds=(descriptor,))
