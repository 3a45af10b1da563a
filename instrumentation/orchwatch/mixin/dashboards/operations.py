"""One operation: how long it takes, how often it fails, who is slow, and which trace shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models.common import BigValueTextMode

from orchwatch import semconv
from orchwatch.mixin.dashboards import computed, durations, grading, panels, queries, spans, units
from orchwatch.mixin.dashboards.page import SELDOM, Page, Row, Section
from orchwatch.mixin.dashboards.panels import Text
from orchwatch.mixin.lib import alerting, promql
from orchwatch.mixin.lib.promql import DURATION, OPERATION
from orchwatch.mixin.rules import recording

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import Targets

_NO_TARGET = "no target or no operation"
_CHOSEN_OPERATION = "$operation"
# What of these ran, which everything on the page is about.
_OPERATION = f"${computed.SHOWN}"
_CHOSEN = promql.selector(operation=_OPERATION)
_FOUND = f'{{ {queries.NAME} = "{_OPERATION}" && resource.{semconv.SERVICE_NAME} =~ "$service"'
_SPANS = f"{_FOUND} }}"


def page(_table: Targets) -> Page:
    """One operation, chosen above the panels."""
    settings = alerting.load()
    return Page(
        name="operations",
        title="Operations",
        description="One operation: how long it takes, how often it fails, who is slow, and why.",
        # No figure of Prometheus knows an agent or a session: either would govern two panels.
        asks=("service", "operation"),
        computed=(
            computed.shown(
                _CHOSEN_OPERATION,
                queries.chosen(f"{DURATION}_count", _CHOSEN_OPERATION),
                f'{DURATION}_count{{{queries.SERVICE}=~"$service"}}',
            ),
            computed.slow(DURATION, queries.chosen("", _OPERATION), ""),
            computed.cut(
                promql.at_ends(queries.chosen(f"{DURATION}_count", _OPERATION), "$__range")
            ),
        ),
        refresh=SELDOM,
        rows=(
            Row(
                height=4,
                panels=(
                    (5, _status(settings)),
                    (6, durations.p95(_OPERATION, settings)),
                    (7, _under_target(settings)),
                    (6, _budget(settings)),
                ),
            ),
            Section(
                title=queries.SHOWN,
                rows=(
                    Row(
                        height=9,
                        panels=(
                            (12, durations.percentiles(_OPERATION)),
                            (12, durations.heatmap(_OPERATION)),
                        ),
                    ),
                ),
            ),
            Section(
                title="How many, within target and failed",
                rows=(
                    Row(
                        height=8,
                        panels=(
                            (8, _share(settings)),
                            (8, _rate()),
                            (8, durations.failures(_OPERATION)),
                        ),
                    ),
                ),
            ),
            Section(
                title="Who, and the traces that show it",
                rows=(
                    Row(height=9, panels=((24, _slowest()),)),
                    Row(height=7, panels=((24, _agents()),)),
                ),
            ),
        ),
    )


def _recorded(name: str) -> str:
    return f"{name}{_CHOSEN}"


def _status(settings: Settings) -> Panel:
    p95 = durations.p95_now(_OPERATION, settings)
    target, warning = f"{recording.TARGET}{_CHOSEN}", f"{recording.WARNING}{_CHOSEN}"
    status = queries.status(p95, target, warning, OPERATION)
    text = Text(
        "Status",
        "ok up to the target, warn up to the warning, miss beyond: by the p95 of the chosen "
        f"services over {settings.window}. Unknown: none ended in them.",
        "no target",
    )
    query = queries.now("A", status, f"{{{{{OPERATION}}}}}")
    panel = panels.number(
        text, query, unit="none", decimals=0, steps=grading.STATUS_STEPS
    ).text_mode(BigValueTextMode.VALUE_AND_NAME)
    return panel.mappings([grading.unmeasured(text.empty), grading.status_words()])


def _under_target(settings: Settings) -> Panel:
    text = Text(
        "Under target, all services",
        f"The share of operations within their target over {settings.period}, counted and not "
        "interpolated, and the objective.",
        _NO_TARGET,
    )
    return panels.number(
        text,
        queries.now("A", _recorded(f"{recording.WITHIN_RATIO}{settings.period}"), "share"),
        queries.now("B", f"{recording.OBJECTIVE}{_CHOSEN}", "objective"),
        unit=units.SHARE,
        decimals=1,
    )


def _budget(settings: Settings) -> Panel:
    text = Text(
        "Budget left, all services",
        f"Of the slow operations that the objective allows in {settings.period}. Below zero: more "
        "were slow than allowed.",
        _NO_TARGET,
    )
    return panels.number(
        text,
        queries.now("A", _recorded(recording.BUDGET_LEFT)),
        unit=units.SHARE,
        decimals=0,
        steps=grading.BUDGET_STEPS,
    )


def _share(settings: Settings) -> Panel:
    shortest = settings.windows()[0]
    text = Text(
        "Share under target, all services",
        "Over a short window and over the budget's period, with the objective as a dashed line.",
        _NO_TARGET,
    )
    panel = panels.graph(
        text,
        *(
            queries.lines(f"w{window}", f"{recording.WITHIN_RATIO}{window}{_CHOSEN}", window)
            for window in (shortest, settings.period)
        ),
        queries.lines("objective", f"{recording.OBJECTIVE}{_CHOSEN}", "objective"),
        unit=units.SHARE,
        decimals=None,
    )
    return panels.limit_line(panel.max(1), "objective", grading.WARN)


def _rate() -> Panel:
    chosen = queries.chosen(f"{DURATION}_count", _OPERATION)
    text = Text(
        "Operations a second",
        "By service; all of them, failed ones included. In grey all services a day before.",
        durations.NONE,
    )
    expr = f"sum by ({queries.SERVICE}) (rate({chosen}{durations.RATE}))"
    earlier = f"sum(rate({chosen}{durations.RATE} offset {durations.BEFORE}))"
    panel = panels.graph(
        text,
        queries.lines("A", expr, f"{{{{{queries.SERVICE}}}}}"),
        queries.lines("before", earlier, "a day before"),
        unit=units.NUMBER,
        decimals=None,
    )
    return panels.before(panel, "before")


def _agents() -> Panel:
    text = Text(
        f"By agent{queries.CUT}",
        "How many, and how long they took. No agent: a session itself, or a service. "
        f"{queries.LOOKED_AT}",
        "no agent did this",
    )
    return spans.grouped(text, _SPANS, semconv.GEN_AI_AGENT_NAME)


def _slowest() -> Panel:
    text = Text(
        f"Slowest by session and agent{queries.ABOVE}",
        "How many, and the longest. A click on the trace or the session opens it, one on the span "
        f"shows it in Explore. {queries.SEARCHED}",
        durations.NONE,
    )
    return spans.slowest(
        text, queries.longest(_SPANS), semconv.SESSION_ID, semconv.GEN_AI_AGENT_NAME
    )
