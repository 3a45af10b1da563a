"""Queries as panels hold them, and the expressions that several pages use."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import prometheus, tempo
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType, TempoQueryType

from orchwatch import names
from orchwatch.mixin import readings
from orchwatch.mixin.promql import selector

PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="prometheus")
TEMPO: Final = DataSourceRef(type_val="tempo", uid="tempo")

# Long-running processes report this often; a rate needs several reports.
REPORTED: Final = "30s"
LATEST: Final = "1d"
PERCENTILES: Final = (50, 95, 99)
# Exemplars of the slowest: one set of them on a panel is enough.
WITH_EXEMPLARS: Final = 99
_TRACES: Final = 200
_SPANS_A_TRACE: Final = 100

# The table as series, see `recording`.
TARGET: Final = "operation:orchestration_target:seconds"
WARNING: Final = "operation:orchestration_warning:seconds"
LEVEL_TARGET: Final = "orchestration:level_target:value"
LEVEL_WARNING: Final = "orchestration:level_warning:value"


def lines(ref: str, expr: str, legend: str, *, exemplars: bool = False) -> prometheus.Dataquery:
    """A range of samples."""
    query = _query(ref, expr).range().legend_format(legend)
    return query.exemplar(exemplar=True) if exemplars else query


def now(ref: str, expr: str, legend: str = "") -> prometheus.Dataquery:
    """The latest samples."""
    return _query(ref, expr).instant().legend_format(legend or "__auto")


def rows(ref: str, expr: str) -> prometheus.Dataquery:
    """The latest samples, a row each."""
    return _query(ref, expr).instant().format(PromQueryFormat.TABLE)


def buckets(ref: str, expr: str) -> prometheus.Dataquery:
    """A histogram over time, with its exemplars."""
    query = _query(ref, expr).range().legend_format("{{le}}").exemplar(exemplar=True)
    return query.format(PromQueryFormat.HEATMAP)


def _query(ref: str, expr: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(ref).expr(expr).datasource(PROMETHEUS)


def spans(ref: str, query: str) -> tempo.Dataquery:
    """Spans that TraceQL finds, a row each."""
    return _traceql(ref, query).table_type(SearchTableType.SPANS).spss(_SPANS_A_TRACE)


def traces(ref: str, query: str) -> tempo.Dataquery:
    """Traces that TraceQL finds, a row each."""
    return _traceql(ref, query).table_type(SearchTableType.TRACES)


def trace(ref: str, trace_id: str) -> tempo.Dataquery:
    """One whole trace; Tempo's data source adds its node graph."""
    return _traceql(ref, trace_id)


def _traceql(ref: str, query: str) -> tempo.Dataquery:
    made = tempo.Dataquery().ref_id(ref).query(query).datasource(TEMPO)
    return made.query_type(TempoQueryType.TRACEQL).limit(_TRACES)


def latest(series: str) -> str:
    """The last value within a day: what happens rarely is not unknown in between.

    Not within the page's time range: a month of samples would be read to find the last.
    """
    return f"last_over_time({series}[{LATEST}])"


def status(value: str, target: str, warning: str, label: str, sign: str = ">") -> str:
    """0 where the target is met, 1 up to the warning, 2 beyond; -1 where nothing was measured."""
    return (
        f"({value} {sign} bool on ({label}) {target})"
        f" + on ({label}) ({value} {sign} bool on ({label}) {warning})"
        f" or on ({label}) ({target} * 0 - 1)"
    )


def any_of(*values: str) -> str:
    """A pattern for TraceQL that matches these texts and no others."""
    return "|".join(values).replace(".", "\\\\.")


def level(row_id: str) -> str:
    """The recorded series of a level."""
    return f"{readings.VALUE}{selector(target=row_id)}"


def chosen(series: str, **labels: str) -> str:
    """A series of the operation and the services that the page's variables say."""
    found = selector(operation="$operation", **labels)
    return f'{series}{found[:-1]},{SERVICE}=~"$service"}}'


def attribute(name: str) -> str:
    """A span's attribute in TraceQL."""
    return f"span.{name}"


SERVICE: Final = names.SERVICE_NAME.replace(".", "_")
AGENT: Final = attribute(names.GEN_AI_AGENT_NAME)
SESSION: Final = attribute(names.SESSION_ID)
NAME: Final = attribute(names.OPERATION_NAME)
