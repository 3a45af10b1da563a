"""Propagating the context to and from other processes: environment and message headers."""

from __future__ import annotations

import os

from orchwatch.recording import active, losses
from orchwatch.recording.context import (
    BAGGAGE,
    TRACEPARENT,
    Context,
    clean_baggage,
    format_baggage,
    format_traceparent,
    parse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from types import TracebackType
    from typing import Any


def inject(headers: MutableMapping[str, str], baggage: Mapping[str, str] | None = None) -> None:
    """Writes `traceparent` and `baggage` of the current operation into message headers.

    Args:
        headers: Changed in place; a header that would be empty is left out.
        baggage: More entries for the receiver, e.g. `{"gen_ai.agent.name": "reviewer"}`.
    """
    carrier = _carrier(baggage)
    try:
        headers.update(carrier)
    except Exception as error:  # noqa: BLE001 - telemetry never breaks its host
        losses.count_error("bad_headers", error)


def child_environment(
    baggage: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for a child process, so that its operations are children of the current one.

    Args:
        baggage: More entries for the child.
        environ: The environment to extend; by default this process's own.
    """
    child = dict(os.environ if environ is None else environ)
    carrier = _carrier(baggage)
    if carrier:  # baggage of another context must not join this trace
        for name in (TRACEPARENT, BAGGAGE):
            child.pop(name.upper(), None)
    child.update({key.upper(): value for key, value in carrier.items()})
    return child


class attach:  # noqa: N801 - used like a function, as contextlib's managers are
    """Works inside the context found in message headers or an environment.

        with attach(message.headers), operation("event.process"):
            ...

    Malformed values are counted and ignored; what the headers leave out stays unchanged.

    Args:
        headers: Searched for `traceparent` and `baggage`, in upper or lower case.
        baggage: More entries, e.g. `{"session.id": session_id}`.
    """

    __slots__ = ("_baggage", "_headers", "_recorder", "_token")

    def __init__(
        self, headers: Mapping[str, str] | None = None, baggage: Mapping[str, str] | None = None
    ) -> None:
        self._headers = headers
        self._baggage = baggage

    def __enter__(self) -> None:
        self._recorder = active.recorder
        self._token: Any = None
        try:
            context = _extract(self._headers or {}, self._recorder.current())
            if self._baggage:
                context = context.with_baggage(self._baggage)
            self._token = self._recorder.attach(context)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks its host
            losses.count_error("internal_error", error)

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            self._recorder.leave(self._token)


def _carrier(baggage: Mapping[str, str] | None) -> dict[str, str]:
    try:
        context = active.recorder.current()
        entries = context.baggage
        if baggage:
            entries = {**entries, **clean_baggage(baggage)}
        carrier = {}
        if context.trace_id:
            carrier[TRACEPARENT] = format_traceparent(context)
        if entries:
            carrier[BAGGAGE] = format_baggage(entries)
    except Exception as error:  # noqa: BLE001 - telemetry never breaks its host
        losses.count_error("internal_error", error)
        return {}
    return carrier


def _extract(headers: Mapping[str, str], current: Context) -> Context:
    found = {}
    for name in (TRACEPARENT, BAGGAGE):
        try:
            value = headers.get(name)
            found[name] = value if value is not None else headers.get(name.upper())
        except Exception as error:  # noqa: BLE001 - whatever they are, they are the host's
            losses.count_error("bad_headers", error)
            return current
    return parse(found[TRACEPARENT], found[BAGGAGE], current)
