"""For the tests of programs that use Orchwatch: what they recorded, in memory."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording import active, losses
from orchwatch.recording.otlp_json import clean_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from orchwatch.recording.otlp_json import Attributes, AttributeValue
    from orchwatch.recording.recorder import Operation, Recorder

__all__ = ["Captured", "CapturedMetric", "CapturedOperation", "capture"]

# What an operation or a metric that is captured can lose; the rest concerns other telemetry.
_LOSSES = frozenset(
    {
        *("bad_name", "bad_attribute", "bad_metric", "bad_traceparent", "bad_baggage"),
        *("bad_headers", "interrupted", "internal_error"),
    }
)


@dataclass(frozen=True)
class CapturedOperation:
    """One operation that has ended.

    Attributes:
        name: Its name.
        attributes: Its own and those it inherited (`session.id`, …), as they would be recorded.
        error_type: The exception's class or what `fail()` was given; empty if it succeeded.
        duration_s: In seconds, 0 or more.
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_span_id: 16 hexadecimal digits; empty for the root of a trace.
    """

    name: str
    attributes: Mapping[str, AttributeValue]
    error_type: str
    duration_s: float
    trace_id: str
    span_id: str
    parent_span_id: str


@dataclass(frozen=True)
class CapturedMetric:
    """One call of `count()` or `gauge()`.

    Attributes:
        name: Of the counter or gauge.
        value: What was added or set, in `unit`.
        attributes: Its attributes.
        unit: UCUM; empty where none was given.
    """

    name: str
    value: float
    attributes: Mapping[str, AttributeValue]
    unit: str


@dataclass
class Captured:
    """What was recorded inside a `with capture()` block.

    Attributes:
        operations: In the order in which they ended: children before their parents.
        counters: Each addition to a counter, in order.
        gauges: Each value of a gauge, in order.
        losses: What could not be recorded, by reason (`bad_attribute`, …): a count each.
    """

    operations: list[CapturedOperation] = field(default_factory=list)
    counters: list[CapturedMetric] = field(default_factory=list)
    gauges: list[CapturedMetric] = field(default_factory=list)
    losses: dict[str, int] = field(default_factory=dict)


@contextmanager
def capture() -> Iterator[Captured]:
    """Keeps what is recorded inside the block in memory, and writes and sends none of it.

    Of the whole process: in other threads and tasks too, whether or not `configure()` was called,
    before the block or inside it. An operation belongs to the blocks that were open when it
    started, inner and outer ones alike; one that started before the block is recorded as usual. So
    is what other instrumentations record, and what other processes do; what a forked child does is
    recorded nowhere.

        with capture() as captured:
            place_order(cart)
        (query,) = captured.operations
        assert query.name == "state.query"

    Yields:
        What was recorded so far, growing as operations end.
    """
    captured = Captured()
    with _lock:
        _open.append(captured)
        _divert()
    try:
        yield captured
    finally:
        with _lock:
            _open[:] = [one for one in _open if one is not captured]
            _divert()


class _InMemory:
    """A recorder that leaves all to another one but what would be written; see `Recorder`."""

    persistent = False

    def __init__(self, recorder: Recorder, into: tuple[Captured, ...]) -> None:
        self._recorder = recorder
        self._into = into

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recorder, name)

    def end(self, op: Operation) -> None:
        duration_s = max(time.perf_counter_ns() - op.clock_ns, 0) / 1e9
        op.attributes = clean_attributes(op.attributes)
        parent_span_id, recorded = self._recorder.opened(op)
        attributes = {**recorded, **op.attributes}
        for named in (semconv.OPERATION_NAME, semconv.ERROR_TYPE):
            attributes.pop(named, None)
        operation = CapturedOperation(
            name=op.name,
            attributes=attributes,
            error_type=op.error_type,
            duration_s=duration_s,
            trace_id=op.trace_id,
            span_id=op.span_id,
            parent_span_id=parent_span_id,
        )
        for captured in self._into:
            captured.operations.append(operation)

    def count(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
        metric = CapturedMetric(name, value, clean_attributes(attributes), unit)
        for captured in self._into:
            captured.counters.append(metric)

    def gauge(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
        metric = CapturedMetric(name, value, clean_attributes(attributes), unit)
        for captured in self._into:
            captured.gauges.append(metric)


_lock = threading.Lock()
_open: list[Captured] = []


def _divert() -> None:
    if _open:
        active.divert(partial(_InMemory, into=tuple(_open)))
        losses.divert(_note_loss)
    else:
        active.divert(None)
        losses.divert(None)


def _note_loss(reason: str, number: int) -> bool:
    into = tuple(_open)
    if reason not in _LOSSES or not into:
        return False
    for captured in into:
        captured.losses[reason] = captured.losses.get(reason, 0) + number
    return True


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have had it
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
