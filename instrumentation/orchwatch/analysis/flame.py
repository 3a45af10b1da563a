"""Where time went by call path: spans of any number of traces, merged into one flame graph.

A frame stands for all spans of one name under the same callers. Its own time is when its spans ran
and nothing that they had called did, see `self_time`; its total is that and the totals below it. So
the own times of all frames add up to the time in which spans ran, if only one was at work at a
time; of those that ran side by side, each counts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from orchwatch.analysis import self_time
from orchwatch.analysis.span_tree import SpanTree, kind, label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchwatch.store.outlines import Outline

DEEPEST = 100
"""How many levels are shown; deeper ones are one frame."""

DEEPER = "… deeper"
_STATUS_ERROR = 2  # OTLP
_TRACE, _AGENT = attrgetter("trace_id"), attrgetter("agent")
# What the name of a span's frame is made of, besides its caller's agent.
_LOOK = attrgetter("name", "operation", "agent", "hook", "hook_event")


@dataclass(kw_only=True)
class Frame:
    """All spans of one name under the same callers.

    Attributes:
        name: Of tool, hook or operation, with the agent where that is another than the caller's.
        kind: As `span_tree.kind` has it.
        parent: The place of the callers' frame in the graph; None where nothing called them.
        level: How many frames are above.
        self_ns: What they took of their own, in nanoseconds.
        total_ns: That and what is below.
        count: How many spans.
        errors: How many of them failed.
    """

    name: str
    kind: str
    parent: int | None
    level: int
    self_ns: int = 0
    total_ns: int = 0
    count: int = 0
    errors: int = 0


@dataclass(kw_only=True)
class Flame:
    """A flame graph.

    Attributes:
        frames: Callers first, each followed by all below it; beside each other the largest first.
        traces: Of how many traces.
        spans: Of how many spans.
        ran_ns: How long any span ran: less than all own times where several did at once.
    """

    frames: list[Frame] = field(default_factory=list)
    traces: int = 0
    spans: int = 0
    ran_ns: int = 0

    @property
    def own_ns(self) -> int:
        """All own times together."""
        return sum(frame.self_ns for frame in self.frames)

    def stacks(self) -> Iterator[tuple[list[int], Frame]]:
        """Each frame that has time of its own, with its place and those above it, the top first."""
        path: list[int] = []
        for place, frame in enumerate(self.frames):
            path[frame.level :] = [place]
            if frame.self_ns:
                yield list(path), frame


def of_spans(spans: Sequence[Outline]) -> Flame:
    """The flame graph of spans, given by start, each once."""
    if not spans:
        return Flame()
    tree = SpanTree(spans, as_recorded=True)
    own_ns = self_time.self_ns(tree)
    graph = Graph()
    at: list[int | None] = [None] * (tree.root + 1)
    looks, agents = list(map(_LOOK, spans)), [*map(_AGENT, spans), None]
    known: dict[tuple[int | None, Any, str | None], int] = {}
    for place in tree.order:
        above = tree.parent[place]
        key = at[above], looks[place], agents[above]
        number = known.get(key)
        if number is None:
            number = known[key] = graph.place(at[above], spans[place], agents[above])
        at[place] = number
        graph.add(number, 1, spans[place].status == _STATUS_ERROR, own_ns[place])
    traces = len(set(map(_TRACE, spans)))
    return graph.finished(traces=traces, spans=len(spans), ran_ns=_ran_ns(spans))


class Graph:
    """A flame graph as it is put together, callers first.

    Attributes:
        frames: So far, without their totals.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._known: dict[tuple[int | None, str, str], int] = {}
        self._names: dict[tuple[str | None, ...], tuple[str, str]] = {}

    def place(self, caller: int | None, span: Outline, agent: str | None) -> int:
        """The place of a span's frame.

        Args:
            caller: The place of its caller's frame; None where nothing called it.
            span: It.
            agent: The caller's.
        """
        other = span.agent if span.agent != agent else None
        key = (span.name, span.operation, span.hook, span.hook_event, other)
        found = self._names.get(key)
        if found is None:
            title = label(span)
            if other and not title.endswith(other):
                title += f" [{other}]"
            found = self._names[key] = title, kind(span)
        name, what = found
        level = self.frames[caller].level + 1 if caller is not None else 0
        if level >= DEEPEST and caller is not None:
            name, what = DEEPER, "other"
            caller = caller if level == DEEPEST else self.frames[caller].parent
            level = DEEPEST
        number = self._known.get((caller, name, what))
        if number is None:
            number = self._known[caller, name, what] = len(self.frames)
            self.frames.append(Frame(name=name, kind=what, parent=caller, level=level))
        return number

    def add(self, place: int, count: int, errors: int, self_ns: int) -> None:
        """Adds spans to a frame."""
        frame = self.frames[place]
        frame.count += count
        frame.errors += errors
        frame.self_ns += self_ns

    def finished(self, *, traces: int, spans: int, ran_ns: int) -> Flame:
        """The graph."""
        return Flame(frames=ordered(self.frames), traces=traces, spans=spans, ran_ns=ran_ns)


def ordered(frames: Sequence[Frame]) -> list[Frame]:
    """Frames of which callers come first, with their totals, in the order of a graph's."""
    below: defaultdict[int | None, list[int]] = defaultdict(list)
    for place in range(len(frames) - 1, -1, -1):
        frame = frames[place]
        frame.total_ns += frame.self_ns
        if frame.parent is not None:
            frames[frame.parent].total_ns += frame.total_ns
        below[frame.parent].append(place)
    for places in below.values():
        # Taken from the end.
        places.sort(
            key=lambda place: (frames[place].total_ns, frames[place].name, frames[place].kind)
        )
    found: list[Frame] = []
    waiting: list[tuple[int, int | None]] = [(place, None) for place in below[None]]
    while waiting:
        place, parent = waiting.pop()
        frame = frames[place]
        frame.parent = parent
        found.append(frame)
        waiting += [(child, len(found) - 1) for child in below[place]]
    return found


def _ran_ns(spans: Iterable[Outline]) -> int:
    length = reached = 0
    for span in spans:
        if span.end_ns > reached:
            length += span.end_ns - max(span.start_ns, reached)
            reached = span.end_ns
    return length
