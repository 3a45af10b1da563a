"""Levels that can be measured here and now; what cannot is left out, never guessed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from orchwatch.monitor.spans import Summary

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
