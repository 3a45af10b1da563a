"""Queries as panels hold them, and the expressions that several pages use."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import prometheus, tempo
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType, TempoQueryType

from orchwatch import semconv
from orchwatch.mixin.lib import level_series, promql
from orchwatch.mixin.lib.promql import selector
from orchwatch.mixin.rules import recording


def source_variable(kind: str) -> str:
    """The variable that says which data source of a kind a page asks, so that it serves any."""
    return f"{kind}_datasource"


def _source(kind: str) -> DataSourceRef:
    return DataSourceRef(type_val=kind, uid=f"${{{source_variable(kind)}}}")


SOURCES: Final = ("prometheus", "tempo")
PROMETHEUS, TEMPO = map(_source, SOURCES)

# Long-running processes report this often; a rate needs several reports.
REPORTED: Final = "1m"
# The shortest interval of counts: operations come every two seconds, reports more rarely.
COUNTED: Final = "30s"
COUNTED_REPORTS: Final = "2m"
LATEST: Final = "1d"
# What a variable holds where nothing is chosen: a pattern that matches all.
ANY: Final = ".*"
# Tempo's word for the group of what has no such attribute.
NIL: Final = "nil"
ACTIVE_AGENTS: Final = f"max({promql.series(semconv.AGENT_ACTIVE, '{agent}')})"
PERCENTILES: Final = (50, 95, 99)
# Exemplars of the slowest: one set of them on a panel is enough.
WITH_EXEMPLARS: Final = 99
# So many of the newest traces a panel looks at. Figures of groups are of all spans of a trace, of
# which only some come back.
TRACES: Final = 1000
_SPANS_A_TRACE: Final = 100
_SPANS_A_GROUP: Final = 3
_LISTED: Final = 100
# For titles, and for the descriptions that explain them.
CUT: Final = "${cut}"
SHOWN: Final = "${shown:text}"
ABOVE: Final = "${slow:text}"
LOOKED_AT: Final = f"Where there are more than {TRACES} traces, the title says so."
SEARCHED: Final = (
    f"Beyond {TRACES} traces a search ends: it begins at the duration in the title, beyond which "
    "Prometheus has counted fewer."
)
# Without it Tempo answers with the first traces that any of its jobs finds: others each time.
_NEWEST: Final = " with (most_recent=true)"


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


def counted(ref: str, counter: str, by: str, legend: str, every: str) -> prometheus.Dataquery:
    """What a counter counted in each interval: each thing in one bar, which is no rate's window."""
    exact = promql.counted(counter, "$__interval")
    return lines(ref, f"sum by ({by}) ({exact})", legend).interval(every)


def reported(ref: str, counter: str, by: str, legend: str) -> prometheus.Dataquery:
    """What a counter that is reported now and then counted in each interval, to the unit.

    Reports come more rarely than operations.
    """
    return lines(ref, in_reports(counter, by), legend).interval(COUNTED_REPORTS)


def in_reports(counter: str, by: str) -> str:
    """The same as an expression, for a query with that interval."""
    return f"sum by ({by}) ({promql.counted(counter, '$__interval')})"


def buckets(ref: str, counter: str, edges: str) -> prometheus.Dataquery:
    """A histogram over time, each operation in one cell, with its exemplars.

    Edges below all and above all operations of the time range are left out, so that the axis shows
    where they are.

    Args:
        ref: Its name.
        counter: The histogram's buckets.
        edges: The value of each edge, by `le`.
    """
    cells = f"sum by (le) ({promql.counted(counter, '$__interval')})"
    # At the range's end, once: at each of its steps the whole range before would be read.
    edges = f"{edges} @ end()"
    within = promql.at_ends(f"{counter} @ end()", "$__range", "by (le) ")
    every = f"max({within})"
    first = f"max({edges} and on (le) ({within} == 0))"
    last = f"min({edges} and on (le) ({within} == on () group_left () {every}))"
    inside = (
        f"({edges} >= on () group_left () ({first} or vector(0))) <= on () group_left () {last}"
    )
    query = _query(ref, f"{cells} and on (le) ({inside})").range().legend_format("{{le}}")
    return query.exemplar(exemplar=True).format(PromQueryFormat.HEATMAP).interval(COUNTED)


def _query(ref: str, expr: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(ref).expr(expr).datasource(PROMETHEUS)


def spans(ref: str, query: str) -> tempo.Dataquery:
    """Spans that TraceQL finds, a row each."""
    found = _traceql(ref, query).table_type(SearchTableType.SPANS)
    return found.limit(TRACES).spss(_SPANS_A_TRACE)


def groups(ref: str, query: str, *, spans: int = _SPANS_A_GROUP) -> tempo.Dataquery:
    """Some spans of each group of each trace, a row each."""
    return _traceql(ref, query).table_type(SearchTableType.SPANS).limit(TRACES).spss(spans)


def traces(ref: str, query: str) -> tempo.Dataquery:
    """Traces that TraceQL finds, a row each."""
    return _traceql(ref, query).table_type(SearchTableType.TRACES).limit(_LISTED)


def trace(ref: str, trace_id: str) -> tempo.Dataquery:
    """One whole trace; Tempo's data source adds its node graph.

    The type is for a search instead of an id: Grafana 12.3 fails where a search has none.
    """
    return traces(ref, trace_id)


def _traceql(ref: str, query: str) -> tempo.Dataquery:
    searched = f"{query}{_NEWEST}" if query.startswith("{") else query
    made = tempo.Dataquery().ref_id(ref).query(searched).datasource(TEMPO)
    return made.query_type(TempoQueryType.TRACEQL)


def latest(series: str) -> str:
    """The last value within a day, to be shown beside when it was, see `seen`.

    Not within the page's time range: a month of samples would be read to find the last.
    """
    return f"last_over_time({series}[{LATEST}])"


def seen(series: str) -> str:
    """When a series was reported last within a day, Unix seconds."""
    return f"max_over_time(timestamp({series})[{LATEST}:1m])"


def age(series: str) -> str:
    """For how long a series has not been reported, in seconds; nothing where it is."""
    return f"(time() - {seen(series)}) unless {series}"


def status(value: str, target: str, warning: str, label: str, sign: str = ">") -> str:
    """0 where the target is met, 1 up to the warning, 2 beyond; -1 where nothing was measured."""
    return (
        f"({value} {sign} bool on ({label}) {target})"
        f" + on ({label}) ({value} {sign} bool on ({label}) {warning})"
        f" or on ({label}) ({target} * 0 - 1)"
    )


def chosen_or_any(name: str, variable: str) -> str:
    """Spans whose attribute a variable says; without a choice also those that have none of it.

    What a row's link hands on for those that have none is no choice either. The attribute comes
    first: with the constants before it, Tempo leaves out what has none.
    """
    free = " || ".join(f'"${variable}" = "{value}"' for value in (ANY, NIL))
    return f'({attribute(name)} =~ "${variable}" || {free})'


def longest(found: str) -> str:
    """Of some spans those that last longer than the page has computed."""
    return found.removesuffix(" }") + " && duration > ${slow}s }"


def beyond(operation: str, limit_s: float) -> str:
    """Operations that took longer than that."""
    return f'({NAME} = "{operation}" && duration > {round(limit_s * 1e9)}ns)'


def any_of(*values: str) -> str:
    """A pattern for TraceQL that matches these values and no others."""
    return "|".join(values).replace(".", "\\\\.")


def level(row_id: str) -> str:
    """The recorded series of a level."""
    return f"{level_series.VALUE}{selector(target=row_id)}"


def level_limits(row_id: str) -> list[prometheus.Dataquery]:
    """The target and the warning of a level, as lines."""
    return _limits(selector(target=row_id), recording.LEVEL_TARGET, recording.LEVEL_WARNING)


def operation_limits(selected: str) -> list[prometheus.Dataquery]:
    """The target and the warning of an operation, as lines."""
    return _limits(selected, recording.TARGET, recording.WARNING)


def _limits(selected: str, target: str, warning: str) -> list[prometheus.Dataquery]:
    return [
        lines("target", f"{target}{selected}", "target"),
        lines("warning", f"{warning}{selected}", "warning"),
    ]


def chosen(series: str, operation: str, **labels: str) -> str:
    """A series of an operation and of the services that the page's variable says."""
    found = selector(operation=operation, **labels)
    return f'{series}{found[:-1]},{SERVICE}=~"$service"}}'


def attribute(name: str) -> str:
    """A span's attribute in TraceQL."""
    return f"span.{name}"


SERVICE: Final = semconv.SERVICE_NAME.replace(".", "_")
SESSION: Final = attribute(semconv.SESSION_ID)
NAME: Final = attribute(semconv.OPERATION_NAME)
CHOSEN_AGENT: Final = chosen_or_any(semconv.GEN_AI_AGENT_NAME, "agent")
# Of a session page only what is a session's is meant.
CHOSEN_SESSION: Final = f'({SESSION} =~ "$session" || ({SESSION} != nil && "$session" = "{NIL}"))'
