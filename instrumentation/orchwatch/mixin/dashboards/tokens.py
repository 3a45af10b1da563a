"""Tokens by model, from the traces of sessions: those of imported ones too, at their own times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.mixin.dashboards import panels, queries, units
from orchwatch.mixin.dashboards.panels import Text, column, transform

if TYPE_CHECKING:
    from orchwatch.mixin.dashboards.panels import Panel

_TOKENS = {
    semconv.GEN_AI_USAGE_INPUT_TOKENS: "Input",
    semconv.GEN_AI_USAGE_CACHE_READ_TOKENS: "Cached",
    semconv.GEN_AI_USAGE_CACHE_WRITE_TOKENS: "Written",
    semconv.GEN_AI_USAGE_OUTPUT_TOKENS: "Output",
}


def by_model(found: str, title: str = "Tokens by model") -> Panel:
    """A row for each model.

    Args:
        found: The spans in TraceQL, without braces.
        title: The panel's heading.
    """
    model = semconv.GEN_AI_RESPONSE_MODEL
    former = {name: semconv.FORMER_NAMES[name] for name in _TOKENS if name in semconv.FORMER_NAMES}
    told = (*_TOKENS, *former.values())
    selected = ", ".join(queries.attribute(name) for name in (model, *told))
    turns = queries.any_of(semconv.AGENT_TURN, semconv.AGENT_RUN)
    used = f'{{ {found} && {queries.NAME} =~ "{turns}" && {queries.attribute(model)} != "" }}'
    summed = {"aggregations": ["sum"], "operation": "aggregate"}
    fields = {model: {"aggregations": [], "operation": "groupby"}} | dict.fromkeys(told, summed)
    numbers = [{"targetField": name, "destinationType": "number"} for name in told]
    renamed = {model: "Model"} | {title: title for title in _TOKENS.values()}
    changes = [
        transform("convertFieldType", conversions=numbers),
        transform("groupBy", fields=fields),
        # Under whichever name the spans say it.
        *(
            panels.reduced(
                title, "sum", *(f"{one} (sum)" for one in (name, former.get(name)) if one)
            )
            for name, title in _TOKENS.items()
        ),
        *panels.chosen(renamed, "Output"),
    ]
    text = Text(
        title,
        "What turns and sub-agents used, from their session files; input holds what was read from "
        "and written to the cache. Orchestrations without models have none. What they cost is not "
        "recorded: prices are in no session file.",
        "no model was used",
    )
    query = queries.spans("A", f"{used} | select({selected})")
    panel = panels.rows(text, query, unit=units.NUMBER, decimals=None, transformations=changes)
    return column(panel, "Model", unit="string", **{"custom.width": 215})
