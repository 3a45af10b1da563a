"""The spans of other instrumentations in a program of ours, named as ours are.

They get what the Collector gives those that are sent to it, from the same table, so that a span
means the same whichever way it goes, and what somebody wrote or read is not in the spool.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.semconv.attributes.exception_attributes import EXCEPTION_TYPE
from opentelemetry.trace import StatusCode

from orchwatch import semconv
from orchwatch.semconv import mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.util.types import Attributes, AttributeValue

    from orchwatch.semconv.mapping import Condition, Emitter, Kind, Table

_MS_PER_S = 1000.0


class OtherSpan(NamedTuple):
    """A span as its instrumentation recorded it, or with our names.

    Attributes:
        name: Its name.
        attributes: What it carries; an operation that is counted is among them.
        failed: Whether its status is an error.
        scope: The name of its instrumentation scope.
        service: The name of its service.
        is_root: It has no parent.
        exception: The type of an exception that it tells of, empty where it tells of none.
    """

    name: str
    attributes: Mapping[str, AttributeValue]
    failed: bool
    scope: str = ""
    service: str = ""
    is_root: bool = False
    exception: str = ""


def named(span: ReadableSpan) -> OtherSpan | None:
    """A span with our names; None if no agent's, or one that names its operation itself."""
    attributes = span.attributes or {}
    if semconv.OPERATION_NAME in attributes:
        return None
    scope = span.instrumentation_scope
    seen = OtherSpan(
        name=span.name,
        attributes=attributes,
        failed=span.status.status_code is StatusCode.ERROR,
        scope=scope.name if scope else "",
        service=str(span.resource.attributes.get(SERVICE_NAME, "")),
        is_root=span.parent is None,
    )
    table = mapping.load()
    for emitter in table.emitters:
        if not emitter.reader and any(_holds(one, seen) for one in emitter.conditions):
            types = [(event.attributes or {}).get(EXCEPTION_TYPE) for event in span.events]
            exception = next((str(one) for one in types if one), "")
            return _named(table, emitter, seen._replace(exception=exception))
    return None


def event(found: Event) -> tuple[str, Attributes]:
    """The name of such a span's event, unless that is a message, and what it may carry."""
    name = found.name if mapping.is_word(found.name) else "event"
    exception = (found.attributes or {}).get(EXCEPTION_TYPE)
    return name, {EXCEPTION_TYPE: exception} if mapping.is_word(exception) else None


def _named(table: Table, emitter: Emitter, span: OtherSpan) -> OtherSpan:
    attributes = _attributes(table, span.attributes)
    if span.failed and span.exception:
        attributes.setdefault(semconv.ERROR_TYPE, span.exception)
    failed = span.failed or semconv.ERROR_TYPE in attributes
    seen = span._replace(attributes=attributes, failed=failed)
    kind = next((rule.kind for rule in emitter.rules if _holds(rule.when, seen)), None)
    name = span.name[: mapping.MAX_CHARS]
    if kind and emitter.named_by_span and kind.named_by in mapping.NAMED_BY_SPAN:
        attributes.setdefault(kind.named_by, name)
    # Before it is named: of the attributes a name says no more than is kept of them.
    kept = _kept(table, emitter, attributes)
    if kind is not None:
        name = _name(kind, kept) or name
    if failed:
        error = kept.get(semconv.ERROR_TYPE, kind.error if kind else mapping.OTHER)
        kept[semconv.ERROR_TYPE] = error if mapping.is_word(error) else mapping.OTHER
    return span._replace(name=name, attributes=kept, failed=failed)


def _kept(
    table: Table, emitter: Emitter, attributes: Mapping[str, AttributeValue]
) -> dict[str, AttributeValue]:
    keys = table.kept_of(emitter)
    return {
        key: value[: mapping.MAX_CHARS] if isinstance(value, str) else value
        for key, value in attributes.items()
        if (key in keys and isinstance(value, str | bool | int | float))
        or key in table.lists
        or key.startswith(mapping.OWN_PREFIX)
    }


def _attributes(table: Table, seen: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    attributes = dict(seen)
    for key, others in table.attributes.items():
        found = next((seen[one] for one in (key, *others) if seen.get(one) is not None), None)
        if found is not None:
            attributes[key] = found
    for key, others in table.milliseconds.items():
        for other in others:
            value = seen.get(other)
            if isinstance(value, int | float) and key not in attributes:
                attributes[key] = value / _MS_PER_S
    if semconv.SESSION_ID in attributes:
        attributes[semconv.GEN_AI_CONVERSATION_ID] = attributes[semconv.SESSION_ID]
    return attributes


def _name(kind: Kind, attributes: dict[str, AttributeValue]) -> str:
    """The span's name, empty where it keeps its own; what the kind says is set on the way."""
    if kind.genai:
        attributes[semconv.GEN_AI_OPERATION_NAME] = kind.genai
    elif kind.operation:
        attributes.pop(semconv.GEN_AI_OPERATION_NAME, None)
    if kind.operation:
        attributes[semconv.OPERATION_NAME] = kind.operation
    name = kind.genai or kind.operation
    return f"{name} {attributes.get(kind.named_by, '')}".rstrip() if name else ""


def _holds(condition: Condition, span: OtherSpan) -> bool:
    attributes = span.attributes
    texts = (
        (condition.service, span.service),
        (condition.scope, span.scope),
        (condition.span, span.name),
        *((pattern, attributes.get(key, "")) for key, pattern in condition.attribute.items()),
    )
    return (
        all(re.search(pattern, str(text)) for pattern, text in texts)
        and all(attributes.get(key) is not None for key in condition.has)
        and all(attributes.get(key) is None for key in condition.lacks)
        and condition.root in {None, span.is_root}
        and condition.failed in {None, span.failed}
        and (not condition.node or _is_node(span))
    )


def _is_node(span: OtherSpan) -> bool:
    try:
        said = json.loads(str(span.attributes.get(mapping.METADATA)))
        return bool(said[mapping.NODE] == span.name)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
