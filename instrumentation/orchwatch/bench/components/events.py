"""Events: logged durably and folded into the state."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.bench import workload
from orchwatch.bench.case import Case
from orchwatch.runtime.event_processing import EventProcessor
from orchwatch.runtime.events import EventLog

if TYPE_CHECKING:
    from pathlib import Path

    from orchwatch.runtime.event import Event


class EventProcess(Case):
    """Takes in that a task was assigned, one after the other, in a state of 1 MB."""

    operation = semconv.EVENT_PROCESS

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._log = EventLog(workspace / "events.sqlite3")
        self._processor = EventProcessor(
            self._log,
            workload.state(),
            {"task.assigned": _assigned},
            session_id=f"event-{os.getpid()}",
            source="bench",
        )
        self._numbers = itertools.cycle(range(workload.TASKS))

    def run(self) -> None:
        number = next(self._numbers)
        agent = workload.agent(number % workload.AGENTS)
        self._processor.process("task.assigned", id=workload.task(number), agent=agent)

    def close(self) -> None:
        self._log.close()


def _assigned(state: dict[str, Any], event: Event) -> None:
    task = state["tasks"][event.data["id"]]
    task |= {"status": "active", "agent": event.data["agent"]}
    state["agents"][event.data["agent"]]["status"] = "busy"
