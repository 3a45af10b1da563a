"""What PromQL answers for each level of the table, and where a person looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch import names
from orchwatch.mixin import promql

if TYPE_CHECKING:
    from orchwatch.mixin.alerting import Settings
    from orchwatch.targets import LevelTarget, Targets

OPERATIONS_DASHBOARD = "orchwatch-operations"
RESOURCES_DASHBOARD = "orchwatch-resources"
AGENTS_DASHBOARD = "orchwatch-agents"
KPIS_DASHBOARD = "orchwatch-kpis"
PIPELINE_DASHBOARD = "orchwatch-pipeline"

VALUE = "orchestration:level:value"

# Counted from operations over the period, see `recording`.
AVAILABILITY = "availability"
ERROR_RATE = "error.rate"
CONSISTENCY = "consistency"
STORAGE_GROWTH = "storage.growth"
COUNTED = (AVAILABILITY, ERROR_RATE, CONSISTENCY)

# Operations that a violation of the state's consistency spoils.
STATE_OPERATIONS = [names.STATE_QUERY, names.STATE_PERSIST]
VIOLATIONS = promql.series(names.CONSISTENCY_VIOLATIONS, "{violation}", counter=True)

_SYSTEM_CPU = promql.series("system.cpu.utilization", "1")
_SYSTEM_MEMORY = promql.series("system.memory.utilization", "1")
_STORAGE = promql.series(names.STORAGE_SIZE, "By")
# Rows whose gauge has another name than `orchestration.<id>`.
_GAUGES = {
    "parallel.execution": names.PARALLEL_RATIO,
    "task.success": names.TASK_SUCCESS_RATIO,
    "task.errors": names.TASK_ERROR_RATIO,
}
# Where a person looks at a level; at the key figures unless it stands here.
_DASHBOARDS = {
    AVAILABILITY: OPERATIONS_DASHBOARD,
    ERROR_RATE: OPERATIONS_DASHBOARD,
    CONSISTENCY: OPERATIONS_DASHBOARD,
    "cpu.utilization": RESOURCES_DASHBOARD,
    "memory.utilization": RESOURCES_DASHBOARD,
    "session.memory": RESOURCES_DASHBOARD,
    STORAGE_GROWTH: RESOURCES_DASHBOARD,
    "agent.utilization": AGENTS_DASHBOARD,
    "parallel.execution": AGENTS_DASHBOARD,
}


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """A series that holds a level.

    Attributes:
        expr: What it answers; one series.
        sample: The series that a test sends, `{value}` in place of its value where the value is
            not the level itself.
    """

    expr: str
    sample: str


def gauge(row: LevelTarget) -> Gauge:
    """How a level that is measured as such is asked for: the worst of those who report it."""
    worst = "max" if row.direction == "below" else "min"
    if row.id == "cpu.utilization":
        busy = f'{_SYSTEM_CPU}{{cpu_mode!~"idle|iowait"}}'
        sample = f'{_SYSTEM_CPU}{{cpu_mode="user",instance="a",job="a"}}'
        return Gauge(expr=f"{worst}(sum by (job, instance) ({busy}))", sample=sample)
    if row.id == "memory.utilization":
        sample = f'{_SYSTEM_MEMORY}{{system_memory_state="used"}}'
        return Gauge(expr=f"{worst}({sample})", sample=sample)
    if row.id == STORAGE_GROWTH:
        # Since the day's lowest: `delta` would stretch an hour's growth to a day's.
        grown = f"{_STORAGE} - min_over_time({_STORAGE}[1d])"
        return Gauge(expr=f"{worst}({grown})", sample=_STORAGE)
    series = promql.series(_GAUGES.get(row.id, f"orchestration.{row.id}"), row.unit)
    return Gauge(expr=f"{worst}({series})", sample=series)


def value_series(row: LevelTarget) -> str:
    """The recorded series of a level."""
    return f"{VALUE}{promql.selector(target=row.id)}"


def value_expr(row: LevelTarget, settings: Settings) -> str:
    """What is recorded as a level's value."""
    if row.id == AVAILABILITY:
        return f"orchestration:availability:ratio{settings.period}"
    if row.id == ERROR_RATE:
        return f"1 - orchestration:availability:ratio{settings.period}"
    if row.id == CONSISTENCY:
        return f"orchestration:consistency:ratio{settings.period}"
    return gauge(row).expr


def limit(row: LevelTarget) -> float:
    """Beyond it a level alerts: its own threshold, else its promise, else where it is a miss."""
    if row.alert is not None:
        return row.alert
    return row.target if row.group == "reliability" else row.warning


def dashboard(row: LevelTarget) -> str:
    """The page that shows a level."""
    return _DASHBOARDS.get(row.id, KPIS_DASHBOARD)


def budgets(table: Targets) -> dict[str, float]:
    """The objective of every row whose budget is spent by operations that fail."""
    found = {}
    for row_id in (AVAILABILITY, ERROR_RATE):
        row = table.levels[row_id]
        found[row_id] = row.target if row.direction == "above" else 1 - row.target
    return found
