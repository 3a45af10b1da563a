"""What a query costs beside a walk over a plain dict: `make bench-runtime`.

A state of about 1 MB with 100 agents and 500 tasks. Each query is asked again and again, with
nothing written in between, and with a write to an agent before each: over what is kept, over
indexes alone, and over neither. The floor is what one would write by hand over a dict in memory.
Times are CPU time of this process, as beside other work the clock shows the scheduler.
"""

from __future__ import annotations

import os
import tempfile
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from orchwatch.runtime.queries import QueryAPI
from orchwatch.runtime.session_state import SessionStateManager

if TYPE_CHECKING:
    from collections.abc import Callable

AGENTS = 100
TASKS = 500
RUNS = 400
_NOTE = "x" * 1700

Document = dict[str, Any]
QUERIES: dict[str, Callable[[Document], list[Any]]] = {
    "$.tasks['task-7'].status": lambda d: [d["tasks"]["task-7"]["status"]],
    "$.tasks[?@.status == 'active'].id": lambda d: [
        task["id"] for task in d["tasks"].values() if task["status"] == "active"
    ],
    "$.tasks[?@.agent == 'agent-7' && @.tries > 1].id": lambda d: [
        task["id"]
        for task in d["tasks"].values()
        if task["agent"] == "agent-7" and task["tries"] > 1
    ],
    "$..pid": lambda d: [agent["pid"] for agent in d["agents"].values()],
    "$.agents[*].status": lambda d: [agent["status"] for agent in d["agents"].values()],
}
MODES: dict[str, dict[str, Any]] = {
    "kept": {},
    "indexes": {"cache_bytes": 0},
    "neither": {"cache_bytes": 0, "optimise": False},
}


def _fill(state: SessionStateManager) -> None:
    state.set("agents", {f"agent-{n}": {"pid": n, "status": "idle"} for n in range(AGENTS)})
    tasks = {}
    for n in range(TASKS):
        status = ("pending", "active", "done")[n % 3]
        tasks[f"task-{n}"] = {
            "id": f"task-{n}",
            "status": status,
            "agent": f"agent-{n % AGENTS}",
            "tries": n % 4,
            "note": _NOTE,
        }
    state.set("tasks", tasks)


def _cost_us(ask: Callable[[], object], before: Callable[[int], object]) -> tuple[float, float]:
    took = []
    for number in range(RUNS):
        before(number)
        started = time.process_time_ns()
        ask()
        took.append((time.process_time_ns() - started) / 1000)
    took.sort()
    return median(took), took[int(RUNS * 0.99)]


def main() -> None:
    """Prints a table."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["ORCHWATCH_HOME"] = f"{directory}/home"
        with SessionStateManager(directory, "bench") as state:
            _fill(state)
            print("query, p50/p99 in us of CPU".ljust(52), end="")
            print("".join(f"{name:>16}{'written to':>16}" for name in MODES), f"{'dict':>8}")
            for path, by_hand in QUERIES.items():
                document = state.document
                assert sorted(QueryAPI(state).query(path)) == sorted(by_hand(document))
                print(path.ljust(52), end="")
                for settings in MODES.values():
                    queries = QueryAPI(state, **settings)
                    for write in (
                        lambda _number: None,
                        lambda number: state.set(("agents", "agent-1", "pid"), number),
                    ):
                        p50, p99 = _cost_us(lambda q=queries, p=path: q.query(p), write)  # type: ignore[misc]
                        print(f"{p50:>9,.0f}/{p99:<6,.0f}", end="")
                floor, _ = _cost_us(lambda h=by_hand, d=document: h(d), lambda _number: None)  # type: ignore[misc]
                print(f"{floor:>8,.1f}", flush=True)


if __name__ == "__main__":
    main()
