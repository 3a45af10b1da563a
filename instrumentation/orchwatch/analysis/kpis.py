"""Key figures of an orchestration, computed from its spans.

An agent is identified by its session and its `gen_ai.agent.id`, else its `gen_ai.agent.name`; the
turns and tool calls of a session that name no agent are its main agent's, but for a call within the
span of an agent, which is that one's. It is busy

- during each span that names it, except what others do about it (`agent.spawn`, `recovery.run`,
  `message.deliver`); spans that overlap are counted once;
- during its turns (`agent.turn`) and its whole run (`agent.run`), except while it does nothing but
  wait for an agent that it started: delegating to one agent after another is not parallel work.

Claude Code's own helper that compacts a session's context is no agent.

It is available from its first sign of life in the window to its last; how long it sat there before
and after nobody has measured. Spans are cut at the window's edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv
from orchwatch.analysis import busy
from orchwatch.analysis.busy import Interval
from orchwatch.store import islands, small_answers, views
from orchwatch.store.selection import ALL
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.analysis.busy import Kind
    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import Row

HOUR_S = 3600
WINDOW_S = HOUR_S
"""What key figures cover unless something else is asked for."""

# An agent that was busy within the last business interval (requirements) is active.
ACTIVE_NS = 60 * 1_000_000_000

_NS = 1_000_000_000
_STATUS_ERROR = 2  # OTLP

_TASKS = """
SELECT count(*), count(*) FILTER (status = 2),
    count(*) FILTER ({recent} AND status <> 2)
FROM ({chosen})
WHERE {within} AND operation IN ($task, $run, $turn)
    AND (operation = $task
        OR (operation = $run AND agent IS DISTINCT FROM $helper)
        OR (operation = $turn AND agent IS NULL AND agent_id IS NULL))
"""
# Who an agent is takes two strings; their hash is as good among some thousands, and sorted ten
# times faster.
_TOLD = """
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
told AS MATERIALIZED (
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
# The same where the files of the store have them in short, see `islands`; what calls another agent
# is no work, and what other work covers does not matter.
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
# Of each agent and kind only what is beyond all earlier ends is kept, without overlaps; then what
# goes on is counted up and down from moment to moment, first for each agent, then for all.
_SWEEP = """
pieces AS MATERIALIZED (
    SELECT who, kind, greatest(start_ns, coalesce(covered_ns, start_ns)) AS start_ns, end_ns
    FROM (
        SELECT *, max(end_ns) OVER (
            PARTITION BY who, kind ORDER BY start_ns
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_ns
        FROM (
            SELECT who, kind, start_ns, end_ns FROM told WHERE kind <> {alive}
            UNION ALL
            SELECT who, {failed}, start_ns, end_ns FROM told
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
        FROM told GROUP BY who
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
# While it compacts a session's context, its main agent waits: neither work of its own nor a task.
HELPER = "compact"
_TASK_NAMES = {
    "helper": HELPER,
    "task": semconv.AGENT_TASK,
    "run": semconv.AGENT_RUN,
    "turn": semconv.AGENT_TURN,
}
_INTERVAL_NAMES = {"helper": HELPER, **islands.NAMES}
OF_MAIN = (semconv.AGENT_TURN, semconv.AGENT_RUN, semconv.TOOL_EXECUTE, semconv.USER_WAIT)
KINDS: dict[str, Kind] = {
    semconv.AGENT_TURN: "turn",
    semconv.AGENT_RUN: "turn",
    semconv.USER_WAIT: "waiting",
    semconv.AGENT_SPAWN: "alive",
    semconv.RECOVERY_RUN: "alive",
    semconv.MESSAGE_DELIVER: "alive",
}
_FIRST = """
SELECT min(end_ns - duration_ns) FROM ({spans}) WHERE operation IS NOT NULL AND {where}
"""


@dataclass(frozen=True, kw_only=True)
class Kpis:
    """Key figures of a window; None where it holds nothing that they could be computed from.

    Attributes:
        active_agents: Agents that were busy within the last 60 seconds; None where the window shows
            no agent at all.
        tasks_per_hour: Tasks that ended without an error in the window's last hour; extrapolated
            where the window is shorter. A task is a span `agent.task`, a sub-agent's `agent.run`,
            or a turn (`agent.turn`) of a session's main agent. None where no task ended.
        success_ratio: Share of the window's tasks that ended without an error.
        error_ratio: The rest.
        agent_utilization: Busy time over available time, each added up over all agents.
        parallel_ratio: Time with two or more agents busy over time with any, of the sessions in
            which two or more worked; None where there is no such session.
        efficiency_ratio: Time in which agents were busy outside of spans that failed, over
            available time: what of the agents' time went into work that led to something.
        tasks: How many tasks the shares of them rest on; None where no task ended.
        agents: How many agents the shares of their time rest on; None likewise.
    """

    active_agents: int | None = None
    tasks_per_hour: float | None = None
    success_ratio: float | None = None
    error_ratio: float | None = None
    agent_utilization: float | None = None
    parallel_ratio: float | None = None
    efficiency_ratio: float | None = None
    tasks: int | None = None
    agents: int | None = None


class Tasks(NamedTuple):
    """Tasks that ended in a window.

    Attributes:
        number: How many.
        failed: How many of them with an error.
        recent: How many without one, in the window's last hour.
    """

    number: int
    failed: int
    recent: int


class _Window(NamedTuple):
    since_ns: int
    now_ns: int


def measure(
    store: Store | SmallStore,
    *,
    now_ns: int,
    since_ns: int | None,
    unfinished: Iterable[Interval] = (),
    selection: Selection = ALL,
) -> Kpis:
    """Computes the figures of a window.

    Args:
        store: What was recorded; the caller refreshes it.
        now_ns: Where the window ends, in Unix nanoseconds.
        since_ns: Where it begins; None for the first operation there is.
        unfinished: What is known to go on, which no span tells before it ends.
        selection: Which spans; its own window is not looked at.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if since_ns is None:
        first_ns = _first_ns(store, selection)
        since_ns = now_ns if first_ns is None else min(first_ns, now_ns)
    hour_ns = max(since_ns, now_ns - HOUR_S * _NS)
    window = _Window(since_ns, now_ns)
    tasks, failed, recent = _tasks(store, selection, window, hour_ns)
    going_on = [
        open_one._replace(start_ns=max(open_one.start_ns, since_ns), end_ns=now_ns)
        for open_one in unfinished
    ]
    if isinstance(store, SmallStore):
        told = small_intervals(small_answers.acting(store, selection), window)
        times = busy.times([*told, *going_on], active_ns=now_ns - ACTIVE_NS)
    else:
        times = _times(store, selection, window, going_on)
    return of(times, Tasks(tasks, failed, recent), hour_ns=now_ns - hour_ns)


def of(times: busy.Times, tasks: Tasks, *, hour_ns: int) -> Kpis:
    """The figures of what agents did.

    Args:
        times: When they were busy, and how many within the last `ACTIVE_NS`.
        tasks: What they achieved.
        hour_ns: How long the window's last hour is: less than one where the window is.
    """
    return Kpis(
        active_agents=times.active if times.agents else None,
        tasks_per_hour=tasks.recent * HOUR_S * _NS / hour_ns
        if tasks.number and hour_ns > 0
        else None,
        success_ratio=_share(tasks.number - tasks.failed, tasks.number),
        error_ratio=_share(tasks.failed, tasks.number),
        agent_utilization=_share(times.busy_ns, times.available_ns),
        parallel_ratio=_share(times.parallel_ns, times.any_ns),
        efficiency_ratio=_share(times.useful_ns, times.available_ns),
        tasks=tasks.number or None,
        agents=times.agents or None,
    )


def _first_ns(store: Store | SmallStore, selection: Selection) -> int | None:
    if isinstance(store, SmallStore):
        rows = small_answers.acting(store, selection)
        return min((row.end_ns - row.duration_ns for row in rows), default=None)
    sql, values = _spans(selection)
    found = store.query(_FIRST.format(**sql), values)[0][0]
    return None if found is None else int(found)


def _tasks(
    store: Store | SmallStore, selection: Selection, window: _Window, hour_ns: int
) -> tuple[int, int, int]:
    """How many tasks ended, how many of them failed, and how many did not in the last hour."""
    if isinstance(store, SmallStore):
        ended = [
            row
            for row in small_answers.chosen(store, selection, window=False)
            if window.since_ns <= row.end_ns <= window.now_ns and _is_task(row)
        ]
        failed = sum(row.status == _STATUS_ERROR for row in ended)
        recent = sum(row.end_ns >= hour_ns and row.status != _STATUS_ERROR for row in ended)
        return len(ended), failed, recent
    sql, values = views.chosen(store, selection, window=False)
    asked: dict[str, Any] = {**_TASK_NAMES, **values}
    parts = {"chosen": sql, "within": "true", "recent": "true"}
    if not store.is_within(*window):
        parts["within"] = "end_ns BETWEEN $since_ns AND $now_ns"
        asked |= window._asdict()
    if not store.is_within(hour_ns, window.now_ns):
        parts["recent"] = "end_ns >= $hour_ns"
        asked["hour_ns"] = hour_ns
    found, failed, recent = store.query(_TASKS.format(**parts), asked)[0]
    return found, failed, recent


def _times(
    store: Store, selection: Selection, window: _Window, going_on: list[Interval]
) -> busy.Times:
    """What `busy.times` says, asked of the store."""
    sql, values = _spans(selection)
    # A span of an operation, or of a service, may lie inside of another one's.
    in_short = selection.operation is None and selection.service is None
    within = "end_ns >= $since_ns AND end_ns - duration_ns <= $now_ns"
    parts = {
        **sql,
        "kind": islands.KIND,
        "acts": islands.ACTS,
        "within": "true" if store.is_within(*window) else within,
    }
    question = (_TOLD + _SWEEP + _TOTALS).format(
        **parts,
        **islands.KINDS,
        others=(_OTHERS_IN_SHORT if in_short else _OTHERS).format(**parts),
        tools=_TOOLS_IN_SHORT if in_short else _TOOLS,
    )
    asked = {
        **_INTERVAL_NAMES,
        **window._asdict(),
        **({"families": list(selection.families)} if in_short else {}),
        "active_ns": window.now_ns - ACTIVE_NS,
        "open_sessions": [one.session_id for one in going_on],
        "open_agents": [one.agent for one in going_on],
        "open_starts_ns": [one.start_ns for one in going_on],
        "open_kinds": [islands.KINDS[one.kind] for one in going_on],
        **values,
    }
    return busy.Times(*(int(value or 0) for value in store.query(question, asked)[0]))


def _spans(selection: Selection) -> tuple[dict[str, str], dict[str, Any]]:
    """Where the spans are and what selects them, and the parameters of that."""
    where, values = selection.where(window=False)
    families = " UNION ALL BY NAME ".join(f"FROM {family}" for family in selection.families)
    return {"spans": families, "where": where}, values


def _is_task(row: Row) -> bool:
    if row.operation == semconv.AGENT_TURN:
        return row.agent is None and row.agent_id is None
    return row.operation == semconv.AGENT_TASK or (
        row.operation == semconv.AGENT_RUN and row.agent != HELPER
    )


def small_intervals(rows: Iterable[Row], window: _Window) -> list[Interval]:
    """What agents did within a window, as the query says it of a store."""
    acting = [
        row
        for row in rows
        if row.end_ns >= window.since_ns
        and row.end_ns - row.duration_ns <= window.now_ns
        and row.agent != HELPER
        and (row.agent is not None or (row.session_id is not None and row.operation in OF_MAIN))
    ]
    callers: dict[int, str] = {}
    for row in acting:
        if _who(row):
            callers[row.span_id] = min(_who(row), callers.get(row.span_id, _who(row)))
    waiting = {row.parent_span_id for row in acting if row.operation == semconv.AGENT_RUN}
    found = []
    for row in acting:
        who, kind = _who(row), KINDS.get(row.operation or "", "work")
        if row.operation == semconv.TOOL_EXECUTE:
            who = who or callers.get(row.parent_span_id or 0, "")
            kind = "waiting" if row.span_id in waiting else "work"
        start_ns = max(row.end_ns - row.duration_ns, window.since_ns)
        end_ns = min(row.end_ns, window.now_ns)
        session = row.session_id or ""
        if kind == "alive":
            start_ns = end_ns
        elif row.status == _STATUS_ERROR:
            found.append(Interval(session, who, "failed", start_ns, end_ns))
        found.append(Interval(session, who, kind, start_ns, end_ns))
    return found


def _who(row: Row) -> str:
    return row.agent_id or row.agent or ""


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
