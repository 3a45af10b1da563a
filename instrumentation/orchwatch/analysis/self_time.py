"""What spans take of their own, and how long each agent was at work.

A span's own time is when it ran and none of those that it called did, whether one of them did or
several. Of spans that do not overlap the own times add up to the whole; of those that do, to more:
then as much was at work at once.
"""

from __future__ import annotations

from collections import defaultdict
from operator import sub
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.analysis.span_tree import SpanTree


def pieces(tree: SpanTree, place: int) -> tuple[list[int], list[int]]:
    """When a span was at work itself: all beginnings and all ends, in order."""
    start, end = tree.start, tree.end
    now, last = start[place], end[place]
    starts, ends = [], []
    for child in tree.children[place]:
        begins = start[child]
        if begins > now:
            if begins >= last:
                break
            starts.append(now)
            ends.append(begins)
            now = begins
        now = max(now, end[child])
    if now < last:
        starts.append(now)
        ends.append(last)
    return starts, ends


def self_ns(tree: SpanTree) -> list[int]:
    """Each span's own time in nanoseconds, by place in the tree, without the root's."""
    own = list(map(sub, tree.end, tree.start))
    for place, children in enumerate(tree.children):
        if children:
            starts, ends = pieces(tree, place)
            own[place] = sum(ends) - sum(starts)
    return own[: tree.root]


def of_agents(tree: SpanTree) -> dict[tuple[str, str], int]:
    """How long each agent was at work, by session and agent, in nanoseconds.

    That is when one of its spans was at work itself, or several were: an agent that waits for
    another one is not. What names a session and no agent is that session's main agent's, what names
    neither its caller's.
    """
    # When each was at work: all beginnings, and all ends.
    own: defaultdict[tuple[str, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    agents: list[tuple[str, str]] = [("", "")] * (tree.root + 1)
    for place in tree.order:
        span = tree.spans[place]
        session, agent = agents[tree.parent[place]]
        if span.session_id or span.agent_id or span.agent:
            session = span.session_id or session
            agent = span.agent_id or span.agent or ""
        agents[place] = session, agent
        starts, ends = own[session, agent]
        if tree.children[place]:
            some_starts, some_ends = pieces(tree, place)
            starts += some_starts
            ends += some_ends
        elif tree.start[place] < tree.end[place]:
            starts.append(tree.start[place])
            ends.append(tree.end[place])
    return {agent: length for agent, times in own.items() if (length := _length(*times))}


def _length(starts: list[int], ends: list[int]) -> int:
    """Of the union of intervals, of which it does not matter which end belongs to which start.

    Nothing goes on before the next start exactly where as many have ended as had started.
    """
    if not starts:
        return 0
    starts.sort()
    ends.sort()
    gaps: Iterator[int] = map(sub, starts[1:], ends)
    return ends[-1] - starts[0] - sum([gap for gap in gaps if gap > 0])
