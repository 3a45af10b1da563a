"""Tables of what TraceQL finds: spans in groups, spans one by one, traces.

Grafana's Tempo data source gives a span's time and duration the names that stand here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchwatch import names
from orchwatch.mixin.dashboards import panels, queries, units
from orchwatch.mixin.dashboards.page import link
from orchwatch.mixin.dashboards.panels import Text, column, transform

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel, Table

TIME: Final = "Start time"
DURATION: Final = "Duration"
TRACE_ID: Final = "traceIdHidden"
_STATUS: Final = "status"


def grouped(text: Text, found: str, by: str, called: str) -> Panel:
    """How often, how long in the mean, how long at most, for each value of an attribute.

    Args:
        text: What a person reads.
        found: The spans in TraceQL.
        by: The attribute.
        called: What a person calls that.
    """
    aggregated = {"aggregations": ["count", "mean", "max"], "operation": "aggregate"}
    fields = {by: {"aggregations": [], "operation": "groupby"}, DURATION: aggregated}
    renamed = {
        by: called,
        f"{DURATION} (count)": "Count",
        f"{DURATION} (mean)": "Mean",
        f"{DURATION} (max)": "Longest",
    }
    query = queries.spans("A", f"{found} | select({queries.attribute(by)})")
    changes = [transform("groupBy", fields=fields), *panels.chosen(renamed, "Longest")]
    panel = panels.rows(text, query, transformations=changes)
    for name in ("Mean", "Longest"):
        column(panel, name, unit=units.NANOSECONDS, decimals=1)
    return panel


def longest(text: Text, found: str, *attributes: str) -> Panel:
    """Spans, the longest first; a click opens the trace on the session's page."""
    called = {
        names.OPERATION_NAME: "Operation",
        names.GEN_AI_AGENT_NAME: "Agent",
        names.SESSION_ID: "Session",
        names.ERROR_TYPE: "Error",
    }
    selected = ", ".join(["status", *(queries.attribute(name) for name in attributes)])
    query = queries.spans("A", f"{found} | select({selected})")
    renamed = {
        TIME: "Started",
        DURATION: "Took",
        **{name: called[name] for name in attributes},
        _STATUS: "Status",
        TRACE_ID: "Trace",
    }
    panel = panels.rows(text, query, transformations=panels.chosen(renamed, "Took"))
    column(panel, "Took", unit=units.NANOSECONDS, decimals=1)
    return _opening(panel, "Trace")


def traces(text: Text, found: str) -> Panel:
    """Traces, the newest first; a click shows one on the session's page."""
    renamed = {
        "Trace ID": "Trace",
        TIME: "Started",
        "Service": "Service",
        "Name": "Begins with",
        DURATION: "Took",
    }
    query = queries.traces("A", found)
    panel = panels.rows(text, query, transformations=panels.chosen(renamed, "Started"))
    column(panel, "Took", unit=units.MILLISECONDS, decimals=1)
    return _opening(panel, "Trace")


def _opening(panel: Table, name: str) -> Table:
    kept = ("service", "operation", "agent", "session")
    url = link("session", *kept, trace="${__value.raw}")
    properties = {
        "links": panels.opens(url, "Show the trace"),
        # The data source hides a span's trace id; which of the two says so depends on its version.
        "custom.hidden": False,
        "custom.hideFrom": {"viz": False, "legend": False, "tooltip": False},
    }
    return column(panel, name, **properties)
