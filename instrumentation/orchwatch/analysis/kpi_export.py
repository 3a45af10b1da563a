"""Key figures as gauges, exported as the process is configured.

A figure that was not measured is not set, so that no series claims it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchwatch import semconv
from orchwatch.analysis import project
from orchwatch.recording import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.analysis.status import Business, System

_SHARE = "1"


class Gauge(NamedTuple):
    """A gauge.

    Attributes:
        name: OpenTelemetry's.
        value: In `unit`.
        unit: UCUM.
    """

    name: str
    value: float
    unit: str


def of_system(system: System) -> list[Gauge]:
    """The system gauges that were measured."""
    memory_bytes = max(system.session_memory_bytes.values(), default=None)
    return _measured(
        (semconv.SESSION_MEMORY, memory_bytes, "By"),
        (semconv.STORAGE_SIZE, system.storage_bytes, "By"),
        (semconv.STORAGE_GROWTH, system.storage_growth_bytes, "By"),
    )


def of_business(business: Business) -> list[Gauge]:
    """The business gauges that were measured."""
    computed = business.kpis
    return _measured(
        (semconv.AGENT_ACTIVE, computed.active_agents, "{agent}"),
        (semconv.TASK_THROUGHPUT, computed.tasks_per_hour, "{task}/h"),
        (semconv.TASK_SUCCESS_RATIO, computed.success_ratio, _SHARE),
        (semconv.TASK_ERROR_RATIO, computed.error_ratio, _SHARE),
        (semconv.AGENT_UTILIZATION, computed.agent_utilization, _SHARE),
        (semconv.PARALLEL_RATIO, computed.parallel_ratio, _SHARE),
        (semconv.EFFICIENCY_RATIO, computed.efficiency_ratio, _SHARE),
        (semconv.TEST_COVERAGE, business.value(project.TEST_COVERAGE), _SHARE),
        (semconv.CODE_QUALITY, business.value(project.CODE_QUALITY), "{point}"),
        (
            semconv.DOCUMENTATION_COVERAGE,
            business.value(project.DOCUMENTATION_COVERAGE),
            _SHARE,
        ),
    )


def export(gauges: Iterable[Gauge]) -> None:
    """Sets them."""
    for name, value, unit in gauges:
        metrics.gauge(name, value, unit=unit)


def _measured(*gauges: tuple[str, float | None, str]) -> list[Gauge]:
    return [Gauge(name, value, unit) for name, value, unit in gauges if value is not None]
