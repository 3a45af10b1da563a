"""The variables of a page: where data comes from, what a reader chooses, what a page computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from orchwatch import semconv
from orchwatch.mixin.dashboards import ALL, queries
from orchwatch.mixin.dashboards.computed import SLOWEST, Listed
from orchwatch.mixin.lib.promql import DURATION, OPERATION

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from grafana_foundation_sdk.cog.builder import Builder

    from orchwatch.mixin.dashboards.computed import Computed

    Variable = Builder[models.VariableModel]

_SLOWEST_TEXT: Final = "the slowest"

_SERVICE: Final = "service"
_OPERATION: Final = "operation"
_AGENT: Final = "agent"
_SESSION: Final = "session"
_TRACE: Final = "trace"
# A session's id is chosen whole. Shown is its name, or of a UUID the beginning, as in tables.
_NAMED: Final = (
    rf"/^(?=(?:.*{semconv.NAMED})?(?<value>.+)$)"
    rf"(?<text>.+(?={semconv.NAMED})|[0-9a-f]{{8}}(?=(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$)|.+)/"
)
_SPAN: Final = "span"
_VARIABLES: Final = (_SERVICE, _OPERATION, _AGENT, _SESSION, _TRACE, _SPAN)
_KEPT: Final = {
    _SERVICE: ALL,
    _OPERATION: semconv.STATE_QUERY,
    _AGENT: ALL,
    _SESSION: ALL,
    _TRACE: SLOWEST,
    _SPAN: "",
}


def of_page(asks: Collection[str], computed: Collection[Computed | Listed]) -> Iterator[Variable]:
    """Every page has all of them, so that a link hands on what another page asks for.

    Args:
        asks: Those that a reader of this page sees.
        computed: Those of this page alone.
    """
    yield from map(_source, queries.SOURCES)
    for variable in _VARIABLES:
        yield _asked(variable) if variable in asks else _kept(variable)
    for one in computed:
        yield _computed(one)


def _source(kind: str) -> Variable:
    """Ours, which is provisioned under its kind as uid; where that is not there, Grafana's first.

    It stands in the menu of controls: hardly anybody has two.
    """
    name = queries.source_variable(kind)
    made = dashboard.DatasourceVariable(name).label(f"{kind.title()} data source").type(kind)
    ours = models.VariableOption(text=kind.title(), value=kind, selected=True)
    return made.current(ours).hide(models.VariableHide.IN_CONTROLS_MENU)


def _kept(variable: str) -> Variable:
    """Hidden: a page that does not use it hands it on."""
    if variable == _OPERATION:
        # Handed on as it is, an operation that did not run would be chosen on the other page.
        return _operation().hide(models.VariableHide.HIDE_VARIABLE)
    made = dashboard.TextBoxVariable(variable).default_value(_KEPT[variable])
    chosen = models.VariableOption(text=_KEPT[variable], value=_KEPT[variable], selected=True)
    made.current(chosen).options([chosen])
    return made.hide(models.VariableHide.HIDE_VARIABLE)


def _computed(one: Computed | Listed) -> Variable:
    if isinstance(one, Listed):
        listed = _tempo(one.name, "", one.attribute).regex(one.pattern)
        listed.sort(models.VariableSort.ALPHABETICAL_DESC).include_all(include_all=True)
        listed.current(models.VariableOption(text="All", value=ALL, selected=True))
        return listed.hide(models.VariableHide.HIDE_VARIABLE)
    made = _prometheus(one.name, "", f"query_result({one.query})").regex(one.pattern)
    return made.hide(models.VariableHide.HIDE_VARIABLE)


def _asked(variable: str) -> Variable:
    if variable == _SERVICE:
        counted = f"label_values({DURATION}_count, {queries.SERVICE})"
        return _all(_prometheus(_SERVICE, "Service", counted))
    if variable == _OPERATION:
        return _operation()
    if variable == _AGENT:
        return _all(_tempo(_AGENT, "Agent", semconv.GEN_AI_AGENT_NAME))
    if variable == _SESSION:
        return _all(_tempo(_SESSION, "Session", semconv.SESSION_LABEL).regex(_NAMED))
    slowest = models.VariableOption(text=_SLOWEST_TEXT, value=SLOWEST, selected=True)
    made_trace = dashboard.CustomVariable(_TRACE).label("Trace").options([slowest])
    made_trace.values(f"{_SLOWEST_TEXT} : {SLOWEST}").allow_custom_value(allow_custom_value=True)
    made_trace.description("`open` in a table fills an id in; one can be pasted, too.")
    return made_trace.current(slowest)


def _operation() -> dashboard.QueryVariable:
    """Those that ran in the time range: of another, which only a link names, a page is empty."""
    made = _prometheus(_OPERATION, "Operation", f"label_values({DURATION}_count, {OPERATION})")
    chosen = _KEPT[_OPERATION]
    made.allow_custom_value(allow_custom_value=True)
    return made.current(models.VariableOption(text=chosen, value=chosen, selected=True))


def _prometheus(name: str, label: str, query: str) -> dashboard.QueryVariable:
    model = {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1}
    made = dashboard.QueryVariable(name).label(label).datasource(queries.PROMETHEUS)
    made.query(model).sort(models.VariableSort.ALPHABETICAL_ASC)
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
