"""Hooks: how often each ran, how long it took, and what turns would last without it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv
from orchwatch.analysis.causes import Causes, Replay
from orchwatch.analysis.span_tree import SpanTree
from orchwatch.store import outlines, small_answers
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchwatch.store.database import Store
    from orchwatch.store.outlines import Outline
    from orchwatch.store.selection import Selection

TURNS = 300
"""So many of the turns with hooks are looked at, the latest: each is run again without each."""

_NS = 1_000_000_000
_STATUS_ERROR = 2  # OTLP
_TIMEOUT = "timeout"  # of `TimeoutError`, `hook_timeout` and whatever else says so

_HOOKS = f"""
WITH hook AS (
    SELECT DISTINCT ON (trace_id, span_id) operation, duration_ns, status, trace_id, end_ns,
        {outlines.text_of("attributes", semconv.HOOK_EVENT_NAME)} AS event,
        {outlines.text_of("attributes", semconv.HOOK_NAME)} AS name,
        {outlines.text_of("attributes", semconv.HOOK_OUTCOME)} AS outcome,
        contains(lower(error_type), '{_TIMEOUT}') AS timed_out
    FROM span WHERE family IN (SELECT unnest($families)) AND {outlines.IS_HOOK} AND {{where}}
)
"""  # noqa: S608 - no value stands in it
_FIGURES = """
SELECT event, name, count(operation), count(*) - count(operation), count(*) FILTER (status = 2),
    count(*) FILTER (status = 2 AND timed_out), count(*) FILTER (outcome = $blocked),
    quantile_disc(duration_ns, [0.5, 0.95]) FILTER (operation IS NOT NULL)
FROM hook GROUP BY event, name
"""
_TRACES = """
SELECT replace(trace_id::VARCHAR, '-', ''), count(*) OVER () FROM hook
GROUP BY trace_id ORDER BY max(end_ns) DESC, trace_id LIMIT $limit
"""
_TURN_TIME = """
SELECT session_id, sum(duration_ns)::BIGINT FROM (
    SELECT DISTINCT ON (trace_id, span_id) session_id, duration_ns
    FROM span WHERE family IN (SELECT unnest($families)) AND operation = $turn AND {where}
) GROUP BY session_id
"""


@dataclass(frozen=True, kw_only=True)
class Hook:
    """What one hook did within a selection.

    Attributes:
        event: The event that it ran for, e.g. `PreToolUse`; None where unknown.
        name: What it is called, likewise.
        count: How often it ran, for a known time.
        unmeasured: How often it ran besides.
        failures: How many of all runs failed, those that took too long included.
        timeouts: How many of those took too long.
        blocked: How often it objected, which is no failure.
        p50_s: Median duration, nearest rank; None where none is known.
        p95_s: 95th percentile, likewise.
        turns: In how many of the turns that were looked at it ran for a known time.
        turn_share: What it has of the time of all turns of its sessions, 0 to 1; None where it ran
            in none.
        turn_s: How long the turns in which it ran took on average, likewise.
        turn_without_s: How long they would have, had it taken no time, likewise.
    """

    event: str | None
    name: str | None
    count: int
    unmeasured: int
    failures: int
    timeouts: int
    blocked: int
    p50_s: float | None
    p95_s: float | None
    turns: int
    turn_share: float | None
    turn_s: float | None
    turn_without_s: float | None


class Found(NamedTuple):
    """All hooks within a selection.

    Attributes:
        hooks: Those that turns wait for longest first.
        turns: How many turns with hooks were looked at.
        of_all: How many there are.
    """

    hooks: list[Hook]
    turns: int
    of_all: int


_Key = tuple[str | None, str | None]


@dataclass
class _InTurns:
    """What a hook did in the turns that were looked at, in nanoseconds."""

    turns: int = 0
    turn_ns: int = 0
    own_ns: int = 0
    saved_ns: int = 0
    sessions: set[str | None] = field(default_factory=set)


def measure(store: Store | SmallStore, selection: Selection) -> Found:
    """What hooks did.

    A turn is the `agent.turn` of a trace, else what nothing called there. It waits for a hook as
    `critical_path` has it: how long it would last without is found by running it again.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        figures, trace_ids, of_all = _small(store, selection)
    else:
        figures, trace_ids, of_all = _asked(store, selection)
    by_trace: defaultdict[str, list[Outline]] = defaultdict(list)
    for span in outlines.of_traces(store, trace_ids):
        by_trace[span.trace_id].append(span)
    found: defaultdict[_Key, _InTurns] = defaultdict(_InTurns)
    looked_at: list[Outline] = []
    for spans in by_trace.values():
        looked_at += _look(spans, found)
    time_ns = _turn_time(store, selection, looked_at)
    hooks = [_hook(row, found[row[0], row[1]], time_ns) for row in figures]
    hooks.sort(key=_by_cost)
    return Found(hooks, len(by_trace), of_all)


def _by_cost(hook: Hook) -> tuple[float, float, str, str]:
    saved_s = (hook.turn_s or 0.0) - (hook.turn_without_s or 0.0)
    return (
        -saved_s * hook.turns,
        -(hook.p50_s or 0.0) * hook.count,
        hook.event or "",
        hook.name or "",
    )


def _hook(row: Sequence[Any], within: _InTurns, time_ns: dict[str | None, int]) -> Hook:
    event, name, count, unmeasured, failures, timeouts, blocked, percentiles = row
    turns = within.turns
    whole_ns = sum(time_ns[session] for session in within.sessions)
    return Hook(
        event=event,
        name=name,
        count=count,
        unmeasured=unmeasured,
        failures=failures,
        timeouts=timeouts,
        blocked=blocked,
        p50_s=percentiles[0] / _NS if percentiles else None,
        p95_s=percentiles[1] / _NS if percentiles else None,
        turns=turns,
        turn_share=within.own_ns / whole_ns if whole_ns else None,
        turn_s=within.turn_ns / turns / _NS if turns else None,
        turn_without_s=(within.turn_ns - within.saved_ns) / turns / _NS if turns else None,
    )


def _look(spans: list[Outline], found: defaultdict[_Key, _InTurns]) -> Iterator[Outline]:
    """Takes in one trace, and gives its turn if it has one."""
    tree = SpanTree(spans)
    turn = _turn(tree)
    if turn is None:
        return
    numbers: dict[_Key, int] = {}
    groups = [
        numbers.setdefault((span.hook_event, span.hook), len(numbers))
        if outlines.is_hook(span) and span.operation is not None
        else -1
        for span in spans
    ]
    replay = Replay(tree, Causes(tree), [*groups, -1])
    session = spans[turn].session_id
    start_ns, end_ns = tree.start[turn], tree.end[turn]
    yield spans[turn]
    for key, group in numbers.items():
        runs = [
            (max(tree.start[place], start_ns), min(tree.end[place], end_ns))
            for place, of in enumerate(groups)
            if of == group
        ]
        within = found[key]
        within.turns += 1
        within.turn_ns += end_ns - start_ns
        within.own_ns += _union_ns(runs)
        within.saved_ns += replay.saved_ns(group, turn)
        within.sessions.add(session)


def _turn(tree: SpanTree) -> int | None:
    """The place of the span that stands for the turn."""
    spans = tree.spans
    found = [place for place, span in enumerate(spans) if span.operation == semconv.AGENT_TURN]
    found = found or [
        place
        for place in tree.children[tree.root]
        if spans[place].parent_span_id is None and not outlines.is_hook(spans[place])
    ]
    return max(found, key=lambda place: tree.end[place] - tree.start[place], default=None)


def _union_ns(runs: Iterable[tuple[int, int]]) -> int:
    length = reached = 0
    for start_ns, end_ns in sorted(runs):
        length += max(end_ns - max(start_ns, reached), 0)
        reached = max(reached, end_ns)
    return length


def _asked(store: Store, selection: Selection) -> tuple[list[tuple[Any, ...]], list[str], int]:
    where, values = selection.where()
    asked = {**values, "families": list(selection.families)}
    hooks = _HOOKS.replace("{where}", where)
    blocked = {"blocked": semconv.HOOK_BLOCKED}
    figures = [
        (outlines.unescaped(event), outlines.unescaped(name), *rest)
        for event, name, *rest in store.query(hooks + _FIGURES, asked | blocked)
    ]
    traces = store.query(hooks + _TRACES, asked | {"limit": TURNS})
    return figures, [row[0] for row in traces], traces[0][1] if traces else 0


def _turn_time(
    store: Store | SmallStore, selection: Selection, looked_at: Sequence[Outline]
) -> dict[str | None, int]:
    """How long the turns of each session took together, in nanoseconds, since the first of these.

    Of a session that has no `agent.turn`, these alone.
    """
    found: defaultdict[str | None, int] = defaultdict(int)
    if not looked_at:
        return found
    since = replace(selection, since_ns=min(turn.end_ns for turn in looked_at))
    if isinstance(store, SmallStore):
        for row in small_answers.distinct(since.held(store.rows)):
            if row.operation == semconv.AGENT_TURN:
                found[row.session_id] += row.duration_ns
    else:
        where, values = since.where()
        asked = {**values, "families": list(since.families), "turn": semconv.AGENT_TURN}
        found.update(store.query(_TURN_TIME.replace("{where}", where), asked))
    own: defaultdict[str | None, int] = defaultdict(int)
    for turn in looked_at:
        own[turn.session_id] += turn.end_ns - turn.start_ns
    return {session: max(found[session], length) for session, length in own.items()}


def _small(store: SmallStore, selection: Selection) -> tuple[list[tuple[Any, ...]], list[str], int]:
    rows = small_answers.distinct(selection.held(store.rows))
    spans = [outlines.outline(row) for row in rows if outlines.is_hook(row)]
    groups: defaultdict[_Key, list[Outline]] = defaultdict(list)
    latest: dict[str, int] = {}
    for span in spans:
        groups[span.hook_event, span.hook].append(span)
        latest[span.trace_id] = max(latest.get(span.trace_id, 0), span.end_ns)
    trace_ids = sorted(latest, key=lambda trace_id: (-latest[trace_id], trace_id))
    figures = [(*key, *_figures(runs)) for key, runs in groups.items()]
    return figures, trace_ids[:TURNS], len(trace_ids)


def _figures(runs: Sequence[Outline]) -> tuple[Any, ...]:
    durations = sorted(span.end_ns - span.start_ns for span in runs if span.operation is not None)
    failed = [span for span in runs if span.status == _STATUS_ERROR]
    return (
        len(durations),
        len(runs) - len(durations),
        len(failed),
        sum(_TIMEOUT in (span.error_type or "").lower() for span in failed),
        sum(span.hook_outcome == semconv.HOOK_BLOCKED for span in runs),
        [small_answers.nearest_rank(durations, percent) for percent in (50, 95)]
        if durations
        else None,
    )
