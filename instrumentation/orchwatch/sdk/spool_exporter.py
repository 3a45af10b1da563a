"""Spans and metrics of the OpenTelemetry SDK as lines of the spool."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToJson
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanKind, StatusCode

from orchwatch.recording import losses, spool
from orchwatch.recording.otlp_json import (
    KIND_INTERNAL,
    LINE_SUFFIX,
    MAX_ATTRIBUTES,
    STATUS_ERROR,
    STATUS_OK,
    clean_attributes,
    encode_attributes,
    encode_span,
    quote,
    spans_prefix,
    to_bytes,
)
from orchwatch.sdk import other_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as EncodedMetric
    from opentelemetry.sdk.metrics.export import Metric
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext
    from opentelemetry.util.types import Attributes

_MAX_PREFIXES = 256

# Source: opentelemetry/proto/trace/v1/trace.proto, SpanKind.
_KINDS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}


class SpanLines:
    """Ended spans as lines, one each.

    The part that the spans of one resource and scope share is encoded once: create a new exporter
    when the resource changes.
    """

    def __init__(self) -> None:
        # The objects are kept alive, so that no other can get their id.
        self._prefixes: dict[tuple[int, int], tuple[object, object, str]] = {}

    def append(self, family: str, spans: Sequence[ReadableSpan]) -> bool:
        """Appends them to a family of the spool in one write.

        A span that cannot be written is counted, e.g. if its name is not a str.
        """
        lines = []
        for span in spans:
            try:
                lines.append(f"{self._prefix(span)}{_encode(span)}{LINE_SUFFIX}")
            except Exception as error:  # noqa: BLE001 - the other spans are still written
                losses.count_error("bad_span", error)
        return not lines or spool.append(family, to_bytes("".join(lines)), len(lines))

    def _prefix(self, span: ReadableSpan) -> str:
        # Nearly always the same object; comparing resources would cost more than all the rest.
        resource, scope = span.resource, span.instrumentation_scope
        found = self._prefixes.get((id(resource), id(scope)))
        if found is None:
            if len(self._prefixes) >= _MAX_PREFIXES:  # a host that creates a tracer for each span
                self._prefixes.clear()
            found = self._prefixes[id(resource), id(scope)] = (resource, scope, _prefix(span))
        return found[2]


def append_metrics(data: MetricsData) -> bool:
    """Appends the metrics to the spool as one line; one that cannot be written is counted."""
    try:
        message = encode_metrics(data)
    except Exception:  # noqa: BLE001 - a number too large, say
        message = encode_metrics(_selected(data, _is_encodable))
    for resource_metrics in message.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                _drop_exemplars(metric)
    line = MessageToJson(message, indent=None, use_integers_for_enums=True)
    return spool.append(spool.METRICS, to_bytes(f"{line}\n"))


def _selected(data: MetricsData, wanted: Callable[[Metric], bool]) -> MetricsData:
    """The data without the unwanted metrics."""
    return replace(
        data,
        resource_metrics=[
            replace(
                of_resource,
                scope_metrics=[
                    replace(of_scope, metrics=[one for one in of_scope.metrics if wanted(one)])
                    for of_scope in of_resource.scope_metrics
                ],
            )
            for of_resource in data.resource_metrics
        ],
    )


def _is_encodable(metric: Metric) -> bool:
    scope = ScopeMetrics(scope=InstrumentationScope(""), metrics=[metric], schema_url="")
    resource = ResourceMetrics(resource=Resource({}), scope_metrics=[scope], schema_url="")
    try:
        encode_metrics(MetricsData([resource]))
    except Exception:  # noqa: BLE001
        losses.count("bad_metric")
        return False
    return True


def _drop_exemplars(metric: EncodedMetric) -> None:
    # Protobuf's own JSON writes their ids in base64, where OTLP/JSON wants hexadecimal digits; a
    # reader would refuse the whole line.
    kind = metric.WhichOneof("data")
    if kind in ("sum", "gauge", "histogram", "exponential_histogram"):
        for point in getattr(metric, kind).data_points:
            point.ClearField("exemplars")


def _prefix(span: ReadableSpan) -> str:
    scope = span.instrumentation_scope
    return spans_prefix(
        _attributes(span.resource.attributes),
        scope.name if scope else "",
        (scope.version if scope else "") or "",
        schema_url=(scope.schema_url if scope else "") or "",
        resource_schema_url=span.resource.schema_url,
    )


def _encode(span: ReadableSpan) -> str:
    context = span.get_span_context() or INVALID_SPAN_CONTEXT
    parent = span.parent
    other = other_spans.named(span)
    failed = other.failed if other else span.status.status_code is StatusCode.ERROR
    return encode_span(
        trace_id=_trace_id(context),
        span_id=_span_id(context),
        parent_span_id=_span_id(parent) if parent else "",
        name=quote(other.name if other else span.name),
        start_ns=_time_ns(span.start_time),
        end_ns=_time_ns(span.end_time),
        attributes=_attributes(other.attributes if other else span.attributes),
        # Other instrumentations leave a successful span's status unset; a trace view needs it set.
        status=STATUS_ERROR if failed else STATUS_OK,
        kind=_KINDS.get(span.kind, KIND_INTERNAL),
        more=_events(span, whole=other is None) + _links(span, whole=other is None),
    )


def _events(span: ReadableSpan, *, whole: bool) -> str:
    if not span.events:
        return ""
    encoded = ",".join(
        f'{{"name":{quote(name)},"timeUnixNano":"{_time_ns(event.timestamp)}",'
        f'"attributes":[{_attributes(attributes)}]}}'
        for event in span.events
        for name, attributes in [
            (event.name, event.attributes) if whole else other_spans.event(event)
        ]
    )
    return f',"events":[{encoded}]'


def _links(span: ReadableSpan, *, whole: bool) -> str:
    links = span.links
    if not links:
        return ""
    encoded = ",".join(
        f'{{"traceId":"{_trace_id(link.context)}","spanId":"{_span_id(link.context)}",'
        f'"attributes":[{_attributes(link.attributes if whole else None)}]}}'
        for link in links
    )
    return f',"links":[{encoded}]'


def _attributes(attributes: Attributes) -> str:
    if not attributes or len(attributes) <= MAX_ATTRIBUTES:
        return encode_attributes(clean_attributes(attributes))  # type: ignore[arg-type]  # cleaning is for that
    # In parts, as the limit applies to what a host passes: an operation adds its own attributes.
    items = list(attributes.items())
    parts = [dict(items[at : at + MAX_ATTRIBUTES]) for at in range(0, len(items), MAX_ATTRIBUTES)]
    return ",".join(
        [encode_attributes(clean_attributes(part)) for part in parts]  # type: ignore[arg-type]  # cleaning is for that
    )


def _time_ns(time_ns: float | None) -> int:
    # `time.time() * 1e9` is a common argument, and a float.
    return max(int(time_ns or 0), 0)


def _trace_id(context: SpanContext) -> str:
    return f"{context.trace_id:032x}"


def _span_id(context: SpanContext) -> str:
    return f"{context.span_id:016x}"
