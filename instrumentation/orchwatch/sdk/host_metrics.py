"""What this process and its host use, by the semantic conventions' names and units.

Source: OpenTelemetry semantic conventions, process and system metrics; read with psutil.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
from opentelemetry.metrics import CallbackOptions, Observation

from orchwatch import semconv
from orchwatch.recording.home import home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import Meter

    Measure = Callable[[], Iterable[Observation]]

# Guest time is contained in user and nice time.
CPU_MODES = ("user", "system", "nice", "idle", "iowait", "irq", "softirq", "steal")


def observe(meter: Meter) -> None:
    """Registers all instruments; they are read whenever the meter's reader collects."""
    process = _Process()
    system = _System()
    counters: list[tuple[str, str, Measure]] = [
        (semconv.PROCESS_CPU_TIME, "s", process.cpu_time),
        (semconv.PROCESS_DISK_IO, "By", process.disk_io),
        (semconv.SYSTEM_DISK_IO, "By", system.disk_io),
    ]
    sums: list[tuple[str, str, Measure]] = [
        (semconv.PROCESS_MEMORY_USAGE, "By", process.memory_usage),
        (semconv.PROCESS_THREADS, "{thread}", process.thread_count),
        (semconv.PROCESS_FILE_DESCRIPTORS, "{file_descriptor}", process.file_descriptors),
        (semconv.SYSTEM_MEMORY_USAGE, "By", system.memory_usage),
        (semconv.SYSTEM_FILESYSTEM_USAGE, "By", system.filesystem_usage),
    ]
    gauges: list[tuple[str, str, Measure]] = [
        (semconv.PROCESS_CPU_UTILIZATION, "1", process.cpu_utilization),
        (semconv.PROCESS_UPTIME, "s", process.uptime),
        (semconv.SYSTEM_CPU_UTILIZATION, "1", system.cpu_utilization),
        (semconv.SYSTEM_MEMORY_UTILIZATION, "1", system.memory_utilization),
    ]
    for name, unit, measure in counters:
        meter.create_observable_counter(name, [_callback(measure)], unit)
    for name, unit, measure in sums:
        meter.create_observable_up_down_counter(name, [_callback(measure)], unit)
    for name, unit, measure in gauges:
        meter.create_observable_gauge(name, [_callback(measure)], unit)


def _callback(measure: Measure) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observations(_options: CallbackOptions) -> Iterable[Observation]:
        try:
            return list(measure())
        except (psutil.Error, OSError):
            return []  # not available on this host: absent, never 0

    return observations


class _Process:
    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call starts the measurement

    def cpu_time(self) -> Iterable[Observation]:
        times = self._process.cpu_times()
        yield Observation(times.user, {semconv.CPU_MODE: "user"})
        yield Observation(times.system, {semconv.CPU_MODE: "system"})

    def cpu_utilization(self) -> Iterable[Observation]:
        # Of all processors, as in the conventions; psutil counts one processor as 100.
        yield Observation(self._process.cpu_percent() / 100 / (psutil.cpu_count() or 1))

    def disk_io(self) -> Iterable[Observation]:
        counters = self._process.io_counters()
        yield Observation(counters.read_bytes, {semconv.DISK_DIRECTION: "read"})
        yield Observation(counters.write_bytes, {semconv.DISK_DIRECTION: "write"})

    def memory_usage(self) -> Iterable[Observation]:
        yield Observation(self._process.memory_info().rss)

    def thread_count(self) -> Iterable[Observation]:
        yield Observation(self._process.num_threads())

    def file_descriptors(self) -> Iterable[Observation]:
        yield Observation(self._process.num_fds())

    def uptime(self) -> Iterable[Observation]:
        yield Observation(time.time() - self._process.create_time())


class _System:
    def __init__(self) -> None:
        self._cpu = psutil.cpu_times()

    def cpu_utilization(self) -> Iterable[Observation]:
        # psutil's own percentages are too small for less than one CPU second.
        now, before = psutil.cpu_times(), self._cpu
        spent_s = {
            mode: max(getattr(now, mode) - getattr(before, mode), 0.0)
            for mode in CPU_MODES
            if hasattr(now, mode)
        }
        total_s = sum(spent_s.values())
        if total_s:  # otherwise less than a clock tick since the last time
            self._cpu = now
            for mode, mode_s in spent_s.items():
                yield Observation(mode_s / total_s, {semconv.CPU_MODE: mode})

    def disk_io(self) -> Iterable[Observation]:
        counters = psutil.disk_io_counters()
        if counters is not None:
            yield Observation(counters.read_bytes, {semconv.DISK_DIRECTION: "read"})
            yield Observation(counters.write_bytes, {semconv.DISK_DIRECTION: "write"})

    def memory_usage(self) -> Iterable[Observation]:
        memory = psutil.virtual_memory()
        yield Observation(memory.total - memory.available, {semconv.MEMORY_STATE: "used"})
        yield Observation(memory.available, {semconv.MEMORY_STATE: "free"})

    def memory_utilization(self) -> Iterable[Observation]:
        memory = psutil.virtual_memory()
        yield Observation(1 - memory.available / memory.total, {semconv.MEMORY_STATE: "used"})
        yield Observation(memory.available / memory.total, {semconv.MEMORY_STATE: "free"})

    def filesystem_usage(self) -> Iterable[Observation]:
        # Of the disk that holds the spool.
        usage = psutil.disk_usage(home())
        yield Observation(usage.used, {semconv.FILESYSTEM_STATE: "used"})
        yield Observation(usage.free, {semconv.FILESYSTEM_STATE: "free"})
