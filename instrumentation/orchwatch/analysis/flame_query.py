"""The flame graph of all that is selected, without a span in Python: of a million that takes long.

DuckDB numbers the spans, finds what each has of its own, and goes down from the callers, a level at
a time. It has the same graph as `flame.of_spans`; what it cannot reach from the top (a circle of
callers, more levels than are shown) is left to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.analysis import flame
from orchwatch.store import outlines
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from orchwatch.analysis.flame import Flame
    from orchwatch.store.database import Store
    from orchwatch.store.outlines import Outline
    from orchwatch.store.selection import Selection

_FAMILIES = "SELECT count(DISTINCT family) FROM span WHERE family IN (SELECT unnest($families))"
_SPANS = """
CREATE OR REPLACE TEMP TABLE flame_span AS
SELECT row_number() OVER () AS number, * FROM (
    SELECT {once} trace_id, span_id, parent_span_id, end_ns - duration_ns AS start_ns, end_ns,
        status, hash(name, operation, agent, {hook}) AS label
    FROM span WHERE family IN (SELECT unnest($families)) AND {where}
    {order}
)
"""
_LABELS = """
SELECT hash(name, operation, agent, {hook}), any_value(name), any_value(operation),
    any_value(agent), any_value({name}), any_value({event})
FROM span WHERE family IN (SELECT unnest($families)) AND {where} GROUP BY 1
"""
_CALLED = """
CREATE OR REPLACE TEMP TABLE flame_called AS
SELECT one.number, above.number AS caller, one.label, one.status, one.start_ns, one.end_ns,
    greatest(one.start_ns, above.start_ns) AS from_ns, least(one.end_ns, above.end_ns) AS to_ns
FROM flame_span AS one LEFT JOIN flame_span AS above
    ON one.trace_id = above.trace_id AND one.parent_span_id = above.span_id
"""
_OWN = """
CREATE OR REPLACE TEMP TABLE flame_own AS
WITH reached AS (
    SELECT caller, from_ns, to_ns, max(to_ns) OVER (
        PARTITION BY caller ORDER BY from_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS reached_ns
    FROM flame_called WHERE caller IS NOT NULL AND to_ns > from_ns
),
covered AS (
    SELECT caller AS number,
        sum(greatest(to_ns - greatest(from_ns, coalesce(reached_ns, from_ns)), 0))::BIGINT AS ns
    FROM reached GROUP BY caller
)
SELECT number, caller, label, status, end_ns - start_ns - coalesce(ns, 0) AS own_ns
FROM flame_called LEFT JOIN covered USING (number)
"""
_RAN = """
WITH outer_ones AS (
    SELECT start_ns, end_ns FROM flame_called
    WHERE caller IS NULL OR from_ns <> start_ns OR to_ns <> end_ns
),
reached AS (
    SELECT *, max(end_ns) OVER (
        ORDER BY start_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS reached_ns
    FROM outer_ones
)
SELECT sum(greatest(end_ns - greatest(start_ns, coalesce(reached_ns, start_ns)), 0))::BIGINT
FROM reached
"""
_COUNTS = "SELECT count(*), count(DISTINCT trace_id) FROM flame_span"
_TOP = """
CREATE OR REPLACE TEMP TABLE flame_level AS
SELECT number, label, status, own_ns, NULL::UBIGINT AS above, hash(label) AS frame
FROM flame_own WHERE caller IS NULL
"""
_DOWN = """
CREATE OR REPLACE TEMP TABLE flame_level AS
SELECT one.number, one.label, one.status, one.own_ns, above.frame AS above,
    hash(above.frame, one.label) AS frame
FROM flame_own AS one JOIN flame_level AS above ON one.caller = above.number
"""
_FRAMES = """
SELECT above, frame, any_value(label), count(*), count(*) FILTER (status = 2), sum(own_ns)::BIGINT
FROM flame_level GROUP BY above, frame ORDER BY above, frame
"""


def merged(store: Store | SmallStore, selection: Selection) -> Flame:
    """The flame graph of all that a selection is about.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if not isinstance(store, SmallStore):
        found = _asked(store, selection)
        if found is not None:
            return found
    return flame.of_spans(outlines.selected(store, selection))


def _asked(store: Store, selection: Selection) -> Flame | None:
    where, values = selection.where()
    asked = {**values, "families": list(selection.families)}
    several = store.query(_FAMILIES, {"families": asked["families"]})[0][0] > 1
    name, event = (
        f"CASE WHEN {outlines.IS_HOOK} THEN {outlines.text_of('attributes', key)} END"
        for key in (semconv.HOOK_NAME, semconv.HOOK_EVENT_NAME)
    )
    form = {
        "where": where,
        "name": name,
        "event": event,
        "hook": f"{name}, {event}",
        "once": "DISTINCT ON (trace_id, span_id)" if several else "",
        # As `outlines` takes the first of those that stand in several places.
        "order": "ORDER BY end_ns - duration_ns, end_ns DESC" if several else "",
    }
    store.query(_filled(_SPANS, form), asked)
    spans, traces = store.query(_COUNTS)[0]
    labels = {number: _outline(row) for number, *row in store.query(_filled(_LABELS, form), asked)}
    for step in (_CALLED, _OWN):
        store.query(step)
    graph = flame.Graph()
    # What a frame of DuckDB's is in the graph, and whose agent it is.
    places: dict[int | None, int | None] = {None: None}
    agents: dict[int | None, str | None] = {None: None}
    step = _TOP
    for _ in range(flame.DEEPEST):
        store.query(step)
        rows = store.query(_FRAMES)
        if not rows:
            break
        for above, number, hashed, *figures in rows:
            span = labels[hashed]
            place = graph.place(places[above], span, agents[above])
            places[number], agents[number] = place, span.agent
            graph.add(place, *figures)
        step = _DOWN
    if sum(frame.count for frame in graph.frames) != spans:
        return None
    ran_ns = store.query(_RAN)[0][0] or 0
    return graph.finished(traces=traces, spans=spans, ran_ns=ran_ns)


def _filled(sql: str, form: dict[str, str]) -> str:
    """With its parts; the patterns in those have braces of their own."""
    for part, text in form.items():
        sql = sql.replace("{" + part + "}", text)
    return sql


def _outline(row: list[Any]) -> Outline:
    name, operation, agent, hook, event = row
    return outlines.Outline(
        *("", 0, None, name, operation, 0, 0, 0, None, None, agent, None),
        hook=outlines.unescaped(hook),
        hook_event=outlines.unescaped(event),
    )
