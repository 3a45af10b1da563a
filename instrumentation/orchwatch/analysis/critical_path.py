"""What a trace, or a session, waited for: its critical path, second by second.

The path is walked backwards, as Jaeger's critical path and Uber's CRISP do (Zhang et al., "CRISP:
Critical Path Analysis of Large-Scale Microservice Architectures", USENIX ATC 2022). At any moment
the walk is in one span. From there it goes to that one of its children that ended last before the
moment; the time in between is the span's own. At the start of a child it goes back to the caller,
at that moment. A child that still ran then did not hold up what came after it, and is passed over.

Where theirs cuts off or drops what a trace of agents is full of, this does not:

- A child that outlives its caller (an agent in the background) holds up the nearest span above that
  is still there at its end. From its start, the walk goes on in the caller: that is who started it.
- What has no caller hangs on the whole, which waits for whatever runs. Times at which nothing was
  recorded are no part of the path.
- An unfinished span ends where its last sign of life was.
- Clocks that differ, and times in whole milliseconds, are seen to by `span_tree`.

So the path has no gap and no overlap, and the shares of all on it are 100 %, to the nanosecond.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from orchwatch.analysis import self_time
from orchwatch.analysis.causes import Causes, Replay
from orchwatch.analysis.span_tree import kind, label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchwatch.analysis.span_tree import SpanTree

# For so many what-if is answered, the largest first, and over so many spans in all.
_ANSWERED = 10
_ANSWERED_SPANS = 800_000


class Segment(NamedTuple):
    """A piece of the path.

    Attributes:
        place: Of its span in the tree.
        start_ns: Unix nanoseconds.
        end_ns: Likewise, always later.
    """

    place: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What was waited for under one name.

    Attributes:
        kind: `agent`, `hook`, `message`, `model`, `person`, `tool`, or `other`.
        name: Of the tool, hook or operation.
        agent: The agent; None where unknown.
        spans: How many spans of it the path goes through.
        path_ns: How long the path is in their own time, outside of what they called.
        share: Of the path, 0 to 1.
        saved_ns: How much sooner the whole would have ended had they, and all others of that name,
            taken no time of their own; None where that was not worked out.
    """

    kind: str
    name: str
    agent: str | None
    spans: int
    path_ns: int
    share: float
    saved_ns: int | None


@dataclass(frozen=True, kw_only=True)
class CriticalPath:
    """What a tree of spans waited for.

    Attributes:
        start_ns: When the first span started, in Unix nanoseconds.
        end_ns: When the last one ended.
        path_ns: How long the path is: the time in which anything was recorded.
        idle_ns: The rest of the time from start to end.
        agents: How many agents were at work.
        work_ns: How long each of them was, added up; see `self_time.of_agents`.
        segments: The path, in the order of time.
        entries: What is on it by name, the longest first.
    """

    start_ns: int
    end_ns: int
    path_ns: int
    idle_ns: int
    agents: int
    work_ns: int
    segments: tuple[Segment, ...]
    entries: tuple[Entry, ...]

    @property
    def parallelism(self) -> float | None:
        """How many agents were at work at a time, on average; None where none was."""
        return self.work_ns / self.path_ns if self.path_ns else None

    @property
    def efficiency(self) -> float | None:
        """Parallel efficiency: the same over how many there were, 0 to 1."""
        return self.parallelism / self.agents if self.parallelism is not None else None


def measure(tree: SpanTree) -> CriticalPath:
    """The critical path of all that a tree holds."""
    causes = Causes(tree)
    segments = walked(tree, causes)
    path_ns = sum(end_ns - start_ns for _, start_ns, end_ns in segments)
    work = self_time.of_agents(tree)
    whole_ns = tree.end[tree.root] - tree.start[tree.root]
    return CriticalPath(
        start_ns=tree.start[tree.root],
        end_ns=tree.end[tree.root],
        path_ns=path_ns,
        idle_ns=whole_ns - path_ns,
        agents=len(work),
        work_ns=sum(work.values()),
        segments=tuple(segments),
        entries=tuple(_entries(tree, causes, segments, path_ns)),
    )


def walked(tree: SpanTree, causes: Causes | None = None) -> list[Segment]:
    """The path, in the order of time, without the times at which nothing was recorded."""
    backwards = list(_walk(tree, causes or Causes(tree)))
    return [segment for segment in reversed(backwards) if segment.place != tree.root]


def _walk(tree: SpanTree, causes: Causes) -> Iterator[Segment]:
    """The path backwards, times at which nothing was recorded as pieces of the root."""
    start, end, root = tree.start, tree.end, tree.root
    # What each span waited for; in order only where the walk gets.
    waited_for: defaultdict[int, list[int]] = defaultdict(list)
    for place, above in enumerate(causes.waiting[:root]):
        waited_for[above].append(place)
    in_order: set[int] = set()
    place, now = root, end[root]
    while True:
        if place not in in_order:
            # The one that ended last at the end; of equals the longest.
            waited_for[place].sort(key=lambda one: (end[one], -start[one]))
            in_order.add(place)
        child = _held_up_by(tree, place, waited_for[place], now)
        if child is not None:
            if end[child] < now:
                yield Segment(place, end[child], now)
                now = end[child]
            place = child
            continue
        if start[place] < now:
            yield Segment(place, start[place], now)
            now = start[place]
        if place == root:
            return
        place = causes.there(tree, tree.parent[place], now)


def _held_up_by(tree: SpanTree, place: int, candidates: list[int], now_ns: int) -> int | None:
    """Which child a span went on after, if any, before a moment; those passed over are removed."""
    start, end, root = tree.start, tree.end, tree.root
    while candidates:
        child = candidates.pop()
        # Those that run together, and nothing called, have no caller that could have gone on with
        # one.
        if end[child] <= now_ns or (place == root and start[child] < now_ns):
            return child
    return None


def grouped(tree: SpanTree) -> tuple[list[int], list[tuple[str, str, str | None]]]:
    """By place the number of its group, -1 of the root; and by number kind, name and agent."""
    known: dict[tuple[str | None, ...], int] = {}
    numbers: dict[tuple[str, str, str | None], int] = {}
    groups = []
    for span in tree.spans:
        key = (span.name, span.operation, span.agent, span.hook, span.hook_event)
        number = known.get(key)
        if number is None:
            group = (kind(span), label(span), span.agent)
            number = known[key] = numbers.setdefault(group, len(numbers))
        groups.append(number)
    return [*groups, -1], list(numbers)


def _entries(
    tree: SpanTree, causes: Causes, segments: Sequence[Segment], path_ns: int
) -> Iterator[Entry]:
    groups, keys = grouped(tree)
    lengths: defaultdict[int, int] = defaultdict(int)
    places: defaultdict[int, set[int]] = defaultdict(set)
    for place, start_ns, end_ns in segments:
        lengths[groups[place]] += end_ns - start_ns
        places[groups[place]].add(place)
    ordered = sorted(lengths, key=lambda group: (-lengths[group], str(keys[group])))
    replay = Replay(tree, causes, groups)
    answered = min(_ANSWERED, _ANSWERED_SPANS // tree.root + 1)
    for number, group in enumerate(ordered):
        what, name, agent = keys[group]
        yield Entry(
            kind=what,
            name=name,
            agent=agent,
            spans=len(places[group]),
            path_ns=lengths[group],
            share=lengths[group] / path_ns,
            saved_ns=replay.saved_ns(group) if number < answered else None,
        )
