"""What sessions and this host use, and when it will not do any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models.common import BigValueTextMode

from orchwatch import semconv
from orchwatch.mixin.alerts.trend import is_there
from orchwatch.mixin.dashboards import grading, panels, queries, units
from orchwatch.mixin.dashboards.page import Page, Row, Section
from orchwatch.mixin.dashboards.panels import Text
from orchwatch.mixin.lib import alerting, level_series, promql

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import Targets

_NO_MONITOR = "needs orchwatch monitor"
_NO_SESSION = "no session runs, or no monitor"
_CPU, _MEMORY = "cpu.utilization", "memory.utilization"
_SESSION_MEMORY = "session.memory"
_STATED = (_CPU, _MEMORY, _SESSION_MEMORY, level_series.STORAGE_GROWTH)

_SPENT = promql.series(semconv.PROCESS_CPU_TIME, "s", counter=True)
_RESIDENT = promql.series(semconv.PROCESS_MEMORY_USAGE, "By")
_DISK_IO = promql.series(semconv.SYSTEM_DISK_IO, "By", counter=True)


def page(table: Targets) -> Page:
    """Levels with their limits, and where they are going."""
    settings = alerting.load()
    stated = tuple(
        (
            6,
            panels.advised(
                table.levels[one], _NO_SESSION if one == _SESSION_MEMORY else _NO_MONITOR
            ),
        )
        for one in _STATED
    )
    return Page(
        name="resources",
        title="Resources",
        description="CPU, memory, disk and storage, with a forecast where they grow.",
        rows=(
            Row(height=4, panels=stated),
            Row(height=4, panels=((24, _ahead(table, settings)),)),
            Section(
                title="This host",
                rows=(
                    Row(height=8, panels=((12, _cpu(table)), (12, _memory(table, settings)))),
                    Row(height=8, panels=((12, _disk(settings)), (12, _storage(settings)))),
                ),
            ),
            Section(
                title="By service, and disk traffic",
                rows=(
                    Row(
                        height=8,
                        panels=((8, _process_cpu()), (8, _process_memory()), (8, _disk_io())),
                    ),
                ),
                folded=True,
            ),
        ),
    )


def _ahead(table: Targets, settings: Settings) -> Panel:
    """CPU is not among them: an hour of it says nothing about the next."""
    text = Text(
        "If it goes on like this",
        "The end of the straight line through the past that each forecast below is drawn from. "
        f"None before {settings.prediction['filled']:.0%} of that past has been measured.",
        "too little past",
    )
    memory = units.limits(table.levels[_MEMORY])
    short, slow = settings.prediction["horizon"], settings.prediction["slow_horizon"]
    panel = panels.number(
        text,
        queries.now("memory", _forecast(queries.level(_MEMORY), settings), f"memory in {short}"),
        queries.now(
            "free", _forecast(level_series.DISK_FREE, settings, "slow_"), f"free in {slow}"
        ),
        queries.now(
            "stored", _forecast(level_series.STORAGE, settings, "slow_"), f"stored in {slow}"
        ),
        unit=units.BYTES,
        decimals=None,
    )
    panel.text_mode(BigValueTextMode.VALUE_AND_NAME)
    steps = grading.thresholds(grading.steps(memory)).build()
    return panels.of_query(panel, "memory", unit=memory.unit, decimals=1, thresholds=steps)


def _forecast(series: str, settings: Settings, prefix: str = "", offset: str = "") -> str:
    """Where the line through the last `trend` is a `horizon` later, or, with that as offset, now.

    Not below nothing, and only of what is measured and whose past is there: a line through a few
    points leads anywhere, and one through what ended long ago nowhere.
    """
    trend, horizon = settings.prediction[f"{prefix}trend"], settings.prediction[f"{prefix}horizon"]
    # Counted from when it is evaluated, however far back the samples lie.
    ahead_s = 0 if offset else promql.seconds(horizon)
    line = f"predict_linear({series}[{trend}]{offset}, {ahead_s})"
    past = is_there(series, trend, settings.prediction["filled"], offset)
    return f"clamp_min({line}, 0) and {series} and {past}"


def _followed(
    series: str, settings: Settings, prefix: str, name: str
) -> tuple[panels.Query, panels.Query]:
    """What was measured, and what had been forecast for the same time."""
    horizon = settings.prediction[f"{prefix}horizon"]
    before = _forecast(series, settings, prefix, f" offset {horizon}")
    forecast = queries.lines("forecast", before, f"as forecast {horizon} before")
    return queries.lines("now", series, name), forecast


def _explained(settings: Settings, prefix: str) -> str:
    trend, horizon = settings.prediction[f"{prefix}trend"], settings.prediction[f"{prefix}horizon"]
    return (
        f"The dashed grey line is what the straight line through the {trend} before had led to, "
        f"{horizon} earlier: how good forecasts have been."
    )


def _cpu(table: Targets) -> Panel:
    limits = units.limits(table.levels[_CPU])
    text = Text("CPU", "The dashed lines are the table's target and warning.", _NO_MONITOR)
    query = queries.lines("now", queries.level(_CPU), "now")
    both = queries.level_limits(_CPU)
    return panels.limited(panels.graph(text, query, *both, unit=limits.unit, decimals=None).max(1))


def _memory(table: Targets, settings: Settings) -> Panel:
    limits = units.limits(table.levels[_MEMORY])
    text = Text(
        "Memory, and its forecasts",
        f"{_explained(settings, '')} The others are the table's target and warning.",
        _NO_MONITOR,
    )
    panel = panels.graph(
        text,
        *_followed(queries.level(_MEMORY), settings, "", "now"),
        *queries.level_limits(_MEMORY),
        unit=limits.unit,
        decimals=None,
    )
    return panels.limit_line(panels.limited(panel.max(1)), "forecast", grading.UNKNOWN)


def _disk(settings: Settings) -> Panel:
    text = Text(
        "Free disk, and its forecasts",
        f"Of the disk that the spool grows on. {_explained(settings, 'slow_')}",
        _NO_MONITOR,
    )
    followed = _followed(level_series.DISK_FREE, settings, "slow_", "free")
    panel = panels.graph(text, *followed, unit=units.BYTES, decimals=None)
    return panels.limit_line(panel, "forecast", grading.UNKNOWN)


def _storage(settings: Settings) -> Panel:
    text = Text(
        "What is stored, and its forecasts",
        f"The spool, what it was compacted into, and sessions. {_explained(settings, 'slow_')}",
        _NO_MONITOR,
    )
    followed = _followed(level_series.STORAGE, settings, "slow_", "stored")
    panel = panels.graph(text, *followed, unit=units.BYTES, decimals=None)
    return panels.limit_line(panel, "forecast", grading.UNKNOWN)


def _process_cpu() -> Panel:
    text = Text(
        "CPU by service",
        "Of one processor, that long-running services keep busy.",
        "no long-running service",
    )
    expr = f"sum by ({queries.SERVICE}) (rate({_SPENT}[$__rate_interval]))"
    query = queries.lines("A", expr, f"{{{{{queries.SERVICE}}}}}").interval(queries.REPORTED)
    return panels.graph(text, query, unit=units.SHARE, decimals=None)


def _process_memory() -> Panel:
    text = Text(
        "Memory by service",
        "Resident memory of long-running services, and of the largest session, whose target and "
        "warning are the dashed lines.",
        "no long-running service",
    )
    expr = f"sum by ({queries.SERVICE}) ({_RESIDENT})"
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
