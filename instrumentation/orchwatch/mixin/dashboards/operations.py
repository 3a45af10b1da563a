"""One operation: how long it takes, how often it fails, who is slow, and which trace shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.dashboards import computed, grading, panels, queries, spans, units
from orchwatch.mixin.dashboards.page import SELDOM, Page, Row
from orchwatch.mixin.dashboards.panels import Text
from orchwatch.mixin.lib import alerting, promql
from orchwatch.mixin.lib.promql import DURATION, OPERATION, number
from orchwatch.mixin.rules import recording

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import Targets

_NONE = "none in this time range"
_NO_TARGET = "no target or no operation"
_RATE = "[$__rate_interval]"
_BEFORE = "1d"
_P95_BEFORE = "p95 a day before"
_CHOSEN = promql.selector(operation="$operation")
_FOUND = f'{{ {queries.NAME} = "$operation" && resource.{semconv.SERVICE_NAME} =~ "$service"'
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
            computed.slow(DURATION, queries.chosen(""), ""),
            computed.cut(promql.at_ends(queries.chosen(f"{DURATION}_count"), "$__range")),
        ),
        refresh=SELDOM,
        rows=(
            Row(
                height=4,
                panels=(
                    (6, _status(settings)),
                    (6, _p95(settings)),
                    (6, _under_target(settings)),
                    (6, _budget(settings)),
                ),
            ),
            Row(height=9, panels=((12, _percentiles()), (12, _heatmap()))),
            Row(height=8, panels=((8, _share(settings)), (8, _rate()), (8, _errors()))),
            Row(height=9, panels=((8, _agents()), (16, _slowest()))),
        ),
    )


def _recorded(name: str) -> str:
    return f"{name}{_CHOSEN}"


def _p95_now(settings: Settings) -> str:
    """As the rules record it for all services; of the chosen ones."""
    chosen = queries.chosen(f"{DURATION}_bucket")
    rate = f"sum by ({OPERATION}, le) (rate({chosen}[{settings.window}]))"
    return f"(histogram_quantile(0.95, {rate}) >= 0)"


def _status(settings: Settings) -> Panel:
    p95 = _p95_now(settings)
    target, warning = f"{recording.TARGET}{_CHOSEN}", f"{recording.WARNING}{_CHOSEN}"
    status = queries.status(p95, target, warning, OPERATION)
    text = Text(
        "Status",
        "ok up to the target, warn up to the warning, miss beyond: by the p95 of the chosen "
        f"services over {settings.window}. Unknown: none ended in them.",
        "no target",
    )
    panel = panels.number(
        text, queries.now("A", status), unit="none", decimals=0, steps=grading.STATUS_STEPS
    )
    return panel.mappings([grading.unmeasured(text.empty), grading.status_words()])


def _p95(settings: Settings) -> Panel:
    text = Text(
        "p95 against target",
        f"The p95 over {settings.window}, of the chosen services, and the target.",
        f"none in {settings.window}",
    )
    return panels.number(
        text,
        queries.now("A", _p95_now(settings), "p95"),
        queries.now("B", f"{recording.TARGET}{_CHOSEN}", "target"),
        unit=units.SECONDS,
        decimals=None,
    )


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


def _p95_before(chosen: str) -> panels.Query:
    rate = f"sum by (le) (rate({chosen}{_RATE} offset {_BEFORE}))"
    return queries.lines("before", f"histogram_quantile(0.95, {rate})", _P95_BEFORE)


def _percentiles() -> Panel:
    chosen = queries.chosen(f"{DURATION}_bucket")
    percentiles = [
        queries.lines(
            f"p{percent}",
            f"histogram_quantile({number(percent / 100)}, sum by (le) (rate({chosen}{_RATE})))",
            f"p{percent}",
            exemplars=percent == queries.WITH_EXEMPLARS,
        )
        for percent in queries.PERCENTILES
    ]
    text = Text(
        "p50, p95 and p99 against the target",
        "Interpolated within buckets. The dashed lines are the table's target and warning, the "
        "grey one is the p95 a day before. A diamond is one operation: it opens its trace.",
        _NONE,
    )
    panel = panels.graph(
        text,
        *percentiles,
        _p95_before(chosen),
        *queries.operation_limits(_CHOSEN),
        unit=units.SECONDS,
        decimals=None,
    )
    return panels.before(panels.limited(panel), "before")


def _heatmap() -> Panel:
    text = Text(
        "How long they took",
        "How many operations ended in each bucket; every target is the edge of one. A diamond is "
        "one operation: it opens its trace.",
        _NONE,
    )
    query = queries.buckets("A", queries.chosen(f"{DURATION}_bucket"), recording.EDGE)
    return panels.heat(text, query, unit=units.SECONDS, decimals=None)


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
    chosen = queries.chosen(f"{DURATION}_count")
    text = Text(
        "Operations a second",
        "By service; all of them, failed ones included. In grey all services a day before.",
        _NONE,
    )
    expr = f"sum by ({queries.SERVICE}) (rate({chosen}{_RATE}))"
    earlier = f"sum(rate({chosen}{_RATE} offset {_BEFORE}))"
    panel = panels.graph(
        text,
        queries.lines("A", expr, f"{{{{{queries.SERVICE}}}}}"),
        queries.lines("before", earlier, "a day before"),
        unit=units.A_SECOND,
        decimals=None,
    )
    return panels.before(panel, "before")


def _errors() -> Panel:
    chosen = queries.chosen(f"{DURATION}_count", status_code=semconv.STATUS_ERROR)
    kind = semconv.ERROR_TYPE.replace(".", "_")
    text = Text("Failures by type", "How many failed, by the type of the error.", "none failed")
    query = queries.counted("A", chosen, kind, f"{{{{{kind}}}}}", queries.COUNTED)
    return panels.bars(panels.graph(text, query, unit=units.NUMBER, decimals=0))


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
        _NONE,
    )
    return spans.slowest(
        text, queries.longest(_SPANS), semconv.SESSION_ID, semconv.GEN_AI_AGENT_NAME
    )
