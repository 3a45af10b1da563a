"""Recovery: what it takes to go on after an agent was killed while it worked."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench import workload
from orchwatch.bench.agent_process import CLAIMS, MAX_ATTEMPTS, WAIT, WORK, WRITTEN
from orchwatch.bench.case import Case, IterationError
from orchwatch.bench.components.agents import command, end, pool
from orchwatch.bench.components.dependencies import graph_of
from orchwatch.recording.operation import operation
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.tasks import TaskGraph

if TYPE_CHECKING:
    from pathlib import Path

_END_TIMEOUT_S = 60.0


class Recovery(Case):
    """Kills an agent in the middle of its writes; then opens and checks the session anew.

    The tasks that it had claimed go back to the queue, and another agent takes its place.
    """

    operation = semconv.RECOVERY_RUN

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._name = f"recovery-{os.getpid()}"
        self._state = SessionStateManager(workspace, self._name)
        self._state.merge("$", workload.state())
        graph_of(self._state, max_attempts=MAX_ATTEMPTS)
        self._pool = pool("recovery")
        self._numbers = itertools.count(1)
        self._victim = self._replacement = ""
        self._acknowledged = 0

    def prepare(self) -> None:
        self._victim = f"victim-{next(self._numbers)}"
        self._replacement = f"{self._victim}-replacement"
        agent = self._pool.spawn(self._victim, command(WORK, str(self.workspace), self._name))
        self._acknowledged = self._state.get(WRITTEN)
        agent.process.kill()
        while (event := self._pool.receive(_END_TIMEOUT_S)) and event.kind != "failed":
            pass
        self._state.close()

    def run(self) -> None:
        with operation(semconv.RECOVERY_RUN, {semconv.GEN_AI_AGENT_NAME: self._victim}):
            self._state = SessionStateManager(self.workspace, self._name)
            self._state.verify()
            requeued = TaskGraph(self._state, max_attempts=MAX_ATTEMPTS).requeue_lost()
            self._pool.spawn(self._replacement, command(WAIT))
        if len(requeued) != CLAIMS:
            raise IterationError(f"{len(requeued)} tasks were requeued, and {CLAIMS} were claimed")
        if self._state.get(WRITTEN) < self._acknowledged:
            raise IterationError("an acknowledged write is lost")

    def settle(self) -> None:
        for name in (self._victim, self._replacement):
            end(self._pool, name)

    def close(self) -> None:
        self._pool.close()
        self._state.cleanup()
