"""What is there: sessions, agents and traces, the latest first, and where their time went."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from orchwatch import semconv
from orchwatch.analysis import costs, projects
from orchwatch.analysis.intervals import HELPER
from orchwatch.store import small_answers, views
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchwatch.analysis.costs import Cost
    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import Row

Kind = Literal["session", "agent", "trace"]

MAIN_AGENT = "main"
"""The name of the agent that a session's turns and tool calls belong to which name none."""

ENDLESS = (1 << 62) - 1
"""A limit that leaves out none."""

_STATUS_ERROR = 2  # OTLP
_OF_AGENTS = (semconv.AGENT_TURN, semconv.AGENT_RUN, semconv.TOOL_EXECUTE)
# What two columns of an agent are joined by: neither can hold it, see `small` and `lines`.
_BETWEEN = "\x01"
_CLASSES = {
    semconv.TOOL_EXECUTE: "tool",
    semconv.HOOK_PROCESS: "hook",
    semconv.AGENT_TURN: "turn",
    semconv.AGENT_RUN: "turn",
}
_KEYS = {
    "session": "session_id",
    "trace": "replace(trace_id::VARCHAR, '-', '')",
    "agent": "coalesce(session_id, '') || chr(1) || coalesce(nullif(agent_id, ''), agent, '')",
}
# What a key is made of, and which operations make that there is one.
_PARTS = {"session": "session_id", "trace": "trace_id", "agent": "session_id, agent_id, agent"}
_LISTED = {
    "session": "session_id IS NOT NULL",
    "trace": "true",
    "agent": f"agent IS DISTINCT FROM '{HELPER}' AND (agent_id IS NOT NULL OR agent IS NOT NULL OR"
    " (session_id IS NOT NULL AND operation"
    f" IN ({', '.join(repr(operation) for operation in _OF_AGENTS)})))",
}
# The rest is asked of the latest only, and of the time of these: of most files nothing is read.
_LATEST = """
WITH parts AS (
    SELECT {parts}, max(end_ns) FILTER ({listed}) AS listed_ns, min(end_ns) AS first_ns
    FROM ({chosen}) GROUP BY ALL
)
SELECT {key} AS key, min(first_ns), count(*) OVER () FROM parts
GROUP BY key HAVING max(listed_ns) IS NOT NULL ORDER BY max(listed_ns) DESC, key LIMIT $limit
"""
_GROUPS = """
SELECT {key} AS key, min(end_ns - duration_ns), max(end_ns), count(*),
    count(*) FILTER (status = 2), min(session_id), min(agent_id), min(agent),
    count(DISTINCT coalesce(nullif(agent_id, ''), agent)),
    arg_min(name, (parent_span_id IS NOT NULL, end_ns - duration_ns, span_id))
FROM ({chosen})
WHERE end_ns >= $first_ns AND ({listed}) AND {key} IN (SELECT unnest($keys::VARCHAR[]))
GROUP BY key ORDER BY max(end_ns) DESC, key
"""
_PIECES = """
WITH chosen AS ({chosen}), keyed AS (
    SELECT {key} AS key, span_id, operation, end_ns - duration_ns AS start_ns, end_ns FROM chosen
    WHERE end_ns >= $first_ns AND ({listed})
),
waiting AS (
    SELECT DISTINCT parent_span_id AS span_id FROM chosen
    WHERE operation = $run AND parent_span_id IS NOT NULL
),
classed AS (
    SELECT key, start_ns, end_ns, CASE
        WHEN operation = $tool THEN CASE WHEN waiting.span_id IS NULL THEN 'tool' ELSE 'turn' END
        WHEN operation = $hook THEN 'hook'
        WHEN operation IN ($turn, $run) THEN 'turn'
        ELSE 'other' END AS class
    FROM keyed LEFT JOIN waiting USING (span_id)
    WHERE key IN (SELECT unnest($keys::VARCHAR[]))
)
SELECT key, class, greatest(start_ns, coalesce(reached_ns, start_ns)), end_ns FROM (
    SELECT *, max(end_ns) OVER (
        PARTITION BY key, class ORDER BY start_ns
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached_ns
    FROM classed
) WHERE reached_ns IS NULL OR end_ns > reached_ns
"""
_PIECE_NAMES = {
    "run": semconv.AGENT_RUN,
    "turn": semconv.AGENT_TURN,
    "tool": semconv.TOOL_EXECUTE,
    "hook": semconv.HOOK_PROCESS,
}
_VALUES = {
    "session": "SELECT DISTINCT session_id FROM ({chosen}) WHERE session_id IS NOT NULL ORDER BY 1",
    "service": "SELECT DISTINCT service FROM ({chosen}) WHERE service IS NOT NULL ORDER BY 1",
    "operation": "SELECT DISTINCT operation FROM ({chosen}) ORDER BY 1",
    "agent": """
SELECT DISTINCT value FROM (
    SELECT DISTINCT agent AS value FROM ({chosen}) UNION ALL
    SELECT DISTINCT agent_id FROM ({chosen})
) WHERE value IS NOT NULL ORDER BY 1
""",
}


@dataclass(frozen=True, kw_only=True)
class Group:
    """A session, an agent or a trace, as far as a selection holds it; times in Unix nanoseconds.

    Of the time in which anything went on, the three shares are what tool calls take that do not
    wait for an agent, hooks outside of those, and turns and runs outside of both: there the model
    answers, a person is waited for, or nothing goes on; `phases` tells these apart. Each is None
    where no operation of that kind is there.

    Attributes:
        id: The session's id, the agent's id (else its name), the trace's.
        name: The agent's name; the name of the trace's first span; None of a session.
        session_id: Its session; None where no operation names one.
        start_ns: When the first operation began.
        end_ns: When the last one ended.
        operations: How many.
        errors: How many of them failed.
        agents: How many agents they name.
        busy_ns: How long anything went on.
        tools_ns: How long of that tools.
        hooks_ns: How long of that hooks.
        rest_ns: How long of that turns and runs outside of both.
        cost: What a session has cost in all, where it says so.
        project: The name of a session's project, where it says so.
    """

    id: str
    name: str | None
    session_id: str | None
    start_ns: int
    end_ns: int
    operations: int
    errors: int
    agents: int
    busy_ns: int
    tools_ns: int | None
    hooks_ns: int | None
    rest_ns: int | None
    cost: Cost | None = None
    project: str | None = None

    def share(self, part_ns: int | None) -> float | None:
        """A part of the busy time, 0 to 1."""
        return part_ns / self.busy_ns if part_ns is not None and self.busy_ns else None


def groups(
    store: Store | SmallStore, kind: Kind, selection: Selection, limit: int
) -> tuple[list[Group], int]:
    """The latest, and how many there are in all.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        rows, of_all = _small_groups(store, kind, selection, limit)
        pieces: Iterable[tuple[Any, ...]] = _small_pieces(store, kind, selection, rows)
    else:
        rows, of_all, pieces = _asked(store, kind, selection, limit)
    swept = _swept(pieces)
    found = [_group(kind, row, swept[row[0]]) for row in rows]
    if kind != "session":
        return found, of_all
    ids = [group.id for group in found]
    by_id, named = costs.of_sessions(store, ids), projects.of_sessions(store, ids)
    return [
        replace(group, cost=by_id.get(group.id), project=named.get(group.id)) for group in found
    ], of_all


def _asked(
    store: Store, kind: Kind, selection: Selection, limit: int
) -> tuple[list[tuple[Any, ...]], int, list[tuple[Any, ...]]]:
    """The latest groups, how many there are, and the pieces of the former's time."""
    sql, values = views.chosen(store, selection)
    form = {"chosen": sql, "key": _KEYS[kind], "parts": _PARTS[kind], "listed": _LISTED[kind]}
    latest = store.query(_LATEST.format(**form), {**values, "limit": limit})
    if not latest:
        return [], 0, []
    asked = {
        **values,
        "keys": [key for key, *_ in latest],
        "first_ns": min(first_ns for _, first_ns, _ in latest),
    }
    rows = store.query(_GROUPS.format(**form), asked)
    return rows, latest[0][-1], store.query(_PIECES.format(**form), {**asked, **_PIECE_NAMES})


def values(store: Store | SmallStore, selection: Selection, column: str) -> list[str]:
    """The sessions, agents (names and ids), services or operations that are stored, by name."""
    if isinstance(store, SmallStore):
        return small_answers.values(store, selection, column)
    sql, asked = views.chosen(store, selection, window=False)
    return [row[0] for row in store.query(_VALUES[column].format(chosen=sql), asked)]


def _group(kind: Kind, row: Sequence[Any], parts: dict[str, int | None]) -> Group:
    key, start_ns, end_ns, operations, errors, session_id, agent_id, agent, agents, name = row
    if kind == "agent":
        identity = agent_id or agent or MAIN_AGENT
        name = agent or (None if agent_id else MAIN_AGENT)
    else:
        identity = key
    return Group(
        id=identity,
        name=None if kind == "session" else name,
        session_id=session_id,
        start_ns=start_ns,
        end_ns=end_ns,
        operations=operations,
        errors=errors,
        agents=agents,
        busy_ns=parts["busy"] or 0,
        tools_ns=parts["tool"],
        hooks_ns=parts["hook"],
        rest_ns=parts["turn"],
    )


def _swept(pieces: Iterable[tuple[Any, ...]]) -> defaultdict[str, dict[str, int | None]]:
    """By key, how long anything went on, and each class of it that comes first."""
    changes: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for key, kind, start_ns, end_ns in pieces:
        changes[key] += ((start_ns, 1, kind), (end_ns, -1, kind))
    found: defaultdict[str, dict[str, int | None]] = defaultdict(
        lambda: {"busy": 0, "tool": None, "hook": None, "turn": None}
    )
    for key, own in changes.items():
        found[key] = _parts(sorted(own))
    return found


def _parts(changes: list[tuple[int, int, str]]) -> dict[str, int | None]:
    running = {"tool": 0, "hook": 0, "turn": 0, "other": 0}
    lengths = {**running, "busy": 0}
    seen = {kind for _, _, kind in changes}
    before_ns = changes[0][0]
    for at_ns, change, kind in changes:
        first = next((one for one, number in running.items() if number), None)
        if first is not None:
            lengths[first] += at_ns - before_ns
            lengths["busy"] += at_ns - before_ns
        running[kind] += change
        before_ns = at_ns
    return {kind: length for kind, length in lengths.items() if kind in (*seen, "busy")} | {
        kind: None for kind in ("tool", "hook", "turn") if kind not in seen
    }


def _key(kind: Kind, row: Row) -> str:
    if kind == "session":
        return row.session_id or ""
    if kind == "trace":
        return row.trace_id
    return f"{row.session_id or ''}{_BETWEEN}{row.agent_id or row.agent or ''}"


def _is_listed(kind: Kind, row: Row) -> bool:
    if kind == "trace":
        return True
    if kind == "session":
        return row.session_id is not None
    if row.agent == HELPER:
        return False
    if (row.agent_id if row.agent_id is not None else row.agent) is not None:
        return True
    return row.session_id is not None and row.operation in _OF_AGENTS


def _small_groups(
    store: SmallStore, kind: Kind, selection: Selection, limit: int
) -> tuple[list[tuple[Any, ...]], int]:
    by_key: defaultdict[str, list[Row]] = defaultdict(list)
    for row in small_answers.chosen(store, selection):
        if _is_listed(kind, row):
            by_key[_key(kind, row)].append(row)
    found = []
    for key, rows in by_key.items():
        first = min(
            rows,
            key=lambda row: (
                row.parent_span_id is not None,
                row.end_ns - row.duration_ns,
                row.span_id,
            ),
        )
        who = {row.agent_id or row.agent for row in rows}
        found.append(
            (
                key,
                min(row.end_ns - row.duration_ns for row in rows),
                max(row.end_ns for row in rows),
                len(rows),
                sum(row.status == _STATUS_ERROR for row in rows),
                _least(row.session_id for row in rows),
                _least(row.agent_id for row in rows),
                _least(row.agent for row in rows),
                len(who - {None}),
                first.name,
            )
        )
    found.sort(key=lambda group: (-group[2], group[0]))
    return found[:limit], len(found)


def _least(values: Iterable[str | None]) -> str | None:
    return min((value for value in values if value is not None), default=None)


def _small_pieces(
    store: SmallStore, kind: Kind, selection: Selection, groups: list[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    wanted = {group[0] for group in groups}
    rows = small_answers.chosen(store, selection)
    waiting = {row.parent_span_id for row in rows if row.operation == semconv.AGENT_RUN}
    return [
        (
            _key(kind, row),
            "turn"
            if row.operation == semconv.TOOL_EXECUTE and row.span_id in waiting
            else _CLASSES.get(row.operation or "", "other"),
            row.end_ns - row.duration_ns,
            row.end_ns,
        )
        for row in rows
        if _is_listed(kind, row) and _key(kind, row) in wanted
    ]
