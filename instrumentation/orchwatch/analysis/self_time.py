"""What spans take of their own, and how long each agent was at work.

A span's own time is when it ran and none of those that it called did, whether one of them did or
several. Of spans that do not overlap the own times add up to the whole; of those that do, to more:
then as much was at work at once.
"""

from __future__ import annotations

from operator import sub
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.analysis.span_tree import SpanTree


def pieces(tree: SpanTree, place: int) -> tuple[list[int], list[int]]:
    """When a span was at work itself: all beginnings and all ends, in order."""
    starts: list[int] = []
    ends: list[int] = []
    _add_pieces(tree, place, starts, ends)
    return starts, ends


def _add_pieces(tree: SpanTree, place: int, starts: list[int], ends: list[int]) -> None:
    """Adds these to others."""
    start, end = tree.start, tree.end
    now, last = start[place], end[place]
    for child in tree.children[place]:
        begins = start[child]
        if begins > now:
            if begins >= last:
                break
            starts.append(now)
            ends.append(begins)
            now = begins
        # `max` would take a third of all this.
        now = ends_at if (ends_at := end[child]) > now else now
    if now < last:
        starts.append(now)
        ends.append(last)


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
    nobody = _Agent("", "", [], [])
    known = {("", ""): nobody}
    # By place. Most spans are of the agent of their caller.
    agents = [nobody] * (tree.root + 1)
    for place in tree.order:
        span = tree.spans[place]
        of = agents[tree.parent[place]]
        session, agent = span.session_id, span.agent_id or span.agent
        if (session or agent) and (session != of.session_id or agent != of.agent):
            key = session or of.session_id, agent or ""
            of = known.get(key) or known.setdefault(key, _Agent(*key, [], []))
        agents[place] = of
        _add_pieces(tree, place, of.starts, of.ends)
    return {key: length for key, of in known.items() if (length := _length(of.starts, of.ends))}


class _Agent(NamedTuple):
    """When an agent was at work: all beginnings, and all ends."""

    session_id: str
    agent: str
    starts: list[int]
    ends: list[int]


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
