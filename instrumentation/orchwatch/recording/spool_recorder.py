"""How operations are recorded: by default as lines in the spool, using only the standard library.

`configure()` replaces this recorder with one that uses the OpenTelemetry SDK. Both write the same
spans.
"""

from __future__ import annotations

import os
import time
from _contextvars import ContextVar

from orchwatch import semconv
from orchwatch.recording import environment, files, losses, services, spool
from orchwatch.recording.locks import lock_exclusively
from orchwatch.recording.otlp_json import (
    LINE_SUFFIX,
    STATUS_ERROR,
    STATUS_OK,
    clean_attributes,
    encode_attributes,
    encode_counter,
    encode_events,
    encode_gauge,
    encode_point,
    encode_span,
    metrics_prefix,
    quote,
    spans_prefix,
    to_bytes,
)
from orchwatch.recording.resources import resource_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _contextvars import Token
    from collections.abc import Mapping
    from typing import Any

    from orchwatch.recording.context import Context
    from orchwatch.recording.otlp_json import Attributes, AttributeValue
    from orchwatch.recording.recorder import Operation

_LOCK_WAIT_S = 1.0
_IDS_AT_ONCE = 64
_MILLISECOND_NS = 1_000_000
_MAX_NAMES = 1024


class SpoolRecorder:
    """Appends each operation to the spool as it ends, see `recorder.Recorder`."""

    persistent = True

    def __init__(self, current: ContextVar[Context | None] | None = None) -> None:
        self._current = current or ContextVar("orchwatch", default=None)
        self._retired = False
        self._ids: list[str] = []
        self._prefix = ""
        self._lock_wait_s = _LOCK_WAIT_S
        # Per name: as a JSON string, and as the operation's first attribute.
        self._names: dict[str, tuple[str, str]] = {}

    def start(self, op: Operation) -> None:
        parent = self._current.get() or environment.context()
        op.trace_id = parent.trace_id or self._new_id() + self._new_id()
        op.span_id = self._new_id()
        op.parent_span_id = parent.span_id
        op.context = parent.child(op.trace_id, op.span_id)
        if op.attributes is not None:
            op.attributes = clean_attributes(op.attributes)  # a copy: the host may reuse its own
        op.state = op.attributes
        op.start_ns = time.time_ns() - op.waited_ns
        op.clock_ns = time.perf_counter_ns() - op.waited_ns

    def end(self, op: Operation) -> None:
        if self._retired:
            return
        # Differences of the wall clock are not durations: it can be set. So can the monotonic
        # clock, where a host's tests replace it with a fake.
        end_ns = op.start_ns + max(time.perf_counter_ns() - op.clock_ns, 0)
        name_json, attributes_json = self._names.get(op.name) or self._encode_name(op.name)
        if op.attributes is not None or op.error_type:
            attributes_json = encode_attributes(span_attributes(op))
        elif op.context.inherited_json:
            attributes_json = f"{attributes_json},{op.context.inherited_json}"
        more = _link() if services.is_one and not op.parent_span_id else ""
        if op.events:
            more += encode_events(op.events)
        span = encode_span(
            trace_id=op.trace_id,
            span_id=op.span_id,
            parent_span_id=op.parent_span_id,
            name=name_json,
            start_ns=op.start_ns,
            end_ns=end_ns,
            attributes=attributes_json,
            status=STATUS_ERROR if op.error_type else STATUS_OK,
            more=more,
        )
        prefix = self._prefix or self._make_prefix()
        spool.append(spool.OPERATIONS, to_bytes(f"{prefix}{span}{LINE_SUFFIX}"))

    def opened(self, op: Operation) -> tuple[str, Mapping[str, Any]]:
        return op.parent_span_id, span_attributes(op)

    def enter(self, op: Operation) -> Token[Context | None]:
        return self._current.set(op.context)

    def attach(self, context: Context) -> Token[Context | None]:
        return self._current.set(context)

    def leave(self, token: Token[Context | None]) -> None:
        try:
            self._current.reset(token)
        except ValueError as error:
            # Otherwise an abandoned generator is closed in another context, where nothing was set.
            if losses.is_hosts(error):
                raise

    def current(self) -> Context:
        return self._current.get() or environment.context()

    def count(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
        # The Collector adds deltas up and drops one that is older than the last: so the process
        # that reads the clock must also be the next to append.
        lock = self._lock_metrics()
        try:
            now_ns = time.time_ns()
            # Prometheus puts the zero that a first increase is compared with at the start time,
            # which it stores in milliseconds.
            start_ns = now_ns - _MILLISECOND_NS
            point = encode_point(value, clean_attributes(attributes), start_ns, now_ns)
            self._append_metric(encode_counter(name, unit, point))
        finally:
            if lock >= 0:
                os.close(lock)

    def gauge(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
        now_ns = time.time_ns()
        point = encode_point(value, clean_attributes(attributes), now_ns, now_ns)
        self._append_metric(encode_gauge(name, unit, point))

    def in_child(self) -> SpoolRecorder:
        """The recorder of a forked child, which goes on in the same context.

        It has its own ids and process id; what the parent has started is recorded by the parent,
        although the child unwinds it too.
        """
        self._retired = True
        return SpoolRecorder(self._current)

    def _new_id(self) -> str:
        try:
            return self._ids.pop()
        except IndexError:
            digits = os.urandom(8 * _IDS_AT_ONCE).hex()
            ids = [digits[start : start + 16] for start in range(0, len(digits), 16)]
            new = ids.pop()
            self._ids = ids
            return new

    def _encode_name(self, name: str) -> tuple[str, str]:
        if len(self._names) >= _MAX_NAMES:  # names generated at run time must not fill the memory
            self._names.clear()
        encoded = (quote(name), encode_attributes({semconv.OPERATION_NAME: name}))
        self._names[name] = encoded
        return encoded

    def _make_prefix(self) -> str:
        resource = encode_attributes(resource_attributes())
        self._prefix = spans_prefix(resource)
        return self._prefix

    def _append_metric(self, metric: str) -> None:
        resource = encode_attributes(resource_attributes())
        prefix = metrics_prefix(resource)
        spool.append(spool.METRICS, to_bytes(f"{prefix}{metric}{LINE_SUFFIX}"))

    def _lock_metrics(self) -> int:
        try:
            lock = files.descriptor(
                f"{spool.make_directory()}/.metrics.lock", os.O_RDWR | os.O_CREAT, links=False
            )
        except OSError:
            return -1  # appending will fail too, and count it
        # The holder of the lock may wait long for a CPU; a stopped one is waited for only once.
        had = lock_exclusively(lock, self._lock_wait_s)
        self._lock_wait_s = _LOCK_WAIT_S if had else 0.0
        return lock


def _link() -> str:
    context = environment.started_by()
    if context is None:
        return ""
    return f',"links":[{{"traceId":"{context.trace_id}","spanId":"{context.span_id}"}}]'


def span_attributes(op: Operation) -> dict[str, AttributeValue]:
    """All attributes of an ended operation's span, clean."""
    attributes: dict[str, AttributeValue] = {
        semconv.OPERATION_NAME: op.name,
        **op.context.inherited,
        **(op.state or {}),
    }
    if op.attributes is not op.state:
        attributes.update(clean_attributes(op.attributes))
    attributes[semconv.OPERATION_NAME] = op.name
    if op.error_type:
        attributes[semconv.ERROR_TYPE] = op.error_type
    return attributes
