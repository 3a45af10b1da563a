"""Agents: who was busy, who was slow, and who called whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.dashboards import (
    computed,
    grading,
    messages,
    panels,
    queries,
    spans,
    turns,
    units,
)
from orchwatch.mixin.dashboards.page import SELDOM, Page, Row, Section
from orchwatch.mixin.dashboards.panels import Text, transform
from orchwatch.mixin.lib import promql
from orchwatch.mixin.lib.promql import DURATION, number

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.targets.target_table import Targets

# Imported history is not counted: figures are of what happens now.
_NOT_LIVE = "none reported"
_NEVER_LIVE = f"{_NOT_LIVE}; imported sessions are not counted"
_NO_AGENT = "no agent in this time range"
_WORKING = [semconv.AGENT_TASK, semconv.AGENT_RUN, semconv.AGENT_TURN]
_WORK = queries.any_of(*_WORKING)
# A session's own turns name no agent.
_BUSY = f'{{ {queries.NAME} =~ "{_WORK}" && {queries.CHOSEN_SESSION} && {queries.CHOSEN_AGENT} }}'
_LEVELS = ("agent.utilization", "parallel.execution")
_END = "End"
_MILLISECONDS = "Milliseconds"
_FAILED = "failed"


def page(table: Targets) -> Page:
    """Agents of all sessions, or of one."""
    return Page(
        name="agents",
        title="Agents",
        description="Who was busy and when, who was slow, and who called whom.",
        asks=("agent", "session"),
        computed=(
            computed.slow(DURATION, promql.one_of(_WORKING), "$agent$session"),
            computed.cut(promql.at_ends(f"{DURATION}_count{promql.one_of(_WORKING)}", "$__range")),
        ),
        refresh=SELDOM,
        rows=(
            Row(
                height=3,
                panels=(
                    (6, panels.agents_at_work()),
                    *(
                        (6, panels.advised(row, _NOT_LIVE, f"{row.title}, all"))
                        for row in (table.levels[one] for one in _LEVELS)
                    ),
                    (6, _spawned(table)),
                ),
            ),
            Row(height=9, panels=((24, _timeline()),)),
            Row(height=12, panels=((10, _by_agent()), (14, _calls()))),
            Row(height=7, panels=((24, _slowest()),)),
            Section(
                title="All agents over time",
                rows=(
                    Row(height=8, panels=((12, _utilization()), (12, _spawning()))),
                    Row(height=8, panels=((24, turns.phases()),)),
                ),
            ),
            messages.section(),
        ),
    )


def _spawn(percent: int, window: str = "$__rate_interval") -> str:
    spawned = f"{DURATION}_bucket{promql.selector(operation=semconv.AGENT_SPAWN)}"
    rate = f"sum by (le) (rate({spawned}[{window}]))"
    return f"histogram_quantile({number(percent / 100)}, {rate})"


def _spawned(table: Targets) -> Panel:
    limits = units.limits(table.operations[semconv.AGENT_SPAWN])
    text = Text(
        "Agent spawn, p95 of all",
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
    session, name = spans.key(semconv.SESSION_ID), spans.key(semconv.GEN_AI_AGENT_NAME)
    columns = (
        spans.TIME,
        spans.DURATION,
        semconv.GEN_AI_AGENT_ID,
        spans.STATUS,
        semconv.SESSION_NAME,
    )
    started, took, agent_id, status, known = (spans.folded(one, "first") for one in columns)
    labels = [session, agent_id, "named", "whose"]
    changes = [
        spans.one_by_one(session, name, columns=columns),
        panels.computed(_MILLISECONDS, took, "/", "1000000"),
        panels.computed(_END, started, "+", _MILLISECONDS),
        panels.converted(_END, "time"),
        # Pieces of two agents in one row would cut each other off: a row is one agent's of one
        # session. Where that has no name: of a UUID the beginning. Its own turns name no agent.
        panels.extracted(session, r"/^(?<short>[0-9a-f]{8}(?=-[0-9a-f]{4}-)|.+)/"),
        panels.extracted(known, spans.OF_NAME.format("known")),
        panels.reduced("whose", "lastNotNull", "short", "known"),
        panels.converted("whose", "string"),
        panels.extracted(name, f"/^(?!{queries.NIL}$)(?<named>.+)$/"),
        *(
            transform("sortBy", sort=[{"field": one, "desc": False}])
            for one in (agent_id, name, session)
        ),
        transform("filterFieldsByName", include={"names": [started, _END, *labels, status]}),
        transform(
            "partitionByValues",
            fields=labels,
            keepFields=False,
            naming={"asLabels": True},
        ),
        *_named_rows(),
    ]
    text = Text(
        f"Who was busy{queries.CUT}",
        "Turns of sessions, which are the main agent's, runs of sub-agents, and tasks of agents, "
        "from traces: a row for each agent of each session. A gap: it waited, or did not run. "
        f"{queries.LOOKED_AT}",
        "no agent at work",
    )
    query = spans.each(
        _BUSY,
        semconv.GEN_AI_AGENT_ID,
        semconv.SESSION_NAME,
        by=(semconv.SESSION_ID, semconv.GEN_AI_AGENT_NAME),
    )
    panel = panels.timeline(text, query, transformations=changes)
    busy = ("worked", grading.NEUTRAL)
    outcomes = {"ok": busy, "unset": busy, "error": ("failed", grading.MISS)}
    return panel.mappings([grading.words(outcomes)])


def _named_rows() -> list[panels.Transformation]:
    """Calls rows by session, agent and the agent's id, of which there may be no more than one.

    A name's labels stand in the order of their names; what is missing is the word `undefined`.
    """
    missing, known = "(?:undefined|null|)", '([^"]*)'
    found = 'status .*\\(first\\)="{}", named="{}", whose="([^"]*)"}}'
    rows = {
        found.format(".*", missing): f"$1 {spans.MAIN_AGENT}",
        found.format(missing, known): "$2 $1",
        found.format(known, known): "$3 $2 $1",
    }
    short = {r"(.*)\d{4}-(\d\d-\d\d \d\d:\d\d):\d\dZ(.*)": "$1$2$3"}
    return [
        transform("renameByRegex", regex=f"/^{regex}$/", renamePattern=pattern)
        for regex, pattern in {**rows, **short}.items()
    ]


def _utilization() -> Panel:
    text = Text(
        "Utilization and parallelism of all",
        "Utilization: the share of their lives that agents worked. Parallelism: the share of the "
        "work during which another agent worked too. Where some of it failed, a third line has the "
        "utilization without that. The dashed lines are the limits of utilization.",
        _NEVER_LIVE,
    )
    busy, parallel, useful = (
        f"max({promql.series(metric, '1')})"
        for metric in (semconv.AGENT_UTILIZATION, semconv.PARALLEL_RATIO, semconv.EFFICIENCY_RATIO)
    )
    targets = [
        queries.lines("utilization", busy, "utilization"),
        queries.lines("parallel", parallel, "parallel"),
        # Where nothing failed it is the same line.
        queries.lines("efficiency", f"{useful} != {busy}", "without what failed"),
    ]
    limits = queries.level_limits(_LEVELS[0])
    panel = panels.graph(text, *targets, *limits, unit=units.SHARE, decimals=None).max(1)
    return panels.limited(panel)


def _spawning() -> Panel:
    text = Text(
        "How long all agents took to start",
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
    limits = queries.operation_limits(promql.selector(operation=semconv.AGENT_SPAWN))
    panel = panels.graph(
        text, *targets, *limits, unit=units.SECONDS, decimals=None, logarithmic=True
    )
    return panels.limited(panel)


def _by_agent() -> Panel:
    text = Text(
        f"Slowest agents{queries.CUT}",
        "How many tasks, turns and runs, and how long they took. The main agent is a session "
        f"itself. {queries.LOOKED_AT}",
        _NO_AGENT,
    )
    return spans.grouped(text, _BUSY, semconv.GEN_AI_AGENT_NAME, spans.MAIN_AGENT)


def _slowest() -> Panel:
    text = Text(
        f"Longest pieces of work{queries.ABOVE}",
        "How many, and the longest. A click on the trace or the session opens it, one on the span "
        f"shows it in Explore. {queries.SEARCHED}",
        _NO_AGENT,
    )
    found = (semconv.GEN_AI_AGENT_NAME, semconv.OPERATION_NAME, semconv.SESSION_ID)
    return spans.slowest(text, queries.longest(_BUSY), *found, unnamed=spans.MAIN_AGENT)


def _calls() -> Panel:
    """Edges only: Grafana makes the nodes of them, and takes the columns by these very names."""
    work, root = queries.any_of(semconv.AGENT_TASK, semconv.AGENT_RUN), "by(rootName)"
    agent, tool = spans.key(semconv.GEN_AI_AGENT_NAME), spans.key(semconv.GEN_AI_TOOL_NAME)
    operation, outcome = spans.key(semconv.OPERATION_NAME), spans.OUTCOME_KEY
    worked = (
        f'({queries.NAME} =~ "{work}" && {queries.attribute(semconv.GEN_AI_AGENT_NAME)} != nil)'
    )
    used = f'{queries.NAME} = "{semconv.TOOL_EXECUTE}"'
    found = (
        f'{{ {queries.CHOSEN_SESSION} && rootName != "" && ({worked} || {used})'
        f" && {queries.CHOSEN_AGENT} }}"
    )
    changes = [
        # `Exploretool.execute`, `nilagent.turn`: who calls a tool, and who is called itself.
        panels.computed("deed", agent, "+", operation),
        panels.extracted(
            "deed", r"/^(?!nil)(?:(?<caller>.+)tool\.execute|(?<called>.+)agent\.\w+)$/"
        ),
        panels.extracted(tool, "/^(?!nil$)(?<tool>.+)$/"),
        panels.reduced("source", "lastNotNull", root, "caller"),
        panels.reduced("target", "lastNotNull", "called", "tool"),
        # `error3`, `ok5`: of these many the first have failed.
        panels.computed("outcome", outcome, "+", spans.NUMBER),
        panels.extracted("outcome", f"/^(?:error(?<{_FAILED}>\\d+)|.*)$/"),
        *(panels.converted(one, "number") for one in (spans.NUMBER, _FAILED)),
        # What was reduced is a number to Grafana, which cannot sort texts then.
        *(panels.converted(one, "string") for one in ("source", "target")),
        transform(
            "groupBy",
            fields={
                **spans.grouped_by("source", "target"),
                **dict.fromkeys((spans.NUMBER, _FAILED), spans.aggregated("sum")),
            },
        ),
        panels.reduced("mainstat", "sum", spans.folded(spans.NUMBER, "sum")),
        panels.reduced("secondarystat", "sum", spans.folded(_FAILED, "sum")),
        # In another order the nodes would change their places with each load.
        *(
            transform("sortBy", sort=[{"field": one, "desc": False}])
            for one in ("target", "source")
        ),
        transform("calculateField", mode="index", alias="id", replaceFields=False),
        # As a number the first line's id would be none.
        panels.converted("id", "string"),
    ]
    text = Text(
        "Who called whom",
        "Turns and orchestrations, the agents that worked for them, and the tools that each used, "
        "in the newest traces of this time range; on a line stands how often, and how many of "
        "them failed, and on whom it leads to all of these together.",
        "no agent and no tool in this time range",
    )
    groups = "".join(f" | {one}" for one in (root, agent, operation, tool, outcome))
    query = queries.groups("A", f"{found}{groups} | {spans.NUMBER} > 0", spans=1)
    return panels.graph_of_nodes(text, query).transformations(changes)
