"""What the parent process handed over in environment variables."""

from __future__ import annotations

import os

from orchwatch import semconv
from orchwatch.recording import services
from orchwatch.recording.context import ROOT, Context, parse

TYPE_CHECKING = False  # typing costs more to import than all of this
if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTEXT_VARIABLES = (b"TRACEPARENT", b"BAGGAGE", b"CLAUDE_CODE_SESSION_ID")
# The dictionary behind `os.environb`, which itself raises and catches for each variable that is
# not set: 2 µs for three, a tenth of an operation on the SDK path.
_environ: Mapping[bytes, bytes] = getattr(os.environb, "_data", os.environb)

_handed_over: tuple[tuple[bytes | None, ...], Context] = ((None, None, None), ROOT)


def context() -> Context:
    """The context that the parent process handed over in `TRACEPARENT` and `BAGGAGE`.

    A process that an agent host starts without either still belongs to the host's session.
    """
    global _handed_over  # noqa: PLW0603 - a process has one environment
    # Read for each root operation, and decoding takes longer than reading.
    values = tuple([_environ.get(variable) for variable in _CONTEXT_VARIABLES])
    if values != _handed_over[0]:
        traceparent, baggage, session_id = [
            os.fsdecode(value) if value else None for value in values
        ]
        found = parse(traceparent, baggage)
        if session_id and semconv.SESSION_ID not in found.baggage:
            # The conversation says that this session is an agent's, whose reader names it.
            of_host = {semconv.SESSION_ID: session_id, semconv.GEN_AI_CONVERSATION_ID: session_id}
            found = found.with_baggage(of_host)
        _handed_over = (values, found)
    found = _handed_over[1]
    if found.trace_id and services.look():
        return Context("", "", found.baggage)
    return found


def started_by() -> Context | None:
    """The context that this process was started in, if it is a service and so no child of it."""
    found = _handed_over[1]
    return found if services.is_one and found.trace_id else None
