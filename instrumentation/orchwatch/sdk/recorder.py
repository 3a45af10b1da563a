"""How operations are recorded in a long-running process: over the OpenTelemetry API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import baggage, context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from orchwatch import names
from orchwatch.context import ROOT, Context
from orchwatch.otlp_json import clean_attributes
from orchwatch.recorder import environment, span_attributes

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.metrics import Counter, Histogram, Meter
    from opentelemetry.metrics import _Gauge as Gauge
    from opentelemetry.trace import Span, Tracer

    from orchwatch.operation import operation
    from orchwatch.otlp_json import Attributes

_OK = Status(StatusCode.OK)
_ERROR = Status(StatusCode.ERROR)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class _Started(NamedTuple):
    span: Span
    inside: context.Context  # where the operation's children start
    attributes: Attributes | None  # those that the span was started with


class SdkRecorder:
    """Starts spans on a tracer; its methods are those of `orchwatch.recorder.Recorder`.

    Args:
        tracer: Of whatever provider this process uses.
        meter: Likewise, for counters and gauges.
        durations: The histogram that each operation is counted in; None where the Collector
            counts the spans itself.
    """

    def __init__(self, tracer: Tracer, meter: Meter, durations: Histogram | None) -> None:
        self._tracer = tracer
        self._meter = meter
        self._durations = durations
        self._counters: dict[tuple[str, str], Counter] = {}
        self._gauges: dict[tuple[str, str], Gauge] = {}

    def start(self, op: operation) -> None:
        here = context.get_current()
        if not trace.get_current_span(here).get_span_context().is_valid:
            handed_over = environment()
            if handed_over is not ROOT:
                here = _to_otel(handed_over, here)
        entries = baggage.get_all(here)
        op.context = Context("", "", dict(entries)) if entries else ROOT  # type: ignore[arg-type]
        op.start_ns = time.time_ns()
        span = self._tracer.start_span(
            op.name, here, attributes=span_attributes(op), start_time=op.start_ns
        )
        op.clock_ns = time.perf_counter_ns()
        span_context = span.get_span_context()
        op.trace_id = f"{span_context.trace_id:032x}"
        op.span_id = f"{span_context.span_id:016x}"
        op.state = _Started(span, trace.set_span_in_context(span, here), op.attributes)

    def end(self, op: operation) -> None:
        duration_ns = time.perf_counter_ns() - op.clock_ns
        span, inside, attributes = op.state
        if op.attributes is not attributes:
            span.set_attributes(clean_attributes(op.attributes))
        if op.error_type:
            span.set_attribute(names.ERROR_TYPE, op.error_type)
        span.set_status(_ERROR if op.error_type else _OK)
        span.end(op.start_ns + duration_ns)
        if self._durations is not None:
            labels = {
                names.OPERATION_NAME: op.name,
                names.STATUS_CODE: names.STATUS_ERROR if op.error_type else names.STATUS_OK,
            }
            if op.error_type:
                labels[names.ERROR_TYPE] = op.error_type
            self._durations.record(duration_ns / 1e9, labels, inside)

    def enter(self, op: operation) -> Token[context.Context]:
        return context.attach(op.state.inside)

    def attach(self, to: Context) -> Token[context.Context]:
        return context.attach(_to_otel(to, context.get_current()))

    def leave(self, token: Token[context.Context]) -> None:
        context.detach(token)

    def current(self) -> Context:
        here = context.get_current()
        span_context = trace.get_current_span(here).get_span_context()
        entries = {key: str(value) for key, value in baggage.get_all(here).items()}
        if span_context.is_valid:
            return Context(f"{span_context.trace_id:032x}", f"{span_context.span_id:016x}", entries)
        handed_over = environment()
        return handed_over.with_baggage(entries) if entries else handed_over

    def count(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
        counter = self._counters.get((name, unit))
        if counter is None:
            counter = self._counters[name, unit] = self._meter.create_counter(name, unit)
        counter.add(value, clean_attributes(attributes))

    def gauge(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
        gauge = self._gauges.get((name, unit))
        if gauge is None:
            gauge = self._gauges[name, unit] = self._meter.create_gauge(name, unit)
        gauge.set(value, clean_attributes(attributes))


def _to_otel(ours: Context, here: context.Context) -> context.Context:
    for key, value in ours.baggage.items():
        here = baggage.set_baggage(key, value, here)
    if not ours.trace_id:
        return here
    span_context = SpanContext(
        int(ours.trace_id, 16), int(ours.span_id, 16), is_remote=True, trace_flags=_SAMPLED
    )
    return trace.set_span_in_context(NonRecordingSpan(span_context), here)
