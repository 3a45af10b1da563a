"""The rows of a task graph: tasks with how many others each waits for, and who needs whom."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

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

# The index gives the next task, whether one is left, and the counts.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks(
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
    priority INTEGER NOT NULL, waiting INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT '', agent TEXT NOT NULL DEFAULT '',
    data TEXT NOT NULL, result TEXT NOT NULL DEFAULT 'null', reason TEXT NOT NULL DEFAULT '',
    changed_ns INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS tasks_by_status ON tasks(status, priority DESC, number);
CREATE TABLE IF NOT EXISTS dependencies(
    needed INTEGER NOT NULL, task INTEGER NOT NULL, PRIMARY KEY(needed, task)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dependencies_by_task ON dependencies(task, needed)
"""
_OPEN = ("waiting", "ready", "claimed")
_OVER_BADLY = ("failed", "skipped")


class Claimed(NamedTuple):
    """A task that is claimed now."""

    number: int
    id: str
    attempt: int
    owner: str
    agent: str


def make(connection: sqlite3.Connection) -> None:
    """Makes the tables where they are missing; `executescript` would end the transaction."""
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)


def insert(connection: sqlite3.Connection, tasks: list[NewTask]) -> int:
    """Adds tasks that need no cycle to be looked for; gives how many are ready.

    Raises:
        TaskError: An id is there already, one that is needed is not, or data is not JSON.
    """
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM tasks").fetchone()
    numbers = {task.id: number for number, task in enumerate(tasks, last + 1)}
    for name in numbers:
        if _find(connection, name) is not None:
            raise TaskError(f"task {name!r} is there already")
    known: dict[str, tuple[int, str]] = {}
    rows, edges, skipped, now_ns = [], [], [], time.time_ns()
    for task in tasks:
        needed = {numbers[name] for name in task.needs if name in numbers}
        waiting = len(needed)
        for name in [name for name in dict.fromkeys(task.needs) if name not in numbers]:
            if name not in known:
                known[name] = _existing(connection, name, task.id)
            number, status = known[name]
            needed.add(number)
            waiting += status != "completed"
            if status in _OVER_BADLY:
                skipped.append((numbers[task.id], f"{name!r}, which it needs, was {status}"))
        text = encode(task.id, "data", task.data)
        status = "waiting" if waiting else "ready"
        rows.append((numbers[task.id], task.id, status, task.priority, waiting, text, now_ns))
        edges += [(number, numbers[task.id]) for number in needed]
    connection.executemany(
        "INSERT INTO tasks(number, id, status, priority, waiting, data, changed_ns)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    connection.executemany("INSERT INTO dependencies VALUES (?, ?)", edges)
    for number, reason in skipped:
        _skip(connection, number, reason)
    return sum(row[2] == "ready" for row in rows)


def connect(connection: sqlite3.Connection, task: str, needs: tuple[str, ...]) -> None:
    """Adds needs of a task that is waiting or ready.

    Raises:
        TaskError: It is neither, or one that is needed is not there.
        CycleError: One that is needed needs the task.
    """
    check(NewTask(task, needs))
    number, status = _existing(connection, task)
    if status not in ("waiting", "ready"):
        raise TaskError(f"task {task!r} is {status}, and can need no more")
    for name in dict.fromkeys(needs):
        needed, its_status = _existing(connection, name, task)
        path = _path(connection, needed, number)
        if path:
            names = [_name(connection, each) for each in path]
            raise CycleError((task, *names))
        added = connection.execute(
            "INSERT OR IGNORE INTO dependencies VALUES (?, ?)", (needed, number)
        )
        if its_status in _OVER_BADLY:
            _skip(connection, number, f"{name!r}, which it needs, was {its_status}")
        elif added.rowcount and its_status != "completed":
            connection.execute(
                "UPDATE tasks SET waiting = waiting + 1, status = 'waiting' WHERE number = ?"
                " AND status IN ('waiting', 'ready')",
                (number,),
            )


def claim(connection: sqlite3.Connection, owner: str, agent: str) -> Claim | None:
    """Takes the next task that is ready."""
    row = connection.execute(
        "UPDATE tasks SET status = 'claimed', attempts = attempts + 1, owner = ?, agent = ?,"
        " changed_ns = ? WHERE number = (SELECT number FROM tasks WHERE status = 'ready'"
        " ORDER BY priority DESC, number LIMIT 1) RETURNING id, data, attempts, agent, number",
        (owner, agent, time.time_ns()),
    ).fetchone()
    return None if row is None else Claim(row[0], json.loads(row[1]), *row[2:])


def looked(connection: sqlite3.Connection) -> tuple[bool, bool]:
    """Whether a task is ready, and whether one is not over."""
    found = [
        connection.execute("SELECT 1 FROM tasks WHERE status = ? LIMIT 1", (status,)).fetchone()
        for status in _OPEN
    ]
    return found[1] is not None, any(found)


def end(connection: sqlite3.Connection, claim: Claim, status: str, result: str | None) -> None:
    """Gives a claimed task its new status.

    Raises:
        ClaimLostError: It is not this claim's.
    """
    ended = connection.execute(
        "UPDATE tasks SET status = ?, result = coalesce(?, result), changed_ns = ?"
        " WHERE number = ? AND id = ? AND status = 'claimed' AND attempts = ?",
        (status, result, time.time_ns(), claim.number, claim.id, claim.attempt),
    )
    if ended.rowcount != 1:
        raise ClaimLostError(
            f"task {claim.id!r} is no longer claimed by attempt {claim.attempt}: it was finished,"
            " released or requeued meanwhile"
        )


def resolve(connection: sqlite3.Connection, number: int) -> int:
    """Tells those that need a completed task; gives how many became ready."""
    found = connection.execute(
        "UPDATE tasks SET waiting = waiting - 1, status = CASE"
        " WHEN waiting = 1 AND status = 'waiting' THEN 'ready' ELSE status END"
        " WHERE number IN (SELECT task FROM dependencies WHERE needed = ?) RETURNING status",
        (number,),
    ).fetchall()
    return sum(status == "ready" for (status,) in found)


def retry(connection: sqlite3.Connection, number: int, reason: str) -> None:
    """Makes a task ready again."""
    _set(connection, number, "ready", reason)


def give_up(connection: sqlite3.Connection, number: int, reason: str) -> None:
    """Lets a task have failed, and skips what needs it, directly or not."""
    _set(connection, number, "failed", reason)
    name = _name(connection, number)
    for dependent in _dependents(connection, number):
        _skip(connection, dependent, f"{name!r}, which it needs, has failed")


def claimed(connection: sqlite3.Connection) -> list[Claimed]:
    """The claimed tasks, oldest first."""
    rows = connection.execute(
        "SELECT number, id, attempts, owner, agent FROM tasks WHERE status = 'claimed'"
        " ORDER BY number"
    )
    return [Claimed(*row) for row in rows]


def get(connection: sqlite3.Connection, task: str) -> Task:
    """One task.

    Raises:
        TaskError: There is none of that id.
    """
    number, _status = _existing(connection, task)
    (found,) = _tasks(connection, "WHERE number = ?", (number,))
    return found


def listed(connection: sqlite3.Connection, status: str | None) -> list[Task]:
    """All tasks, or those of one status, oldest first."""
    if status is None:
        return _tasks(connection, "", ())
    return _tasks(connection, "WHERE status = ?", (status,))


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many tasks have each status."""
    return dict(connection.execute("SELECT status, count(*) FROM tasks GROUP BY status"))


def _tasks(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> list[Task]:
    needs: dict[int, list[str]] = {}
    for number, name in connection.execute(
        "SELECT dependencies.task, tasks.id FROM dependencies"  # noqa: S608 - from this module
        " JOIN tasks ON tasks.number = dependencies.needed"
        f" WHERE dependencies.task IN (SELECT number FROM tasks {where}) ORDER BY tasks.number",
        values,
    ):
        needs.setdefault(number, []).append(name)
    return [
        Task(
            id=row[1],
            status=row[2],
            needs=tuple(needs.get(row[0], ())),
            priority=row[3],
            data=json.loads(row[4]),
            attempts=row[5],
            agent=row[6],
            result=json.loads(row[7]),
            reason=row[8],
        )
        for row in connection.execute(
            "SELECT number, id, status, priority, data, attempts, agent, result, reason"  # noqa: S608
            f" FROM tasks {where} ORDER BY number",
            values,
        )
    ]


def _set(connection: sqlite3.Connection, number: int, status: str, reason: str) -> None:
    connection.execute(
        "UPDATE tasks SET status = ?, reason = ?, changed_ns = ? WHERE number = ?",
        (status, reason, time.time_ns(), number),
    )


def _skip(connection: sqlite3.Connection, number: int, reason: str) -> None:
    """Skips a task that was not over, and what needs it."""
    left = [(number, reason)]
    while left:
        each, why = left.pop()
        name, status = connection.execute(
            "SELECT id, status FROM tasks WHERE number = ?", (each,)
        ).fetchone()
        if status in ("waiting", "ready"):
            _set(connection, each, "skipped", why)
            why = f"{name!r}, which it needs, was skipped"
            left += [(dependent, why) for dependent in _dependents(connection, each)]


def _dependents(connection: sqlite3.Connection, number: int) -> list[int]:
    rows = connection.execute("SELECT task FROM dependencies WHERE needed = ?", (number,))
    return [row[0] for row in rows]


def _find(connection: sqlite3.Connection, task: str) -> tuple[int, str] | None:
    found: tuple[int, str] | None = connection.execute(
        "SELECT number, status FROM tasks WHERE id = ?", (task,)
    ).fetchone()
    return found


def _existing(connection: sqlite3.Connection, task: str, for_task: str = "") -> tuple[int, str]:
    found = _find(connection, task)
    if found is None:
        needed = f", which {for_task!r} needs," if for_task else ""
        raise TaskError(f"task {task!r}{needed} is not there")
    return found


def _name(connection: sqlite3.Connection, number: int) -> str:
    row = connection.execute("SELECT id FROM tasks WHERE number = ?", (number,)).fetchone()
    return str(row[0])


def _path(connection: sqlite3.Connection, start: int, goal: int) -> list[int]:
    """A way from one task to another along what is needed; none where there is no way.

    Only tasks that are not over are looked at: what is over needs nothing that is not.
    """
    came_from = {start: 0}
    left = [start]
    while left:
        number = left.pop()
        if number == goal:
            path = [number]
            while came_from[path[-1]]:
                path.append(came_from[path[-1]])
            return path[::-1]
        for (needed,) in connection.execute(
            "SELECT needed FROM dependencies JOIN tasks ON tasks.number = needed"
            " WHERE task = ? AND tasks.status IN ('waiting', 'ready', 'claimed')",
            (number,),
        ):
            if needed not in came_from:
                came_from[needed] = number
                left.append(needed)
    return []
