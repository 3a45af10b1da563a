"""Key figures of an orchestration, computed from its spans.

An agent is identified by its session and its `gen_ai.agent.id`, else its `gen_ai.agent.name`; the
turns and tool calls of a session that name no agent are its main agent's, but for a call within the
span of an agent, which is that one's. It is busy

- during each span that names it, except what others do about it (`agent.spawn`, `recovery.run`,
  `message.deliver`); spans that overlap are counted once;
- during its turns (`agent.turn`) and its whole run (`agent.run`), except while it does nothing but
  wait for an agent that it started: delegating to one agent after another is not parallel work.

Claude Code's own helper that compacts a session's context is no agent.

It is available from its first sign of life in the window to its last; how long it was idle before
and after is not known. Spans are cut at the window's edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv
from orchwatch.analysis import busy, busy_query, intervals
from orchwatch.analysis.intervals import HELPER
from orchwatch.store import small_answers, views
from orchwatch.store.selection import ALL
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.analysis.busy import Interval
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
_TASK_NAMES = {
    "helper": HELPER,
    "task": semconv.AGENT_TASK,
    "run": semconv.AGENT_RUN,
    "turn": semconv.AGENT_TURN,
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
        efficiency_ratio: Time in which agents were busy outside of failed spans, over available
            time: the share of the agents' time that went into successful work.
        tasks: How many tasks the shares are taken of; None where no task ended.
        agents: How many agents the shares of time are taken of; None likewise.
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
        unfinished: Work that is known to go on, and has no span before it ends.
        selection: Which spans; its own window is not looked at.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if since_ns is None:
        first_ns = _first_ns(store, selection)
        since_ns = now_ns if first_ns is None else min(first_ns, now_ns)
    hour_ns = max(since_ns, now_ns - HOUR_S * _NS)
    active_ns = now_ns - ACTIVE_NS
    window = _Window(since_ns, now_ns)
    tasks, failed, recent = _tasks(store, selection, window, hour_ns)
    going_on = [
        open_one._replace(start_ns=max(open_one.start_ns, since_ns), end_ns=now_ns)
        for open_one in unfinished
    ]
    if isinstance(store, SmallStore):
        rows = small_answers.acting(store, selection)
        ended = intervals.of_rows(rows, since_ns=since_ns, now_ns=now_ns)
        times = busy.times([*ended, *going_on], active_ns=active_ns)
    else:
        times = busy_query.times(
            store,
            selection,
            since_ns=since_ns,
            now_ns=now_ns,
            active_ns=active_ns,
            going_on=going_on,
        )
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
    sql, values = views.spans(selection)
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


def _is_task(row: Row) -> bool:
    if row.operation == semconv.AGENT_TURN:
        return row.agent is None and row.agent_id is None
    return row.operation == semconv.AGENT_TASK or (
        row.operation == semconv.AGENT_RUN and row.agent != HELPER
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
