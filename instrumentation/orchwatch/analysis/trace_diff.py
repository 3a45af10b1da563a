"""Two traces, or two sets of them, by phase: what is waited for longer, what is new or gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchwatch.analysis import critical_path, self_time
from orchwatch.analysis.span_tree import SpanTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.store.outlines import Outline


@dataclass(kw_only=True)
class Part:
    """What a phase takes on one side, per trace.

    Attributes:
        count: How many spans.
        own_ns: Their own time, in nanoseconds.
        path_ns: How long of that they are waited for, see `critical_path`.
    """

    count: float = 0.0
    own_ns: float = 0.0
    path_ns: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """All spans of one kind, name and agent, on both sides."""

    kind: str
    name: str
    agent: str | None
    before: Part
    now: Part

    @property
    def grown_ns(self) -> float:
        """How much longer it is waited for per trace; negative where it is shorter."""
        return self.now.path_ns - self.before.path_ns

    @property
    def grown_own_ns(self) -> float:
        """The same of its own time, waited for or not."""
        return self.now.own_ns - self.before.own_ns


@dataclass(kw_only=True)
class Side:
    """One side.

    Attributes:
        traces: How many.
        spans: How many.
        path_ns: How long anything ran, per trace.
    """

    traces: int = 0
    spans: int = 0
    path_ns: float = 0.0
    parts: dict[tuple[str, str, str | None], Part] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TraceDiff:
    """A comparison; the phases that changed most come first."""

    before: Side
    now: Side
    phases: tuple[Phase, ...]


def compare(before: Sequence[Outline], now: Sequence[Outline]) -> TraceDiff:
    """What has changed by phase. Each side counts per trace, so that sets compare.

    The differences of all phases add up to that of the whole.
    """
    one, other = _side(before), _side(now)
    phases = [
        Phase(
            kind=key[0],
            name=key[1],
            agent=key[2],
            before=one.parts.get(key, Part()),
            now=other.parts.get(key, Part()),
        )
        for key in one.parts | other.parts
    ]
    phases.sort(key=lambda phase: (-abs(phase.grown_ns), phase.kind, phase.name, phase.agent or ""))
    return TraceDiff(before=one, now=other, phases=tuple(phases))


def _side(spans: Sequence[Outline]) -> Side:
    tree = SpanTree(spans)
    groups, keys = critical_path.grouped(tree)
    side = Side(traces=len({span.trace_id for span in spans}), spans=len(spans))
    parts = [Part() for _ in keys]
    each = 1 / side.traces
    for group, own_ns in zip(groups, self_time.self_ns(tree), strict=False):
        parts[group].count += each
        parts[group].own_ns += own_ns * each
    for place, start_ns, end_ns in critical_path.walked(tree):
        length = (end_ns - start_ns) * each
        parts[groups[place]].path_ns += length
        side.path_ns += length
    side.parts = dict(zip(keys, parts, strict=True))
    return side
