"""Figures in Prometheus' text format, under the names that they have in the stack's Prometheus."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TextIO

from orchwatch import semconv
from orchwatch.mixin.lib import promql

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchwatch.analysis.kpi_export import Gauge
    from orchwatch.store.histograms import Histogram
    from orchwatch.store.own_metrics import Metric

_NS = 1_000_000_000
_STATUS = ("STATUS_CODE_UNSET", semconv.STATUS_OK, semconv.STATUS_ERROR)  # by OTLP's code
# As the Collector names what names no service.
_UNKNOWN_SERVICE = "unknown_service"
_METRIC_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_OF_KPIS = {
    semconv.SESSION_MEMORY: "Resident memory of the largest session.",
    semconv.STORAGE_SIZE: "Size of spool, store and sessions.",
    semconv.STORAGE_GROWTH: "What of it was written in the last 24 hours.",
    semconv.AGENT_ACTIVE: "Agents that were busy within the last 60 seconds.",
    semconv.TASK_THROUGHPUT: "Tasks that ended without an error in the last hour.",
    semconv.TASK_SUCCESS_RATIO: "Share of the tasks that ended without an error.",
    semconv.TASK_ERROR_RATIO: "Share of the tasks that ended with one.",
    semconv.AGENT_UTILIZATION: "Busy over available time of all agents.",
    semconv.PARALLEL_RATIO: "Time with two or more agents busy over time with any.",
    semconv.EFFICIENCY_RATIO: "Time in work that succeeded over available time.",
    semconv.TEST_COVERAGE: "Share of the project's code that its tests run.",
    semconv.CODE_QUALITY: "The project's code quality, in points of 10.",
    semconv.DOCUMENTATION_COVERAGE: "Share of the project's code that is documented.",
}


def render(
    histograms: Iterable[Histogram],
    edges_s: Sequence[float],
    gauges: Iterable[Gauge],
    own: Iterable[Metric],
    file: TextIO,
) -> None:
    """Writes all of it.

    Args:
        histograms: Of operations.
        edges_s: Their edges.
        gauges: Key figures.
        own: Counters and gauges of programs' own. A gauge that several report is left out, since
            what tells its series apart is not known.
        file: Where to.
    """
    _durations(histograms, edges_s, file)
    written = {promql.DURATION}
    for name, value, unit in gauges:
        series = promql.series(name, unit)
        written.add(series)
        _family(series, "gauge", _OF_KPIS[name], {"": value}, file)
    for metric in own:
        series = promql.series(metric.name, metric.unit, counter=metric.kind == "counter")
        # Two names may become one series, and some have no letter that one may hold.
        fits = _METRIC_NAME.fullmatch(series) and series not in written
        if len(metric.values) == 1 and fits:
            written.add(series)
            _family(series, metric.kind, "Of a program's own.", {"": metric.values[0]}, file)


def _durations(histograms: Iterable[Histogram], edges_s: Sequence[float], file: TextIO) -> None:
    lines = []
    for one in histograms:
        labels = {
            "service_name": one.service or _UNKNOWN_SERVICE,
            "operation": one.operation,
            "status_code": _STATUS[one.status if one.status < len(_STATUS) else 0],
            **({"error_type": one.error_type} if one.error_type else {}),
        }
        edges = [*map(promql.number, edges_s), "+Inf"]
        for edge, number in zip(edges, (*one.within, one.number), strict=True):
            lines.append(f"_bucket{_selector(**labels, le=edge)} {number}")
        lines.append(f"_sum{_selector(**labels)} {_seconds(one.sum_ns)}")
        lines.append(f"_count{_selector(**labels)} {one.number}")
    if lines:
        _head(promql.DURATION, "histogram", "How long operations took.", file)
        file.writelines(f"{promql.DURATION}{line}\n" for line in lines)


def _family(series: str, kind: str, meaning: str, values: dict[str, float], file: TextIO) -> None:
    _head(series, kind, meaning, file)
    file.writelines(f"{series}{labels} {value!r}\n" for labels, value in values.items())


def _head(series: str, kind: str, meaning: str, file: TextIO) -> None:
    file.write(f"# HELP {series} {meaning}\n# TYPE {series} {kind}\n")


def _selector(**labels: str) -> str:
    return promql.selector(**{name: _whole(text) for name, text in labels.items()})


def _whole(text: str) -> str:
    """As UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode()


def _seconds(sum_ns: int) -> str:
    """Exact: a float holds no nanosecond of a year."""
    whole, rest = divmod(sum_ns, _NS)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")
