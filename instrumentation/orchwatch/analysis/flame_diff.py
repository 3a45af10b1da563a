"""Two flame graphs as one: what takes longer than before, what is new, what is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch.analysis.flame import Flame, Frame, ordered

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class Change:
    """A frame of either, per trace, in nanoseconds.

    Attributes:
        self_ns: What it takes of its own now.
        before_self_ns: What it took before.
        total_ns: What it takes with all below now.
        before_ns: What it took so before.
        count: How many spans now.
        before_count: How many before.
    """

    self_ns: float
    before_self_ns: float
    total_ns: float
    before_ns: float
    count: float
    before_count: float

    @property
    def grown_ns(self) -> float:
        """How much longer it takes now; negative where it is shorter."""
        return self.total_ns - self.before_ns


@dataclass(frozen=True, kw_only=True)
class FlameDiff:
    """A comparison.

    Attributes:
        flame: Both together: a graph whose frames have what both took, added up.
        changes: By place in that graph.
        now: The graph that is looked at.
        before: What it is compared with.
    """

    flame: Flame
    changes: list[Change]
    now: Flame
    before: Flame


def compare(now: Flame, before: Flame) -> FlameDiff:
    """What has changed, by call path. Each side counts per trace, so that sets compare."""
    frames: list[Frame] = []
    known: dict[tuple[int | None, str, str], int] = {}
    sides: list[list[Frame | None]] = []
    for side, graph in enumerate((now, before)):
        at: list[int] = []
        for frame in graph.frames:
            parent = None if frame.parent is None else at[frame.parent]
            key = (parent, frame.name, frame.kind)
            place = known.get(key)
            if place is None:
                place = known[key] = len(frames)
                frames.append(
                    Frame(name=frame.name, kind=frame.kind, parent=parent, level=frame.level)
                )
                sides.append([None, None])
            at.append(place)
            sides[place][side] = frame
            frames[place].self_ns += round(frame.self_ns / max(graph.traces, 1))
            frames[place].count += frame.count
            frames[place].errors += frame.errors
    pairs = {id(frame): pair for frame, pair in zip(frames, sides, strict=True)}
    flame = Flame(
        frames=ordered(frames),
        traces=now.traces + before.traces,
        spans=now.spans + before.spans,
        ran_ns=now.ran_ns + before.ran_ns,
    )
    changes = [
        Change(**dict(_of(pairs[id(frame)], max(now.traces, 1), max(before.traces, 1))))
        for frame in flame.frames
    ]
    return FlameDiff(flame=flame, changes=changes, now=now, before=before)


def _of(pair: list[Frame | None], traces: int, before_traces: int) -> Iterator[tuple[str, float]]:
    now, before = pair
    yield "self_ns", now.self_ns / traces if now else 0.0
    yield "total_ns", now.total_ns / traces if now else 0.0
    yield "count", now.count / traces if now else 0.0
    yield "before_self_ns", before.self_ns / before_traces if before else 0.0
    yield "before_ns", before.total_ns / before_traces if before else 0.0
    yield "before_count", before.count / before_traces if before else 0.0
