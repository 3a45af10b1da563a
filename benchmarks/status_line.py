"""What a status line costs: its process beside a bare interpreter's, in turns in one run.

Run by `make bench-status-line`. It reads one small file, so what else is stored makes no
difference; the file is filled here as far as it may be.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from orchwatch.analysis import snapshot_file
from orchwatch.analysis.status import Gatherer
from orchwatch.reporters import status_document
from orchwatch.store.database import Store
from processes import cost_s

RUNS = 100
# DESIGN: a status line as a process, p95.
LIMIT_S = 0.050

SCRIPT = Path(sys.executable).with_name("orchwatch")
COMMANDS = {
    "python -I -S -c pass": [sys.executable, "-I", "-S", "-c", "pass"],
    "orchwatch status-line": [str(SCRIPT), "status-line"],
    "python -I -m orchwatch.cli status-line": [
        *(sys.executable, "-I", "-m", "orchwatch.cli", "status-line")
    ],
}
STDIN = b'{"session_id": "0f2c", "cwd": "/", "version": "2.1.0", "model": {"id": "m"}}'


def main() -> int:
    """Prints wall and CPU milliseconds; 3 where the p95 of the installed command is too long."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ.update(ORCHWATCH_HOME=directory, COLUMNS="120")
        _fill(Path(directory))
        costs: dict[str, list[tuple[float, float]]] = {title: [] for title in COMMANDS}
        for _ in range(RUNS):
            for title, command in COMMANDS.items():
                costs[title].append(cost_s(command, STDIN))
    bare_s = _quantile([cpu_s for _, cpu_s in costs["python -I -S -c pass"]], 0.5)
    print(f"{'ms':42}{'wall p50':>9}{'wall p95':>9}{'cpu p50':>9}{'cpu p95':>9}{'ratio':>7}")
    for title, measured in costs.items():
        wall, cpu = ([cost[index] for cost in measured] for index in (0, 1))
        figures = [_quantile(values, share) for values in (wall, cpu) for share in (0.5, 0.95)]
        shown = "".join(f"{seconds * 1e3:9.1f}" for seconds in figures)
        print(f"{title:42}{shown}{_quantile(cpu, 0.5) / bare_s:7.2f}")
    p95_s = _quantile([wall_s for wall_s, _ in costs["orchwatch status-line"]], 0.95)
    if p95_s > LIMIT_S:
        print(f"above its limit of {LIMIT_S * 1e3:.0f} ms: orchwatch status-line, wall p95")
        return 3
    return 0


def _fill(home: Path) -> None:
    with Store(home) as store:
        document = status_document.as_dict(Gatherer(home, store, home).take(), interval_s=30)
    document["sessions"] = {f"session-{n}": {"memory_bytes": n} for n in range(1000)}
    snapshot_file.write(str(home), document)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


if __name__ == "__main__":
    sys.exit(main())
