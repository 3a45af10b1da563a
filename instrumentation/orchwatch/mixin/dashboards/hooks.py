"""Hooks: what each costs a turn, and which of them fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.dashboards import (
    computed,
    durations,
    grading,
    panels,
    queries,
    spans,
    units,
    widths,
)
from orchwatch.mixin.dashboards.page import SELDOM, Page, Row, Section
from orchwatch.mixin.dashboards.panels import Text, column, transform
from orchwatch.mixin.lib import alerting, promql
from orchwatch.mixin.lib.promql import DURATION

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel, Table, Transformation
    from orchwatch.mixin.dashboards.units import Limits
    from orchwatch.targets.target_table import Targets

_NO_HOOK = "no hook ran in this time range"
_HOOK = semconv.HOOK_PROCESS
_RAN = queries.chosen(f"{DURATION}_count", _HOOK)
_CHOSEN = f'resource.{semconv.SERVICE_NAME} =~ "$service"'
# What a hook makes wait.
_TURNS = (semconv.AGENT_TURN, semconv.ORCHESTRATION_RUN)
_OPERATION, _ERROR = map(spans.key, (semconv.OPERATION_NAME, semconv.ERROR_TYPE))
# What tells them apart, and what each is called.
_BY_HOOK = {semconv.HOOK_NAME: "Hook", semconv.HOOK_EVENT_NAME: "Event"}
_BY_PLUGIN = {semconv.HOOK_PLUGIN: "Plugin"}
_TOOK = spans.folded(spans.DURATION, "first")
_FAILED, _LATE, _TURN, _TURNS_TOOK, _SHARE = "failed", "late", "turn", "turns", "share"


def page(table: Targets) -> Page:
    """Every hook of the chosen services."""
    settings = alerting.load()
    limits = units.limits(table.operations[_HOOK])
    found = f'{{ {queries.NAME} = "{_HOOK}" && {_CHOSEN} }}'
    return Page(
        name="hooks",
        title="Hooks",
        description="Each hook: how long it takes, what share of the turns it is, and how often it "
        "fails.",
        asks=("service",),
        computed=(
            computed.slow(DURATION, queries.chosen("", _HOOK), ""),
            computed.cut(promql.at_ends(_RAN, "$__range")),
        ),
        refresh=SELDOM,
        rows=(
            Row(
                height=4,
                panels=((8, durations.p95(_HOOK, settings, limits)), (8, _ran()), (8, _failed())),
            ),
            Row(height=9, panels=((24, _each_hook(limits)),)),
            Row(height=6, panels=((24, _each_plugin(limits)),)),
            Section(
                title="All hooks over time",
                rows=(
                    Row(
                        height=8,
                        panels=(
                            (12, durations.percentiles(_HOOK)),
                            (12, durations.failures(_HOOK)),
                        ),
                    ),
                ),
            ),
            Section(
                title="Single runs, and their traces",
                rows=(Row(height=8, panels=((24, _slowest(found)),)),),
            ),
        ),
    )


def _ran() -> Panel:
    text = Text("Hooks that ran", "In this time range, failed ones included.", _NO_HOOK)
    query = queries.now("A", promql.at_ends(_RAN, "$__range"))
    return panels.number(text, query, unit=units.COUNT, decimals=0)


def _failed() -> Panel:
    text = Text(
        "Hooks that failed",
        "In this time range, timeouts included. A hook that objects has done its work.",
        _NO_HOOK,
    )
    failed = queries.chosen(f"{DURATION}_count", _HOOK, status_code=semconv.STATUS_ERROR)
    counted = promql.at_ends(failed, "$__range")
    none = f"0 * {promql.at_ends(_RAN, '$__range')}"
    steps: grading.Steps = [(None, grading.OK), (1, grading.MISS)]
    query = queries.now("A", f"{counted} or {none}")
    return panels.number(text, query, unit=units.COUNT, decimals=0, steps=steps)


def _each_hook(limits: Limits) -> Panel:
    text = Text(
        f"Each hook{queries.CUT}",
        "By its name, which is its script's or Claude Code's, and the event that it ran for. Share "
        "of turns: of the time that all turns and orchestrations here took together; what hooks do "
        "at the same time counts for each of them. The colour of the p95 is that of the target of "
        f"all hooks. {queries.LOOKED_AT}",
        _NO_HOOK,
    )
    return _each(text, limits, _BY_HOOK)


def _each_plugin(limits: Limits) -> Panel:
    text = Text(
        f"Each plugin{queries.CUT}",
        "The same by the plugin that brought the hook, for sessions of Claude Code whose files or "
        "installed plugins tell. The row that names none is all other hooks together.",
        _NO_HOOK,
    )
    panel = _each(text, limits, _BY_PLUGIN)
    none = grading.words({queries.NIL: ("no plugin", grading.UNKNOWN)})
    return column(panel, "Plugin", mappings=[none])


def _each(text: Text, limits: Limits, named: dict[str, str]) -> Table:
    """A row for each combination of some attributes of hooks."""
    operations = queries.any_of(_HOOK, *_TURNS)
    found = f'{{ {queries.NAME} =~ "{operations}" && {_CHOSEN} }}'
    by = (semconv.OPERATION_NAME, *named, semconv.ERROR_TYPE)
    panel = panels.rows(text, spans.each(found, by=by), transformations=_to_rows(named))
    unnamed = grading.words({queries.NIL: ("-", grading.UNKNOWN)})
    for name in named.values():
        column(panel, name, unit="string", mappings=[unnamed])
    for name in ("p95", "Longest", "Together"):
        column(panel, name, unit=units.NANOSECONDS, decimals=None, **{"custom.width": 85})
    ns = limits._replace(target=round(limits.target * 1e9), warning=round(limits.warning * 1e9))
    graded = grading.thresholds(grading.steps(ns)).build()
    column(panel, "p95", thresholds=graded, **{"custom.cellOptions": {"type": "color-text"}})
    share = {"custom.width": widths.of_column("Share of turns")}
    column(panel, "Share of turns", unit=units.SHARE, decimals=1, **share)
    steps = grading.thresholds([(None, "text"), (1, grading.MISS)]).build()
    for name in ("Failed", "Timed out"):
        column(panel, name, thresholds=steps, **{"custom.cellOptions": {"type": "color-text"}})
    for name in ("Count", "Failed", "Timed out"):
        column(panel, name, unit=units.COUNT, **{"custom.width": widths.of_column(name)})
    return panel


def _to_rows(named: dict[str, str]) -> list[Transformation]:
    """A row for each combination, with the time of all turns beside it."""
    by = (_OPERATION, *map(spans.key, named))
    figures = {
        _TOOK: spans.aggregated("count", "sum", "p95", "max"),
        **{one: spans.aggregated("sum") for one in (_FAILED, _LATE, _TURN)},
    }
    total, turns = spans.folded(_TOOK, "sum"), spans.folded(_TURN, "sum")
    turn = "|".join(_TURNS).replace(".", r"\.")
    renamed = {
        **{spans.key(attribute): name for attribute, name in named.items()},
        spans.folded(_TOOK, "count"): "Count",
        spans.folded(_TOOK, "p95"): "p95",
        spans.folded(_TOOK, "max"): "Longest",
        total: "Together",
        _SHARE: "Share of turns",
        spans.folded(_FAILED, "sum"): "Failed",
        spans.folded(_LATE, "sum"): "Timed out",
    }
    return [
        spans.one_by_one(*by, _ERROR, columns=(spans.DURATION,)),
        # `hook_timeout1`, `nil1`, `agent.turn1500`: what a pattern finds in these can be added up.
        panels.computed("outcome", _ERROR, "+", "1"),
        panels.extracted("outcome", f"/^(?:{queries.NIL}1|.*(?<{_FAILED}>1))$/"),
        panels.extracted("outcome", f"/^(?:.*timeout.*(?<{_LATE}>1)|.*)$/i"),
        panels.computed("spent", _OPERATION, "+", _TOOK),
        panels.extracted("spent", rf"/^(?:(?:{turn})(?<{_TURN}>[\d.]+)|.*)$/"),
        *(panels.converted(one, "number") for one in (_FAILED, _LATE, _TURN)),
        transform("groupBy", fields={**spans.grouped_by(*by), **figures}),
        # Turns first: what has been added up by then is the time of all of them.
        transform("sortBy", sort=[{"field": turns, "desc": True}]),
        transform(
            "calculateField",
            mode="cumulativeFunctions",
            alias=_TURNS_TOOK,
            replaceFields=False,
            cumulative={"field": turns, "reducer": "sum"},
        ),
        panels.computed(_SHARE, total, "/", _TURNS_TOOK),
        # Of no turn there is no share, rather than an infinite one.
        panels.converted(_SHARE, "number"),
        transform(
            "filterByValue",
            type="include",
            match="any",
            filters=[
                {"fieldName": _OPERATION, "config": {"id": "equal", "options": {"value": _HOOK}}}
            ],
        ),
        # A table that has columns does not say why it has no rows.
        transform(
            "partitionByValues", fields=[_OPERATION], keepFields=False, naming={"asLabels": False}
        ),
        *panels.chosen(renamed, "Together"),
    ]


def _slowest(found: str) -> Panel:
    text = Text(
        f"Longest and failed{queries.ABOVE}",
        "Of each hook, event and error the longest. A click on the trace or the session opens it, "
        f"one on the span shows it in Explore. {queries.SEARCHED}",
        durations.NONE,
    )
    by = (semconv.HOOK_NAME, semconv.HOOK_EVENT_NAME, semconv.ERROR_TYPE)
    return spans.slowest(text, queries.longest(found), *by, of_longest=(semconv.SESSION_ID,))
