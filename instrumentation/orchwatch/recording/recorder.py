"""The protocols between operations and recorders."""

from __future__ import annotations

TYPE_CHECKING = False  # typing costs more to import than all of this
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from orchwatch.recording.context import Context
    from orchwatch.recording.otlp_json import Attributes, AttributeValue

    Event = tuple[str, int, Mapping[str, AttributeValue]]
    """Its name, when it happened in Unix nanoseconds, and its clean attributes."""

    class Operation(Protocol):
        """An `operation`, as recorders see it; they set the attributes below `error_type`."""

        name: str
        attributes: Attributes | None
        error_type: str
        events: list[Event] | None
        trace_id: str
        span_id: str
        waited_ns: int  # how long it had been going on before `start`
        parent_span_id: str
        context: Context
        start_ns: int
        clock_ns: int
        state: Any  # the recorder's own
        recorder: Recorder | None  # the one that started it

    class Recorder(Protocol):
        """What `operation` and the propagation functions need; tokens are the recorder's own."""

        persistent: bool  # whether an operation is recorded even if its process is killed inside it

        def start(self, op: Operation) -> None:
            """Sets the operation's ids and start."""

        def end(self, op: Operation) -> None:
            """Records the operation."""

        def opened(self, op: Operation) -> tuple[str, Mapping[str, Any]]:
            """The parent's id and the attributes of an operation that has just started."""

        def enter(self, op: Operation) -> Any:
            """Makes the operation the current one; `leave` takes the token that is returned."""

        def attach(self, context: Context) -> Any:
            """Makes a context the current one; `leave` takes the token that is returned."""

        def leave(self, token: Any) -> None:
            """Makes the previous context current again."""

        def current(self) -> Context:
            """The current context."""

        def count(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
            """Adds to a counter."""

        def gauge(self, name: str, value: float, attributes: Attributes | None, unit: str) -> None:
            """Sets a gauge."""
