"""Key figures: is the work good, is there enough of it, and what does it take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.dashboards import panels, queries, tokens, units
from orchwatch.mixin.dashboards.page import Page, Row, Section
from orchwatch.mixin.dashboards.panels import Text
from orchwatch.mixin.lib import promql

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.targets.target_table import Targets

_NO_MONITOR = "needs orchwatch monitor"
_SET = "needs orchwatch kpi set {}"
_STATED = {
    "task.success": _NO_MONITOR,
    "task.errors": _NO_MONITOR,
    "task.throughput": _NO_MONITOR,
    "test.coverage": "needs coverage.xml or coverage.json in the project",
    "code.quality": _SET.format("code.quality"),
}
# As wide as their titles.
_OVER_TIME = {"task.success": 8, "task.errors": 7, "task.throughput": 9}
_DOCUMENTED = promql.series(semconv.DOCUMENTATION_COVERAGE, "1")
_COMPLETED = promql.series(semconv.TASK_COMPLETED, "{task}", counter=True)
_TOKENS = {
    "input": semconv.INPUT_TOKENS,
    "cached": semconv.CACHE_READ_TOKENS,
    "written": semconv.CACHE_WRITE_TOKENS,
    "output": semconv.OUTPUT_TOKENS,
}
_FORMER_TOKENS = promql.series(semconv.FORMER_TOKEN_USAGE, "{token}", counter=True)
_COST = "claude_code_cost_usage_USD_total"  # as Claude Code names and sends it
_KIND = semconv.FORMER_TOKEN_TYPE.replace(".", "_")
_MODEL = semconv.GEN_AI_RESPONSE_MODEL.replace(".", "_")
_ALL_TOKENS = "Tokens of all sessions, imported too"
_OF_SESSIONS = f"{queries.SESSION} != nil"
_NO_TOKENS = "no live session used a model; imported ones are counted below"


def page(table: Targets) -> Page:
    """Key figures now, and over time."""
    stated: list[Panel] = [panels.advised(table.levels[one], why) for one, why in _STATED.items()]
    stated.append(_documented())
    return Page(
        name="kpis",
        title="KPIs",
        description="Success, errors, coverage, quality, tasks an hour, tokens and cost.",
        rows=(
            Row(height=4, panels=tuple((8, panel) for panel in stated[:3])),
            Row(height=4, panels=tuple((8, panel) for panel in stated[3:])),
            Section(
                title="Over time",
                rows=(
                    Row(
                        height=8,
                        panels=tuple(
                            (width, _level(table, row_id)) for row_id, width in _OVER_TIME.items()
                        ),
                    ),
                ),
            ),
            Section(
                title="Tasks, tokens and cost",
                rows=(
                    Row(height=8, panels=((8, _tokens()), (8, _cost()), (8, _completed()))),
                    Row(height=6, panels=((24, tokens.by_model(_OF_SESSIONS, _ALL_TOKENS)),)),
                ),
            ),
        ),
    )


def _documented() -> Panel:
    text = Text(
        "Documented",
        "The share of public functions and classes with a documentation text.",
        _SET.format(semconv.DOCUMENTATION_COVERAGE.removeprefix("orchestration.")),
    )
    age = queries.now("age", f"max({queries.age(_DOCUMENTED)})", "last reported, ago")
    query = queries.now("A", f"max({_DOCUMENTED})", panels.NOW)
    return panels.aged(panels.number(text, query, age, unit=units.SHARE, decimals=1))


def _level(table: Targets, row_id: str) -> Panel:
    row = table.levels[row_id]
    limits = units.limits(row)
    text = Text(
        f"{row.title} over time",
        "The dashed lines are the table's target and warning.",
        _STATED[row_id],
    )
    query = queries.lines("A", queries.level(row_id), panels.NOW)
    both = queries.level_limits(row_id)
    panel = panels.limited(panels.graph(text, query, *both, unit=limits.unit, decimals=None))
    # Of what should be all, nothing is more.
    return panel.max(1) if limits.unit == units.SHARE and row.direction == "above" else panel


def _tokens() -> Panel:
    text = Text(
        "Tokens by model and kind",
        "What finished turns and sub-agents of followed sessions used; input is what was neither "
        "read from nor written to the cache.",
        _NO_TOKENS,
    )
    said = {
        kind: queries.in_reports(promql.series(name, "{token}", counter=True), _MODEL)
        for kind, name in _TOKENS.items()
    }
    # The conventions' input holds what is cached.
    said["input"] += f" - {said['cached']} - {said['written']}"
    kinds = [f'label_replace({expr}, "kind", "{kind}", "", "")' for kind, expr in said.items()]
    # As it was counted before.
    former = queries.in_reports(_FORMER_TOKENS, f"{_MODEL}, {_KIND}")
    kinds.append(f'label_replace({former}, "kind", "$1", "{_KIND}", "(.*)")')
    legend = f"{{{{{_MODEL}}}}} {{{{kind}}}}"
    found = queries.lines("A", " or ".join(kinds), legend).interval(queries.COUNTED_REPORTS)
    return panels.bars(panels.graph(text, found, unit=units.NUMBER, decimals=1))


def _cost() -> Panel:
    text = Text(
        "Cost by model",
        "As Claude Code itself estimates it, which it sends after `orchwatch claude install "
        "--telemetry`. Session files hold no prices.",
        "needs orchwatch claude install --telemetry",
    )
    query = queries.reported("A", _COST, "model", "{{model}}")
    return panels.bars(panels.graph(text, query, unit=units.DOLLARS, decimals=2))


def _completed() -> Panel:
    text = Text(
        "Tasks completed",
        "By service, as orchestrations count them.",
        "no task completed",
    )
    legend = f"{{{{{queries.SERVICE}}}}}"
    query = queries.reported("A", _COMPLETED, queries.SERVICE, legend)
    return panels.bars(panels.graph(text, query, unit=units.NUMBER, decimals=0))
