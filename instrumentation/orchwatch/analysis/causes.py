"""Who waits for whom in a tree of spans, and how soon all would end if some took no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.analysis.span_tree import SpanTree

# Less than this part of it was left.
_NEARLY_OVER = 100


class Causes:
    """For each span the two above it that matter, by place in the tree.

    Attributes:
        waiting: The nearest one above that is there when it ends: it waits for that end. Not the
            caller where that has ended before, or starts after.
        starting: The nearest one above that is there when it starts.
    """

    def __init__(self, tree: SpanTree) -> None:
        start, end, root = tree.start, tree.end, tree.root
        self.waiting = waiting = [root] * (root + 1)
        self.starting = starting = [root] * (root + 1)
        for place in tree.order:
            starts, ends = start[place], end[place]
            above = tree.parent[place]
            # What stands between a span and its `waiting` had ended before the span did.
            while above != root and not (
                start[above] <= ends <= end[above] and (start[above] < ends or starts == ends)
            ):
                above = waiting[above]
            waiting[place] = above
            starting[place] = self.there(tree, tree.parent[place], starts)

    def there(self, tree: SpanTree, place: int, moment_ns: int) -> int:
        """The place that is there at a moment: this one, else the nearest above that is."""
        while place != tree.root and not tree.start[place] <= moment_ns <= tree.end[place]:
            place = self.waiting[place]
        return place


class Replay:
    """Runs a tree of spans again with some of them taking no time of their own.

    A span's own program is what happens in it one after the other: it starts children, it waits for
    the end of some, and in between it takes time itself. The waits are those of the critical path:
    whatever starts in a span after a child has ended needs that end; while children run, the span
    itself is taken to wait. What nothing called, but started while something else ran, starts as
    long after that one's start as it did; or when it gets there, if it was nearly over: a turn is
    interrupted by the next. So with nothing left out, everything ends when it did,
    and what is left out saves at most what it has on the path: less where something else takes its
    place.

    Args:
        tree: The spans.
        causes: Of that tree.
        groups: By place, what is left out together, as small numbers.
    """

    def __init__(self, tree: SpanTree, causes: Causes, groups: Sequence[int]) -> None:
        self._tree = tree
        self._causes = causes
        self._groups = groups
        self._events = _events(tree)

    def saved_ns(self, group: int, place: int | None = None) -> int:
        """How much sooner all, or the span in a place, would have ended.

        Args:
            group: What takes no time of its own.
            place: Of the span; None for all.
        """
        tree, groups = self._tree, self._groups
        start, end = tree.start, tree.end
        waiting, starting = self._causes.waiting, self._causes.starting
        root = tree.root
        # Where each span's program is: when that was, and when it would be.
        was = list(start)
        now = list(start)
        # What the whole waits for last of all that has started, and when that would have started.
        last, last_ns = root, start[root]
        for event in self._events:
            if event >= 0:
                above, at = starting[event], start[event]
                before = above
                if above == root and last != root and end[last] > at:
                    before = last
                if before != above and end[last] - at > (end[last] - start[last]) // _NEARLY_OVER:
                    moment = last_ns + at - start[last]
                elif groups[before] == group:
                    moment = now[before]
                else:
                    moment = now[before] + at - was[before]
                was[above] = at
                now[above] = now[event] = moment
                if waiting[event] == root and (last == root or end[event] > end[last]):
                    last, last_ns = event, moment
                if end[event] > at:
                    continue
                ended = event
            else:
                ended = ~event
                at = end[ended]
                moment = now[ended] if groups[ended] == group else now[ended] + at - was[ended]
                was[ended] = at
                now[ended] = moment
            above = waiting[ended]
            was[above] = at
            now[above] = max(now[above], moment)
        of = root if place is None else place
        return was[of] - now[of]


def _events(tree: SpanTree) -> list[int]:
    """The places of what starts, and the complements of what ends, in the order of time.

    At one moment ends come before starts, callers end last and start first; what takes no time has
    a start only.
    """
    first_ns = tree.start[tree.root]
    count = tree.root + 1
    bits = count.bit_length() + 1
    keys = []
    for number, place in enumerate(tree.order):
        starts, ends = tree.start[place] - first_ns, tree.end[place] - first_ns
        keys.append(starts << bits | count + number)
        if ends > starts:
            keys.append(ends << bits | count - 1 - number)
    keys.sort()
    mask = (1 << bits) - 1
    order = tree.order
    return [
        order[low - count] if low >= count else ~order[count - 1 - low]
        for low in [key & mask for key in keys]
    ]
