"""Agents: real processes, from the request to the moment that they are ready."""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench.case import Case
from orchwatch.runtime.agents import Agent, AgentPool

if TYPE_CHECKING:
    from pathlib import Path

WORKER = (sys.executable, "-m", "orchwatch.bench.agent_process")


def pool(purpose: str) -> AgentPool:
    """A pool of agents that acknowledge what they are told."""
    return AgentPool(f"bench-{purpose}-{os.getpid()}", WORKER)


class AgentSpawn(Case):
    """Starts an agent each time, and ends it."""

    operation = semconv.AGENT_SPAWN

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._pool = pool("spawn")
        self._numbers = itertools.count(1)
        self._agent: Agent | None = None

    def run(self) -> None:
        self._agent = self._pool.spawn(f"agent-{next(self._numbers)}")

    def settle(self) -> None:
        if self._agent is not None:
            self._pool.end(self._agent)
            self._agent = None
        while self._pool.receive(0) is not None:
            pass  # that it is gone

    def close(self) -> None:
        self._pool.close()
