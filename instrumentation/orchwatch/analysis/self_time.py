"""What spans take of their own, and how long each agent was at work.

A span's own time is when it ran and none of those that it called did, whether one of them did or
several. Of spans that do not overlap the own times add up to the whole; of those that do, to more:
then as much was at work at once.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.analysis.span_tree import SpanTree


def pieces(tree: SpanTree, place: int) -> Iterator[tuple[int, int]]:
    """When a span was at work itself: from when to when, in Unix nanoseconds, in order."""
    start, end = tree.start, tree.end
    now, last = start[place], end[place]
    for child in tree.children[place]:
        if start[child] > now:
            if start[child] >= last:
                break
            yield now, start[child]
        now = max(now, end[child])
    if now < last:
        yield now, last


def self_ns(tree: SpanTree) -> list[int]:
    """Each span's own time in nanoseconds, by place in the tree, without the root's."""
    start, end = tree.start, tree.end
    own = [ends - starts for starts, ends in zip(start, end, strict=True)]
    for place, children in enumerate(tree.children):
        if children:
            own[place] = sum([last - first for first, last in pieces(tree, place)])
    return own[: tree.root]


def of_agents(tree: SpanTree) -> dict[tuple[str, str], int]:
    """How long each agent was at work, by session and agent, in nanoseconds.

    That is when one of its spans was at work itself, or several were: an agent that waits for
    another one is not. What names a session and no agent is that session's main agent's, what names
    neither its caller's.
    """
    own: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    agents: list[tuple[str, str]] = [("", "")] * (tree.root + 1)
    for place in tree.order:
        span = tree.spans[place]
        session, agent = agents[tree.parent[place]]
        if span.session_id or span.agent_id or span.agent:
            session = span.session_id or session
            agent = span.agent_id or span.agent or ""
        agents[place] = session, agent
        if tree.children[place]:
            own[session, agent] += pieces(tree, place)
        elif tree.start[place] < tree.end[place]:
            own[session, agent].append((tree.start[place], tree.end[place]))
    return {agent: length for agent, parts in own.items() if (length := _length(parts))}


def _length(parts: list[tuple[int, int]]) -> int:
    """Of the union of intervals."""
    parts.sort()
    length = 0
    reached = parts[0][0] if parts else 0
    for start, end in parts:
        if end > reached:
            length += end - max(start, reached)
            reached = end
    return length
