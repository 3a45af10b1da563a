"""One session: its traces, one of them whole, its operations and its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import names
from orchwatch.mixin.dashboards import panels, queries, spans, units
from orchwatch.mixin.dashboards.page import SELDOM, Page, Row
from orchwatch.mixin.dashboards.panels import Text, column, transform

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel
    from orchwatch.targets import Targets

_NOTHING = "no such session in this time range"
_FOUND = queries.CHOSEN_SESSION
_TOKENS = {
    names.GEN_AI_USAGE_INPUT_TOKENS: "Input",
    names.GEN_AI_USAGE_CACHE_READ_TOKENS: "Cached",
    names.GEN_AI_USAGE_CACHE_CREATION_TOKENS: "Written",
    names.GEN_AI_USAGE_OUTPUT_TOKENS: "Output",
}


def page(_table: Targets) -> Page:
    """A session, or all of them; imported ones lie in the past: widen the time range."""
    return Page(
        name="session",
        title="Session",
        description="One session or turn: its traces, one of them whole, its operations, its "
        "tokens. Imported sessions lie in the past: widen the time range.",
        asks=("session", "trace"),
        refresh=SELDOM,
        rows=(
            Row(height=8, panels=((14, _traces()), (10, _operations()))),
            Row(height=6, panels=((12, _tokens()), (12, _failed()))),
            Row(height=15, panels=((24, _trace()),)),
        ),
    )


def _traces() -> Panel:
    text = Text(
        "Turns and orchestrations",
        "A trace is one turn of a session, or one orchestration. `open` shows it below.",
        _NOTHING,
    )
    return spans.traces(text, f"{{ {_FOUND} }}")


def _operations() -> Panel:
    text = Text(
        "Operations in it",
        "How many, and how long some of them took, in the newest traces of this time range.",
        _NOTHING,
    )
    found = f'{{ {_FOUND} && {queries.NAME} != "" }}'
    return spans.grouped(text, found, names.OPERATION_NAME)


def _trace() -> Panel:
    text = Text(
        "The trace (open one above)",
        "Every span of one trace. Empty until one is chosen: open it in a table, or paste its id "
        "above.",
        "no trace chosen",
    )
    return panels.whole_trace(text, queries.trace("A", "$trace"))


def _tokens() -> Panel:
    model = names.GEN_AI_RESPONSE_MODEL
    selected = ", ".join(queries.attribute(name) for name in (model, *_TOKENS))
    turns = queries.any_of(names.AGENT_TURN, names.AGENT_RUN)
    found = f'{{ {_FOUND} && {queries.NAME} =~ "{turns}" && {queries.attribute(model)} != "" }}'
    summed = {"aggregations": ["sum"], "operation": "aggregate"}
    fields = {model: {"aggregations": [], "operation": "groupby"}} | dict.fromkeys(_TOKENS, summed)
    numbers = [{"targetField": name, "destinationType": "number"} for name in _TOKENS]
    renamed = {model: "Model"} | {f"{name} (sum)": title for name, title in _TOKENS.items()}
    changes = [
        transform("convertFieldType", conversions=numbers),
        transform("groupBy", fields=fields),
        *panels.chosen(renamed, "Output"),
    ]
    text = Text(
        "Tokens by model",
        "What turns and sub-agents used, from their session files; input holds what was read from "
        "and written to the cache. Orchestrations without models have none. What they cost is not "
        "recorded: prices are in no session file.",
        "no model was used",
    )
    query = queries.spans("A", f"{found} | select({selected})")
    panel = panels.rows(text, query, unit=units.NUMBER, decimals=None, transformations=changes)
    return column(panel, "Model", unit="string", **{"custom.width": 215})


def _failed() -> Panel:
    text = Text(
        "What failed",
        "Failed spans of the session, the most frequent first, with the trace of the longest.",
        "nothing failed",
    )
    found = (names.OPERATION_NAME, names.ERROR_TYPE, names.GEN_AI_AGENT_NAME)
    failed = f"{{ {_FOUND} && status = error }}"
    return spans.slowest(text, failed, *found, sort=spans.COUNT)
