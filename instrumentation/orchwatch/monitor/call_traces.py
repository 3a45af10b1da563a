"""Spans until all that called them has ended, and for a while longer: for the times of call paths.

Spans arrive as they end, those that are called before their callers. So a trace waits until each
caller is there, and nothing has come for a moment. What comes later belongs to it still, as long as
it is remembered: then it is counted anew, and what was counted of it is taken back.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from orchwatch import semconv
from orchwatch.analysis import flame
from orchwatch.monitor.span_recorder import LIVE_S
from orchwatch.store.outlines import Outline
from orchwatch.store.selection import AHEAD_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchwatch.monitor.call_paths import CallPaths
    from orchwatch.monitor.ended_operations import EndedOperation

MAX_SPANS: Final = 20_000
"""How many spans are remembered; of more, the traces that were silent for longest go first."""

QUIET_S: Final = 5.0
# A tool may run for long, and what calls it is known when that ends. A caller that is recorded
# elsewhere, or nowhere, never comes.
WAIT_S: Final = 900.0

_LIVE_NS = int(LIVE_S) * 1_000_000_000
_STATUS_OK, _STATUS_ERROR = 1, 2  # OTLP

# What decides on the path of a span that nothing calls and that calls nothing, as most are:
# service, name, operation, agent, hook and its event.
_Alike = tuple[str, str, str | None, str | None, str | None, str | None]


class _Trace:
    """A trace; most have one span.

    Attributes:
        first: The span that came first.
        more: The others by id, as they came; None without any.
        counted: How many of all are counted, the first ones.
        heard_s: When one came last, by the monotonic clock.
        waits: Whether a caller was missing when that was looked at last.
    """

    __slots__ = ("counted", "first", "heard_s", "more", "waits")

    def __init__(self, span: EndedOperation, now_s: float) -> None:
        self.first = span
        self.more: dict[str, EndedOperation] | None = None
        self.counted = 0
        self.heard_s = now_s
        self.waits = False

    def take(self, span: EndedOperation, now_s: float) -> bool:
        """Takes one more; False where it is known."""
        if self.more is None:
            self.more = {}
        if span.span_id in self.more or span.span_id == self.first.span_id:
            return False
        self.more[span.span_id] = span
        self.heard_s, self.waits = now_s, False
        return True

    def spans(self) -> list[EndedOperation]:
        """All, as they came."""
        return [self.first, *self.more.values()] if self.more else [self.first]

    def is_whole(self) -> bool:
        """Whether the callers of what is not counted are there."""
        if not self.more:
            self.waits = self.first.parent_span_id is not None
        else:
            known = {None, self.first.span_id, *self.more}
            uncounted = self.spans()[self.counted :]
            self.waits = any(one.parent_span_id not in known for one in uncounted)
        return not self.waits


class CallTraces:
    """The latest traces.

    Args:
        paths: Where their times are counted.
    """

    def __init__(self, paths: CallPaths) -> None:
        self._paths = paths
        self._traces: dict[str, _Trace] = {}  # the longest silent first
        self._open: dict[str, _Trace] = {}  # of which something is not counted
        self._number = 0

    def add(self, spans: Iterable[EndedOperation], now_s: float) -> None:
        """Takes spans that ended; each counts once."""
        traces, opened = self._traces, self._open
        for span in spans:
            trace_id = span.trace_id
            trace = traces.get(trace_id)
            if trace is None:
                traces[trace_id] = opened[trace_id] = _Trace(span, now_s)
            elif trace.take(span, now_s):
                del traces[trace_id]
                traces[trace_id] = opened[trace_id] = trace
            else:
                continue
            self._number += 1

    def count(self, now_s: float, now_ns: int, *, quiet_s: float = QUIET_S) -> bool:
        """Counts the traces that are whole, those that waited for too long, and those too many.

        Args:
            now_s: By the monotonic clock.
            now_ns: In Unix nanoseconds.
            quiet_s: For how long nothing must have come.

        Returns:
            Whether anything was, or was forgotten.
        """
        too_many = self._too_many()
        due = {one: self._open[one] for one in too_many if one in self._open}
        for trace_id, trace in self._open.items():
            silent_s = now_s - trace.heard_s
            if silent_s >= quiet_s and (
                silent_s >= WAIT_S or (not trace.waits and trace.is_whole())
            ):
                due[trace_id] = trace
        has_counted = self._count(due, now_ns)
        for trace_id in too_many:
            self._forget(trace_id)
        return has_counted or bool(too_many)

    @property
    def is_full(self) -> bool:
        """Whether there are more than are remembered, until they are counted."""
        return self._number > MAX_SPANS

    def uncounted(self) -> list[EndedOperation]:
        """The spans that are not counted yet."""
        return [one for trace in self._open.values() for one in trace.spans()[trace.counted :]]

    def _too_many(self) -> list[str]:
        found, number = [], self._number
        for trace_id, trace in self._traces.items():
            if number <= MAX_SPANS:
                break
            found.append(trace_id)
            number -= len(trace.spans())
        return found

    def _count(self, due: dict[str, _Trace], now_ns: int) -> bool:
        """Whether any of them has happened."""
        any_happened = False
        before: defaultdict[str, list[Outline]] = defaultdict(list)
        now: defaultdict[str, list[Outline]] = defaultdict(list)
        alone: defaultdict[_Alike, int] = defaultdict(int)  # their times together
        for trace_id, trace in due.items():
            latest_ns = trace.first.end_ns
            if trace.more:
                latest_ns = max(one.end_ns for one in trace.spans()[trace.counted :])
            if latest_ns > now_ns + AHEAD_NS:
                continue  # has not happened
            any_happened = True
            if latest_ns < now_ns - _LIVE_NS:
                self._forget(trace_id)  # does not happen now
                continue
            del self._open[trace_id]
            if not trace.more:
                trace.counted = 1
                alone[_alike(trace.first)] += trace.first.duration_ns
                continue
            spans = trace.spans()
            number, trace.counted = trace.counted, len(spans)
            if number:
                _divide(spans[:number], before)
            _divide(spans, now)
        for place, ((service, *kind), duration_ns) in enumerate(alone.items()):
            now[service].append(_lone(place, duration_ns, *kind))
        for service, outlines in now.items():
            self._paths.add(service, _flame(outlines), now_ns)
        for service, outlines in before.items():
            self._paths.add(service, _flame(outlines), now_ns, sign=-1)
        return any_happened

    def _forget(self, trace_id: str) -> None:
        self._open.pop(trace_id, None)
        trace = self._traces.pop(trace_id, None)
        self._number -= len(trace.spans()) if trace else 0


def _flame(outlines: list[Outline]) -> flame.Flame:
    outlines.sort(key=lambda span: (span.start_ns, -span.end_ns, span.trace_id, span.span_id))
    return flame.of_spans(outlines)


def _divide(spans: Sequence[EndedOperation], found: defaultdict[str, list[Outline]]) -> None:
    """Puts the spans of a trace to those of the service in which what called them began."""
    if len({span.service for span in spans}) == 1:
        found[_service(spans[0])] += map(_outline, spans)
        return
    by_id = {span.span_id: span for span in spans}
    services: dict[str, str] = {}
    for span in spans:
        above, passed = span, {span.span_id: None}
        while above.parent_span_id in by_id and above.parent_span_id not in passed:
            if above.span_id in services:
                break
            above = by_id[above.parent_span_id]
            passed[above.span_id] = None
        service = services.get(above.span_id) or _service(above)
        services |= dict.fromkeys(passed, service)
        found[service].append(_outline(span))


def _service(span: EndedOperation) -> str:
    return span.service or semconv.UNKNOWN_SERVICE


def _alike(span: EndedOperation) -> _Alike:
    operation = span.operation if span.is_operation else None
    return _service(span), span.name, operation, span.agent, span.hook, span.hook_event


def _lone(place: int, duration_ns: int, *kind: str | None) -> Outline:
    """All of them that are alike, as one that takes as long as they do together."""
    name, operation, agent, hook, event = kind
    return Outline(
        trace_id=str(place),
        span_id=place,
        parent_span_id=None,
        name=name or "",
        operation=operation,
        start_ns=0,
        end_ns=duration_ns,
        status=_STATUS_OK,
        error_type=None,
        session_id=None,
        agent=agent,
        agent_id=None,
        hook=hook,
        hook_event=event,
    )


def _outline(span: EndedOperation) -> Outline:
    parent = span.parent_span_id
    return Outline(
        span.trace_id,
        int(span.span_id, 16),
        None if parent is None else int(parent, 16),
        span.name,
        span.operation if span.is_operation else None,
        span.end_ns - span.duration_ns,
        span.end_ns,
        _STATUS_ERROR if span.failed else _STATUS_OK,
        None,
        span.session_id,
        span.agent,
        span.agent_id,
        span.hook,
        span.hook_event,
    )
