"""Where time went by turn, session or agent; and that of the latest turns, added up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchwatch import semconv
from orchwatch.analysis import phases
from orchwatch.analysis.listing import ENDLESS, MAIN_AGENT
from orchwatch.analysis.phases import PHASES, Phase
from orchwatch.store import outlines, small_answers, views
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchwatch.analysis.phases import Unit
    from orchwatch.store.database import Store
    from orchwatch.store.outlines import Outline
    from orchwatch.store.selection import Selection

By = Literal["turn", "session", "agent"]

LATEST = 200
"""Over how many turns, the latest, a look at everything adds up: it must not take long."""

MOST_SPANS = 5000
"""From how many spans on such a look takes no more turns."""

_AT_ONCE = 500
_FEW = 50
_ENDED = """
SELECT replace(trace_id::VARCHAR, '-', ''), span_id FROM ({chosen})
WHERE operation IN ($turn, $run) ORDER BY end_ns DESC, trace_id, span_id
"""
_RUNS_A_TURN = 100  # on average, beyond which fewer turns are looked at
_NAMES = {"turn": semconv.AGENT_TURN, "run": semconv.AGENT_RUN}
_TELLING = (
    *(semconv.RETRY_ATTEMPT, semconv.RETRY_DELAY),
    semconv.GEN_AI_TIME_TO_FIRST_CHUNK,
)


@dataclass(kw_only=True)
class Spent:
    """Where the time of a turn, of a session or of an agent went.

    Attributes:
        trace_id: A turn's trace; empty of several.
        session_id: Its session; None where nothing says so, or there are several.
        agent: The agent's name, `MAIN_AGENT` for a session's own; None of several.
        start_ns: When the first turn began, Unix nanoseconds.
        end_ns: When the last one ended; of a session, all that it started.
        turns: How many turns, or runs of the agent.
        lengths: How long each phase was, in nanoseconds.
        first_ns: How long of the model's time the first part of an answer was waited for; None
            where nothing says so.
        behind_ns: How long sub-agents in the background were at work after the end of their turns.
    """

    trace_id: str = ""
    session_id: str | None = None
    agent: str | None = None
    start_ns: int = 0
    end_ns: int = 0
    turns: int = 0
    lengths: dict[Phase, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    first_ns: int | None = None
    behind_ns: int = 0

    @property
    def time_ns(self) -> int:
        """How long all of it was."""
        return sum(self.lengths.values())

    def share(self, phase: Phase) -> float | None:
        """A phase's part of the time, 0 to 1; None where there is none."""
        return self.lengths[phase] / self.time_ns if self.time_ns else None

    def add(self, other: Spent) -> None:
        """Adds another one's time to it."""
        self.start_ns = min(self.start_ns or other.start_ns, other.start_ns)
        self.end_ns = max(self.end_ns, other.end_ns)
        self.turns += other.turns
        self.behind_ns += other.behind_ns
        if other.first_ns is not None:
            self.first_ns = (self.first_ns or 0) + other.first_ns
        for phase in PHASES:
            self.lengths[phase] += other.lengths[phase]


class Found(NamedTuple):
    """What a selection holds.

    Attributes:
        spent: Turns and sessions, the latest first; agents, the longest first.
        total: Of all turns or sessions; None of agents, who wait for each other.
        of_all: How many there are beyond the limit.
    """

    spent: list[Spent]
    total: Spent | None
    of_all: int


def of_spans(
    store: Store | SmallStore, spans: Sequence[Outline], by: By = "turn", limit: int = ENDLESS
) -> Found:
    """Of the turns that are among these spans.

    Args:
        store: What they are from.
        spans: Whole traces, by start.
        by: What is added up.
        limit: How many at most.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    units = _of_spans(store, spans, list({span.trace_id for span in spans}), apart=by == "agent")
    return _found(units, by, limit)


def measure(store: Store | SmallStore, selection: Selection, by: By, limit: int) -> Found:
    """Of what ended within a selection; where an agent is selected, of its runs.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    apart = by == "agent" or selection.agent is not None
    return _found(_units(store, _ended(store, selection), apart=apart), by, limit)


def _found(units: Iterable[Unit], by: By, limit: int) -> Found:
    if by == "session":
        of_session: defaultdict[str | None, list[Unit]] = defaultdict(list)
        for unit in units:
            of_session[unit.session_id].append(unit)
        found = [_of_session(session_id, own) for session_id, own in of_session.items()]
    elif by == "agent":
        of_agent: dict[str, Spent] = {}
        for unit in units:
            name = unit.agent or MAIN_AGENT
            of_agent.setdefault(name, Spent(agent=name)).add(_of_unit(unit))
        found = sorted(of_agent.values(), key=lambda one: (-one.time_ns, one.agent))
        return Found(found[:limit], None, len(found))
    else:
        found = [_of_unit(unit) for unit in units]
    total = Spent()
    for one in found:
        total.add(one)
    found.sort(key=lambda one: (-one.end_ns, one.session_id or "", one.trace_id))
    return Found(found[:limit], total, len(found))


def latest(store: Store | SmallStore, selection: Selection) -> Spent | None:
    """Of the latest turns within a selection, see `LATEST`; None where there are none.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    total, number = Spent(), 0
    wanted = _ended(store, selection, LATEST)
    for some in _pieces(list(wanted), _FEW):
        spans = outlines.of_traces(store, some)
        for unit in _of_spans(store, spans, some, apart=selection.agent is not None):
            if unit.span_id in wanted[unit.trace_id]:
                total.add(_of_unit(unit))
        number += len(spans)
        if number >= MOST_SPANS:
            break
    return total if total.turns else None


def _pieces(ids: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _ended(
    store: Store | SmallStore, selection: Selection, limit: int | None = None
) -> dict[str, set[int]]:
    """The turns and runs that ended within a selection, by trace, the latest first."""
    if isinstance(store, SmallStore):
        rows = [row for row in small_answers.chosen(store, selection) if _is_unit(row.operation)]
        rows.sort(key=lambda row: (-row.end_ns, row.trace_id, row.span_id))
        ids: Iterable[Sequence[Any]] = [(row.trace_id, row.span_id) for row in rows]
    else:
        sql, values = views.chosen(store, selection)
        asked = _ENDED.format(chosen=sql)
        if limit is not None:
            asked += f"LIMIT {limit * _RUNS_A_TURN}"
        ids = store.query(asked, {**values, **_NAMES})
    found: dict[str, set[int]] = {}
    for trace_id, span_id in ids:
        if trace_id not in found and len(found) == limit:
            break
        found.setdefault(trace_id, set()).add(span_id)
    return found


def _is_unit(operation: str | None) -> bool:
    return operation in _NAMES.values()


def _units(
    store: Store | SmallStore, wanted: dict[str, set[int]], *, apart: bool
) -> Iterator[Unit]:
    """Some turns and runs, by trace and span."""
    for some in _pieces(list(wanted), _AT_ONCE):
        for unit in _of_spans(store, outlines.of_traces(store, some), some, apart=apart):
            if unit.span_id in wanted[unit.trace_id]:
                yield unit


def _of_spans(
    store: Store | SmallStore, spans: Iterable[Outline], trace_ids: Sequence[str], *, apart: bool
) -> Iterator[Unit]:
    told = outlines.telling(store, trace_ids, _TELLING)
    of_trace: defaultdict[str, list[Outline]] = defaultdict(list)
    for span in spans:
        of_trace[span.trace_id].append(span)
    for own in of_trace.values():
        yield from phases.of_trace(own, told, apart=apart)


def _of_unit(unit: Unit) -> Spent:
    return Spent(
        trace_id=unit.trace_id,
        session_id=unit.session_id,
        agent=unit.agent or MAIN_AGENT,
        start_ns=unit.start_ns,
        end_ns=unit.end_ns,
        turns=1,
        lengths=unit.lengths(),
        first_ns=unit.first_ns,
        behind_ns=unit.behind_ns,
    )


def _of_session(session_id: str | None, units: Sequence[Unit]) -> Spent:
    """With what is between its turns."""
    pieces = phases.together(units)
    spent = Spent(session_id=session_id)
    for unit in units:
        spent.add(_of_unit(unit))
    spent.end_ns = max(spent.end_ns, *(end for _, end, _ in pieces))
    spent.lengths = phases.added(pieces)
    return spent
