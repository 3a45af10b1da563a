"""Who waits for whom in a tree of spans, and how soon all would end if some took no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.analysis.span_tree import SpanTree

# Less than this part of it was left.
_NEARLY_OVER = 100
_Step = tuple[int, int, int, int, int, int]
# The group of a time that passes whatever is left out.
_NOBODY = -2


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
        self._root = tree.root
        self._start = tree.start
        self._steps: list[_Step]
        self._was: list[int]
        self._steps, self._was = _program(tree, causes, groups)

    def saved_ns(self, group: int, place: int | None = None) -> int:
        """How much sooner all, or the span in a place, would have ended.

        Args:
            group: What takes no time of its own.
            place: Of the span; None for all.
        """
        # Where each span's program would be; beyond the root, when each would have started. The
        # last of these is the root's, which nothing asks for: there goes what goes nowhere.
        now = self._start * 2
        for source, own, lasted_ns, place_, above, waits in self._steps:
            moment = now[source] if own == group else now[source] + lasted_ns
            now[place_] = now[above] = moment
            if now[waits] < moment:  # noqa: PLR1730 - `max` takes three times as long
                now[waits] = moment
        of = self._root if place is None else place
        return self._was[of] - now[of]


def _program(
    tree: SpanTree, causes: Causes, groups: Sequence[int]
) -> tuple[list[_Step], list[int]]:
    """What is the same whatever is left out: who goes on when, and where each program was last.

    A step is where its moment is counted from, the group whose time passes until then, how long
    that was, what goes on then, what else does (-1 for nothing), and what waits for it (likewise).
    """
    start, end, root = tree.start, tree.end, tree.root
    waiting, starting = causes.waiting, causes.starting
    was = list(start)
    steps: list[_Step] = []
    # What the whole waits for last of all that has started.
    last = root
    for event in _events(tree):
        if event < 0:
            ended = ~event
            at, above = end[ended], waiting[ended]
            steps.append((ended, groups[ended], at - was[ended], ended, -1, above))
            was[ended] = was[above] = at
            continue
        above, at = starting[event], start[event]
        source, own, since_ns = above, groups[above], was[above]
        if above == root and last != root and end[last] > at:
            source, own, since_ns = last, groups[last], was[last]
            if end[last] - at > (end[last] - start[last]) // _NEARLY_OVER:
                # As long after that one's start as it was.
                source, own, since_ns = root + 1 + last, _NOBODY, start[last]
        over = end[event] <= at
        steps.append((source, own, at - since_ns, event, above, waiting[event] if over else -1))
        was[above] = at
        if over:
            was[waiting[event]] = at
        if waiting[event] == root and (last == root or end[event] > end[last]):
            last = event
            steps.append((event, _NOBODY, 0, root + 1 + event, -1, -1))
    return steps, was


def _events(tree: SpanTree) -> list[int]:
    """The places of what starts, and the complements of what ends, in the order of time.

    At one moment ends come before starts, callers end last and start first; what takes no time has
    a start only.
    """
    first_ns = tree.start[tree.root]
    count = tree.root + 1
    bits = count.bit_length() + 1
    start, end, order = tree.start, tree.end, tree.order
    keys = [start[place] - first_ns << bits | count + at for at, place in enumerate(order)]
    keys += [
        end[place] - first_ns << bits | count - 1 - at
        for at, place in enumerate(order)
        if end[place] > start[place]
    ]
    keys.sort()
    mask = (1 << bits) - 1
    return [
        order[low - count] if low >= count else ~order[count - 1 - low]
        for low in [key & mask for key in keys]
    ]
