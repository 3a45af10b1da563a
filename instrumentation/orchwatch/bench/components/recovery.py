"""Recovery: what it takes to go on after an agent was killed while it wrote."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench import workload
from orchwatch.bench.agent_process import WRITE, WRITTEN
from orchwatch.bench.case import Case, IterationError
from orchwatch.bench.components.agents import pool
from orchwatch.recording.operation import operation
from orchwatch.runtime.session_state import SessionStateManager

if TYPE_CHECKING:
    from pathlib import Path

    from orchwatch.runtime.agents import Agent

_TIMEOUT_S = 30.0
_WRITES = 5


class Recovery(Case):
    """Kills an agent in the middle of its writes; then opens and checks the session anew.

    What it had of tasks goes back to the queue, and another agent takes its place.
    """

    operation = semconv.RECOVERY_RUN

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._name = f"recovery-{os.getpid()}"
        self._state = SessionStateManager(workspace, self._name)
        self._state.merge("$", workload.state())
        self._pool = pool("recovery")
        self._numbers = itertools.count(1)
        self._acknowledged = 0
        self._victim: Agent | None = None
        self._replacement: Agent | None = None

    def prepare(self) -> None:
        name = f"agent-{next(self._numbers)}"
        self._victim = self._pool.spawn(name)
        for number in range(0, workload.TASKS, workload.AGENTS):
            self._state.merge(
                ("tasks", workload.task(number)), {"status": "assigned", "agent": name}
            )
        body = {"root": str(self.workspace), "session": self._name}
        self._victim.channel.deliver(WRITE, body)
        for _ in range(_WRITES):
            received = self._pool.receive(_TIMEOUT_S)
            if received is None or received[1] is None or received[1].kind != WRITTEN:
                raise IterationError("the agent wrote nothing")
            self._acknowledged = received[1].body["version"]
        self._victim.process.kill()
        self._victim.process.wait(_TIMEOUT_S)
        self._state.close()

    def run(self) -> None:
        if self._victim is None:
            raise IterationError("no agent was killed")
        lost = self._victim.name
        with operation(semconv.RECOVERY_RUN, {semconv.GEN_AI_AGENT_NAME: lost}):
            self._state = SessionStateManager(self.workspace, self._name)
            self._state.verify()
            with self._state.transaction() as state:
                tasks = state.get("tasks")
                for name, task in tasks.items():
                    if task["agent"] == lost and task["status"] == "assigned":
                        state.merge(("tasks", name), {"status": "pending", "agent": None})
            self._pool.end(self._victim)
            self._replacement = self._pool.spawn(lost)
        if self._state.version() < self._acknowledged:
            raise IterationError("an acknowledged write is lost")

    def settle(self) -> None:
        for agent in (self._victim, self._replacement):
            if agent is not None:
                self._pool.end(agent)
        while self._pool.receive(0) is not None:
            pass  # that they are gone

    def close(self) -> None:
        self._pool.close()
        self._state.cleanup()
