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
from orchwatch.runtime import recovery
from orchwatch.runtime.session_state import SessionStateManager

if TYPE_CHECKING:
    from pathlib import Path

_END_TIMEOUT_S = 60.0


class Recovery(Case):
    """Kills an agent in the middle of its writes; then opens the session and recovers it.

    What the agent had claimed is ready again then, and another one has taken its place.
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
        self._state = SessionStateManager(self.workspace, self._name)
        found = recovery.run(self._state, max_attempts=MAX_ATTEMPTS)
        self._pool.spawn(self._replacement, command(WAIT))
        if len(found.requeued) != CLAIMS:
            raise IterationError(f"{len(found.requeued)} of {CLAIMS} claimed tasks were requeued")
        if self._state.get(WRITTEN) < self._acknowledged:
            raise IterationError("an acknowledged write is lost")

    def settle(self) -> None:
        for name in (self._victim, self._replacement):
            end(self._pool, name)

    def close(self) -> None:
        self._pool.close()
        self._state.cleanup()
