"""OTLP/JSON, written without a JSON library.

Importing `json` costs a short process as much CPU as the rest of its telemetry; the C function
that quotes a string is all that is needed of it.
Source: OpenTelemetry Protocol, JSON Protobuf encoding (64-bit integers are strings).
"""

from __future__ import annotations

from math import isfinite

from orchwatch import semconv
from orchwatch.recording import losses
from orchwatch.recording.version import __version__

try:
    from _json import encode_basestring
except ImportError:  # an interpreter without the C accelerator
    from json.encoder import encode_basestring

TYPE_CHECKING = False  # typing costs more to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    AttributeValue = (
        str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]
    )
    Attributes = Mapping[str, AttributeValue]

quote = encode_basestring

STATUS_UNSET = 0
STATUS_OK = 1
STATUS_ERROR = 2
KIND_INTERNAL = 1
DELTA = 1
CUMULATIVE = 2

MAX_KEY_LENGTH = 256
MAX_ATTRIBUTES = 128  # the SDK's own default
MAX_TEXT_LENGTH = 4096
MAX_LIST_LENGTH = 128
INT64_LIMIT = 1 << 63


def clean_attributes(attributes: Attributes | None) -> dict[str, AttributeValue]:
    """The attributes that can be recorded, as plain types; the others are counted and left out."""
    cleaned: dict[str, AttributeValue] = {}
    try:
        if not attributes:
            return cleaned
        items = list(attributes.items())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the host's, and must not hurt it
        losses.count_error("bad_attribute", error)
        return cleaned
    for key, value in items[:MAX_ATTRIBUTES]:
        try:
            if type(key) is not str or not 0 < len(key) <= MAX_KEY_LENGTH:
                raise TypeError(key)  # noqa: TRY301 - one handler for all that cannot be recorded
            cleaned[key] = _clean(value)
        except Exception as error:  # noqa: BLE001 - a value's own methods may raise anything
            losses.count_error("bad_attribute", error)
    if len(items) > MAX_ATTRIBUTES:
        losses.count("bad_attribute", len(items) - MAX_ATTRIBUTES)
    return cleaned


def encode_attributes(attributes: Mapping[str, AttributeValue]) -> str:
    """Clean attributes as the elements of a JSON array of OTLP KeyValues."""
    return ",".join(
        [f'{{"key":{quote(key)},"value":{_value(value)}}}' for key, value in attributes.items()]
    )


def encode_span(
    *,
    trace_id: str,
    span_id: str,
    parent_span_id: str,
    name: str,
    start_ns: int,
    end_ns: int,
    attributes: str,
    status: int,
    kind: int = KIND_INTERNAL,
    more: str = "",
) -> str:
    """A span as an OTLP/JSON object.

    Args:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_span_id: Likewise; empty for a root span.
        name: A quoted JSON string.
        start_ns: Unix time in nanoseconds.
        end_ns: Unix time in nanoseconds.
        attributes: What `encode_attributes` returned.
        status: `STATUS_OK`, `STATUS_ERROR` or `STATUS_UNSET`.
        kind: OTLP's number of the span kind.
        more: Further members, each starting with a comma.
    """
    parent = f'"parentSpanId":"{parent_span_id}",' if parent_span_id else ""
    return (
        f'{{"traceId":"{trace_id}","spanId":"{span_id}",{parent}"name":{name},"kind":{kind},'
        f'"startTimeUnixNano":"{start_ns}","endTimeUnixNano":"{end_ns}",'
        f'"attributes":[{attributes}],"status":{{"code":{status}}}{more}}}'
    )


def encode_events(events: Iterable[tuple[str, int, Mapping[str, AttributeValue]]]) -> str:
    """The member `events` of a span, with the comma before it.

    Args:
        events: Name, Unix time in nanoseconds, and clean attributes of each.
    """
    encoded = ",".join(
        [
            f'{{"name":{quote(name)},"timeUnixNano":"{time_ns}",'
            f'"attributes":[{encode_attributes(attributes)}]}}'
            for name, time_ns, attributes in events
        ]
    )
    return f',"events":[{encoded}]'


def encode_point(
    value: float, attributes: Mapping[str, AttributeValue], start_ns: int, time_ns: int
) -> str:
    """A data point as an OTLP/JSON object; an int stays an int."""
    number = f'"asInt":"{value}"' if type(value) is int else f'"asDouble":{value!r}'
    return (
        f'{{"attributes":[{encode_attributes(attributes)}],"startTimeUnixNano":"{start_ns}",'
        f'"timeUnixNano":"{time_ns}",{number}}}'
    )


def encode_counter(name: str, unit: str, points: str, temporality: int = DELTA) -> str:
    """A monotonic sum; its points are separated by commas."""
    return (
        f'{{"name":{quote(name)},"unit":{quote(unit)},"sum":{{"dataPoints":[{points}],'
        f'"aggregationTemporality":{temporality},"isMonotonic":true}}}}'
    )


def encode_gauge(name: str, unit: str, point: str) -> str:
    """A gauge with one data point."""
    return f'{{"name":{quote(name)},"unit":{quote(unit)},"gauge":{{"dataPoints":[{point}]}}}}'


def encode_log_record(
    *,
    event: str,
    time_ns: int,
    observed_ns: int,
    severity: int,
    severity_text: str,
    body: str,
    attributes: str,
) -> str:
    """A log record as an OTLP/JSON object.

    Args:
        event: The event's name.
        time_ns: When it happened, Unix time in nanoseconds.
        observed_ns: When it was received, Unix time in nanoseconds.
        severity: OTLP's severity number.
        severity_text: The severity's name at its source.
        body: The message, for people.
        attributes: What `encode_attributes` returned.
    """
    return (
        f'{{"timeUnixNano":"{time_ns}","observedTimeUnixNano":"{observed_ns}",'
        f'"severityNumber":{severity},"severityText":{quote(severity_text)},'
        f'"body":{{"stringValue":{quote(body)}}},"attributes":[{attributes}],'
        f'"eventName":{quote(event)}}}'
    )


def spans_prefix(
    resource: str,
    scope: str = semconv.SCOPE,
    scope_version: str = __version__,
    *,
    schema_url: str = semconv.SCHEMA_URL,
    resource_schema_url: str = semconv.RESOURCE_SCHEMA_URL,
) -> str:
    """What stands before the spans in a line; `LINE_SUFFIX` ends it.

    Args:
        resource: What `encode_attributes` returned for the resource's attributes.
        scope: Name of the instrumentation scope.
        scope_version: Its version.
        schema_url: The conventions that its spans follow; empty where it says none.
        resource_schema_url: Those that the resource follows, likewise.
    """
    schemas = (resource_schema_url, schema_url)
    return _prefix("Spans", "spans", resource, scope, scope_version, schemas)


def metrics_prefix(resource: str) -> str:
    """What stands before the metrics of our own scope in a line; `LINE_SUFFIX` ends it."""
    return _prefix("Metrics", "metrics", resource)


def logs_prefix(resource: str) -> str:
    """What stands before the log records of our own scope in a line; `LINE_SUFFIX` ends it."""
    return _prefix("Logs", "logRecords", resource)


LINE_SUFFIX = "]}]}]}\n"


def to_bytes(text: str) -> bytes:
    """UTF-8; half of a surrogate pair (an undecodable file name, say) becomes a question mark."""
    return text.encode("utf-8", "replace")


def _prefix(  # noqa: PLR0917 - in the order of a line
    signal: str,
    items: str,
    resource: str,
    scope: str = semconv.SCOPE,
    scope_version: str = __version__,
    schemas: tuple[str, str] = (semconv.RESOURCE_SCHEMA_URL, semconv.SCHEMA_URL),
) -> str:
    of_resource, of_scope = [f'"schemaUrl":{quote(one)},' if one else "" for one in schemas]
    return (
        f'{{"resource{signal}":[{{{of_resource}"resource":{{"attributes":[{resource}]}},'
        f'"scope{signal}":[{{{of_scope}"scope":{{"name":{quote(scope)},'
        f'"version":{quote(scope_version)}}},"{items}":['
    )


def _clean(value: object) -> AttributeValue:
    if isinstance(value, str):
        return str.__str__(value)[:MAX_TEXT_LENGTH]
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        integer = int(value)
        if not -INT64_LIMIT <= integer < INT64_LIMIT:
            raise ValueError(value)
        return integer
    if isinstance(value, float):
        number = float(value)
        if not isfinite(number):
            raise ValueError(value)
        return number
    if isinstance(value, list | tuple):
        elements = [_clean(element) for element in value[:MAX_LIST_LENGTH]]
        if len({type(element) for element in elements}) > 1 or list in map(type, elements):
            raise TypeError(value)
        return elements  # type: ignore[return-value]  # all of one type, as just checked
    raise TypeError(value)


def _value(value: AttributeValue) -> str:
    if isinstance(value, str):
        return f'{{"stringValue":{quote(value)}}}'
    if isinstance(value, bool):
        return '{"boolValue":true}' if value else '{"boolValue":false}'
    if isinstance(value, int):
        return f'{{"intValue":"{value}"}}'
    if isinstance(value, float):
        return f'{{"doubleValue":{value!r}}}'
    elements = ",".join([_value(element) for element in value])
    return f'{{"arrayValue":{{"values":[{elements}]}}}}'
