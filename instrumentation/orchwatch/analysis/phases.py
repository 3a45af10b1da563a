"""Where the time of a turn, or of an agent's run, went: each moment of it counts for one phase.

At any moment spans are at work themselves, as `self_time` has it: they run, and none of those that
they called does. What the moment counts for is what the first of these is:

1. `person`: someone is waited for.
2. `retries`: a request to the model has failed, and is tried again.
3. `compaction`: the conversation is summarised.
4. `hooks`: a hook runs.
5. `tools`: a tool call, or whatever else runs within the turn.
6. `agents`: a sub-agent works, where its own time is looked at apart; else what that one does.
7. `model`: a request to the model; or a turn, or a run, is at work itself. Where the agent tells of
   its requests, only these count.
8. `idle`: nothing of all that.

A sub-agent that outlives the call that started it is in the background from that call's end: what
it does counts only where nothing else goes on, and never for a turn that began later.

One sweep over the time so cut has neither gap nor overlap, so that phases add up to it, to the
nanosecond. Clocks that differ, and times in whole milliseconds, are seen to by `span_tree`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchwatch import semconv
from orchwatch.analysis import self_time, turn_spans
from orchwatch.analysis.intervals import HELPER
from orchwatch.analysis.span_tree import SpanTree, kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchwatch.store.outlines import Outline

Phase = Literal["person", "retries", "compaction", "hooks", "tools", "agents", "model", "idle"]
PHASES: tuple[Phase, ...] = (
    "person", "retries", "compaction", "hooks", "tools", "agents", "model", "idle",
)  # fmt: skip
"""In the order in which they come first."""

# What a moment counts for, the least first: the phases, where the wait for the first part of an
# answer is a part of the model's; then the same of what runs in the background.
_PERSON, _RETRIES, _COMPACTION, _HOOKS, _TOOLS, _AGENTS, _FIRST, _MODEL, _IDLE = range(9)
_NAMES: dict[int, Phase] = {
    _PERSON: "person",
    _RETRIES: "retries",
    _COMPACTION: "compaction",
    _HOOKS: "hooks",
    _TOOLS: "tools",
    _AGENTS: "agents",
    _FIRST: "model",
    _MODEL: "model",
    _IDLE: "idle",
}
_BEHIND = len(_NAMES)
_NS = 1_000_000_000
_RANKS = {"person": _PERSON, "hook": _HOOKS, "model": _MODEL}
_Piece = tuple[int, int, int]  # from when to when, and what it counts for


class Unit(NamedTuple):
    """A turn of a session, or an agent's run.

    Attributes:
        trace_id: Its trace.
        span_id: Its span.
        session_id: Its session; None where nothing says so.
        agent: The sub-agent's name, else its id; None of a session's own turn.
        start_ns: Unix nanoseconds.
        end_ns: Likewise.
        pieces: From when to when, and what counts: in order, without gap or overlap.
        behind: The same of what sub-agents in the background did after its end.
        tells_first: Whether a request says when the first part of its answer came.
    """

    trace_id: str
    span_id: int
    session_id: str | None
    agent: str | None
    start_ns: int
    end_ns: int
    pieces: tuple[_Piece, ...]
    behind: tuple[_Piece, ...]
    tells_first: bool

    def lengths(self) -> dict[Phase, int]:
        """How long each phase was, in nanoseconds; they add up to the whole."""
        return added(self.pieces)

    @property
    def first_ns(self) -> int | None:
        """How long of the model's time the first part of an answer was waited for, if told."""
        if not self.tells_first:
            return None
        return sum(end - start for start, end, rank in self.pieces if rank == _FIRST)

    @property
    def behind_ns(self) -> int:
        """How long its sub-agents in the background were at work after its end."""
        return sum(end - start for start, end, rank in self.behind if rank != _IDLE)


def added(pieces: Iterable[_Piece]) -> dict[Phase, int]:
    """How long each phase is in these pieces, in nanoseconds."""
    found = dict.fromkeys(PHASES, 0)
    for start_ns, end_ns, rank in pieces:
        found[_NAMES[rank]] += end_ns - start_ns
    return found


def together(units: Iterable[Unit]) -> list[_Piece]:
    """The pieces of a whole session, from its first turn to the end of all that these started.

    Between turns it is idle, but for sub-agents in the background: what belongs to no turn, a
    compaction or a hook, does not count.
    """
    intervals: list[_Piece] = []
    for unit in units:
        intervals += unit.pieces
        intervals += [(start, end, rank + _BEHIND) for start, end, rank in unit.behind]
    start_ns = min((start for start, _, _ in intervals), default=0)
    return _swept(intervals, start_ns, max((end for _, end, _ in intervals), default=0))


def of_trace(
    spans: Sequence[Outline],
    told: Mapping[tuple[str, int], Mapping[str, Any]] | None = None,
    *,
    apart: bool = False,
) -> list[Unit]:
    """The turns of a trace; and what no turn holds, the runs of agents.

    Args:
        spans: All of the trace, by start.
        told: Attributes by trace and span, of those that tell of retries and of first parts.
        apart: Looks at each agent's own time: the runs of sub-agents are there, too.
    """
    told = told or {}
    kept, errors = turn_spans.kept(spans)
    return list(_Trace(SpanTree(kept), errors, told).units(apart=apart)) if kept else []


class _Trace:
    """A tree, and what is known of its spans besides."""

    def __init__(
        self,
        tree: SpanTree,
        errors: Mapping[int | None, Sequence[Outline]],
        told: Mapping[tuple[str, int], Mapping[str, Any]],
    ) -> None:
        self._tree = tree
        self._errors = errors
        self._told = told

    def units(self, *, apart: bool) -> Iterator[Unit]:
        tree = self._tree
        inside = [False] * (tree.root + 1)
        for place in tree.order:
            span, above = tree.spans[place], tree.parent[place]
            inside[place] = inside[above] or (
                above != tree.root and turn_spans.is_agent(tree.spans[above])
            )
            if not turn_spans.is_agent(span) or span.agent == HELPER:
                continue
            if not inside[place] or (apart and self._is_other_agent(place)):
                yield self._unit(place, apart=apart)

    def _unit(self, place: int, *, apart: bool) -> Unit:
        span, start_ns, end_ns = self._tree.spans[place], *self._times(place)
        intervals, tells_first = self._intervals(place, apart=apart)
        last_ns = max((end for _, end, rank in intervals if rank >= _BEHIND), default=end_ns)
        later = [one for one in intervals if one[2] >= _BEHIND]
        return Unit(
            span.trace_id,
            span.span_id,
            span.session_id,
            span.agent or span.agent_id,
            start_ns,
            end_ns,
            tuple(_swept(intervals, start_ns, end_ns)),
            tuple(_swept(later, end_ns, last_ns)),
            tells_first,
        )

    def _times(self, place: int) -> tuple[int, int]:
        return self._tree.start[place], self._tree.end[place]

    def _intervals(self, unit: int, *, apart: bool) -> tuple[list[_Piece], bool]:
        """What was at work when, of all below; and whether first parts are told."""
        tree = self._tree
        found: list[_Piece] = []
        tells_first = False
        # With each, from when on it is in the background, and whether it summarises.
        waiting: list[tuple[int, float, bool]] = [(unit, float("inf"), False)]
        while waiting:
            place, behind_ns, compacts = waiting.pop()
            own = self._own(place, compacts=compacts)
            tells_first |= any(rank == _FIRST for _, _, rank in own)
            found += _split(own, behind_ns)
            for child in tree.children[place]:
                until_ns = behind_ns
                is_agent = self._is_other_agent(child)
                if is_agent and tree.end[child] > tree.end[place]:
                    until_ns = min(behind_ns, tree.end[place])
                summarises = compacts or (is_agent and tree.spans[child].agent == HELPER)
                if is_agent and apart and not summarises:
                    found += _split([(*self._times(child), _AGENTS)], until_ns)
                else:
                    waiting.append((child, until_ns, summarises))
        return found, tells_first

    def _own(self, place: int, *, compacts: bool) -> list[_Piece]:
        """When a span was at work itself, and what that counts for."""
        span = self._tree.spans[place]
        rank = _COMPACTION if compacts else self._rank(place)
        pieces = []
        if rank is not None:
            pieces = [
                (*both, rank) for both in zip(*self_time.pieces(self._tree, place), strict=True)
            ]
        if compacts:
            return pieces
        retried = turn_spans.retried(self._errors.get(span.span_id, ()), self._told)
        pieces += [(*times, _RETRIES) for times in retried]
        said = self._told.get(span[:2], {}).get(semconv.GEN_AI_TIME_TO_FIRST_CHUNK)
        if isinstance(said, int | float) and said >= 0:
            start_ns, end_ns = self._times(place)
            pieces.append((start_ns, min(start_ns + int(said * _NS), end_ns), _FIRST))
        return pieces

    def _rank(self, place: int) -> int | None:
        tree, span = self._tree, self._tree.spans[place]
        if turn_spans.is_agent(span):
            called = [tree.spans[child] for child in tree.children[place]]
            told_apart = any(
                turn_spans.is_request(one) or one.name == semconv.AGENT_TURN for one in called
            )
            return None if told_apart else _MODEL
        if turn_spans.compacts(span):
            return _COMPACTION
        return _RANKS.get(kind(span), _TOOLS)

    def _is_other_agent(self, place: int) -> bool:
        """Whether it is the run of a sub-agent, and no part of its caller's."""
        tree, span = self._tree, self._tree.spans[place]
        above = tree.parent[place]
        same = above != tree.root and span.agent_id and tree.spans[above].agent_id == span.agent_id
        return turn_spans.is_run(span) and not same


def _split(pieces: Iterable[_Piece], behind_ns: float) -> Iterator[_Piece]:
    """The same, from a moment on as what runs in the background."""
    for start_ns, end_ns, rank in pieces:
        if start_ns < behind_ns:
            yield start_ns, int(min(end_ns, behind_ns)), rank
        if end_ns > behind_ns:
            yield int(max(start_ns, behind_ns)), end_ns, rank + _BEHIND


def _swept(intervals: Iterable[_Piece], start_ns: int, end_ns: int) -> list[_Piece]:
    """What each moment from start to end counts for."""
    changes: list[tuple[int, int, int]] = []
    for begins, ends, rank in intervals:
        first, last = max(begins, start_ns), min(ends, end_ns)
        if first < last:
            changes += ((first, rank, 1), (last, rank, -1))
    changes.sort()
    running = [0] * (2 * _BEHIND)
    there = 0  # a bit for each that runs
    pieces: list[_Piece] = []
    now_ns = start_ns
    for at_ns, rank, change in (*changes, (end_ns, _IDLE, 0)):
        if at_ns > now_ns:
            first = ((there & -there).bit_length() - 1) % _BEHIND if there else _IDLE
            if pieces and pieces[-1][2] == first:
                pieces[-1] = (pieces[-1][0], at_ns, first)
            else:
                pieces.append((now_ns, at_ns, first))
            now_ns = at_ns
        running[rank] += change
        there = there | 1 << rank if running[rank] else there & ~(1 << rank)
    return pieces
