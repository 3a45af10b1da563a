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
_NEVER_LIVE = f"{_NOT_LIVE}; imported sessions are not counted"
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
        asks=("agent", "session"),
        refresh=SELDOM,
        rows=(
            # What traces show comes first: it is there for the past too.
            Row(height=9, panels=((24, _timeline()),)),
            Row(height=10, panels=((10, _by_agent()), (14, _calls()))),
            Row(height=7, panels=((24, _slowest()),)),
            Row(
                height=4,
                panels=(
                    (6, panels.agents_at_work()),
                    *((6, panels.advised(table.levels[one], _NOT_LIVE)) for one in _LEVELS),
                    (6, _spawned(table)),
                ),
            ),
            Row(height=8, panels=((12, _utilization()), (12, _spawning()))),
        ),
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
    name, agent_id = spans.key(names.GEN_AI_AGENT_NAME), names.GEN_AI_AGENT_ID
    columns = (spans.TIME, spans.DURATION, agent_id, spans.STATUS)
    started, took, lane_id, status = (spans.folded(one, "first") for one in columns)
    changes = [
        spans.one_by_one(name, columns=columns),
        # A little shorter than it was: where one ends when the next of its row has just begun,
        # Grafana would not draw that next one.
        panels.computed(_MILLISECONDS, took, "/", "1020000"),
        panels.computed(_END, started, "+", _MILLISECONDS),
        panels.converted(_END, "time"),
        *panels.chosen({one: one for one in (started, _END, name, lane_id, status)}),
        transform(
            "partitionByValues",
            fields=[name, lane_id],
            keepFields=False,
            naming={"asLabels": False},
        ),
    ]
    text = Text(
        "Who was busy",
        "Turns of sessions, which are the main agent's, runs of sub-agents, and tasks of agents, "
        "from traces. A gap: it waited, or did not run.",
        _NO_AGENT,
    )
    query = spans.each(_BUSY, agent_id, by=(names.GEN_AI_AGENT_NAME,))
    panel = panels.timeline(text, query, transformations=changes)
    busy = ("worked", grading.NEUTRAL)
    outcomes = {"ok": busy, "unset": busy, "error": ("failed", grading.MISS)}
    column(panel, status, displayName="${__series.name}")
    # A row's name is the agent's and its id's, of which a session's own turns have neither.
    column(panel, f"{spans.NIL} ", displayName=spans.MAIN_AGENT)
    return panel.mappings([grading.words(outcomes)])


def _utilization() -> Panel:
    text = Text(
        "Utilization and parallelism",
        "Utilization: the share of their lives that agents worked. Parallelism: the share of the "
        "work during which another agent worked too. Efficiency: both by the formula of the "
        "requirements. The dashed lines are the limits of utilization.",
        _NEVER_LIVE,
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
        _NEVER_LIVE,
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
    return spans.slowest(text, _BUSY, *found, unnamed=spans.MAIN_AGENT)


def _calls() -> Panel:
    """Edges only: Grafana makes the nodes of them, and takes the columns by these very names."""
    work, root = queries.any_of(names.AGENT_TASK, names.AGENT_RUN), "by(rootName)"
    agent, tool = spans.key(names.GEN_AI_AGENT_NAME), spans.key(names.GEN_AI_TOOL_NAME)
    operation = spans.key(names.OPERATION_NAME)
    worked = f'({queries.NAME} =~ "{work}" && {queries.attribute(names.GEN_AI_AGENT_NAME)} != nil)'
    used = f'{queries.NAME} = "{names.TOOL_EXECUTE}"'
    found = (
        f'{{ {queries.SESSION} =~ "$session" && rootName != "" && ({worked} || {used})'
        f" && {queries.chosen_or_any(names.GEN_AI_AGENT_NAME, 'agent')} }}"
    )
    changes = [
        # `Exploretool.execute`, `nilagent.turn`: who calls a tool, and who is called itself.
        panels.computed("deed", agent, "+", operation),
        _extracted("deed", r"/^(?!nil)(?:(?<caller>.+)tool\.execute|(?<called>.+)agent\.\w+)$/"),
        _extracted(tool, "/^(?!nil$)(?<tool>.+)$/"),
        panels.reduced("source", "lastNotNull", root, "caller"),
        panels.reduced("target", "lastNotNull", "called", "tool"),
        panels.converted(spans.NUMBER, "number"),
        transform("groupBy", fields=spans.sums(spans.NUMBER, "source", "target")),
        panels.reduced("mainstat", "sum", spans.folded(spans.NUMBER, "sum")),
        transform("calculateField", mode="index", alias="id", replaceFields=False),
        # As a number it would have decimals, and the first line's id would be none.
        panels.converted("mainstat", "string"),
        panels.converted("id", "string"),
    ]
    text = Text(
        "Who called whom",
        "Turns and orchestrations, the agents that worked for them, and the tools that each used, "
        "in the newest traces of this time range; on a line stands how often.",
        "no agent and no tool in this time range",
    )
    groups = "".join(f" | {one}" for one in (root, agent, operation, tool))
    query = queries.groups("A", f"{found}{groups} | {spans.NUMBER} > 0", spans=1)
    return panels.graph_of_nodes(text, query).transformations(changes)


def _extracted(source: str, pattern: str) -> panels.Transformation:
    return transform("extractFields", source=source, format="regexp", regExp=pattern)
