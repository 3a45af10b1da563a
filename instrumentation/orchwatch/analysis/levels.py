"""Levels that can be measured here and now; what cannot is left out, never guessed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from orchwatch.store.spans import Summary

# The kernel counts CPU time in ticks of 10 ms: below ten of them a share would be mostly noise.
_SHORTEST_CPU_S = 0.1
_PROC_BYTES = 1024 * 1024
_PROC_TIMES = 5  # of a kernel of this century


class Machine:
    """CPU and memory of this machine; CPU is measured from one reading to the next."""

    def __init__(self) -> None:
        self._reading = self._read()

    def cpu_utilization(self) -> float | None:
        """Share of all cores that was busy since the last reading, without this very process.

        The reader's own work is left out because a one-shot command measures little else. Waiting
        for a disk counts as idle, as in psutil. None where too little time has passed to measure.
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
        available, total = _proc_memory() or _memory()
        return 1 - available / total

    @staticmethod
    def _read() -> tuple[float, float, float]:
        total_s, idle_s = _proc_cpu() or _cpu()
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


# Importing psutil takes longer than all else that a command does; where it would read a line of
# /proc, so can we.
def _proc_cpu() -> tuple[float, float] | None:
    """As `_cpu`; None where there is no /proc as proc(5) has it."""
    try:
        name, *ticks = files.read("/proc/stat", _PROC_BYTES).split(b"\n", 1)[0].split()
        # user, nice, system, idle, iowait, irq, softirq, steal; behind them guests, see `_cpu`.
        times = [int(tick) / os.sysconf("SC_CLK_TCK") for tick in ticks[:8]]
    except (OSError, ValueError):
        return None
    if name != b"cpu" or len(times) < _PROC_TIMES:
        return None
    return sum(times), times[3] + times[4]


def _cpu() -> tuple[float, float]:
    """Seconds of all processors since the machine started, and how many of them were idle."""
    import psutil  # noqa: PLC0415 - slow

    times = psutil.cpu_times()
    # The kernel counts what guests use as user and nice time already.
    guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return sum(times) - guests_s, times.idle + getattr(times, "iowait", 0.0)


def _proc_memory() -> tuple[float, float] | None:
    """As `_memory`; None where there is no /proc as proc(5) has it."""
    try:
        lines = files.read("/proc/meminfo", _PROC_BYTES).split(b"\n")
        parts = (line.partition(b":") for line in lines)
        sizes = {name: int(rest.split()[0]) for name, _, rest in parts if rest}
    except (OSError, ValueError, LookupError):
        return None
    available, total = sizes.get(b"MemAvailable"), sizes.get(b"MemTotal")
    return None if available is None or not total else (available, total)


def _memory() -> tuple[float, float]:
    """What is available to a new program and what there is, in one unit."""
    import psutil  # noqa: PLC0415 - slow

    memory = psutil.virtual_memory()
    return memory.available, memory.total
