"""Messages: from the sender to another process, acknowledged."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench import workload
from orchwatch.bench.case import Case
from orchwatch.bench.components.agents import pool

if TYPE_CHECKING:
    from pathlib import Path


class MessageDeliver(Case):
    """Hands one task after the other to an agent."""

    operation = semconv.MESSAGE_DELIVER

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._pool = pool("message")
        self._agent = self._pool.spawn("reader")
        self._tasks = itertools.cycle(workload.state()["tasks"].values())

    def run(self) -> None:
        self._agent.channel.deliver("task", next(self._tasks))

    def close(self) -> None:
        self._pool.close()
