"""Spans as a tree that questions about time can rely on, however odd they are.

Nothing here calls itself: a trace may be 100,000 calls deep.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from orchwatch import semconv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.store.outlines import Outline
    from orchwatch.store.spans import Span

_START, _END, _HOST = attrgetter("start_ns"), attrgetter("end_ns"), attrgetter("host")
_TRACE, _ID, _CALLER = attrgetter("trace_id"), attrgetter("span_id"), attrgetter("parent_span_id")
_IDS, _CALLERS = attrgetter("trace_id", "span_id"), attrgetter("trace_id", "parent_span_id")
# Session files have times in whole milliseconds: what follows seems to overlap by up to one.
_ROUNDING_NS = 1_000_000
_ROUNDING_PART = 10
_TOOL = f"{semconv.EXECUTE_TOOL} "
_KINDS = {
    semconv.AGENT_RUN: "agent",
    semconv.AGENT_SPAWN: "agent",
    semconv.AGENT_TASK: "agent",
    semconv.AGENT_TURN: "agent",
    semconv.CONTEXT_COMPACT: "model",
    semconv.HOOK_PROCESS: "hook",
    semconv.MESSAGE_DELIVER: "message",
    semconv.TOOL_EXECUTE: "tool",
    semconv.USER_WAIT: "person",
}
# By the first word of a span's name, as the GenAI conventions have it.
_GEN_AI = {semconv.CHAT: "model", semconv.EXECUTE_TOOL: "tool", semconv.INVOKE_AGENT: "agent"}


def kind(span: Outline) -> str:
    """What was at work: `agent`, `hook`, `message`, `model`, `person`, `tool`, or `other`."""
    name = span.operation or span.name
    return (
        _KINDS.get(name)
        or _KINDS.get(span.name)
        or _GEN_AI.get(span.name.partition(" ")[0], "other")
    )


def label(span: Outline) -> str:
    """What to call it: a tool by its name, a hook by its own and its event."""
    if span.name.startswith(_TOOL):
        return span.name.removeprefix(_TOOL)
    if semconv.HOOK_PROCESS not in (span.operation, span.name):
        return span.name
    return hook_label(span.hook_event, span.hook) or span.name


def is_timed(span: Outline | Span) -> bool:
    """Whether it says how long it took: a hook that is no operation does not."""
    return span.operation is not None or span.name != semconv.HOOK_PROCESS


def hook_label(event: str | None, hook: str | None) -> str:
    """`PreToolUse check.sh`; empty where both are unknown."""
    if event and hook and hook.startswith(event):
        return hook  # `PreToolUse:Bash`, as session files name it
    return " ".join(part for part in (event, hook) if part)


class SpanTree:
    """Spans by who called whom, with times that can be compared.

    - What names a caller that is not there has none. Of a circle of callers the earliest has none.
    - A span whose clock is another machine's and that seems to start before its caller is moved,
      with all below it: into the middle of its caller where it fits, else to that one's start. So
      does Jaeger (`clockskew`), for which an equal delay there and back is the best guess.
    - A span that ends up to 1 ms, and up to a tenth of its length, after the next one beside it has
      started, or after its caller has ended, ends there: whole milliseconds are not more exact.

    Attributes:
        spans: As they were given: by start.
        root: The place above all others, one past the last span; it lasts from the first start to
            the last end.
        start: By place, in Unix nanoseconds.
        end: By place, likewise; never before the start.
        parent: By place; of what has no caller, `root`.
        children: By place, those called, by start.
        order: All places but the root's, callers first.
        moved: How many spans were moved for their clock.
        loops: How many circles of callers there were.
    """

    def __init__(self, spans: Sequence[Outline], *, as_recorded: bool = False) -> None:
        """Takes spans by start, each once; at least one.

        Args:
            spans: Of any number of traces.
            as_recorded: Leaves all times as they are.
        """
        self.spans = spans
        self.root = root = len(spans)
        self.start: list[int] = list(map(_START, spans))
        self.end: list[int] = list(map(_END, spans))
        self.parent, self.loops = _parents(spans)
        self.children: list[list[int]] = [[] for _ in range(root + 1)]
        for place, above in enumerate(self.parent):
            self.children[above].append(place)
        self.order = self._top_down()
        self.moved = 0 if as_recorded else self._moved()
        self.start.append(min(self.start))
        self.end.append(max(self.end))
        if not as_recorded:
            self._trim()

    def _top_down(self) -> list[int]:
        order = list(self.children[self.root])
        for place in order:  # grows while it is read
            order += self.children[place]
        return order

    def _moved(self) -> int:
        if len(set(map(_HOST, self.spans))) == 1:
            return 0
        start, end = self.start, self.end
        moves = [0] * (self.root + 1)
        moved = 0
        for place in self.order:
            above = self.parent[place]
            move_ns = moves[above]
            hosts = {self.spans[place].host, self.spans[above].host if above < self.root else None}
            if len(hosts) == 2 and None not in hosts and start[place] + move_ns < start[above]:  # noqa: PLR2004 - two of them
                spare_ns = end[above] - start[above] - (end[place] - start[place])
                move_ns = start[above] + max(spare_ns // 2, 0) - start[place]
                moved += 1
            moves[place] = move_ns
            start[place] += move_ns
            end[place] += move_ns
        for children in self.children if moved else ():
            children.sort(key=start.__getitem__)
        return moved

    def _trim(self) -> None:
        start, end = self.start, self.end
        for above in (self.root, *self.order):
            children = self.children[above]
            if not children:
                continue
            starts = [start[place] for place in children]
            count, over = len(starts), end[above]
            for number, place in enumerate(children, 1):
                ends, starts_ns = end[place], starts[number - 1]
                if ends <= over and (number == count or ends <= starts[number]):
                    continue  # as most do
                slack = min(_ROUNDING_NS, (ends - starts_ns) // _ROUNDING_PART)
                if over < ends <= over + slack:
                    end[place] = ends = over
                if number == count:
                    break
                following = number
                if starts[number] < ends - slack:
                    following = bisect_left(starts, ends - slack, number)
                if following < count and starts_ns < starts[following] < ends:
                    end[place] = starts[following]


def below(spans: Sequence[Outline], operation: str) -> list[Outline]:
    """The spans of an operation and all that they called, by start as they were given."""
    if not spans:
        return []
    tree = SpanTree(spans, as_recorded=True)
    kept = [span.operation == operation for span in spans]
    kept.append(False)
    for place in tree.order:
        kept[place] = kept[place] or kept[tree.parent[place]]
    return [span for span, keep in zip(spans, kept, strict=False) if keep]


def _parents(spans: Sequence[Outline]) -> tuple[list[int], int]:
    """The place of each span's caller, `len(spans)` where it has none; and how many circles."""
    root = len(spans)
    own, callers = (_ID, _CALLER) if len(set(map(_TRACE, spans))) == 1 else (_IDS, _CALLERS)
    places: dict[Any, int] = dict(zip(map(own, spans), range(root), strict=True))
    parents = list(map(places.get, map(callers, spans), repeat(root)))
    if not any(place <= above < root for place, above in enumerate(parents)):
        return parents, 0  # each comes after its caller
    loops = 0
    seen = [0] * root + [-1]
    for first in range(root):
        place = first
        while not seen[place]:
            seen[place] = first + 1
            place = parents[place]
        if seen[place] == first + 1:
            # Back where this walk has been: on the circle. Its earliest span is cut loose.
            circle = [place]
            while parents[circle[-1]] != place:
                circle.append(parents[circle[-1]])
            parents[min(circle)] = root
            loops += 1
    return parents, loops
