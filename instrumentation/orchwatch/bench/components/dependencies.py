"""Dependencies: what becomes ready as a task is finished, among 500 that wait for each other."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench import workload
from orchwatch.bench.case import Case, IterationError
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.tasks import Claim, NewTask, TaskGraph

if TYPE_CHECKING:
    from pathlib import Path


def graph_of(state: SessionStateManager, round_number: int = 1, **settings: int) -> TaskGraph:
    """The tasks of the workload, once more in the same session."""
    graph = TaskGraph(state, **settings)
    graph.add_all(
        NewTask(
            f"{round_number}-{workload.task(number)}",
            needs=tuple(f"{round_number}-{task}" for task in workload.needs(number)),
            priority=number % 10,
        )
        for number in range(workload.TASKS)
    )
    return graph


class DependencyResolve(Case):
    """Finishes one task after the other; as all are done, begins with as many new ones."""

    operation = semconv.DEPENDENCY_RESOLVE

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._state = SessionStateManager(workspace, f"dependency-{os.getpid()}")
        self._rounds = itertools.count(1)
        self._graph = graph_of(self._state, next(self._rounds))
        self._claim: Claim | None = None

    def prepare(self) -> None:
        self._claim = self._graph.claim()
        if self._claim is None:
            self._graph = graph_of(self._state, next(self._rounds))
            self._claim = self._graph.claim()

    def run(self) -> None:
        if self._claim is None:
            raise IterationError("no task is ready")
        self._graph.finish(self._claim)

    def close(self) -> None:
        self._state.cleanup()
