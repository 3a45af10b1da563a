"""A page: rows of panels on a grid of 24 columns, variables, and links to the other pages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from orchwatch import semconv
from orchwatch.mixin.dashboards import ALL, TAG, annotated, queries, uid
from orchwatch.mixin.lib.promql import DURATION, OPERATION, text
from orchwatch.mixin.rules import recording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grafana_foundation_sdk.cog.builder import Builder

    from orchwatch.mixin.dashboards.computed import Computed
    from orchwatch.mixin.dashboards.panels import Panel

    Variable = Builder[models.VariableModel]

COLUMNS: Final = 24
# JSON has no comments: the tag says that a page is written by `orchwatch generate`.
GENERATED_TAG: Final = "generated"
# For a table's links: the time range and what is chosen, without what the link itself sets.
TIME: Final = "${__url_time_range}"

# The label and the column that hold a page's uid.
PAGE: Final = "page"

# A search that finds nothing: a panel that asks for a trace says that there is none. With an empty
# id it would say that the data source failed.
NO_TRACE: Final = "{ false }"
_NO_TRACE_TEXT: Final = "none"

# For pages that search traces, which costs more than to look up series.
SELDOM: Final = "1m"
_RANGE: Final = ("now-1h", "now")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels side by side, as wide as the grid together.

    Attributes:
        height: In units of the grid (30 pixels and 8 between).
        panels: Width and panel, from the left.
    """

    height: int
    panels: tuple[tuple[int, Panel], ...]


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page.

    Attributes:
        name: The last part of its uid.
        title: What it is called in lists and links.
        description: What it answers.
        rows: From the top.
        asks: The variables that its queries use and a reader sees.
        computed: The variables that it computes and a reader does not see.
        refresh: How often it asks again.
    """

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    asks: tuple[str, ...] = ()
    computed: tuple[Computed, ...] = ()
    refresh: str = "30s"

    def text(self) -> str:
        """As Grafana reads it from a file."""
        return JSONEncoder(sort_keys=True, indent=2).encode(self._built()) + "\n"

    def _built(self) -> models.Dashboard:
        page = dashboard.Dashboard(self.title).uid(uid(self.name))
        page.description(self.description).tags([TAG, GENERATED_TAG]).readonly()
        page.time(*_RANGE).refresh(self.refresh).timezone("browser")
        page.tooltip(models.DashboardCursorSync.CROSSHAIR).link(_other_pages())
        for variable in _VARIABLES:
            page.with_variable(_asked(variable) if variable in self.asks else _kept(variable))
        for one in self.computed:
            page.with_variable(_computed(one))
        model = page.build()
        for shown in model.links or []:
            # The library's only value hides links in a menu, and none is what it cannot say.
            shown.placement = None  # type: ignore[assignment]
        names_computed = {one.name for one in self.computed}
        for variable_model in model.templating.list_val or []:
            if variable_model.name in names_computed:
                # Its value is this page's: no link hands it on. No builder has a word for it.
                variable_model.skip_url_sync = True
        model.annotations = annotated.every()
        model.panels = self._placed()
        return model

    def _placed(self) -> list[models.Panel | models.RowPanel]:
        placed: list[models.Panel | models.RowPanel] = []
        top = 0
        for row in self.rows:
            left = 0
            for width, panel in row.panels:
                built = panel.build()
                built.id_val = len(placed) + 1
                built.grid_pos = models.GridPos(h=row.height, w=width, x=left, y=top)
                placed.append(built)
                left += width
            top += row.height
        return placed


def span_link(trace: str, span: str) -> str:
    """The address of a span in Explore, as an exemplar's link leads there."""
    target = {
        "refId": "A",
        "datasource": {"type": queries.TEMPO.type_val, "uid": queries.TEMPO.uid},
        "queryType": "traceql",
        "query": trace,
    }
    pane = {
        "datasource": queries.TEMPO.uid,
        "queries": [target],
        "range": {"from": "${__from}", "to": "${__to}"},
        "panelsState": {"trace": {"spanId": span}},
    }
    # What Grafana fills in must stay as it is.
    panes = quote(json.dumps({"a": pane}, separators=(",", ":")), safe="${}._")
    return f"/explore?schemaVersion=1&panes={panes}"


def link(name: str, *keep: str, **variables: str) -> str:
    """The address of a page at the same time, with variables set, and others kept as they are."""
    found = [TIME, *(f"${{{variable}:queryparam}}" for variable in keep)]
    found += [f"var-{variable}={value}" for variable, value in variables.items()]
    return f"/d/{uid(name)}?{'&'.join(found)}"


def link_to(*chosen: str) -> str:
    """The address of the page whose uid a row's column holds, with what other columns choose."""
    found = "".join(f"&${{__data.fields.{column}}}" for column in chosen)
    return f"/d/${{__data.fields.{PAGE}}}?{TIME}{found}"


def labelled(expr: str, label: str, pages: Mapping[str, str]) -> str:
    """Puts the page that shows it on each series, as its label `page`.

    Args:
        expr: The series.
        label: What tells them apart.
        pages: The page's uid, by a value of that label.
    """
    by_page: dict[str, list[str]] = {}
    for value, found in pages.items():
        by_page.setdefault(found.partition("?")[0], []).append(re.escape(value))
    for found, values in by_page.items():
        pattern = text("|".join(sorted(set(values))))
        expr = f'label_replace({expr}, "{PAGE}", "{found}", "{label}", {pattern})'
    return expr


def _other_pages() -> dashboard.DashboardLink:
    made = dashboard.DashboardLink("Pages").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    made.as_dropdown(as_dropdown=False).include_vars(include_vars=True)
    return made.keep_time(keep_time=True).target_blank(target_blank=False)


_SERVICE: Final = "service"
_OPERATION: Final = "operation"
_AGENT: Final = "agent"
_SESSION: Final = "session"
_TRACE: Final = "trace"
_SPAN: Final = "span"
_VARIABLES: Final = (_SERVICE, _OPERATION, _AGENT, _SESSION, _TRACE, _SPAN)
_KEPT: Final = {
    _SERVICE: ALL,
    _OPERATION: semconv.STATE_QUERY,
    _AGENT: ALL,
    _SESSION: ALL,
    _TRACE: NO_TRACE,
    _SPAN: "",
}


def _kept(variable: str) -> Variable:
    """Hidden: a page that does not use it hands it on."""
    made = dashboard.TextBoxVariable(variable).default_value(_KEPT[variable])
    chosen = models.VariableOption(text=_KEPT[variable], value=_KEPT[variable], selected=True)
    made.current(chosen).options([chosen])
    return made.hide(models.VariableHide.HIDE_VARIABLE)


def _computed(one: Computed) -> Variable:
    made = _prometheus(one.name, "", f"query_result({one.query})").regex(one.pattern)
    return made.hide(models.VariableHide.HIDE_VARIABLE)


def _asked(variable: str) -> Variable:
    if variable == _SERVICE:
        counted = f"label_values({DURATION}_count, {queries.SERVICE})"
        return _all(_prometheus(_SERVICE, "Service", counted))
    if variable == _OPERATION:
        made = _prometheus(
            _OPERATION,
            "Operation",
            f'label_values({{__name__=~"{DURATION}_count|{recording.TARGET}"}}, {OPERATION})',
        )
        chosen = _KEPT[_OPERATION]
        return made.current(models.VariableOption(text=chosen, value=chosen, selected=True))
    if variable == _AGENT:
        return _all(_tempo(_AGENT, "Agent", semconv.GEN_AI_AGENT_NAME))
    if variable == _SESSION:
        return _all(_tempo(_SESSION, "Session", semconv.SESSION_ID))
    none = models.VariableOption(text=_NO_TRACE_TEXT, value=NO_TRACE, selected=True)
    made_trace = dashboard.CustomVariable(_TRACE).label("Trace").options([none]).current(none)
    made_trace.values(f"{_NO_TRACE_TEXT} : {NO_TRACE}").allow_custom_value(allow_custom_value=True)
    return made_trace.description("A click on a trace's id in a table fills it in.")


def _prometheus(name: str, label: str, query: str) -> dashboard.QueryVariable:
    model = {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1}
    made = dashboard.QueryVariable(name).label(label).datasource(queries.PROMETHEUS)
    made.query(model).definition(query).sort(models.VariableSort.ALPHABETICAL_ASC)
    return made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)


def _tempo(name: str, label: str, attribute: str) -> dashboard.QueryVariable:
    """Sessions and agents come from traces: as labels of metrics they would be without number."""
    model = {
        "type": 1,
        "label": attribute,
        "stream": "",
        "refId": "TempoDatasourceVariableQueryEditor-VariableQuery",
    }
    made = dashboard.QueryVariable(name).label(label).datasource(queries.TEMPO)
    made.query(model).sort(models.VariableSort.ALPHABETICAL_ASC)
    return made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)


def _all(made: dashboard.QueryVariable) -> dashboard.QueryVariable:
    made.include_all(include_all=True).all_value(queries.ANY).allow_custom_value(
        allow_custom_value=True
    )
    return made.current(models.VariableOption(text="All", value=ALL, selected=True))
