"""A trace as a tree: who called what, how often, for how long."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from orchwatch import units
from orchwatch.analysis.span_tree import is_timed
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import columns
from orchwatch.store.spans import NS_PER_S, Span
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

STATUS_ERROR = 2  # OTLP

# The longest name of an error that a line has room for.
_ERROR_WIDTH = 24

# What a person reads: lines in all, names below one caller, callers above a line.
_MAX_ROWS = 1000
_MAX_BRANCHES = 100
_DEEPEST = 20
_MAX_EVENTS = 10  # names of them within one line's spans

_HEADS = ("operation", "count", "total", "slowest", "errors")


def render(spans: Sequence[Span], file: TextIO, terminal: int = columns.WIDTH) -> None:
    """Writes the spans of one trace as a tree.

    Calls of the same name and agent under the same caller share a line, and so do theirs.

    Args:
        spans: All of one trace, by start; at least one.
        file: Where to write.
        terminal: How many columns it has.
    """
    children = _children(spans)
    looped = _cut_loops(spans, children)
    found = list(islice(_rows(children[None], children, None, None), _MAX_ROWS + 1))
    rows = [_HEADS, *found[:_MAX_ROWS]]
    started = datetime.fromtimestamp(spans[0].start_ns / NS_PER_S, UTC)
    title = (
        f"trace {spans[0].trace_id}, {counted(len(spans), 'span')}, {started:%Y-%m-%d %H:%M:%S} UTC"
    )
    room = min(terminal, columns.WIDTH)
    columns.sentences([title], file, room)
    columns.named(rows, room, file, left=True)
    if len(found) > _MAX_ROWS:
        file.write(f"The first {_MAX_ROWS} lines; --format json has every span.\n")
    if looped:
        file.write(
            f"{counted(looped, 'span')} called by what it called itself: shown as if nothing had"
            " called it.\n"
        )


def _children(spans: Sequence[Span]) -> dict[str | None, list[Span]]:
    """By the id of the caller; None calls what has none, or one that is not stored."""
    known = {span.span_id for span in spans}
    children: dict[str | None, list[Span]] = defaultdict(list)
    for span in spans:
        children[span.parent_span_id if span.parent_span_id in known else None].append(span)
    return children


def _cut_loops(spans: Iterable[Span], children: dict[str | None, list[Span]]) -> int:
    """Makes a root of the earliest span of each loop of callers; how many loops there were."""
    reached = _reached(children[None], children)
    loops = 0
    for span in spans:
        if span.span_id not in reached:
            loops += 1
            children[span.parent_span_id].remove(span)
            children[None].append(span)
            reached |= _reached([span], children)
    return loops


def _reached(spans: Iterable[Span], children: Mapping[str | None, list[Span]]) -> set[str]:
    """The ids of spans and of all that is below them."""
    reached: set[str] = set()
    waiting = list(spans)
    while waiting:
        span = waiting.pop()
        if span.span_id not in reached:
            reached.add(span.span_id)
            waiting += children.get(span.span_id, ())
    return reached


def _rows(
    calls: Iterable[Span],
    children: Mapping[str | None, list[Span]],
    agent: str | None,
    margin: str | None,
    depth: int = 0,
) -> Iterator[tuple[str, ...]]:
    """A line for each group of calls and those inside it; only roots have no margin."""
    groups: dict[tuple[str, str | None], list[Span]] = defaultdict(list)
    for span in calls:
        groups[span.name, span.agent].append(span)
    more = list(groups.values())[_MAX_BRANCHES:]
    for number, ((name, who), group) in enumerate(islice(groups.items(), _MAX_BRANCHES), 1):
        last = number == len(groups)
        title = f"{safe(name)} [{safe(who)}]" if who and who != agent else safe(name)
        branch = deeper = ""
        if margin is not None:
            branch = margin + ("└─ " if last else "├─ ")
            deeper = margin + ("   " if last else "│  ")
        yield _row(f"{branch}{title}", group)
        yield from _event_rows(group, deeper or "  ")
        inside = [child for span in group for child in children.get(span.span_id, ())]
        if inside and depth == _DEEPEST:
            below = len(_reached(inside, children))
            yield (f"{deeper}└─ … {counted(below, 'span')} deeper", "", "", "", "")
        else:
            yield from _rows(inside, children, who, deeper, depth + 1)
    if more:
        left_out = [span for group in more for span in group]
        branch = "" if margin is None else f"{margin}└─ "
        yield _row(f"{branch}… {counted(len(more), 'other name')}", left_out)


def _event_rows(group: Iterable[Span], margin: str) -> Iterator[tuple[str, ...]]:
    """What happened within these spans, by name: how often, no time of its own."""
    names = Counter(event.name for span in group for event in span.events)
    for name, number in names.most_common(_MAX_EVENTS):
        yield (f"{margin}· {safe(name)}", str(number), "", "", "")
    if len(names) > _MAX_EVENTS:
        yield (f"{margin}· … {counted(len(names) - _MAX_EVENTS, 'other event')}", "", "", "", "")


def _row(title: str, group: Sequence[Span]) -> tuple[str, ...]:
    lengths = [span.duration_ns / NS_PER_S for span in group if is_timed(span)]
    return (
        title,
        str(len(group)),
        units.duration(sum(lengths) if lengths else None),
        units.duration(max(lengths, default=None)),
        _errors(group),
    )


def _errors(group: Iterable[Span]) -> str:
    """`2 ValueError`, `3 KeyError +1 …`: how often the most frequent kind, and how many others."""
    kinds = Counter(span.error_type or "" for span in group if span.status == STATUS_ERROR)
    if not kinds:
        return ""
    kind, number = kinds.most_common(1)[0]
    kind = safe(kind)
    if len(kind) > _ERROR_WIDTH:
        # The end of a dotted name says most.
        kind = "…" + kind[1 - _ERROR_WIDTH :]
    if kind.isdecimal():
        # An exit code or a status: no second count.
        kind = f"error {kind}"
    others = kinds.total() - number
    return f"{number} {kind}".rstrip() + (f" +{others} …" if others else "")
