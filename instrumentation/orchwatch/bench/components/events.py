"""Events: logged durably and folded into the state."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench import workload
from orchwatch.bench.case import Case
from orchwatch.runtime.events import HANDLERS, EventLog, EventProcessor

if TYPE_CHECKING:
    from pathlib import Path


class EventProcess(Case):
    """Takes in that a task was assigned, one after the other, in a state of 1 MB."""

    operation = semconv.EVENT_PROCESS

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._log = EventLog(workspace / f"events-{os.getpid()}.jsonl")
        self._processor = EventProcessor(self._log, workload.state(), HANDLERS)
        self._numbers = itertools.cycle(range(workload.TASKS))

    def run(self) -> None:
        number = next(self._numbers)
        agent = workload.agent(number % workload.AGENTS)
        self._processor.process("task.assigned", id=workload.task(number), agent=agent)

    def close(self) -> None:
        self._log.close()
