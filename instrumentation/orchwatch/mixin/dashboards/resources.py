"""What sessions and this host use, and when it will not do any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.mixin import alerting, promql, readings
from orchwatch.mixin.dashboards import grading, panels, queries, units
from orchwatch.mixin.dashboards.page import Page, Row
from orchwatch.mixin.dashboards.panels import Text

if TYPE_CHECKING:
    from orchwatch.mixin.alerting import Settings
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.targets import Targets

_NO_MONITOR = "needs orchwatch monitor"
_CPU, _MEMORY = "cpu.utilization", "memory.utilization"
_NAMES = {_CPU: "CPU", _MEMORY: "Memory"}
_SESSION_MEMORY = "session.memory"
_STATED = (_CPU, _MEMORY, _SESSION_MEMORY, readings.STORAGE_GROWTH)

_SPENT = promql.series("process.cpu.time", "s", counter=True)
_RESIDENT = promql.series("process.memory.usage", "By")
_DISK_IO = promql.series("system.disk.io", "By", counter=True)


def page(table: Targets) -> Page:
    """Levels with their limits, and where they are going."""
    settings = alerting.load()
    stated = tuple((6, panels.advised(table.levels[one], _NO_MONITOR)) for one in _STATED)
    return Page(
        name="resources",
        title="Resources",
        description="CPU, memory, disk and storage, with a forecast where they grow.",
        asks=("service",),
        rows=(
            Row(height=4, panels=stated),
            Row(
                height=8,
                panels=(
                    (12, _level(table, settings, _CPU)),
                    (12, _level(table, settings, _MEMORY)),
                ),
            ),
            Row(height=8, panels=((12, _disk(settings)), (12, _storage(settings)))),
            Row(
                height=8,
                panels=((8, _process_cpu()), (8, _process_memory()), (8, _disk_io())),
            ),
        ),
    )


def _level(table: Targets, settings: Settings, row_id: str) -> Panel:
    row = table.levels[row_id]
    limits = units.limits(row)
    trend, horizon = settings.prediction["trend"], settings.prediction["horizon"]
    text = Text(
        f"{_NAMES[row_id]}, and where it is heading",
        f"The forecast follows the straight line of the last {trend} for {horizon}. The dashed "
        "lines are the table's target and warning.",
        _NO_MONITOR,
    )
    panel = panels.graph(
        text,
        queries.lines("now", queries.level(row_id), "now"),
        queries.lines("forecast", _forecast(queries.level(row_id), trend, horizon), _in(horizon)),
        *queries.level_limits(row_id),
        unit=limits.unit,
        decimals=None,
    )
    return panels.limit_line(panels.limited(panel.max(1)), "forecast", grading.UNKNOWN)


def _forecast(series: str, trend: str, horizon: str) -> str:
    """Never below nothing, and only of what is measured and has some past.

    A line through a few points leads anywhere, and one through what ended long ago nowhere.
    """
    line = f"predict_linear({series}[{trend}], {promql.seconds(horizon)})"
    past = f"{series} offset {promql.seconds(trend) // 6:.0f}s"
    return f"clamp_min({line}, 0) and {series} and {past}"


def _in(horizon: str) -> str:
    return f"in {horizon} at this rate"


def _disk(settings: Settings) -> Panel:
    trend, horizon = settings.prediction["slow_trend"], settings.prediction["slow_horizon"]
    text = Text(
        "Free disk, and where it is heading",
        f"Of the disk that the spool grows on. The forecast follows the straight line of the last "
        f"{trend} for {horizon}.",
        _NO_MONITOR,
    )
    free = readings.DISK_FREE
    panel = panels.graph(
        text,
        queries.lines("now", free, "free"),
        queries.lines("forecast", _forecast(free, trend, horizon), _in(horizon)),
        unit=units.BYTES,
        decimals=None,
    )
    return panels.limit_line(panel, "forecast", grading.UNKNOWN)


def _storage(settings: Settings) -> Panel:
    trend, horizon = settings.prediction["slow_trend"], settings.prediction["slow_horizon"]
    text = Text(
        "What is stored, and where it is heading",
        "The spool, what it was compacted into, and sessions. The forecast follows the straight "
        f"line of the last {trend} for {horizon}.",
        _NO_MONITOR,
    )
    stored = readings.STORAGE
    panel = panels.graph(
        text,
        queries.lines("now", stored, "stored"),
        queries.lines("forecast", _forecast(stored, trend, horizon), _in(horizon)),
        unit=units.BYTES,
        decimals=None,
    )
    return panels.limit_line(panel, "forecast", grading.UNKNOWN)


_SERVICES = f'{{{queries.SERVICE}=~"$service"}}'


def _process_cpu() -> Panel:
    text = Text(
        "CPU by service",
        "Of one processor, that long-running services keep busy.",
        "no long-running service",
    )
    expr = f"sum by ({queries.SERVICE}) (rate({_SPENT}{_SERVICES}[$__rate_interval]))"
    query = queries.lines("A", expr, f"{{{{{queries.SERVICE}}}}}").interval(queries.REPORTED)
    return panels.graph(text, query, unit=units.SHARE, decimals=None)


def _process_memory() -> Panel:
    text = Text(
        "Memory by service",
        "Resident memory of long-running services, and of the largest session, whose target and "
        "warning are the dashed lines.",
        "no long-running service",
    )
    expr = f"sum by ({queries.SERVICE}) ({_RESIDENT}{_SERVICES})"
    panel = panels.graph(
        text,
        queries.lines("A", expr, f"{{{{{queries.SERVICE}}}}}"),
        queries.lines("B", queries.level(_SESSION_MEMORY), "largest session"),
        *queries.level_limits(_SESSION_MEMORY),
        unit=units.BYTES,
        decimals=None,
    )
    return panels.limited(panel)


def _disk_io() -> Panel:
    text = Text("Disk traffic", "Of this host, read and written.", _NO_MONITOR)
    expr = f"max by (disk_io_direction) (rate({_DISK_IO}[$__rate_interval]))"
    query = queries.lines("A", expr, "{{disk_io_direction}}").interval(queries.REPORTED)
    return panels.graph(text, query, unit=units.BYTES_A_SECOND, decimals=None)
