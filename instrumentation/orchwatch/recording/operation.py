"""One operation, one span: what a program puts around the work it wants to see."""

from __future__ import annotations

import time

from orchwatch import semconv
from orchwatch.recording import active, in_flight, losses, threads
from orchwatch.recording.otlp_json import clean_attributes

TYPE_CHECKING = False  # typing costs more to import than all of this
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from orchwatch.recording.context import Context
    from orchwatch.recording.otlp_json import Attributes, AttributeValue
    from orchwatch.recording.recorder import Event, Recorder

MAX_NAME_LENGTH = 256
MAX_EVENTS = 128  # of a span, as the OpenTelemetry SDK keeps by default
UNNAMED = "unnamed"
OTHER_ERROR = "_OTHER"  # semantic conventions: an error that has no better name


class operation:  # noqa: N801 - used like a function, as contextlib's managers are
    """Measures the work inside a `with` or `async with` block as one operation.

    Operations nest: one that starts inside another, in the same task or thread, in one started
    from it, or in a process that was handed the context, is its child. An exception that leaves
    the block marks the operation as failed (`error.type`) and goes on unchanged.

    Telemetry never raises: what cannot be recorded is counted and shown by `orchwatch doctor`. Each
    object measures one block.

        with operation("state.query", {"session.id": session_id}) as op:
            rows = query(...)
            op.set_attribute("rows", len(rows))

    Args:
        name: A short constant, e.g. `state.query`; data belongs in the attributes.
        attributes: `str`, `int`, `float`, `bool`, or lists of one of these.

    Attributes:
        trace_id: 32 hexadecimal digits, once the operation has started.
        span_id: 16 hexadecimal digits, likewise.
    """

    __slots__ = (
        "_token",
        "attributes",
        "clock_ns",
        "context",
        "error_type",
        "events",
        "name",
        "parent_span_id",
        "recorder",
        "span_id",
        "start_ns",
        "state",
        "trace_id",
    )

    # Set by the recorder when the operation starts.
    context: Context
    clock_ns: int
    events: list[Event] | None  # with the first one
    parent_span_id: str
    start_ns: int
    state: Any  # the recorder's own
    recorder: Recorder | None
    _token: Any

    # How long it had been going on, in another process, when this one took it up.
    waited_ns = 0

    def __init__(self, name: str, attributes: Attributes | None = None) -> None:
        self.name = name if type(name) is str and 0 < len(name) <= MAX_NAME_LENGTH else _mend(name)
        self.attributes = attributes
        self.error_type = ""
        self.events = None
        self.trace_id = ""
        self.span_id = ""

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Sets an attribute of the running operation."""
        try:
            if type(value) is list:
                value = value[:]  # as it is now
            self.attributes = {**(self.attributes or {}), key: value}
        except Exception as error:  # noqa: BLE001 - unhashable key, or attributes that are no mapping
            losses.count_error("bad_attribute", error)

    def add_event(self, name: str, attributes: Attributes | None = None) -> None:
        """Notes that something has happened now, within the running operation.

        It is kept with the span and shown by `orchwatch trace`. Of more than `MAX_EVENTS` the first
        are kept, and the attribute `orchestration.events.dropped` says how many were not.

        Args:
            name: A short constant, e.g. `cache.miss`; data belongs in the attributes.
            attributes: As an operation's.
        """
        try:
            passed_ns = max(time.perf_counter_ns() - self.clock_ns, 0)
            if self.events is None:
                self.events = []
            if len(self.events) < MAX_EVENTS:
                event = (
                    name if type(name) is str and 0 < len(name) <= MAX_NAME_LENGTH else _mend(name)
                )
                self.events.append((event, self.start_ns + passed_ns, clean_attributes(attributes)))
            else:
                dropped = int((self.attributes or {}).get(semconv.EVENTS_DROPPED, 0))  # type: ignore[arg-type]  # ours
                self.set_attribute(semconv.EVENTS_DROPPED, dropped + 1)
        except Exception as error:  # noqa: BLE001 - not started yet, or attributes that are none
            losses.count_error("bad_attribute", error)

    def fail(self, error_type: str = OTHER_ERROR) -> None:
        """Marks the operation as failed without an exception.

        Args:
            error_type: One of a few bounded names, e.g. `timeout`.
        """
        usable = isinstance(error_type, str) and error_type
        self.error_type = error_type[:MAX_NAME_LENGTH] if usable else OTHER_ERROR

    def __enter__(self) -> Self:
        self._start()
        self._resume()
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._suspend()
        finally:
            self._end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(error_class, error, traceback)

    def _start(self) -> None:
        self.recorder = None
        try:
            if threads.pending:
                threads.follow()
            recorder = active.recorder  # another thread may replace it at any moment
            recorder.start(self)
            self.recorder = recorder
            if recorder.persistent:
                in_flight.begin(self)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks its host
            losses.count_error("internal_error", error)

    def _resume(self) -> None:
        """Makes this the current operation."""
        self._token = None
        if self.recorder is not None:
            try:
                self._token = self.recorder.enter(self)
            except Exception as error:  # noqa: BLE001
                losses.count_error("internal_error", error)

    def _suspend(self) -> None:
        """Makes the operation that was current before `_resume` current again."""
        if self.recorder is not None and self._token is not None:
            try:
                self.recorder.leave(self._token)
            except Exception as error:  # noqa: BLE001
                losses.count_error("internal_error", error)

    def _end(self, error: BaseException | None) -> None:
        if self.recorder is not None:
            try:
                if error is not None and not self.error_type:
                    self.error_type = _error_type(error)
                self.recorder.end(self)
                if self.recorder.persistent:
                    in_flight.end(self)
            except BaseException as failure:
                hosts = not isinstance(failure, Exception) or losses.is_hosts(failure)
                losses.count("interrupted" if hosts else "internal_error")
                if hosts:
                    raise


def _mend(name: object) -> str:
    if isinstance(name, str):
        plain = str.__str__(name)[:MAX_NAME_LENGTH]  # an enum's member is not a plain str
        if plain:
            return plain
    losses.count("bad_name")
    return UNNAMED


def _error_type(error: BaseException) -> str:
    """The exception's class, as `module.Class`; empty if it is not a failure."""
    if isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and not error.code):
        return ""
    error_class = type(error)
    if error_class.__module__ == "builtins":
        return error_class.__qualname__
    return f"{error_class.__module__}.{error_class.__qualname__}"
