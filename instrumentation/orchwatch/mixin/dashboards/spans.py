"""Tables of what TraceQL finds: spans in groups, and traces.

Tempo gives back some spans of a trace only, but groups and counts all of them: each group's number
is exact, its durations are those of the spans that came back. Grafana's Tempo data source names the
columns as it does here. It names them also where nothing was found, and a table with columns does
not say why it is empty: grouped by what is in no empty answer, nothing is left of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchwatch import names
from orchwatch.mixin.dashboards import grading, panels, queries, units
from orchwatch.mixin.dashboards.page import link
from orchwatch.mixin.dashboards.panels import Text, column, transform

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel, Table, Transformation

TIME: Final = "Start time"
DURATION: Final = "Duration"
TRACE_ID: Final = "traceIdHidden"
STATUS: Final = "status"
NUMBER: Final = "count()"
_SPAN: Final = "span:id"
_EVERY_TRACES: Final = 100
# Columns of ours.
LONGEST: Final = "Longest"
COUNT: Final = "Count"
_STARTED: Final = "Started"
TRACE: Final = "Trace"
_OUTCOME: Final = "Outcome"
_CALLED: Final = {
    names.OPERATION_NAME: "Operation",
    names.GEN_AI_AGENT_NAME: "Agent",
    names.SESSION_ID: "Session",
    names.ERROR_TYPE: "Error",
}
# What Tempo calls the group of the spans that have no such attribute.
NIL: Final = "nil"
# Tempo's word for the service of a trace whose first span, which is written last, is not there.
_NO_ROOT: Final = "<root span not yet received>"
NO_AGENT: Final = "no agent"
MAIN_AGENT: Final = "main agent"


def grouped(text: Text, found: str, by: str, unnamed: str = NO_AGENT) -> Panel:
    """How often, how long in the mean, how long at most, for each value of an attribute.

    Args:
        text: What a person reads.
        found: The spans in TraceQL.
        by: The attribute.
        unnamed: What is said of those without it.
    """
    group = key(by)
    times = _aggregated("count", "sum", "max")
    of_all = {
        **_keys(group),
        folded(NUMBER, "first"): _aggregated("sum"),
        folded(DURATION, "count"): _aggregated("sum"),
        folded(DURATION, "sum"): _aggregated("sum"),
        folded(DURATION, "max"): _aggregated("max"),
    }
    total, number = (folded(DURATION, what, "sum") for what in ("sum", "count"))
    renamed = {
        group: _CALLED[by],
        folded(NUMBER, "first", "sum"): COUNT,
        "Mean": "Mean",
        folded(DURATION, "max", "max"): LONGEST,
    }
    changes = [
        *_of_each_trace(group, aggregated={DURATION: times}),
        transform("groupBy", fields=of_all),
        panels.computed("Mean", total, "/", number),
        *panels.chosen(renamed, LONGEST),
    ]
    panel = panels.rows(text, _query(found, by), transformations=changes)
    _named(panel, unnamed, by)
    column(panel, COUNT, unit=units.COUNT, **_narrow(65))
    for name in ("Mean", LONGEST):
        column(panel, name, unit=units.NANOSECONDS, **_narrow(90))
    return panel


def slowest(
    text: Text,
    found: str,
    *by: str,
    of_longest: tuple[str, ...] = (),
    sort: str = LONGEST,
    unnamed: str = NO_AGENT,
) -> Table:
    """For each combination of attributes how often, how long at most, and that one's trace.

    Args:
        text: What a person reads.
        found: The spans in TraceQL.
        by: The attributes.
        of_longest: Attributes of the longest only.
        sort: The column whose largest comes first.
        unnamed: What is said of those without an agent.
    """
    query = _query(found, *by, *of_longest, status=True)
    panel = panels.rows(text, query, transformations=_to_slowest(by, of_longest, sort))
    _named(panel, unnamed, *by, *of_longest)
    column(panel, LONGEST, unit=units.NANOSECONDS, **_narrow(90))
    column(panel, COUNT, unit=units.COUNT, **_narrow(65))
    column(panel, _STARTED, unit=units.MOMENT, **_narrow(120))
    column(panel, _OUTCOME, **_outcome())
    opened = link("session", "service", "operation", session="${__value.raw}")
    column(panel, _CALLED[names.SESSION_ID], links=panels.opens(opened, "Show the session"))
    # What is left is the session's, or the error's: these are long.
    column(panel, _CALLED[names.OPERATION_NAME], **_narrow(144))
    column(panel, _CALLED[names.GEN_AI_AGENT_NAME], **_narrow(137))
    return _opening(panel, TRACE)


def _to_slowest(
    by: tuple[str, ...], of_longest: tuple[str, ...], sort: str
) -> list[Transformation]:
    keys, shown = [key(name) for name in by], [key(name) for name in of_longest]
    status = f"by({STATUS})"
    first = _aggregated("first")
    of_all = {
        **_keys(*keys, status),
        folded(NUMBER, "first"): _aggregated("sum"),
        folded(DURATION, "first"): first,
        folded(TIME, "first"): first,
        **dict.fromkeys((*shown, TRACE_ID), first),
    }
    renamed = {
        folded(TRACE_ID, "first"): TRACE,
        **{key(name): _CALLED[name] for name in by},
        status: _OUTCOME,
        folded(NUMBER, "first", "sum"): COUNT,
        folded(DURATION, "first", "first"): LONGEST,
        **{folded(key(name), "first"): _CALLED[name] for name in of_longest},
        folded(TIME, "first", "first"): _STARTED,
    }
    if names.ERROR_TYPE in by:
        # All of it failed, and an error's name is long.
        for name in (status, folded(TIME, "first", "first"), folded(DURATION, "first", "first")):
            del renamed[name]
    return [
        # So the first of each group is its longest.
        transform("sortBy", sort=[{"field": DURATION, "desc": True}]),
        *_of_each_trace(*keys, *shown, status, aggregated={DURATION: first, TIME: first}),
        transform("groupBy", fields=of_all),
        *panels.chosen(renamed, sort),
    ]


def each(found: str, *attributes: str, by: tuple[str, ...] = ()) -> panels.Query:
    """Every span, however many a trace has, as a group of its own."""
    selected = ", ".join([STATUS, *(queries.attribute(name) for name in attributes)])
    groups = "".join(f" | {key(name)}" for name in by)
    return queries.groups(
        "A", f"{found}{groups} | by({_SPAN}) | select({selected})", traces=_EVERY_TRACES, spans=1
    )


def one_by_one(*keys: str, columns: tuple[str, ...]) -> Transformation:
    """A row for each span, and no column without rows."""
    values = {one: _aggregated("first") for one in columns}
    return transform("groupBy", fields={**_keys(f"by({_SPAN})", *keys), **values})


def sums(column_name: str, *keys: str) -> dict[str, object]:
    """Adds up a column for each combination of others."""
    return {**_keys(*keys), column_name: _aggregated("sum")}


def folded(name: str, *how: str) -> str:
    """What Grafana calls a column of which it made one value."""
    return " ".join([name, *(f"({one})" for one in how)])


def _query(found: str, *by: str, status: bool = False) -> panels.Query:
    groups = "".join(f" | {key(name)}" for name in by) + (f" | by({STATUS})" if status else "")
    return queries.groups("A", f"{found}{groups} | {NUMBER} > 0")


def key(name: str) -> str:
    """What Tempo calls the column of what spans are grouped by."""
    return f"by({queries.attribute(name)})"


def _keys(*keys: str) -> dict[str, object]:
    return {key: {"aggregations": [], "operation": "groupby"} for key in keys}


def _aggregated(*how: str) -> dict[str, object]:
    return {"aggregations": list(how), "operation": "aggregate"}


def _of_each_trace(*keys: str, aggregated: dict[str, object]) -> list[Transformation]:
    """A row for each group of a trace: each of its spans carries the group's number."""
    fields = {**_keys(*keys, TRACE_ID), NUMBER: _aggregated("first"), **aggregated}
    return [
        transform("groupBy", fields=fields),
        panels.converted(folded(NUMBER, "first"), "number"),
    ]


def _named(panel: Table, unnamed: str, *by: str) -> None:
    for name in by:
        said = unnamed if name == names.GEN_AI_AGENT_NAME else "-"
        mapping = grading.words({NIL: (said, grading.UNKNOWN)})
        column(panel, _CALLED[name], unit="string", mappings=[mapping])


def _narrow(width_px: int) -> dict[str, object]:
    return {"decimals": None, "custom.width": width_px}


def _outcome() -> dict[str, object]:
    words = {
        "ok": ("done", ""),
        "unset": ("done", ""),
        "error": ("failed", grading.MISS),
    }
    return {
        "mappings": [grading.words(words)],
        "color": {"mode": "fixed", "fixedColor": "text"},
        "custom.cellOptions": {"type": "color-text"},
        "custom.align": "center",
        "custom.width": 76,
    }


def traces(text: Text, found: str) -> Panel:
    """Traces, the newest first; a click shows one on the session's page."""
    renamed = {
        "Trace ID": TRACE,
        TIME: _STARTED,
        "Service": "Service",
        "Name": "Begins with",
        DURATION: "Took",
    }
    query = queries.traces("A", found)
    panel = panels.rows(text, query, transformations=panels.chosen(renamed, _STARTED))
    column(panel, _STARTED, unit=units.MOMENT, **_narrow(120))
    column(panel, "Took", unit=units.MILLISECONDS, **_narrow(90))
    running = grading.words({_NO_ROOT: ("still running", grading.UNKNOWN)})
    column(panel, "Service", mappings=[running])
    return _opening(panel, TRACE)


def _opening(panel: Table, name: str) -> Table:
    kept = ("service", "operation", "agent", "session")
    url = link("session", *kept, trace="${__value.raw}")
    properties = {
        "links": panels.opens(url, "open"),
        "unit": "string",
        # The link's title instead of an id of 32 digits.
        "custom.cellOptions": {"type": "data-links"},
        "custom.width": 60,
    }
    return column(panel, name, **properties)
