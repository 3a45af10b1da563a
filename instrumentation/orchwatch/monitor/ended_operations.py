"""Ended spans, as figures need them: from lines of the spool or rows of the store."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STATUS_ERROR = 2  # OTLP
_MAX_NS = 2**63 - 1
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
_ID = re.compile(r"[0-9a-fA-F]{16}")
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
_NO_SPAN = "0" * 16

# A line as `otlp_json` writes one with one span. The part before the span is equal in all lines of
# a process, and its attributes are equal to those of many others, so both are parsed once. A line
# that this matches gives what `json` would.
_SPANS = b'"spans":[{"traceId":"'
_REST = re.compile(
    rb'([0-9a-f]{32})","spanId":"([0-9a-f]{16})",(?:"parentSpanId":"([0-9a-f]{16})",)?'
    rb'"name":"([^"\\\x00-\x1f]*)","kind":\d,"startTimeUnixNano":"(\d{1,19})",'
    rb'"endTimeUnixNano":"(\d{1,19})","attributes":(\[.*\]),"status":\{"code":(\d)\}\}\]\}\]\}\]\}'
)
_SPANS_END = b'"spans":[]}]}]}'
_MAX_PARSED = 4096

_Process = tuple[str | None, str | None, str | None]
_Attributes = tuple[
    str | None, str | None, str | None, str | None, str | None, str | None
]  # as `_of_attributes` returns them


class EndedOperation(NamedTuple):
    """A span that ended, an operation or not.

    Attributes:
        operation: The operation's name; empty where the span is none.
        end_ns: When it ended, in Unix nanoseconds.
        duration_ns: How long it took.
        failed: Whether it failed.
        session_id: Its session; None where it does not say, as below.
        agent: The agent's name.
        agent_id: The agent's id.
        span_id: 16 hexadecimal digits.
        parent_span_id: Likewise; None at the root of a trace.
        service: Which service recorded it.
        host: On which host.
        pid: By which process.
        trace_id: 32 hexadecimal digits; empty, as the following, where the store had it.
        name: The span's name.
        hook: What a hook is called; None of anything else, and where unknown.
        hook_event: The event that the hook ran for, likewise.
        is_operation: Whether it is an operation.
    """

    operation: str
    end_ns: int
    duration_ns: int
    failed: bool
    session_id: str | None
    agent: str | None
    agent_id: str | None
    span_id: str
    parent_span_id: str | None
    service: str | None
    host: str | None
    pid: str | None
    trace_id: str = ""
    name: str = ""
    hook: str | None = None
    hook_event: str | None = None
    is_operation: bool = True


class Reader:
    """Reads lines of OTLP/JSON; keep one instance, as it caches the parts that lines share."""

    def __init__(self) -> None:
        self._processes: dict[bytes, _Process | None] = {}
        self._attributes: dict[bytes, _Attributes] = {}

    def read(self, line: bytes) -> list[EndedOperation]:
        """The spans of a line; unreadable ones are left out.

        `store.lines` counts what is unreadable, and reads the same out of the same line.
        """
        try:
            found = self._read_own(line)
            if found is not None:
                return found
            return list(_of_document(json.loads(line)))
        except _BROKEN:
            return []

    def _read_own(self, line: bytes) -> list[EndedOperation] | None:
        """None where it is of another form."""
        before, _, after = line.partition(_SPANS)
        rest = _REST.fullmatch(after)
        if rest is None:
            return None
        process = self._processes.get(before)
        if process is None:
            process = _process_before(before)
            if process is None:
                return None
            _keep(self._processes, before, process)
        trace_id, span_id, parent, name, start, end, encoded, status = rest.groups()
        attributes = self._attributes.get(encoded)
        if attributes is None:
            try:
                pairs = json.loads(encoded)
            except ValueError:  # of several spans: what stands between the first and the last
                return None
            attributes = _of_attributes(pairs)
            _keep(self._attributes, encoded, attributes)
        operation, session_id, agent, agent_id, hook, event = attributes
        end_ns = int(end)
        if end_ns > _MAX_NS:
            return []
        return [
            EndedOperation(
                operation or "",
                end_ns,
                max(0, end_ns - int(start)),
                status == b"2",
                session_id,
                agent,
                agent_id,
                span_id.decode(),
                None if parent is None or parent == b"0000000000000000" else parent.decode(),
                *process,
                trace_id.decode(),
                name.decode("utf-8", "replace"),
                hook,
                event,
                operation is not None,
            )
        ]


def _process_before(before: bytes) -> _Process | None:
    try:
        (of_resource,) = json.loads(before + _SPANS_END)["resourceSpans"]
        (of_scope,) = of_resource["scopeSpans"]
    except ValueError:
        return None
    return None if of_scope["spans"] else _process(of_resource)


def _of_document(document: dict[str, Any]) -> Iterator[EndedOperation]:
    for of_resource in document.get("resourceSpans") or ():
        process = _process(of_resource)
        for of_scope in of_resource.get("scopeSpans") or ():
            for span in of_scope.get("spans") or ():
                try:
                    found = _of_span(span, process)
                except _BROKEN:
                    continue
                if found is not None:
                    yield found


def _process(of_resource: dict[str, Any]) -> _Process:
    resource = _pairs((of_resource.get("resource") or {}).get("attributes"))
    pid = next(iter((resource.get(semconv.PROCESS_PID) or {}).values()), None)
    return (
        _text(resource.get(semconv.SERVICE_NAME)),
        _text(resource.get(semconv.HOST_NAME)),
        None if pid is None else str(pid),
    )


def _of_span(span: dict[str, Any], process: _Process) -> EndedOperation | None:
    operation, session_id, agent, agent_id, hook, event = _of_attributes(span.get("attributes"))
    end_ns = int(span["endTimeUnixNano"])
    duration_ns = max(0, end_ns - int(span["startTimeUnixNano"]))
    is_span = _ID.fullmatch(span["spanId"]) and _TRACE_ID.fullmatch(span["traceId"])
    if not is_span or not duration_ns <= end_ns <= _MAX_NS:
        return None
    parent = span.get("parentSpanId")
    name = span.get("name")
    return EndedOperation(
        operation or "",
        end_ns,
        duration_ns,
        int((span.get("status") or {}).get("code") or 0) == _STATUS_ERROR,
        session_id,
        agent,
        agent_id,
        span["spanId"].lower(),
        parent.lower() if parent and parent != _NO_SPAN else None,
        *process,
        span["traceId"].lower(),
        name if isinstance(name, str) else "",
        hook,
        event,
        operation is not None,
    )


def _of_attributes(pairs: Iterable[dict[str, Any]] | None) -> _Attributes:
    """Operation, session, agent's name and id, a hook's name and event."""
    attributes = _pairs(pairs)
    return (
        _text(attributes.get(semconv.OPERATION_NAME)),
        _text(attributes.get(semconv.SESSION_ID)),
        _text(attributes.get(semconv.GEN_AI_AGENT_NAME)),
        _text(attributes.get(semconv.GEN_AI_AGENT_ID)),
        _text(attributes.get(semconv.HOOK_NAME)),
        _text(attributes.get(semconv.HOOK_EVENT_NAME)),
    )


def _pairs(pairs: Iterable[dict[str, Any]] | None) -> dict[str, Any]:
    # Of two with one key the first counts.
    return {pair["key"]: pair.get("value") for pair in reversed(list(pairs or ()))}


def _text(value: dict[str, Any] | None) -> str | None:
    text = value.get("stringValue") if value else None
    return text if isinstance(text, str) else None


def _keep(parsed: dict[bytes, Any], key: bytes, value: object) -> None:
    if len(parsed) >= _MAX_PARSED:
        parsed.clear()
    parsed[key] = value
