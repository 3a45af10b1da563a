"""What the local monitor takes: refresh, query, compaction, report, flame and status line.

Run by `make bench-monitor`, over stores of 10,000 to 10,000,000 operations in Parquet and an open
segment; `ORCHWATCH_BENCH_OPERATIONS=10000,100000` measures fewer. Each is a process of its own, of
which CPU and peak memory are printed, beside `python -c pass`; the refresh is that of a dashboard
that stays open while operations are written, and CPU and wall time of each look. Compaction is what
the first command over a new store takes. `bytes` is what a stored operation takes on disk.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import workload
from processes import Usage, usage

if TYPE_CHECKING:
    from orchwatch.store.database import Store

RUNS = 3
LOOKS = 20
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
LENGTH_S = 50 * 60
# Of a warm command, in seconds of CPU; of a refresh in wall time; in bytes.
LIMITS_S = {10_000: 0.25, 1_000_000: 0.5}
REFRESH_S = 0.2
MEMORY_BYTES = 500e6

SCRIPT = str(Path(sys.executable).with_name("orchwatch"))
BARE = [sys.executable, "-c", "pass"]
QUESTION = "SELECT operation, count(*), quantile_disc(duration_s, 0.95) FROM ended_operations"
COMMANDS = {
    "query (current)": ["current"],
    "query (sql)": ["sql", f"{QUESTION} GROUP BY ALL"],
    "export, Prometheus": ["export", "--format", "prometheus"],
    "forecast": ["forecast"],
    "report": ["report"],
    "flame": ["flame", "--since", "all"],
    "status line": ["status-line"],
}
# What a person starts and waits for; the others are held against the limits.
LONG = ("forecast", "report", "flame")


def main() -> int:
    """Prints a table for each size, and what is above its limit."""
    if sys.argv[1:] == ["refresh"]:
        return refresh()
    sizes = os.environ.get("ORCHWATCH_BENCH_OPERATIONS")
    bare = [usage(BARE) for _ in range(RUNS)]
    print(f"{'operations, what':36}{'CPU s':>9}{'wall s':>9}{'peak MB':>9}")
    _print("", "python -c pass", *_typical(bare))
    above: list[str] = []
    for count in map(int, sizes.split(",")) if sizes else SIZES:
        with tempfile.TemporaryDirectory() as directory:
            os.environ["ORCHWATCH_HOME"] = directory
            contents = workload.segments(count, end_ns=time.time_ns(), length_s=LENGTH_S)
            for number, content in enumerate(contents, 1):
                workload.write(Path(directory), number, content)
            above += _measured(f"{count:,}", count, Path(directory))
    for line in above:
        print(f"above its limit: {line}")
    return 3 if above else 0


def _measured(label: str, count: int, home: Path) -> list[str]:
    above = []
    cold = usage([SCRIPT, *COMMANDS["query (sql)"]])
    _print(label, "compaction", cold.cpu_s, cold.wall_s, cold.peak_bytes)
    stored = sum(path.stat().st_size for path in (home / "store").glob("*.parquet"))
    written = sum(path.stat().st_size for path in (home / "spool").glob("*.jsonl"))
    print(
        f"{label:<12}{'bytes an operation':24}{stored / count:9.1f}  (spool {written / count:.0f})"
    )
    limit_s = next((one for most, one in LIMITS_S.items() if count <= most), None)
    for name, words in COMMANDS.items():
        warm = [usage([SCRIPT, *words], may_fail=True) for _ in range(RUNS)]
        cpu_s, *rest = _typical(warm)
        _print(label, name, cpu_s, *rest)
        if limit_s is not None and name not in LONG and cpu_s > limit_s:
            above.append(f"{label} operations, {name}: {cpu_s:.3f} s of CPU, at most {limit_s}")
    looked = json.loads(subprocess.check_output([sys.executable, __file__, "refresh"], text=True))
    _print(label, "refresh, p95", looked["cpu_s"], looked["wall_s"], looked["peak_bytes"])
    if count <= max(LIMITS_S) and looked["wall_s"] > REFRESH_S:
        above.append(f"{label} operations, refresh: {looked['wall_s']:.3f} s, at most {REFRESH_S}")
    if count <= max(LIMITS_S) and looked["peak_bytes"] > MEMORY_BYTES:
        above.append(f"{label} operations, refresh: {looked['peak_bytes'] / 1e6:.0f} MB")
    return above


def _typical(measured: list[Usage]) -> tuple[float, float, float]:
    """CPU and wall seconds, and the peak."""
    return (
        statistics.median(one.cpu_s for one in measured),
        statistics.median(one.wall_s for one in measured),
        max(one.peak_bytes for one in measured),
    )


def _print(label: str, what: str, cpu_s: float, wall_s: float, peak_bytes: float) -> None:
    print(f"{label:<12}{what:24}{cpu_s:9.3f}{wall_s:9.3f}{peak_bytes / 1e6:9.0f}", flush=True)


def refresh() -> int:
    """Looks again and again, as an open dashboard does, with an operation written in between."""
    from orchwatch import operation  # noqa: PLC0415 - of the process that looks alone
    from orchwatch.cli import filters  # noqa: PLC0415
    from orchwatch.tui.looker import Looker  # noqa: PLC0415
    from orchwatch.tui.question import Question  # noqa: PLC0415

    home = Path(os.environ["ORCHWATCH_HOME"])

    def choose(question: Question, store: Store) -> filters.Chosen:
        return filters.chosen(Namespace(default_since="24h", **vars(question)), store, home)

    looker = Looker(home, Path.cwd(), choose, lambda _: None)
    looker.look(Question())
    walls, cpus = [], []
    for _ in range(LOOKS):
        with operation("state.query"):
            pass
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        looker.look(Question())
        walls.append(time.perf_counter() - wall_s)
        cpus.append(time.process_time() - cpu_s)
    at = LOOKS * 95 // 100 - 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"cpu_s": sorted(cpus)[at], "wall_s": sorted(walls)[at], "peak_bytes": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
