"""Key figures of an orchestration, computed from its spans.

An agent is told by its session and its `gen_ai.agent.id`, else its `gen_ai.agent.name`; the turns
and tool calls of a session that name no agent are its main agent's, but for a call within the span
of an agent, which is that one's. It is busy

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
from itertools import starmap
from typing import TYPE_CHECKING

from orchwatch import names
from orchwatch.monitor import busy
from orchwatch.monitor.busy import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.monitor.store import Store

HOUR_S = 3600
WINDOW_S = HOUR_S
"""What key figures cover unless something else is asked for."""

# An agent that was busy within the last business interval (requirements) is active.
ACTIVE_NS = 60 * 1_000_000_000

_NS = 1_000_000_000

_TASKS = """
SELECT count(*), count(*) FILTER (failed), count(*) FILTER (end_ns >= $hour_ns AND NOT failed)
FROM (
    SELECT DISTINCT ON (trace_id, span_id) end_ns, status = 2 AS failed
    FROM (FROM operations UNION ALL BY NAME FROM undelivered)
    WHERE end_ns BETWEEN $since_ns AND $now_ns AND (
        operation = $task
        OR (operation = $run AND agent IS DISTINCT FROM $helper)
        OR (operation = $turn AND agent IS NULL
            AND NOT coalesce(contains(attributes, $agent_id), false))
    )
)
"""
# A span whose end is not beyond all earlier ones' of its agent and kind lies inside of them; of the
# others only what is beyond is kept. That leaves few to be swept.
_INTERVALS = """
WITH acting AS MATERIALIZED (
    SELECT span_id, parent_span_id, operation, coalesce(session_id, '') AS session,
        coalesce(
            CASE WHEN contains(attributes, $agent_id) THEN
                nullif(regexp_extract(attributes, $agent_id_value, 1), '') END,
            agent, '') AS agent,
        greatest(end_ns - duration_ns, $since_ns) AS start_ns, least(end_ns, $now_ns) AS end_ns,
        status = 2 AS failed
    FROM (FROM operations UNION ALL BY NAME FROM undelivered)
    WHERE end_ns >= $since_ns AND end_ns - duration_ns <= $now_ns AND operation IS NOT NULL
        AND agent IS DISTINCT FROM $helper
        AND (agent IS NOT NULL OR (session_id IS NOT NULL AND operation IN ($turn, $run, $tool)))
),
callers AS (
    SELECT DISTINCT ON (span_id) span_id, agent AS caller FROM acting WHERE agent <> ''
),
kinds AS (
    SELECT session, CASE WHEN agent = '' AND operation = $tool THEN coalesce(caller, '')
            ELSE agent END AS agent,
        start_ns, end_ns, failed, CASE
        WHEN operation IN ($turn, $run) THEN 'turn'
        WHEN operation IN ($spawn, $recovery, $message) THEN 'alive'
        WHEN operation = $tool AND acting.span_id IN (
            SELECT parent_span_id FROM acting
            WHERE operation = $run AND parent_span_id IS NOT NULL) THEN 'waiting'
        ELSE 'work' END AS kind
    FROM acting LEFT JOIN callers ON acting.parent_span_id = callers.span_id
),
pieces AS (
    SELECT *, max(end_ns) OVER (
        PARTITION BY session, agent, kind ORDER BY start_ns
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_ns
    FROM (
        SELECT session, agent, kind, start_ns, end_ns FROM kinds WHERE kind <> 'alive'
        UNION ALL
        SELECT session, agent, 'failed', start_ns, end_ns FROM kinds
        WHERE failed AND kind <> 'alive'
    )
)
SELECT session, agent, kind, greatest(start_ns, coalesce(covered_ns, start_ns)), end_ns
FROM pieces WHERE covered_ns IS NULL OR end_ns > covered_ns
UNION ALL
SELECT session, agent, 'alive', min(end_ns), max(end_ns)
FROM kinds WHERE kind = 'alive' GROUP BY session, agent
"""
# While it compacts a session's context, its main agent waits: neither work of its own nor a task.
_HELPER = "compact"
_TASK_NAMES = {
    "helper": _HELPER,
    "task": names.AGENT_TASK,
    "run": names.AGENT_RUN,
    "turn": names.AGENT_TURN,
    "agent_id": f'"{names.GEN_AI_AGENT_ID}"',
}
_INTERVAL_NAMES = {
    "helper": _HELPER,
    "run": names.AGENT_RUN,
    "turn": names.AGENT_TURN,
    "tool": names.TOOL_EXECUTE,
    "spawn": names.AGENT_SPAWN,
    "recovery": names.RECOVERY_RUN,
    "message": names.MESSAGE_DELIVER,
    "agent_id": f'"{names.GEN_AI_AGENT_ID}"',
    "agent_id_value": rf'"{names.GEN_AI_AGENT_ID}","value":\s*\{{\s*"stringValue"\s*:\s*"([^"]*)"',
}
_FIRST = """
SELECT min(end_ns - duration_ns) FROM (FROM operations UNION ALL BY NAME FROM undelivered)
WHERE operation IS NOT NULL
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


def measure(
    store: Store, *, now_ns: int, since_ns: int | None, unfinished: Iterable[Interval] = ()
) -> Kpis:
    """Computes the figures of a window.

    Args:
        store: What was recorded; the caller refreshes it.
        now_ns: Where the window ends, in Unix nanoseconds.
        since_ns: Where it begins; None for the first operation there is.
        unfinished: What is known to go on, which no span tells before it ends.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if since_ns is None:
        first_ns = store.query(_FIRST)[0][0]
        since_ns = now_ns if first_ns is None else min(int(first_ns), now_ns)
    window = {"since_ns": since_ns, "now_ns": now_ns}
    hour_ns = max(since_ns, now_ns - HOUR_S * _NS)
    tasks, failed, recent = store.query(_TASKS, {**_TASK_NAMES, **window, "hour_ns": hour_ns})[0]
    rows = store.query(_INTERVALS, {**_INTERVAL_NAMES, **window})
    going_on = (
        open_one._replace(start_ns=max(open_one.start_ns, since_ns), end_ns=now_ns)
        for open_one in unfinished
    )
    agents = busy.agents([*starmap(Interval, rows), *going_on])
    available_ns = sum(agent.available_ns for agent in agents)
    any_ns, parallel_ns = busy.any_and_parallel_ns(busy.teams(agents))
    return Kpis(
        active_agents=_active(agents, now_ns) if agents else None,
        tasks_per_hour=recent * HOUR_S * _NS / (now_ns - hour_ns)
        if tasks and now_ns > hour_ns
        else None,
        success_ratio=_share(tasks - failed, tasks),
        error_ratio=_share(failed, tasks),
        agent_utilization=_share(sum(agent.busy_ns for agent in agents), available_ns),
        parallel_ratio=_share(parallel_ns, any_ns),
        efficiency_ratio=_share(sum(agent.useful_ns for agent in agents), available_ns),
        tasks=tasks or None,
        agents=len(agents) or None,
    )


def _active(agents: Iterable[busy.Agent], now_ns: int) -> int:
    return sum(bool(agent.busy) and agent.busy[-1][1] >= now_ns - ACTIVE_NS for agent in agents)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
