"""What PromQL answers for each level of the table, and where a person looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from orchwatch import semconv
from orchwatch.analysis import kpis
from orchwatch.mixin.lib import promql

if TYPE_CHECKING:
    from orchwatch.targets.target_table import LevelTarget, Targets

OVERVIEW_DASHBOARD = "orchwatch-overview"
OPERATIONS_DASHBOARD = "orchwatch-operations"
RESOURCES_DASHBOARD = "orchwatch-resources"
AGENTS_DASHBOARD = "orchwatch-agents"
KPIS_DASHBOARD = "orchwatch-kpis"
PIPELINE_DASHBOARD = "orchwatch-pipeline"

VALUE = "orchestration:level:value"
# Over all reporting processes: one that restarts is another series, and the past is one.
STORAGE = "orchestration:storage:bytes"
DISK_FREE = "orchestration:disk_free:bytes"
FREE = promql.series(semconv.SYSTEM_FILESYSTEM_USAGE, "By") + '{system_filesystem_state="free"}'

# Counted from operations over the period, see `recording`.
AVAILABILITY = "availability"
ERROR_RATE = "error.rate"
CONSISTENCY = "consistency"
STORAGE_GROWTH = "storage.growth"
COUNTED = (AVAILABILITY, ERROR_RATE, CONSISTENCY)

# Operations that a violation of the state's consistency spoils.
STATE_OPERATIONS = [semconv.STATE_QUERY, semconv.STATE_PERSIST]
# The tasks whose success is a level, and over how long, see `analysis.kpis`.
TASKS = [semconv.AGENT_TASK, semconv.AGENT_RUN, semconv.AGENT_TURN]
TASKS_WINDOW = promql.duration(kpis.WINDOW_S)
TASK_SHARES = ("task.success", "task.errors")
VIOLATIONS = promql.series(semconv.CONSISTENCY_VIOLATIONS, "{violation}", counter=True)

# Rows whose gauge has another name than `orchestration.<id>`.
_GAUGES = {
    "cpu.utilization": semconv.SYSTEM_CPU_UTILIZATION,
    "memory.utilization": semconv.SYSTEM_MEMORY_UTILIZATION,
    "parallel.execution": semconv.PARALLEL_RATIO,
    "task.success": semconv.TASK_SUCCESS_RATIO,
    "task.errors": semconv.TASK_ERROR_RATIO,
}
# Where a person looks at a level; the first page shows every one, those of a user's own included.
_DASHBOARDS = {
    ERROR_RATE: OPERATIONS_DASHBOARD,
    "cpu.utilization": RESOURCES_DASHBOARD,
    "memory.utilization": RESOURCES_DASHBOARD,
    "session.memory": RESOURCES_DASHBOARD,
    STORAGE_GROWTH: RESOURCES_DASHBOARD,
    "agent.utilization": AGENTS_DASHBOARD,
    "parallel.execution": AGENTS_DASHBOARD,
    "task.success": KPIS_DASHBOARD,
    "task.errors": KPIS_DASHBOARD,
    "task.throughput": KPIS_DASHBOARD,
    "test.coverage": KPIS_DASHBOARD,
    "code.quality": KPIS_DASHBOARD,
}


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """A series that holds a level.

    Attributes:
        expr: What it answers; one series.
        sample: The series that a test sends.
    """

    expr: str
    sample: str


def metric(row: LevelTarget) -> str:
    """The name of the gauge that measures a level."""
    return _GAUGES.get(row.id, f"orchestration.{row.id}")


def gauge(row: LevelTarget) -> Gauge:
    """How a level that is measured as such is asked for: the worst of those who report it."""
    worst = "max" if row.direction == "below" else "min"
    series = promql.series(metric(row), row.unit)
    if row.id == "cpu.utilization":
        busy = f'{series}{{cpu_mode!~"idle|iowait"}}'
        sample = f'{series}{{cpu_mode="user",instance="a",job="a"}}'
        return Gauge(expr=f"{worst}(sum by (job, instance) ({busy}))", sample=sample)
    if row.id == "memory.utilization":
        series += '{system_memory_state="used"}'
    return Gauge(expr=f"{worst}({series})", sample=series)


def value_series(row: LevelTarget) -> str:
    """The recorded series of a level."""
    return f"{VALUE}{promql.selector(target=row.id)}"


def limit(row: LevelTarget) -> float:
    """Beyond it a level alerts: its own threshold, else its promise, else where it is a miss."""
    if row.alert is not None:
        return row.alert
    return row.target if row.group == "reliability" else row.warning


def dashboard(row: LevelTarget) -> str:
    """The page that shows a level."""
    return _DASHBOARDS.get(row.id, OVERVIEW_DASHBOARD)


def objectives(table: Targets) -> dict[str, float]:
    """The share of operations that must not fail, of each row that promises one."""
    promised = {
        AVAILABILITY: table.levels[AVAILABILITY].target,
        ERROR_RATE: 1 - table.levels[ERROR_RATE].target,
    }
    return {row_id: round(share, promql.DECIMALS) for row_id, share in promised.items()}


def operation_page(operation: str) -> str:
    """The page of an operation."""
    return f"{OPERATIONS_DASHBOARD}?var-operation={quote(operation, safe='')}"
