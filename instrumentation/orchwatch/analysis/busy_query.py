"""`busy.times` of spans in the store: one SQL query, which loads none of them into this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.analysis import busy
from orchwatch.analysis.intervals import HELPER
from orchwatch.store import islands, views

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.analysis.busy import Interval
    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection

# An agent is identified by two strings; among some thousands their hash is as good, and sorts ten
# times faster.
_ACTIVITY = """
WITH spans AS NOT MATERIALIZED (
    SELECT *, coalesce(session_id, '') AS session,
        coalesce(nullif(agent_id, ''), agent, '') AS who_text,
        greatest(end_ns - duration_ns, $since_ns) AS start_ns, least(end_ns, $now_ns) AS stop_ns
    FROM ({spans})
    WHERE {within}
        AND agent IS DISTINCT FROM $helper AND {where} AND {acts}
),
waiting AS MATERIALIZED (
    SELECT DISTINCT parent_span_id AS span_id FROM spans
    WHERE operation = $run AND parent_span_id IS NOT NULL
),
tools AS MATERIALIZED ({tools}),
callers AS MATERIALIZED (
    SELECT span_id, min(who_text) AS caller FROM spans
    WHERE who_text <> '' AND span_id IN (SELECT parent_span_id FROM tools WHERE who_text = '')
    GROUP BY span_id
),
activity AS MATERIALIZED (
    SELECT hash(coalesce(session_id, ''), coalesce(nullif(agent_id, ''), agent, '')) AS who,
        hash(coalesce(session_id, '')) AS team, greatest(start_ns, $since_ns) AS start_ns,
        least(end_ns, $now_ns) AS end_ns, failed, kind
    FROM ({others})
    WHERE end_ns >= $since_ns AND start_ns <= $now_ns AND agent IS DISTINCT FROM $helper AND {where}
    UNION ALL
    SELECT hash(session, coalesce(nullif(who_text, ''), caller, '')), hash(session),
        start_ns, stop_ns, status = 2,
        CASE WHEN waiting.span_id IS NULL THEN {work} ELSE {waiting} END
    FROM tools
    LEFT JOIN callers ON who_text = '' AND parent_span_id = callers.span_id
    LEFT JOIN waiting ON tools.span_id = waiting.span_id
    UNION ALL
    SELECT hash(session, agent), hash(session), start_ns, $now_ns, false, kind FROM (
        SELECT unnest($open_sessions::VARCHAR[]) AS session,
            unnest($open_agents::VARCHAR[]) AS agent,
            unnest($open_starts_ns::BIGINT[]) AS start_ns, unnest($open_kinds::UTINYINT[]) AS kind)
),
"""
# All but tool calls, and those.
_OTHERS = """
SELECT *, status = 2 AS failed, {kind} AS kind, end_ns - duration_ns AS start_ns FROM ({spans})
WHERE {acts} AND operation <> $tool
"""
_TOOLS = "FROM spans WHERE operation = $tool"
# The same where the files of the store have summaries of them, see `islands`; what calls another
# agent is no work, and what other work covers does not matter.
_OTHERS_IN_SHORT = """
SELECT session_id, agent, agent_id, failed, kind, start_ns, end_ns FROM islands
WHERE list_contains($families, family)
UNION ALL
SELECT session_id, agent, agent_id, status = 2, {kind}, end_ns - duration_ns, end_ns FROM unmerged
WHERE list_contains($families, family) AND {acts} AND operation <> $tool
"""
_TOOLS_IN_SHORT = """
FROM spans WHERE operation = $tool AND covered_ns IS NULL
UNION ALL
FROM spans WHERE operation = $tool AND covered_ns IS NOT NULL AND span_id IN (FROM waiting)
"""
# Of each agent and kind only what is beyond all earlier ends is kept, without overlaps; then a
# sweep counts the running intervals, first for each agent, then for all.
_SWEEP = """
pieces AS MATERIALIZED (
    SELECT who, kind, greatest(start_ns, coalesce(covered_ns, start_ns)) AS start_ns, end_ns
    FROM (
        SELECT *, max(end_ns) OVER (
            PARTITION BY who, kind ORDER BY start_ns
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_ns
        FROM (
            SELECT who, kind, start_ns, end_ns FROM activity WHERE kind <> {alive}
            UNION ALL
            SELECT who, {failed}, start_ns, end_ns FROM activity
            WHERE failed AND kind NOT IN ({alive}, {failed})
        )
    )
    WHERE covered_ns IS NULL OR end_ns > covered_ns
),
mixed AS MATERIALIZED (
    SELECT * FROM pieces
    WHERE who IN (SELECT who FROM pieces WHERE kind <> {work})
),
changes AS (
    SELECT who, kind, start_ns AS at_ns, 1 AS change FROM mixed
    UNION ALL SELECT who, kind, end_ns, -1 FROM mixed
),
moments AS (
    SELECT who, at_ns, lead(at_ns) OVER own AS next_ns,
        sum(change) FILTER (kind = {work}) OVER own AS work,
        sum(change) FILTER (kind = {turn}) OVER own AS turn,
        sum(change) FILTER (kind = {waiting}) OVER own AS waiting,
        sum(change) FILTER (kind = {failed}) OVER own AS failed
    FROM changes WINDOW own AS (PARTITION BY who ORDER BY at_ns
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),
busy AS MATERIALIZED (
    SELECT who, start_ns, end_ns, true AS useful FROM pieces ANTI JOIN mixed USING (who)
    WHERE end_ns > start_ns
    UNION ALL
    SELECT who, at_ns, next_ns, coalesce(failed, 0) = 0
    FROM moments
    WHERE next_ns > at_ns AND (work > 0 OR (turn > 0 AND coalesce(waiting, 0) = 0))
),
"""
_TOTALS = """
agents AS MATERIALIZED (
    SELECT who, team, last_ns - first_ns AS available_ns, busy_ns, useful_ns, busy_until_ns
    FROM (
        SELECT who, any_value(team) AS team, max(end_ns) AS last_ns,
            min(CASE WHEN kind = {alive} THEN end_ns ELSE start_ns END) AS first_ns
        FROM activity GROUP BY who
    )
    LEFT JOIN (
        SELECT who, sum(end_ns - start_ns) AS busy_ns, max(end_ns) AS busy_until_ns,
            sum(end_ns - start_ns) FILTER (useful) AS useful_ns
        FROM busy GROUP BY who
    ) USING (who)
),
members AS (
    SELECT who FROM agents WHERE busy_ns > 0
    AND team IN (SELECT team FROM agents WHERE busy_ns > 0 GROUP BY team HAVING count(*) > 1)
),
steps AS (
    SELECT at_ns, change, sum(change) OVER (ORDER BY at_ns, change
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS working
    FROM (
        SELECT who, start_ns AS at_ns, 1 AS change FROM busy
        UNION ALL SELECT who, end_ns, -1 FROM busy
    ) SEMI JOIN members USING (who)
)
SELECT count(*), count(*) FILTER (busy_until_ns >= $active_ns), sum(available_ns), sum(busy_ns),
    sum(useful_ns),
    (SELECT sum(CASE WHEN working = 0 AND change < 0 THEN at_ns::HUGEINT
        WHEN working = 1 AND change > 0 THEN -at_ns::HUGEINT END) FROM steps),
    (SELECT sum(CASE WHEN working = 1 AND change < 0 THEN at_ns::HUGEINT
        WHEN working = 2 AND change > 0 THEN -at_ns::HUGEINT END) FROM steps)
FROM agents
"""
_INTERVAL_NAMES = {"helper": HELPER, **islands.NAMES}


def times(
    store: Store,
    selection: Selection,
    *,
    since_ns: int,
    now_ns: int,
    active_ns: int,
    going_on: Iterable[Interval],
) -> busy.Times:
    """What `busy.times` says, asked of the store.

    Args:
        store: What was recorded.
        selection: Which spans; its own window is not looked at.
        since_ns: Where the window begins, in Unix nanoseconds.
        now_ns: Where it ends.
        active_ns: Agents that were busy then or later are active.
        going_on: Intervals within the window that have no span yet.
    """
    going_on = list(going_on)
    sql, values = views.spans(selection)
    # A span of an operation, or of a service, may lie inside of another one's.
    in_short = selection.operation is None and selection.service is None
    within = "end_ns >= $since_ns AND end_ns - duration_ns <= $now_ns"
    parts = {
        **sql,
        "kind": islands.KIND,
        "acts": islands.ACTS,
        "within": "true" if store.is_within(since_ns, now_ns) else within,
    }
    question = (_ACTIVITY + _SWEEP + _TOTALS).format(
        **parts,
        **islands.KINDS,
        others=(_OTHERS_IN_SHORT if in_short else _OTHERS).format(**parts),
        tools=_TOOLS_IN_SHORT if in_short else _TOOLS,
    )
    asked = {
        **_INTERVAL_NAMES,
        "since_ns": since_ns,
        "now_ns": now_ns,
        **({"families": list(selection.families)} if in_short else {}),
        "active_ns": active_ns,
        "open_sessions": [one.session_id for one in going_on],
        "open_agents": [one.agent for one in going_on],
        "open_starts_ns": [one.start_ns for one in going_on],
        "open_kinds": [islands.KINDS[one.kind] for one in going_on],
        **values,
    }
    return busy.Times(*(int(value or 0) for value in store.query(question, asked)[0]))
