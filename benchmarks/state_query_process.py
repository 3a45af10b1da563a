"""What a state query costs as a process of its own: beside a bare interpreter, in turns in one run.

Part of `make bench-runtime`; the state is that of `orchwatch bench`: 1 MB, 100 agents, 500 tasks.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from orchwatch.bench import workload
from orchwatch.runtime.session_state import SessionStateManager
from processes import cost_s

RUNS = 40
# DESIGN: a state query as a CLI process, p95.
LIMIT_S = 0.050
BARE = "python -c pass"
QUERIES = {
    "a member": f"$.agents['{workload.agent(1)}'].status",
    "a filter over the agents": "$.agents[?@.status == 'active']",
    "a filter over the tasks": "$.tasks[?@.status == 'active'].agent",
    "a name at any depth": "$..status",
}


def main() -> int:
    """Prints wall and CPU milliseconds; 3 where the p95 of a query is too long."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["ORCHWATCH_HOME"] = directory
        with SessionStateManager(directory, "bench") as state:
            state.set("$", workload.state())
        command = [str(Path(sys.executable).with_name("orchwatch")), "state", "bench"]
        commands = {BARE: [sys.executable, "-c", "pass"]} | {
            f"state, {title}": [*command, path, "--root", directory]
            for title, path in QUERIES.items()
        }
        costs: dict[str, list[tuple[float, float]]] = {title: [] for title in commands}
        for _ in range(RUNS):
            for title, words in commands.items():
                costs[title].append(cost_s(words, b""))
    bare_s = _quantile([cpu_s for _, cpu_s in costs[BARE]], 0.5)
    print(f"{'ms, as a process':34}{'wall p50':>9}{'wall p95':>9}{'cpu p50':>9}{'ratio':>7}")
    late = []
    for title, measured in costs.items():
        wall, cpu = ([cost[index] for cost in measured] for index in (0, 1))
        figures = _quantile(wall, 0.5), _quantile(wall, 0.95), _quantile(cpu, 0.5)
        shown = "".join(f"{seconds * 1e3:9.1f}" for seconds in figures)
        print(f"{title:34}{shown}{figures[2] / bare_s:7.2f}")
        if title != BARE and figures[1] > LIMIT_S:
            late.append(title)
    if late:
        print(f"above the limit of {LIMIT_S * 1e3:.0f} ms, wall p95: {'; '.join(late)}")
        return 3
    return 0


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


if __name__ == "__main__":
    sys.exit(main())
