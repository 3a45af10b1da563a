"""What it takes to look at one very large trace: CPU and peak memory, as processes of their own.

Run by `make bench-trace`. A trace of 200,000 spans, of agents that work side by side, each in calls
of calls; `ORCHWATCH_BENCH_SPANS` sets another number. `python -c pass` in the same run is the bare
process.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import workload
from processes import usage

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = 3
SPANS = 200_000
LIMIT_S = 2.0
AGENTS = 8
NAMES = ("agent.task", "execute_tool Bash", "execute_tool Read", "hook.process", "chat model")
SCRIPT = Path(sys.executable).with_name("orchwatch")
COMMANDS = ("trace --waterfall", "critical-path", "flame", "flame --format html")


def main() -> int:
    """Prints a line a command, and what is above the limit."""
    count = int(os.environ.get("ORCHWATCH_BENCH_SPANS", SPANS))
    bare_s = statistics.median(usage([sys.executable, "-c", "pass"]).cpu_s for _ in range(RUNS))
    above = []
    with tempfile.TemporaryDirectory() as directory:
        os.environ["ORCHWATCH_HOME"] = directory
        for number, content in enumerate(_segments(count), 1):
            workload.write(Path(directory), number, content)
        usage([str(SCRIPT), "current"], may_fail=True)  # compacts
        print(f"{'spans, command':30}{'CPU s':>9}{'over bare':>11}{'peak MB':>9}")
        for name in COMMANDS:
            runs = [usage([str(SCRIPT), *name.split()]) for _ in range(RUNS)]
            cpu_s = statistics.median(one.cpu_s for one in runs)
            peak_mb = max(one.peak_bytes for one in runs) / 1e6
            print(f"{count:<9,} {name:20}{cpu_s:9.2f}{cpu_s / bare_s:10.0f}x{peak_mb:9.0f}")
            if cpu_s > LIMIT_S:
                above.append(f"{name}: {cpu_s:.2f} s of {LIMIT_S} s")
    for line in above:
        print(f"above its limit: {line}")
    return 3 if above else 0


def _segments(count: int) -> Iterator[bytes]:
    """Whole segments that hold the trace."""
    draw = random.Random(1)  # noqa: S311 - no secret
    lines: list[str] = []
    size = number = 0
    for line in _lines(count, draw):
        lines.append(line)
        size += len(line)
        if size >= workload.SEGMENT_BYTES:
            yield workload.segment(number, lines)
            lines, size, number = [], 0, number + 1
    yield workload.segment(number, lines)


def _lines(count: int, draw: random.Random) -> Iterator[str]:
    """The root, then spans each called by one of the last thousand before it."""
    now_ns = time.time_ns()
    times = [(now_ns - 3600 * 10**9, now_ns)]
    yield workload.line(("b" * 32, f"{1:016x}", ""), "orchestration.run", times[0], ("one", "main"))
    for number in range(1, count):
        caller = draw.randrange(max(0, number - 1000), number)
        start_ns, end_ns = times[caller]
        start_ns += int((end_ns - start_ns) * draw.random())
        end_ns = start_ns + int((end_ns - start_ns) * draw.random())
        times.append((start_ns, end_ns))
        place = "b" * 32, f"{number + 1:016x}", f"{caller + 1:016x}"
        who = ("one", f"worker-{number % AGENTS}")
        yield workload.line(place, draw.choice(NAMES), (start_ns, end_ns), who)


if __name__ == "__main__":
    sys.exit(main())
