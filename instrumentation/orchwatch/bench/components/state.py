"""A session's state of 1 MB: queries, durable writes of one member, and a copy of all of it."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.bench import workload
from orchwatch.bench.case import Case, IterationError
from orchwatch.runtime.queries import QueryAPI
from orchwatch.runtime.session_state import SessionStateManager

if TYPE_CHECKING:
    from pathlib import Path

_MIDDLE = workload.TASKS // 2
# What an orchestrator asks most, and how many values each has to give.
_QUERIES = (
    (f"$.tasks['{workload.task(_MIDDLE)}'].status", 1),
    ("$.agents.*.status", workload.AGENTS),
    ("$.tasks[?@.status == 'active'].id", len(range(1, workload.TASKS, 3))),
    (f"$.tasks[?@.agent == '{workload.agent(1)}'].id", workload.TASKS // workload.AGENTS),
)
# None of these has an index: each looks at every task.
_SEARCHES = tuple(f"$.tasks[?@.priority > {priority}].id" for priority in range(8))


class _Shared(Case):
    """A session that holds the whole state."""

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self.state = SessionStateManager(workspace, f"{self.operation}-{os.getpid()}")
        self.state.merge("$", workload.state())
        self.turns = itertools.count(1)

    def close(self) -> None:
        self.state.cleanup()


class StateQuery(_Shared):
    """Asks one query after the other; before each one a task is written, as others do meanwhile."""

    operation = semconv.STATE_QUERY

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._queries = QueryAPI(self.state)
        self._asked = itertools.cycle(_QUERIES)

    def prepare(self) -> None:
        turn = next(self.turns)
        self.state.set(("tasks", workload.task(turn % workload.TASKS), "failures"), turn)

    def run(self) -> None:
        path, wanted = next(self._asked)
        found = self._queries.query(path)
        if len(found) != wanted:
            raise IterationError(f"{path} gave {len(found)} values, not {wanted}")


class StateReread(_Shared):
    """Asks questions again that were asked before, as nothing was written meanwhile."""

    operation = "state.reread"

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._queries = QueryAPI(self.state)

    def run(self) -> None:
        found = self._queries.bulk_query(_SEARCHES)
        if not all(found.values()):
            raise IterationError("a search gave nothing")


class StatePersist(_Shared):
    """Writes a checkpoint of the whole state, with its checksum."""

    operation = semconv.STATE_PERSIST

    def prepare(self) -> None:
        self.state.set(("tasks", workload.task(_MIDDLE), "failures"), next(self.turns))

    def run(self) -> None:
        self.state.checkpoint()


class StateSet(_Shared):
    """Writes one member of it."""

    operation = "state.set"

    def run(self) -> None:
        turn = next(self.turns)
        self.state.set(("tasks", workload.task(turn % workload.TASKS), "failures"), turn)
