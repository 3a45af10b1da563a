"""How operations are recorded in a long-running process: over the OpenTelemetry API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry import baggage, context, trace
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
)

from orchwatch import semconv
from orchwatch.recording import environment, losses
from orchwatch.recording.context import ROOT, Context
from orchwatch.recording.otlp_json import clean_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token
    from typing import Any, TypeVar

    from opentelemetry.metrics import Counter, Histogram, Meter
    from opentelemetry.metrics import _Gauge as Gauge
    from opentelemetry.trace import Tracer

    from orchwatch.recording.otlp_json import Attributes, AttributeValue
    from orchwatch.recording.recorder import Operation

    _Instrument = TypeVar("_Instrument")

_OK = Status(StatusCode.OK)
_ERROR = Status(StatusCode.ERROR)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_INHERITED = semconv.INHERITED_ATTRIBUTES


class SdkRecorder:
    """Starts spans on a tracer; its methods are those of `recorder.Recorder`.

    Args:
        tracer: From whichever provider this process uses.
        meter: The meter for counters and gauges.
        durations: The histogram that each operation is counted in; None where the Collector
            counts the spans itself.
    """

    persistent = True
    service_name: str | None = None  # if not from the environment

    def __init__(self, tracer: Tracer, meter: Meter, durations: Histogram | None) -> None:
        self._tracer = tracer
        self._meter = meter
        self._durations = durations
        self._retired = False
        self._counters: dict[tuple[str, str], Counter] = {}
        self._gauges: dict[tuple[str, str], Gauge] = {}

    def start(self, op: Operation) -> None:
        here = context.get_current()
        in_span = trace.get_current_span(here).get_span_context().is_valid
        links = None
        if not in_span and environment.context() is not ROOT:
            here = _to_otel(self.current(), here)
            starter = environment.started_by()
            if starter is not None:
                links = [Link(_span_context(starter))]
        op.name = _text(op.name)
        attributes: dict[str, AttributeValue] = {semconv.OPERATION_NAME: op.name}
        entries = baggage.get_all(here)
        if entries:
            attributes.update(
                {key: _text(str(entries[key])) for key in _INHERITED if key in entries}
            )
        if op.attributes is not None:
            # A copy: nothing is cleaned and counted twice, and the host may reuse its own.
            op.attributes = _recordable(op.attributes)
            attributes.update(op.attributes)
            attributes[semconv.OPERATION_NAME] = op.name
        op.start_ns = time.time_ns() - op.waited_ns
        span = self._tracer.start_span(
            op.name, here, attributes=attributes, links=links, start_time=op.start_ns
        )
        op.clock_ns = time.perf_counter_ns() - op.waited_ns
        span_context = span.get_span_context()
        op.trace_id = f"{span_context.trace_id:032x}"
        op.span_id = f"{span_context.span_id:016x}"
        op.state = (span, trace.set_span_in_context(span, here), op.attributes)

    def retire(self) -> None:
        """In a forked child: operations that the parent has started are ended by the parent."""
        self._retired = True

    def end(self, op: Operation) -> None:
        if self._retired:
            return
        duration_ns = max(time.perf_counter_ns() - op.clock_ns, 0)
        span, inside, attributes = op.state
        if op.attributes is not attributes:
            span.set_attributes({**_recordable(op.attributes), semconv.OPERATION_NAME: op.name})
        for name, time_ns, values in op.events or ():
            span.add_event(_text(name), _recordable(values), time_ns)
        if op.error_type:
            op.error_type = _text(op.error_type)
            span.set_attribute(semconv.ERROR_TYPE, op.error_type)
        span.set_status(_ERROR if op.error_type else _OK)
        span.end(op.start_ns + duration_ns)
        if self._durations is not None:
            labels = {
                semconv.OPERATION_NAME: op.name,
                semconv.STATUS_CODE: semconv.STATUS_ERROR if op.error_type else semconv.STATUS_OK,
            }
            if op.error_type:
                labels[semconv.ERROR_TYPE] = op.error_type
            self._durations.record(duration_ns / 1e9, labels, inside)

    def opened(self, op: Operation) -> tuple[str, Mapping[str, Any]]:
        span = op.state[0]
        parent = getattr(span, "parent", None)
        return f"{parent.span_id:016x}" if parent else "", getattr(span, "attributes", None) or {}

    def enter(self, op: Operation) -> Token[context.Context]:
        return context.attach(op.state[1])

    def attach(self, to: Context) -> Token[context.Context]:
        return context.attach(_to_otel(to, context.get_current()))

    def leave(self, token: Token[context.Context]) -> None:
        try:
            token.var.reset(token)
        except ValueError as error:
            # Otherwise an abandoned generator is closed in another context, where nothing was set;
            # OTel's own `detach` would print a traceback.
            if losses.is_hosts(error):
                raise

    def current(self) -> Context:
        here = context.get_current()
        span_context = trace.get_current_span(here).get_span_context()
        entries = {key: str(value) for key, value in baggage.get_all(here).items()}
        if span_context.is_valid:
            return Context(f"{span_context.trace_id:032x}", f"{span_context.span_id:016x}", entries)
        handed_over = environment.context()
        return handed_over.with_baggage(entries) if entries else handed_over

    def count(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
        counter = self._counters.get((name, unit))
        if counter is None:
            counter = _create(self._meter.create_counter, name, unit)
            if counter is None:
                return
            self._counters[name, unit] = counter
        counter.add(value, _labels(attributes))

    def gauge(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
        gauge = self._gauges.get((name, unit))
        if gauge is None:
            gauge = _create(self._meter.create_gauge, name, unit)
            if gauge is None:
                return
            self._gauges[name, unit] = gauge
        gauge.set(value, _labels(attributes))


def _recordable(attributes: Attributes | None) -> dict[str, AttributeValue]:
    cleaned = clean_attributes(attributes)
    for key, value in cleaned.items():
        if isinstance(value, str):
            cleaned[key] = _text(value)
        elif isinstance(value, list):
            cleaned[key] = [
                _text(element) if isinstance(element, str) else element for element in value
            ]
    return cleaned


def _labels(attributes: Attributes | None) -> dict[str, AttributeValue]:
    # The SDK keeps one series per set of attributes, so all values must be hashable.
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in _recordable(attributes).items()
    }


def _text(text: str) -> str:
    # Half of a surrogate pair (an undecodable file name, say) is invalid in protobuf, and one such
    # span would prevent its whole batch from being sent.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _create(create: Callable[[str, str], _Instrument], name: str, unit: str) -> _Instrument | None:
    try:
        return create(name, unit)
    except Exception as error:  # noqa: BLE001 - the SDK's for an invalid name or unit
        losses.count_error("bad_metric", error)
        return None


def _to_otel(ours: Context, here: context.Context) -> context.Context:
    for key, value in ours.baggage.items():
        here = baggage.set_baggage(key, value, here)
    if not ours.trace_id:
        return here
    return trace.set_span_in_context(NonRecordingSpan(_span_context(ours)), here)


def _span_context(ours: Context) -> SpanContext:
    return SpanContext(
        int(ours.trace_id, 16), int(ours.span_id, 16), is_remote=True, trace_flags=_SAMPLED
    )
