"""Agents: real processes, from the request to the moment that they are ready."""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench.agent_process import WAIT
from orchwatch.bench.case import Case, IterationError
from orchwatch.runtime.agents import AgentPool, Launch, Limits

if TYPE_CHECKING:
    from pathlib import Path

# A busy machine may take long; one that is lost is replaced by the benchmark, and not by its pool.
_LIMITS = Limits(ready_s=60.0, restarts=0)
_BATCH = 8


def pool(purpose: str) -> AgentPool:
    """A pool of its own for each process that benchmarks."""
    return AgentPool(f"bench-{purpose}-{os.getpid()}", _LIMITS)


def command(role: str, *arguments: str) -> list[str]:
    """What an agent runs, see `agent_process`."""
    return [sys.executable, "-P", "-m", "orchwatch.bench.agent_process", role, *arguments]


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


class AgentBatch(Case):
    """Puts short processes through a pool, to the end of the last of them."""

    operation = "agent.batch"

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._pool = pool("batch")
        self._numbers = itertools.count(1)

    def run(self) -> None:
        for _ in range(_BATCH):
            self._pool.spawn(f"short-{next(self._numbers)}", _short)
        ended = 0
        while ended < _BATCH:
            event = self._pool.receive(_LIMITS.ready_s)
            if event is None or event.kind not in ("ready", "ended"):
                raise IterationError("an agent did not do its work")
            ended += event.kind == "ended"

    def close(self) -> None:
        self._pool.close()


def _short(_name: str) -> Launch:
    return Launch(
        command=(sys.executable, "-I", "-S", "-c", "sum(range(100_000))"), announces=False
    )


def end(agents: AgentPool, name: str) -> None:
    """Ends an agent, if it still runs, and forgets what the pool said of it."""
    if name in agents.agents:
        agents.stop(name)
    while agents.receive(0) is not None:
        pass
