"""The home page: what is missed, since when, how much budget is left, who, and which trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models.common import BigValueTextMode

from orchwatch import names
from orchwatch.mixin import alerting, promql, readings, recording
from orchwatch.mixin.dashboards import computed, grading, panels, queries, scoreboard, spans, units
from orchwatch.mixin.dashboards.page import Page, Row, link
from orchwatch.mixin.dashboards.panels import Text, column, transform
from orchwatch.mixin.promql import DURATION, OPERATION, number
from orchwatch.monitor import health

if TYPE_CHECKING:
    from orchwatch.mixin.alerting import Settings
    from orchwatch.mixin.dashboards.panels import P, Panel
    from orchwatch.monitor.health import Part, Rules
    from orchwatch.targets import OperationTarget, Targets

_WATCHDOG = 'alertname!="Watchdog"'
_RANK = "rank"


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
            Row(height=9, panels=((12, _since_when(table, settings)), (12, _alerts(settings)))),
            Row(height=8, panels=((24, _beyond(table)),)),
            Row(
                height=12,
                panels=((14, scoreboard.shares(table)), (10, scoreboard.other_levels(table))),
            ),
        ),
    )


def _missed(table: Targets, settings: Settings) -> Panel:
    text = Text(
        "Targets missed",
        "Rows of the tables below whose latest value within a day is beyond the warning: "
        "operations by their p95, shares and levels.",
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
    text = Text(
        "Health score",
        "The mean of what its measured parts score: session initialization, state queries, CPU, "
        "memory and success, as docs/targets.md says. The status line shows the same score.",
        "nothing measured",
    )
    steps: grading.Steps = [
        (None, grading.MISS),
        (rules.degraded_above, grading.WARN),
        (rules.healthy_above, grading.OK),
    ]
    query = queries.now("A", f"avg({scores})")
    return panels.number(text, query, unit=units.SHARE, decimals=0, steps=steps)


def _figure(table: Targets, settings: Settings, row_id: str) -> str:
    if row_id in table.operations:
        return (
            f"max({queries.latest(scoreboard.p95(settings) + promql.selector(operation=row_id))})"
        )
    return f"max({queries.latest(queries.level(row_id))})"


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
        "Alerts firing",
        "Warnings and critical ones. The table below names them, and those that only inform.",
        "no rules",
    )
    firing = 'count(ALERTS{alertstate="firing",severity=~"warning|critical"}) or vector(0)'
    steps: grading.Steps = [(None, grading.OK), (1, grading.MISS)]
    return panels.number(text, queries.now("A", firing), unit=units.NUMBER, decimals=0, steps=steps)


def _availability(table: Targets) -> Panel:
    text = Text(
        "Availability", "The share of the table's operations that did not fail.", scoreboard.NOTHING
    )
    return panels.level(table.levels[readings.AVAILABILITY], text)


def _budget(table: Targets, settings: Settings) -> Panel:
    text = Text(
        "Least budget",
        f"Of the slow and the failed operations that the objectives allow in {settings.period}: "
        "the one of which least is left. Below zero: there were more than allowed.",
        scoreboard.NOTHING,
    )
    failures = f"{recording.ERROR_BUDGET_LEFT}{promql.selector(target=readings.AVAILABILITY)}"
    budgets = f"{queries.latest(recording.BUDGET_LEFT)} or {queries.latest(failures)}"
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
        scoreboard.NOTHING,
    )
    query = queries.lines("A", status, f"{{{{{OPERATION}}}}}")
    panel = panels.timeline(text, query).mappings([grading.status_words()])
    _name(panel, table)
    return panel


def _name(panel: P, table: Targets) -> None:
    """Calls the operations' series what the table calls them."""
    for row in table.operations.values():
        column(panel, row.id, displayName=row.title)


def _number_beyond(table: Targets) -> str:
    """How many operations took longer than their target in the page's time range."""
    return " + ".join(
        f"({computed.ended(f'{DURATION}_count{promql.selector(operation=row.id)}')}"
        f" - {computed.ended(f'{DURATION}_bucket{_within(row)}')} or vector(0))"
        for row in table.operations.values()
    )


def _within(row: OperationTarget) -> str:
    return promql.selector(operation=row.id, le=number(row.target_s))


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
        names.OPERATION_NAME,
        names.GEN_AI_AGENT_NAME,
        of_longest=(names.SESSION_ID,),
        sort=spans.COUNT,
    )
    scoreboard.name_operations(panel, table)
    opened = link("operations", "service", operation="${__value.raw}")
    links = panels.opens(opened, "Show the operation")
    return column(panel, "Operation", links=links, **{"custom.width": 170})


def _alerts(settings: Settings) -> Panel:
    labels = "alertname, severity, target"
    since = (
        f"max by ({labels}) (ALERTS_FOR_STATE{{{_WATCHDOG}}} * 1000)"
        f' and on ({labels}) ALERTS{{alertstate="firing"}}'
    )
    # By their names, what only informs would stand before warnings.
    for rank, severity in ((3, ".*"), (2, "warning"), (1, "critical")):
        since = f'label_replace({since}, "{_RANK}", "{rank}", "severity", "{severity}")'
    order = {"severity": "Severity", "alertname": "Alert", "target": "Target", "Value": "Since"}
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
    column(panel, "Since", unit=units.SINCE, **{"custom.width": 120})
    if settings.runbook.startswith("http"):
        runbook = f"{settings.runbook}#${{__value.raw}}"
        column(panel, "Alert", links=panels.opens(runbook, "Open the runbook"))
    shown = link("operations", "service", operation="${__value.raw}")
    column(panel, "Target", links=[*panels.opens(shown, "Operation"), *scoreboard.level_links()])
    colors = {"critical": grading.MISS, "warning": grading.WARN, "info": grading.NEUTRAL}
    mapped = grading.words({key: (key, color) for key, color in colors.items()})
    colored = {"mappings": [mapped], "custom.cellOptions": scoreboard.BACKGROUND}
    return column(panel, "Severity", **colored, **{"custom.width": 80})
