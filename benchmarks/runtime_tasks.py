"""What a finished task costs, however large the graph: `make bench-runtime`.

Each graph is many small ones: three tasks that need one, three more that need these. The floor is
plain SQLite that takes a row and marks it done, with the same durability, in the same run.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from pathlib import Path
from statistics import median

from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.tasks import NewTask, TaskGraph

SIZES = (100, 1_000, 10_000, 100_000)
FINISHED = 60
_GROUP = 7


def _tasks(size: int) -> list[NewTask]:
    tasks = []
    for group in range(size // _GROUP):
        first = f"{group}-0"
        middle = tuple(f"{group}-{number}" for number in (1, 2, 3))
        tasks.append(NewTask(first))
        tasks += [NewTask(name, needs=(first,)) for name in middle]
        tasks += [NewTask(f"{group}-{number}", needs=middle) for number in (4, 5, 6)]
    return tasks


def _ours(directory: str, size: int) -> tuple[float, float]:
    """Seconds to add one task, and to claim and finish one."""
    with SessionStateManager(directory, f"bench-{size}") as state:
        graph = TaskGraph(state)
        tasks = _tasks(size)
        started_s = time.perf_counter()
        graph.add_all(tasks)
        add_s = (time.perf_counter() - started_s) / len(tasks)
        took_s = []
        for _ in range(FINISHED):
            started_s = time.perf_counter()
            claim = graph.claim()
            assert claim is not None
            graph.finish(claim)
            took_s.append(time.perf_counter() - started_s)
    return add_s, median(took_s)


def _plain(directory: str, size: int) -> float:
    connection = sqlite3.connect(Path(directory) / f"plain-{size}.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE tasks(number INTEGER PRIMARY KEY, status TEXT)")
    connection.execute("CREATE INDEX by_status ON tasks(status, number)")
    connection.execute("BEGIN")
    rows = [(number, "ready") for number in range(size)]
    connection.executemany("INSERT INTO tasks VALUES (?, ?)", rows)
    connection.execute("COMMIT")
    took_s = []
    for _ in range(FINISHED):
        started_s = time.perf_counter()
        (number,) = connection.execute(
            "UPDATE tasks SET status = 'claimed' WHERE number ="
            " (SELECT number FROM tasks WHERE status = 'ready' LIMIT 1) RETURNING number"
        ).fetchone()
        connection.execute("UPDATE tasks SET status = 'completed' WHERE number = ?", (number,))
        took_s.append(time.perf_counter() - started_s)
    connection.close()
    return median(took_s)


def main() -> None:
    """Prints a table."""
    print("  tasks   add one   claim and finish one   plain SQLite   ratio   of the smallest graph")
    smallest_s = 0.0
    for size in SIZES:
        with tempfile.TemporaryDirectory() as directory:
            os.environ["ORCHWATCH_HOME"] = f"{directory}/home"
            add_s, ours_s = _ours(directory, size)
            plain_s = _plain(directory, size)
        smallest_s = smallest_s or ours_s
        print(
            f"{size:7,} {add_s * 1e6:6.0f} us {ours_s * 1e6:19.0f} us {plain_s * 1e6:11.0f} us"
            f" {ours_s / plain_s:7.2f} {ours_s / smallest_s:23.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
