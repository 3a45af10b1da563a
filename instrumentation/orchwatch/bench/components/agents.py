"""Agents: real processes, from the request to the moment that they are ready."""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench.agent_process import WAIT
from orchwatch.bench.case import Case
from orchwatch.runtime.agents import AgentPool, Limits

if TYPE_CHECKING:
    from pathlib import Path

# A busy machine may take long; one that is lost is replaced by the benchmark, and not by its pool.
_LIMITS = Limits(ready_s=60.0, restarts=0)


def pool(purpose: str) -> AgentPool:
    """A pool of its own for each process that benchmarks."""
    return AgentPool(f"bench-{purpose}-{os.getpid()}", _LIMITS)


def command(role: str, *arguments: str) -> list[str]:
    """What an agent runs, see `agent_process`."""
    return [sys.executable, "-m", "orchwatch.bench.agent_process", role, *arguments]


class AgentSpawn(Case):
    """Starts an agent each time, and ends it."""

    operation = semconv.AGENT_SPAWN

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._pool = pool("spawn")
        self._numbers = itertools.count(1)
        self._name = ""

    def run(self) -> None:
        self._name = f"agent-{next(self._numbers)}"
        self._pool.spawn(self._name, command(WAIT))

    def settle(self) -> None:
        end(self._pool, self._name)

    def close(self) -> None:
        self._pool.close()


def end(agents: AgentPool, name: str) -> None:
    """Ends an agent, if it still runs, and forgets what the pool said of it."""
    if name in agents.agents:
        agents.stop(name)
    while agents.receive(0) is not None:
        pass
