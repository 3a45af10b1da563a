"""Agents: who was busy, who was slow, and who called whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import names
from orchwatch.mixin import promql
from orchwatch.mixin.dashboards import grading, panels, queries, spans, units
from orchwatch.mixin.dashboards.page import SELDOM, Page, Row
from orchwatch.mixin.dashboards.panels import Text, column, transform
from orchwatch.mixin.promql import DURATION, number

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.targets import Targets

# Imported history is not counted: figures are of what happens now.
_NOT_LIVE = "none reported"
_NO_AGENT = "no agent in this time range"
_WORK = queries.any_of(names.AGENT_TASK, names.AGENT_RUN, names.AGENT_TURN)
# A session's own turns name no agent.
_BUSY = (
    f'{{ {queries.NAME} =~ "{_WORK}" && {queries.SESSION} =~ "$session"'
    f" && {queries.chosen_or_any(names.GEN_AI_AGENT_NAME, 'agent')} }}"
)
_LEVELS = ("agent.utilization", "parallel.execution")
_END = "End"
_MILLISECONDS = "Milliseconds"


def page(table: Targets) -> Page:
    """Agents of all sessions, or of one."""
    return Page(
        name="agents",
        title="Agents",
        description="Who was busy and when, who was slow, and who called whom.",
        asks=("agent", "session", "trace"),
        refresh=SELDOM,
        rows=(
            # What traces show comes first: it is there for the past too.
            Row(height=9, panels=((24, _timeline()),)),
            Row(height=8, panels=((8, _by_agent()), (16, _slowest()))),
            Row(
                height=4,
                panels=(
                    (6, _active()),
                    *((6, _level(table, row_id)) for row_id in _LEVELS),
                    (6, _spawned(table)),
                ),
            ),
            Row(height=8, panels=((12, _utilization()), (12, _spawning()))),
            Row(height=10, panels=((24, _calls()),)),
        ),
    )


def _active() -> Panel:
    text = Text(
        "Agents at work",
        "As orchestrations and the monitor process report them.",
        _NOT_LIVE,
    )
    query = queries.now("A", "max(orchestration_agent_active)")
    return panels.number(text, query, unit=units.NUMBER, decimals=0)


def _level(table: Targets, row_id: str) -> Panel:
    row = table.levels[row_id]
    limits = units.limits(row)
    text = Text(row.title, f"{row.recommendation}.", _NOT_LIVE)
    query = queries.now("A", queries.latest(queries.level(row_id)))
    return panels.number(
        text, query, unit=limits.unit, decimals=limits.decimals, steps=grading.steps(limits)
    )


def _spawn(percent: int, window: str = "$__rate_interval") -> str:
    spawned = f"{DURATION}_bucket{promql.selector(operation=names.AGENT_SPAWN)}"
    rate = f"sum by (le) (rate({spawned}[{window}]))"
    return f"histogram_quantile({number(percent / 100)}, {rate})"


def _spawned(table: Targets) -> Panel:
    limits = units.limits(table.operations[names.AGENT_SPAWN])
    text = Text(
        "Agent spawn, p95",
        "From the order to start an agent until it is ready, over this time range.",
        _NOT_LIVE,
    )
    expr = _spawn(95, "$__range")
    return panels.number(
        text,
        queries.now("A", expr),
        unit=limits.unit,
        decimals=limits.decimals,
        steps=grading.steps(limits),
    )


def _timeline() -> Panel:
    # Agents of one name may be many at once: each has a row of its own.
    row = (names.OPERATION_NAME, names.GEN_AI_AGENT_NAME, names.GEN_AI_AGENT_ID)
    started, took, *lane, status = (
        spans.folded(one, "first") for one in (spans.TIME, spans.DURATION, *row, spans.STATUS)
    )
    changes = [
        spans.one_by_one(spans.TIME, spans.DURATION, *row, spans.STATUS),
        # A little shorter than it was: where one ends when the next of its row has just begun,
        # Grafana would not draw that next one.
        panels.computed(_MILLISECONDS, took, "/", "1020000"),
        panels.computed(_END, started, "+", _MILLISECONDS),
        transform(
            "convertFieldType", conversions=[{"targetField": _END, "destinationType": "time"}]
        ),
        *panels.chosen({one: one for one in (started, _END, *lane, status)}),
        transform("partitionByValues", fields=lane, keepFields=False, naming={"asLabels": False}),
    ]
    text = Text(
        "Who was busy",
        "Turns of sessions, runs of sub-agents, and tasks of agents, a row each, from traces. A "
        "gap: it waited, or did not run.",
        _NO_AGENT,
    )
    query = spans.each(_BUSY, *row)
    panel = panels.timeline(text, query, transformations=changes)
    busy = ("worked", grading.NEUTRAL)
    outcomes = {"ok": busy, "unset": busy, "error": ("failed", grading.MISS)}
    column(panel, status, displayName="${__series.name}")
    return panel.mappings([grading.words(outcomes)])


def _utilization() -> Panel:
    text = Text(
        "Utilization and parallelism",
        "Utilization: the share of their lives that agents worked. Parallelism: the share of the "
        "work during which another agent worked too. Efficiency: both by the formula of the "
        "requirements. The dashed lines are the limits of utilization.",
        _NOT_LIVE,
    )
    targets = [
        queries.lines(legend, f"max({promql.series(metric, '1')})", legend)
        for legend, metric in (
            ("utilization", names.AGENT_UTILIZATION),
            ("parallel", names.PARALLEL_RATIO),
            ("efficiency", names.EFFICIENCY_RATIO),
        )
    ]
    limits = queries.level_limits(_LEVELS[0])
    panel = panels.graph(text, *targets, *limits, unit=units.SHARE, decimals=None).max(1)
    return panels.limited(panel)


def _spawning() -> Panel:
    text = Text(
        "How long agents took to start",
        "Interpolated within buckets; the dashed lines are target and warning.",
        _NOT_LIVE,
    )
    targets = [
        queries.lines(
            f"p{percent}",
            _spawn(percent),
            f"p{percent}",
            exemplars=percent == queries.WITH_EXEMPLARS,
        )
        for percent in queries.PERCENTILES
    ]
    limits = queries.operation_limits(promql.selector(operation=names.AGENT_SPAWN))
    panel = panels.graph(text, *targets, *limits, unit=units.SECONDS, decimals=None)
    return panels.limited(panel)


def _by_agent() -> Panel:
    text = Text(
        "Slowest agents",
        "How many tasks, turns and runs, and how long some of them took, in the newest traces of "
        "this time range. The main agent is a session itself.",
        _NO_AGENT,
    )
    return spans.grouped(text, _BUSY, names.GEN_AI_AGENT_NAME, spans.MAIN_AGENT)


def _slowest() -> Panel:
    text = Text(
        "Longest pieces of work",
        "In the newest traces of this time range: how many, and the longest that was looked at. A "
        "click on the trace or the session opens it.",
        _NO_AGENT,
    )
    found = (names.GEN_AI_AGENT_NAME, names.OPERATION_NAME, names.SESSION_ID)
    panel = spans.slowest(text, _BUSY, *found, unnamed=spans.MAIN_AGENT)
    both = spans.trace_links(open="session", graph="agents")
    return column(panel, spans.TRACE, links=both, **{"custom.width": 100})


def _calls() -> Panel:
    text = Text(
        "Who called whom, in one trace (choose its graph above): ${trace:text}",
        "Every span of one trace, up to the first 200, and what it called; the ring is its share "
        "of the trace's time. "
        "Empty until a trace is chosen: by `graph` in the table above, or by its id.",
        "no trace chosen",
    )
    return panels.graph_of_nodes(text, queries.trace("A", "$trace"))
