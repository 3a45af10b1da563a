"""Key figures as gauges, exported as the process is configured.

A figure that was not measured is not set, so that no series claims it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.analysis import project
from orchwatch.recording import metrics

if TYPE_CHECKING:
    from orchwatch.analysis.status import Business, System

_SHARE = "1"


def export_system(system: System) -> None:
    """Sets the system gauges."""
    _gauge(semconv.SESSION_MEMORY, max(system.session_memory_bytes.values(), default=None), "By")
    _gauge(semconv.STORAGE_SIZE, system.storage_bytes, "By")
    _gauge(semconv.STORAGE_GROWTH, system.storage_growth_bytes, "By")


def export_business(business: Business) -> None:
    """Sets the business gauges."""
    computed = business.kpis
    _gauge(semconv.AGENT_ACTIVE, computed.active_agents, "{agent}")
    _gauge(semconv.TASK_THROUGHPUT, computed.tasks_per_hour, "{task}/h")
    _gauge(semconv.TASK_SUCCESS_RATIO, computed.success_ratio, _SHARE)
    _gauge(semconv.TASK_ERROR_RATIO, computed.error_ratio, _SHARE)
    _gauge(semconv.AGENT_UTILIZATION, computed.agent_utilization, _SHARE)
    _gauge(semconv.PARALLEL_RATIO, computed.parallel_ratio, _SHARE)
    _gauge(semconv.EFFICIENCY_RATIO, computed.efficiency_ratio, _SHARE)
    _gauge(semconv.TEST_COVERAGE, business.value(project.TEST_COVERAGE), _SHARE)
    _gauge(semconv.CODE_QUALITY, business.value(project.CODE_QUALITY), "{point}")
    _gauge(semconv.DOCUMENTATION_COVERAGE, business.value(project.DOCUMENTATION_COVERAGE), _SHARE)


def _gauge(name: str, value: float | None, unit: str) -> None:
    if value is not None:
        metrics.gauge(name, value, unit=unit)
