"""Levels that can be measured here and now; what cannot is left out, never guessed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psutil

from orchwatch.monitor import archive, segments

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from pathlib import Path

    from orchwatch.monitor.spans import Summary

DAY_NS = 24 * 3600 * 1_000_000_000

# The kernel counts CPU time in ticks of 10 ms: below ten of them a share would be mostly noise.
_SHORTEST_CPU_S = 0.1


class Machine:
    """CPU and memory of this machine; CPU is measured from one reading to the next."""

    def __init__(self) -> None:
        self._reading = self._read()

    def cpu_utilization(self) -> float | None:
        """Share of all cores that was busy since the last reading, without this very process.

        The reader's own work is left out because a one-shot command measures little else. Waiting
        for a disk counts as idle, as in psutil. None where too little time has passed to tell.
        """
        total_s, busy_s, own_s = self._read()
        elapsed_s = total_s - self._reading[0]
        if elapsed_s < _SHORTEST_CPU_S:
            return None
        others_s = busy_s - self._reading[1] - (own_s - self._reading[2])
        self._reading = (total_s, busy_s, own_s)
        return min(max(others_s / elapsed_s, 0.0), 1.0)

    @staticmethod
    def memory_utilization() -> float:
        """Share of the physical memory that is not available to a new program."""
        memory = psutil.virtual_memory()
        return float(1 - memory.available / memory.total)

    @staticmethod
    def _read() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        # The kernel counts what guests use as user and nice time already.
        guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        total_s = sum(times) - guests_s
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        return total_s, total_s - idle_s, time.process_time()


def of_operations(summaries: Iterable[Summary], known: Container[str]) -> dict[str, float]:
    """Availability and error rate in the window; empty where no operation of the table ended.

    Args:
        summaries: Every operation that ended in the window.
        known: The operations that the table has a row for. Others may fail without the system
            being unavailable: a command that a user runs, for one.
    """
    counted = [summary for summary in summaries if summary.operation in known]
    count = sum(summary.count for summary in counted)
    if not count:
        return {}
    failed = sum(summary.errors for summary in counted) / count
    return {"availability": 1 - failed, "error.rate": failed}


def storage_growth_bytes(home: Path, now_ns: int) -> float | None:
    """Bytes written into spool and store in the last 24 hours and still there.

    A file that was begun earlier counts by the share of its time that falls into them; it was begun
    when its predecessor was last written to. Once the spool has reached its budget it drops as much
    as it writes, and this is what it writes. None where nothing was ever written.
    """
    files: list[tuple[str, int, int]] = [
        (segment.family, segment.modified_ns, segment.size_bytes)
        for segment in segments.find(home / "spool")
    ]
    for file in archive.find(home / "store").values():
        try:
            status = os.stat(file.path)
        except FileNotFoundError:
            continue
        files.append((f"store/{file.family}", status.st_mtime_ns, status.st_size))
    if not files:
        return None
    begun_ns: dict[str, int] = {}
    written = 0.0
    for family, modified_ns, size_bytes in sorted(files):
        start_ns = begun_ns.get(family, modified_ns)
        begun_ns[family] = modified_ns
        recent_ns = modified_ns - max(start_ns, now_ns - DAY_NS)
        if recent_ns >= 0:
            share = recent_ns / (modified_ns - start_ns) if modified_ns > start_ns else 1.0
            written += size_bytes * share
    return written
