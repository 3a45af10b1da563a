"""Tasks that wait for each other, in the session's database, worked off by many processes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from graphlib import CycleError as _FoundCycle
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.recording.metrics import count
from orchwatch.recording.operation import operation
from orchwatch.runtime import processes, task_rows
from orchwatch.runtime.state_tree import Writer
from orchwatch.runtime.task import (
    Claim,
    ClaimLostError,
    CycleError,
    NewTask,
    Task,
    TaskError,
    check,
    encode,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from orchwatch.runtime.session_state import SessionStateManager

MAX_ATTEMPTS = 3
_POLL_S = 0.02


class TaskGraph:
    """The tasks of one session; any number of processes may add, claim and finish them at once.

    A task is `waiting` for those it needs, then `ready`, `claimed` by a process, and `completed`,
    `failed`, or `skipped` where one that it needs failed. What a call has acknowledged by
    returning is as durable as the session's state, in whose database it lies. To finish a task
    costs what depends on it, however large the graph is.

    A claim belongs to the process that made it, until it finishes, fails or releases it, or is
    gone: then `requeue_lost` makes the task ready again.

        graph = TaskGraph(state)
        graph.add("build")
        graph.add("test", needs=["build"])
        while (claim := graph.claim()) is not None:
            graph.finish(claim, {"took_s": 1.5})

    Args:
        state: The session, open.
        max_attempts: So many claims of a task may fail or be lost; then it has failed.

    Raises:
        StateError: The session's database cannot be used.
    """

    def __init__(self, state: SessionStateManager, *, max_attempts: int = MAX_ATTEMPTS) -> None:
        if max_attempts < 1:
            raise TaskError(f"max_attempts must be at least 1, not {max_attempts!r}")
        self._session_id = state.id
        self._database = state.database
        self._max_attempts = max_attempts
        with self._database.writing() as connection:
            task_rows.make(connection)

    def add(
        self, task: str, *, needs: Iterable[str] = (), priority: int = 0, data: Any = None
    ) -> None:
        """Add one task, see `add_all`.

        Args:
            task: Its id.
            needs: The ids of those that must be completed before.
            priority: Of those that are ready, the highest is claimed first, the oldest of these.
            data: JSON for who claims it.

        Raises:
            TaskError: As `add_all`.
        """
        self.add_all([NewTask(task, needs=tuple(needs), priority=priority, data=data)])

    def add_all(self, tasks: Iterable[NewTask]) -> None:
        """Add tasks, in any order among themselves: all of them, or after an error none.

        Raises:
            CycleError: They would wait for each other.
            TaskError: An id is there already, one that is needed is not, or data is not JSON.
        """
        fresh = {}
        for task in tasks:
            check(task)
            if task.id in fresh:
                raise TaskError(f"task {task.id!r} is there already")
            fresh[task.id] = task
        try:
            TopologicalSorter({task.id: task.needs for task in fresh.values()}).prepare()
        except _FoundCycle as error:
            # Each one of the list is needed by the next.
            raise CycleError(tuple(reversed(error.args[1]))) from None
        with self._resolving() as op, self._database.writing() as connection:
            ready = task_rows.insert(connection, list(fresh.values()))
            op.set_attribute(semconv.RESULT_COUNT, ready)

    def depend(self, task: str, needs: Iterable[str]) -> None:
        """Have an unclaimed task wait for others, too.

        Raises:
            CycleError: They would wait for each other; nothing was changed.
            TaskError: One of them is not there, or the task is claimed or over.
        """
        with self._resolving(), self._database.writing() as connection:
            task_rows.connect(connection, task, tuple(needs))

    def claim(self, agent: str = "", *, timeout_s: float = 0.0) -> Claim | None:
        """Take the task that is ready and has the highest priority.

        Args:
            agent: Who will do it, a name for `release` and `tasks`.
            timeout_s: Wait so long for one to become ready, unless all tasks are over before.

        Returns:
            None where none was ready in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            # Most of those that find nothing do not make the others wait for a lock.
            with self._database.reading() as connection:
                found, open_tasks = task_rows.looked(connection)
            if found:
                with self._database.writing() as connection:
                    claim = task_rows.claim(connection, processes.identity(), agent)
                if claim is not None:
                    return claim
            if not open_tasks or time.monotonic() >= deadline:
                return None
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))

    def finish(self, claim: Claim, result: Any = None) -> None:
        """Say that a task is done; those that waited for it alone become ready.

        Raises:
            ClaimLostError: The task was finished, released or requeued meanwhile.
            TaskError: `result` is not JSON.
        """
        with self.finishing(claim, result):
            pass

    @contextmanager
    def finishing(self, claim: Claim, result: Any = None) -> Iterator[Writer]:
        """Finish a task and write to the session's state: both happen, or neither does.

        So what a task leaves in the state is there once, whichever process is killed, and when.

        Raises:
            ClaimLostError, TaskError: As `finish`; nothing was written.
        """
        text = encode(claim.id, "result", result)
        with self._resolving() as op:
            with self._database.writing() as connection:
                task_rows.end(connection, claim, "completed", text)
                yield Writer(connection)
                op.set_attribute(semconv.RESULT_COUNT, task_rows.resolve(connection, claim.number))
            count(semconv.TASK_COMPLETED, unit="{task}")

    def fail(self, claim: Claim, reason: str) -> str:
        """Say that a task could not be done.

        Returns:
            `ready`: it is tried again. `failed`: it was the last attempt, and what needs the task
            is skipped.

        Raises:
            ClaimLostError: As `finish`.
        """
        with self._resolving(), self._database.writing() as connection:
            task_rows.end(connection, claim, "claimed", None)
            return self._give_up_or_retry(connection, claim.number, claim.attempt, reason)

    def release(self, agent: str) -> list[str]:
        """Take back what this process claimed for an agent that is gone; the ids, oldest first."""
        with self._resolving() as op, self._database.writing() as connection:
            owner = processes.identity()
            claimed = task_rows.claimed(connection)
            found = [row for row in claimed if (row.owner, row.agent) == (owner, agent)]
            op.set_attribute(semconv.RESULT_COUNT, len(found))
            return self._requeue(connection, found, f"agent {agent} is gone")

    def requeue_lost(self) -> list[str]:
        """Make ready again what was claimed by processes that are gone; the ids, oldest first.

        However many processes call it at once, each lost claim is requeued once. A task whose last
        attempt was lost has failed.
        """
        with self._resolving() as op, self._database.writing() as connection:
            claimed = task_rows.claimed(connection)
            gone = {
                owner for owner in {row.owner for row in claimed} if not processes.is_running(owner)
            }
            found = [row for row in claimed if row.owner in gone]
            op.set_attribute(semconv.RESULT_COUNT, len(found))
            return self._requeue(connection, found, "the process that had claimed it is gone")

    def get(self, task: str) -> Task:
        """One task.

        Raises:
            TaskError: There is none of that id.
        """
        with self._database.reading() as connection:
            return task_rows.get(connection, task)

    def tasks(self, status: str | None = None) -> list[Task]:
        """All tasks, or those of one status, oldest first."""
        with self._database.reading() as connection:
            return task_rows.listed(connection, status)

    def counts(self) -> dict[str, int]:
        """How many tasks have each status; statuses that none has are left out."""
        with self._database.reading() as connection:
            return task_rows.counts(connection)

    @property
    def unfinished(self) -> bool:
        """Whether a task is waiting, ready or claimed."""
        with self._database.reading() as connection:
            return task_rows.looked(connection)[1]

    def _requeue(
        self, connection: sqlite3.Connection, claims: list[task_rows.Claimed], reason: str
    ) -> list[str]:
        for row in claims:
            self._give_up_or_retry(connection, row.number, row.attempt, reason)
        return [row.id for row in claims]

    def _give_up_or_retry(
        self, connection: sqlite3.Connection, number: int, attempt: int, reason: str
    ) -> str:
        if attempt < self._max_attempts:
            task_rows.retry(connection, number, reason)
            return "ready"
        task_rows.give_up(connection, number, f"{reason} (attempt {attempt})")
        return "failed"

    def _resolving(self) -> operation:
        return operation(semconv.DEPENDENCY_RESOLVE, {semconv.SESSION_ID: self._session_id})


__all__ = ["Claim", "ClaimLostError", "CycleError", "NewTask", "Task", "TaskError", "TaskGraph"]
