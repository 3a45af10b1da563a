"""Tables of what TraceQL finds: spans in groups, and traces.

Tempo gives back some spans of a trace only, but groups, counts, adds up and compares all of them:
each group's figures are exact for the traces that were found, and these are the newest. Grafana's
Tempo data source names the columns as it does here. It names them also where nothing was found, and
a table with columns does not say why it is empty: grouped by what is in no empty answer, nothing is
left of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchwatch import semconv
from orchwatch.mixin.dashboards import grading, panels, queries, units
from orchwatch.mixin.dashboards.page import link, span_link
from orchwatch.mixin.dashboards.panels import Text, column, transform

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel, Table, Transformation

TIME: Final = "Start time"
DURATION: Final = "Duration"
TRACE_ID: Final = "traceIdHidden"
STATUS: Final = "status"
NUMBER: Final = "count()"
SPAN_ID: Final = "Span ID"
# What Tempo calls the column of what spans are grouped by, if it is their outcome.
OUTCOME_KEY: Final = f"by({STATUS})"
_SUM: Final = "sum(duration)"
_MAX: Final = "max(duration)"
# What Tempo writes a duration with, as Go does, `1h2m3.5s` and `12.5ms`, in nanoseconds.
_UNITS_NS: Final = {
    "h": ("h", 3_600_000_000_000),
    "m": ("m(?!s)", 60_000_000_000),
    "s": ("s", 1_000_000_000),
    "ms": ("ms", 1_000_000),
    "us": ("µs", 1_000),
    "ns": ("ns", 1),
}
_SPAN: Final = "span:id"
# Columns of ours.
LONGEST: Final = "Longest"
COUNT: Final = "Count"
_STARTED: Final = "Started"
TRACE: Final = "Trace"
SPAN: Final = "Span"
_SESSION: Final = "session"
_NAMED: Final = "named"
# Finds a session's name, and nothing in the word `null` of one that has none.
OF_NAME: Final = r"/^(?<{}>.*\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\dZ)$/"
_OUTCOME: Final = "Outcome"
_CALLED: Final = {
    semconv.OPERATION_NAME: "Operation",
    semconv.GEN_AI_AGENT_NAME: "Agent",
    semconv.SESSION_ID: "Session",
    semconv.ERROR_TYPE: "Error",
    semconv.HOOK_NAME: "Hook",
    semconv.HOOK_EVENT_NAME: "Event",
}
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
    of_all = {
        **grouped_by(group),
        folded(NUMBER, "first"): aggregated("sum"),
        _SUM: aggregated("sum"),
        _MAX: aggregated("max"),
    }
    total, number = folded(_SUM, "sum"), folded(NUMBER, "first", "sum")
    renamed = {group: _CALLED[by], number: COUNT, "Mean": "Mean", folded(_MAX, "max"): LONGEST}
    changes = [
        *_of_each_trace(group),
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

    A session is called by its name, where it has one.

    Args:
        text: What a person reads.
        found: The spans in TraceQL.
        by: The attributes.
        of_longest: Attributes of the longest only.
        sort: The column whose largest comes first.
        unnamed: What is said of those without an agent.
    """
    shown = semconv.SESSION_ID in (*by, *of_longest)
    # A session has one: grouped by it too, the search would take longer.
    named = (semconv.SESSION_NAME,) if shown else ()
    query = _query(found, *by, *of_longest, status=True, select=named)
    panel = panels.rows(text, query, transformations=_to_slowest(by, of_longest, sort))
    _named(panel, unnamed, *by, *of_longest)
    column(panel, LONGEST, unit=units.NANOSECONDS, **_narrow(90))
    column(panel, COUNT, unit=units.COUNT, **_narrow(65))
    column(panel, _STARTED, unit=units.MOMENT, **_narrow(120))
    column(panel, _OUTCOME, **_outcome())
    if shown:
        opened = link("session", "service", "operation", session=f"${{__data.fields.{_SESSION}}}")
        column(panel, _CALLED[semconv.SESSION_ID], links=panels.opens(opened, "Show the session"))
    # What is left is the session's, or the error's: these are long.
    column(panel, _CALLED[semconv.OPERATION_NAME], **_narrow(144))
    column(panel, _CALLED[semconv.GEN_AI_AGENT_NAME], **_narrow(137))
    return _opening(panel, TRACE, session=shown, span=True)


def _to_slowest(
    by: tuple[str, ...], of_longest: tuple[str, ...], sort: str
) -> list[Transformation]:
    keys, shown = [key(name) for name in by], [key(name) for name in of_longest]
    status = OUTCOME_KEY
    first = aggregated("first")
    of_all = {
        **grouped_by(*keys, status),
        folded(NUMBER, "first"): aggregated("sum"),
        _MAX: first,
        folded(TIME, "first"): first,
        folded(SPAN_ID, "first"): first,
        folded(semconv.SESSION_NAME, "first"): first,
        **dict.fromkeys((*shown, TRACE_ID), first),
    }
    columns = {semconv.SESSION_ID: _NAMED}
    renamed = {
        folded(TRACE_ID, "first"): TRACE,
        **{columns.get(name, key(name)): _CALLED[name] for name in by},
        status: _OUTCOME,
        folded(NUMBER, "first", "sum"): COUNT,
        folded(_MAX, "first"): LONGEST,
        **{columns.get(name, folded(key(name), "first")): _CALLED[name] for name in of_longest},
        folded(TIME, "first", "first"): _STARTED,
        folded(SPAN_ID, "first", "first"): SPAN,
    }
    copied = []
    if semconv.SESSION_ID in (*by, *of_longest):
        session = key(semconv.SESSION_ID)
        source = session if semconv.SESSION_ID in by else folded(session, "first")
        copied = [
            panels.extracted(
                folded(semconv.SESSION_NAME, "first", "first"), OF_NAME.format("name")
            ),
            panels.reduced(_NAMED, "lastNotNull", source, "name"),
            panels.reduced(_SESSION, "lastNotNull", source),
            # What was reduced is a number to Grafana.
            *(panels.converted(one, "string") for one in (_NAMED, _SESSION)),
        ]
        renamed[_SESSION] = _SESSION
    if semconv.ERROR_TYPE in by:
        # It says the outcome, and its name is long.
        del renamed[status]
    return [
        # So the first of each trace is the longest of those that came back.
        transform("sortBy", sort=[{"field": DURATION, "desc": True}]),
        *_of_each_trace(*keys, *shown, status, kept=(TIME, SPAN_ID, semconv.SESSION_NAME)),
        # And the first of all is the longest of all.
        transform("sortBy", sort=[{"field": _MAX, "desc": True}]),
        transform("groupBy", fields=of_all),
        *copied,
        *panels.chosen(renamed, sort),
    ]


def each(found: str, *attributes: str, by: tuple[str, ...] = ()) -> panels.Query:
    """Every span, however many a trace has, as a group of its own."""
    selected = ", ".join([STATUS, *(queries.attribute(name) for name in attributes)])
    groups = "".join(f" | {key(name)}" for name in by)
    return queries.groups("A", f"{found}{groups} | by({_SPAN}) | select({selected})", spans=1)


def one_by_one(*keys: str, columns: tuple[str, ...]) -> Transformation:
    """A row for each span, and no column without rows."""
    values = {one: aggregated("first") for one in columns}
    return transform("groupBy", fields={**grouped_by(f"by({_SPAN})", *keys), **values})


def folded(name: str, *how: str) -> str:
    """What Grafana calls a column of which it made one value."""
    return " ".join([name, *(f"({one})" for one in how)])


def _query(
    found: str, *by: str, status: bool = False, select: tuple[str, ...] = ()
) -> panels.Query:
    groups = "".join(f" | {key(name)}" for name in by) + (f" | {OUTCOME_KEY}" if status else "")
    figures = f"{NUMBER} > 0 | {_SUM} > 0ns | {_MAX} > 0ns"
    selected = "".join(f" | select({queries.attribute(name)})" for name in select)
    return queries.groups("A", f"{found}{groups} | {figures}{selected}")


def key(name: str) -> str:
    """What Tempo calls the column of what spans are grouped by."""
    return f"by({queries.attribute(name)})"


def grouped_by(*names: str) -> dict[str, object]:
    """For `groupBy`: columns of which each combination is a row."""
    return {name: {"aggregations": [], "operation": "groupby"} for name in names}


def aggregated(*how: str) -> dict[str, object]:
    """For `groupBy`: what becomes of a column's values."""
    return {"aggregations": list(how), "operation": "aggregate"}


def _of_each_trace(*keys: str, kept: tuple[str, ...] = ()) -> list[Transformation]:
    """A row for each group of a trace, as each of its spans carries the group's figures."""
    figures = (NUMBER, _SUM, _MAX)
    fields = {
        **grouped_by(*keys, TRACE_ID),
        **dict.fromkeys((*figures, *kept), aggregated("first")),
    }
    return [
        transform("groupBy", fields=fields),
        panels.converted(folded(NUMBER, "first"), "number"),
        *_nanoseconds(_SUM),
        *_nanoseconds(_MAX),
    ]


def _nanoseconds(figure: str) -> list[Transformation]:
    """A column of durations that Tempo wrote, as a column of numbers under the figure's name."""
    word = figure.partition("(")[0]
    parts = {f"{word}_{name}": unit for name, unit in _UNITS_NS.items()}
    pattern = "".join(f"(?:(?<{part}>[\\d.]+){sign})?" for part, (sign, _) in parts.items())
    numbers = [{"targetField": part, "destinationType": "number"} for part in parts]
    return [
        panels.extracted(folded(figure, "first"), f"/^{pattern}$/"),
        transform("convertFieldType", conversions=numbers),
        *(
            panels.computed(f"{part} in ns", part, "*", str(size_ns))
            for part, (_, size_ns) in parts.items()
        ),
        panels.reduced(figure, "sum", *(f"{part} in ns" for part in parts)),
    ]


def _named(panel: Table, unnamed: str, *by: str) -> None:
    for name in by:
        said = unnamed if name == semconv.GEN_AI_AGENT_NAME else "-"
        mappings: list[object] = [grading.words({queries.NIL: (said, grading.UNKNOWN)})]
        if name == semconv.SESSION_ID:
            mappings += [grading.short_ids(), grading.short_names()]
        column(panel, _CALLED[name], unit="string", mappings=mappings)


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
    return _opening(panel, TRACE, session=False, span=False)


def _opening(panel: Table, name: str, *, session: bool, span: bool) -> Table:
    """Links of a trace's id: to the session's page, and to the span itself.

    Args:
        panel: The table.
        name: The column that holds the trace's id.
        session: Whether a column holds its session.
        span: Whether a column holds the span's id.
    """
    kept = ["service", "operation", "agent", *([] if session else ["session"])]
    found = {"trace": "${__value.raw}"}
    if session:
        found["session"] = f"${{__data.fields.{_SESSION}}}"
        panels.hidden(panel, _SESSION)
    if span:
        found["span"] = f"${{__data.fields.{SPAN}}}"
        panels.hidden(panel, SPAN)
    links = panels.opens(link("session", *kept, **found), "open")
    if span:
        links += panels.opens(span_link("${__value.raw}", f"${{__data.fields.{SPAN}}}"), "span")
    properties = {
        "links": links,
        "unit": "string",
        # The links' titles instead of an id of 32 digits.
        "custom.cellOptions": {"type": "data-links"},
        "custom.width": 60 if len(links) == 1 else 100,
    }
    return column(panel, name, **properties)
