"""Spans in lanes, as a timeline draws them: in each, one lies within the other or after it."""

from __future__ import annotations

from collections import defaultdict
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchwatch.analysis.span_tree import SpanTree


def lanes(tree: SpanTree) -> list[tuple[str, int]]:
    """By place the agent, empty where unknown, and which of that agent's lanes it is in.

    A span is in its caller's lane where it lies within that and nothing else is there, else in the
    first of its agent's that is free.
    """
    start, end = tree.start, tree.end
    found: dict[int, tuple[str, int]] = {}
    own: defaultdict[str, _Lanes] = defaultdict(_Lanes)
    for place in sorted(range(tree.root), key=lambda place: (start[place], -end[place])):
        span = tree.spans[place]
        agent = span.agent or span.agent_id or ""
        above = tree.parent[place]
        number = None
        # A caller that starts later, by a clock that differs, has none yet.
        if above in found and found[above][0] == agent:
            number = own[agent].within(found[above][1], above, (start[place], end[place]))
        if number is None:
            number = own[agent].free(start[place], end[place])
        own[agent].open[number].append((end[place], place))
        found[place] = agent, number
    return [found[place] for place in range(tree.root)]


class _Lanes:
    """Those of one agent.

    Attributes:
        open: By lane the spans that are open there, as their ends and places, the innermost last.
    """

    def __init__(self) -> None:
        self.open: list[list[tuple[int, int]]] = []
        self._busy: list[tuple[int, int]] = []
        self._free: list[int] = []

    def within(self, number: int, above: int, time: tuple[int, int]) -> int | None:
        """The lane, if the span there that is called `above` is the innermost and has room."""
        lane = self.open[number]
        while lane and lane[-1][0] <= time[0]:
            lane.pop()
        return number if lane and lane[-1][1] == above and time[1] <= lane[-1][0] else None

    def free(self, now: int, end: int) -> int:
        """The first lane in which nothing is open."""
        while self._busy and self._busy[0][0] <= now:
            heappush(self._free, heappop(self._busy)[1])
        if self._free:
            number = heappop(self._free)
            self.open[number].clear()
        else:
            number = len(self.open)
            self.open.append([])
        heappush(self._busy, (end, number))
        return number
