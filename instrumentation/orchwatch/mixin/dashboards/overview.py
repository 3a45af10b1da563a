"""The home page: what is missed, since when, how much budget is left, who, and which trace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.models.common import BigValueTextMode, VizOrientation

from orchwatch import semconv
from orchwatch.analysis import health
from orchwatch.mixin.alerts import catalog
from orchwatch.mixin.dashboards import (
    computed,
    grading,
    panels,
    queries,
    scoreboard,
    spans,
    units,
    widths,
)
from orchwatch.mixin.dashboards.page import PAGE, Page, Row, Section, labelled, link, link_to
from orchwatch.mixin.dashboards.panels import Text, column, transform
from orchwatch.mixin.lib import alerting, level_series, promql
from orchwatch.mixin.lib.promql import DURATION, OPERATION, number
from orchwatch.mixin.rules import recording

if TYPE_CHECKING:
    from orchwatch.analysis.health import Part, Rules
    from orchwatch.mixin.dashboards.panels import P, Panel
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import Targets

_WATCHDOG = 'alertname!="Watchdog"'
_RANK = "rank"
_ABOUT = "about"
_CHOSEN = "chosen"


def page(table: Targets) -> Page:
    """Every row of the table on one page."""
    settings = alerting.load()
    return Page(
        name="overview",
        title="Overview",
        description="Which target is missed, since when, how much of its budget is left, by whom, "
        "and the trace that shows it.",
        computed=(computed.cut(_number_beyond(table)),),
        rows=(
            Row(
                height=4,
                panels=tuple(
                    (4, panel)
                    for panel in (
                        _missed(table, settings),
                        _health(table, settings),
                        _firing(),
                        panels.agents_at_work(),
                        _availability(table),
                        _budget(table, settings),
                    )
                ),
            ),
            Row(height=12, panels=((24, scoreboard.operations(table, settings)),)),
            Section(
                title="Since when, by whom, and what fires",
                rows=(
                    Row(
                        height=9,
                        panels=((9, _since_when(table, settings)), (15, _alerts(table, settings))),
                    ),
                    Row(height=8, panels=((24, _beyond(table)),)),
                ),
            ),
            Section(
                title="Shares and levels",
                rows=(
                    Row(
                        height=12,
                        panels=(
                            (14, scoreboard.shares(table)),
                            (10, scoreboard.other_levels(table)),
                        ),
                    ),
                ),
            ),
        ),
    )


def _missed(table: Targets, settings: Settings) -> Panel:
    text = Text(
        "Missed",
        "Rows of the tables below that are beyond their warning now: operations by their p95, "
        "shares and levels.",
        scoreboard.NOTHING,
    )
    query = queries.now("A", scoreboard.missed(table, settings))
    steps: grading.Steps = [(None, grading.OK), (1, grading.MISS)]
    return panels.number(text, query, unit=units.NUMBER, decimals=0, steps=steps)


def _health(table: Targets, settings: Settings) -> Panel:
    rules = health.load(table)
    scores = " or ".join(
        f'label_replace({_score(rules, part, _figure(table, settings, row_id))}, "part", '
        f'{promql.text(row_id)}, "", "")'
        for row_id, part in rules.parts.items()
    )
    score = f"avg({scores})"
    worse = {
        "score": f"({score} <= bool {number(rules.healthy_above)})"
        f" + ({score} <= bool {number(rules.degraded_above)})",
        "missed": f"({scoreboard.missed(table, settings)}) > bool 0",
        "warning": f"{_number_firing('warning')} > bool 0",
        "critical": f"({_number_firing('critical')} > bool 0) * 2",
    }
    known = " or ".join(
        f'label_replace({expr}, "why", "{why}", "", "")' for why, expr in worse.items()
    )
    text = Text(
        "Health",
        "Not healthy while a target is missed or a warning fires, critical while a critical alert "
        "does, and never better than its score: the mean of what its measured parts score, "
        "session initialization, state queries, CPU, memory and success, as docs/targets.md says.",
        scoreboard.NOTHING,
    )
    words = {
        0: ("healthy", grading.OK),
        1: ("degraded", grading.WARN),
        2: ("critical", grading.MISS),
    }
    panel = panels.number(
        text,
        queries.now("A", f"max({known})", "state"),
        queries.now("score", score, "score"),
        unit=units.NUMBER,
        decimals=0,
    )
    panel.mappings([grading.words(words), grading.unmeasured(text.empty)])
    # One above the other: side by side they would be too small to read on a narrow screen.
    panel.orientation(VizOrientation.HORIZONTAL)
    panel.text(common.VizTextDisplayOptions().title_size(12).value_size(18))
    unmeasured = [grading.unmeasured(text.empty)]
    return panels.of_query(panel, "score", unit=units.SHARE, decimals=0, mappings=unmeasured)


def _figure(table: Targets, settings: Settings, row_id: str) -> str:
    if row_id in table.operations:
        return f"max({scoreboard.p95(settings)}{promql.selector(operation=row_id)})"
    return f"max({queries.level(row_id)})"


def _score(rules: Rules, part: Part, value: str) -> str:
    sign, beyond = ("<=", ">") if part.direction == "below" else (">=", "<")
    good, fair = number(part.good), number(part.fair)
    return (
        f"(({value} {sign} bool {good}) * {number(rules.good_score)}"
        f" + ({value} {beyond} bool {good}) * ({value} {sign} bool {fair})"
        f" * {number(rules.fair_score)}"
        f" + ({value} {beyond} bool {fair}) * {number(rules.poor_score)})"
    )


def _firing() -> Panel:
    text = Text(
        "Alerts",
        "Warnings and critical ones. The table below names them, and those that only inform.",
        "no rules",
    )
    firing = _number_firing("warning|critical")
    steps: grading.Steps = [(None, grading.OK), (1, grading.MISS)]
    return panels.number(text, queries.now("A", firing), unit=units.NUMBER, decimals=0, steps=steps)


def _number_firing(severities: str) -> str:
    """Of alerts; none where not even the watchdog fires, as no rule is evaluated."""
    watched = 'max(ALERTS{alertname="Watchdog",alertstate="firing"}) * 0'
    return f'(count(ALERTS{{alertstate="firing",severity=~"{severities}"}}) or {watched})'


def _availability(table: Targets) -> Panel:
    text = Text(
        "Availability", "The share of the table's operations that did not fail.", scoreboard.NOTHING
    )
    return panels.level(table.levels[level_series.AVAILABILITY], text)


def _budget(table: Targets, settings: Settings) -> Panel:
    text = Text(
        "Budget left",
        f"Of the slow and the failed operations that the objectives allow in {settings.period}: "
        "the one of which least is left. Below zero: there were more than allowed.",
        scoreboard.NOTHING,
    )
    failures = f"{recording.ERROR_BUDGET_LEFT}{promql.selector(target=level_series.AVAILABILITY)}"
    budgets = f"{recording.BUDGET_LEFT} or {failures}"
    query = queries.now("A", f"bottomk(1, {budgets})", f"{{{{{OPERATION}}}}}{{{{target}}}}")
    panel = panels.number(text, query, unit=units.SHARE, decimals=0, steps=grading.BUDGET_STEPS)
    _name(panel, table)
    return panel.text_mode(BigValueTextMode.VALUE_AND_NAME)


def _since_when(table: Targets, settings: Settings) -> Panel:
    p95 = scoreboard.p95(settings)
    status = f"{queries.status(p95, recording.TARGET, recording.WARNING, OPERATION)} >= 0"
    text = Text(
        "Since when",
        f"The status of each operation's p95 over {settings.window}. A gap: no operation ended.",
        "no operation ended",
    )
    query = queries.lines("A", status, f"{{{{{OPERATION}}}}}")
    panel = panels.timeline(text, query, number_of_rows=len(table.operations)).mappings(
        [grading.status_words()]
    )
    _name(panel, table)
    return panel


def _name(panel: P, table: Targets) -> None:
    """Calls the operations' series what the table calls them."""
    for row in table.operations.values():
        column(panel, row.id, displayName=row.title)


def _number_beyond(table: Targets) -> str:
    """How many operations took longer than their target in the page's time range."""

    def ended(suffix: str, **labels: str) -> str:
        return promql.at_ends(f"{DURATION}_{suffix}{promql.selector(**labels)}", "$__range")

    return " + ".join(
        f"({ended('count', operation=row.id)}"
        f" - {ended('bucket', operation=row.id, le=number(row.target_s))} or vector(0))"
        for row in table.operations.values()
    )


def _beyond(table: Targets) -> Panel:
    found = " || ".join(queries.beyond(row.id, row.target_s) for row in table.operations.values())
    text = Text(
        f"Who was beyond a target, and the trace that shows it{queries.CUT}",
        "What took longer than its target: how often, by which agent, and session and trace of the "
        f"longest. The few that an objective allows are among them. {queries.LOOKED_AT}",
        "no operation took longer than its target",
    )
    panel = spans.slowest(
        text,
        f"{{ {found} }}",
        semconv.OPERATION_NAME,
        semconv.GEN_AI_AGENT_NAME,
        of_longest=(semconv.SESSION_ID,),
        sort=spans.COUNT,
    )
    scoreboard.name_operations(panel, table)
    opened = link("operations", "service", operation="${__value.raw}")
    links = panels.opens(opened, "Show the operation")
    return column(panel, "Operation", links=links)


def _alerts(table: Targets, settings: Settings) -> Panel:
    # A row for each alert: whatever labels tell them apart.
    since = (
        f"ALERTS_FOR_STATE{{{_WATCHDOG}}} * 1000"
        f' and ignoring (alertstate) ALERTS{{alertstate="firing"}}'
    )
    for label in ("kind", "target", OPERATION):
        since = f'label_replace({since}, "{_ABOUT}", "$1", "{label}", "(.+)")'
    shown_by = {alert.name: alert.dashboard for alert in catalog.every(table, settings)}
    since = labelled(since, "alertname", shown_by)
    # A page of operations is opened at the alert's, if it is of one; others take no notice.
    operations = "|".join(re.escape(row_id) for row_id in table.operations)
    for word, label, pattern in (
        ("alert", "alertname", "(.+)"),
        ("var-operation", "target", f"({operations})"),
        ("var-operation", OPERATION, "(.+)"),
    ):
        found = promql.text(pattern)
        since = f'label_replace({since}, "{_CHOSEN}", "{word}=$1", "{label}", {found})'
    # By their names, what only informs would stand before warnings.
    for rank, severity in ((3, ".*"), (2, "warning"), (1, "critical")):
        since = f'label_replace({since}, "{_RANK}", "{rank}", "severity", "{severity}")'
    order = {
        "severity": "Severity",
        "alertname": "Alert",
        _ABOUT: "About",
        _CHOSEN: _CHOSEN,
        "Value": "Since",
        PAGE: PAGE,
    }
    text = Text(
        "Firing alerts",
        f"What each means and what to do about it stands in {settings.runbook}. A click on a "
        "target opens the page that shows it.",
        "nothing fires",
    )
    panel = panels.rows(
        text,
        queries.rows("A", since),
        transformations=[
            transform("sortBy", sort=[{"field": _RANK, "desc": False}]),
            *panels.chosen(order),
        ],
    )
    column(panel, "Since", unit=units.SINCE, **{"custom.width": widths.of_ago()})
    column(panel, "Alert", **{"custom.width": widths.of_column(*shown_by)})
    if settings.runbook.startswith("http"):
        runbook = f"{settings.runbook}#${{__value.raw}}"
        column(panel, "Alert", links=panels.opens(runbook, "Open the runbook"))
    shown = link_to(_CHOSEN)
    column(panel, "About", links=panels.opens(shown, "Show it"))
    panels.hidden(panels.hidden(panel, PAGE), _CHOSEN)
    colors = {"critical": grading.MISS, "warning": grading.WARN, "info": grading.NEUTRAL}
    mapped = grading.words({key: (key, color) for key, color in colors.items()})
    colored = {"mappings": [mapped], "custom.cellOptions": scoreboard.BACKGROUND}
    return column(panel, "Severity", **colored, **{"custom.width": 80})
