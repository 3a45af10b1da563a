"""What a command costs: CPU and peak memory of each, over stores of up to a million operations.

Run by `make bench-cli`. Each command is a process of its own, beside `python -c pass` in the same
run. `cold` is the first one over a store that was just written, whose segments it compacts; `warm`
is the median of those that follow. `ORCHWATCH_BENCH_OPERATIONS=0,10000` measures fewer stores.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import workload
from processes import usage

RUNS = 5
SIZES = (0, 10_000, 100_000, 1_000_000)
LENGTH_S = 50 * 60  # so that the shortest window, an hour, holds all of them
# CPU seconds at most of a warm command, over so many operations.
LIMITS_S = {0: 0.2, 10_000: 0.25, 1_000_000: 0.5}

SCRIPT = Path(sys.executable).with_name("orchwatch")
BARE = [sys.executable, "-c", "pass"]
COMMANDS = (
    "current", "kpi list", "sessions", "agents", "traces", "trace", "trace --failed",
    "trace --slowest state.query", "trace --waterfall", "critical-path", "flame",
    "flame --since all", "hooks", "events", "status-line", "doctor", "forecast", "report",
    "export", "export --format prometheus",
)  # fmt: skip


def main() -> int:
    """Prints a table for each size, and what is above its limit."""
    sizes = os.environ.get("ORCHWATCH_BENCH_OPERATIONS")
    above = []
    print(f"{'':30}{'CPU s':>18}{'over bare':>11}{'over limit':>12}{'peak MB':>18}")
    print(
        f"{'operations, command':30}{'cold':>9}{'warm':>9}{'warm':>11}{'warm':>12}"
        f"{'cold':>9}{'warm':>9}"
    )
    for count in map(int, sizes.split(",")) if sizes else SIZES:
        with tempfile.TemporaryDirectory() as directory:
            os.environ["ORCHWATCH_HOME"] = directory
            _fill(Path(directory), count)
            above += _measure(count)
    for line in above:
        print(f"above its limit: {line}")
    return 3 if above else 0


def _measure(count: int) -> list[str]:
    bare_s = statistics.median(usage(BARE).cpu_s for _ in range(RUNS))
    print(f"{count:<10,}{'python -c pass':20}{'':9}{bare_s:9.3f}")
    limit_s = next((limit_s for most, limit_s in LIMITS_S.items() if count <= most), math.inf)
    above = []
    for name in COMMANDS:
        command = [str(SCRIPT), *name.split()]
        cold = usage(command, may_fail=True)
        warm = [usage(command, may_fail=True) for _ in range(RUNS)]
        cpu_s = statistics.median(one.cpu_s for one in warm)
        peak_mb = max(one.peak_bytes for one in warm) / 1e6
        print(
            f"{count:<10,}{name:20}{cold.cpu_s:9.3f}{cpu_s:9.3f}{cpu_s / bare_s:10.1f}x"
            f"{max(cpu_s - limit_s, 0):12.3f}"
            f"{cold.peak_bytes / 1e6:9.0f}{peak_mb:9.0f}",
            flush=True,
        )
        if cpu_s > limit_s:
            above.append(f"{count:,} operations, {name}: {cpu_s:.3f} s of {limit_s} s")
    return above


def _fill(home: Path, count: int) -> None:
    """All but the last segment are closed, as their writers are gone."""
    if not count:
        return
    contents = workload.segments(count, end_ns=time.time_ns(), length_s=LENGTH_S)
    for number, content in enumerate(contents, 1):
        workload.write(home, number, content)


if __name__ == "__main__":
    sys.exit(main())
