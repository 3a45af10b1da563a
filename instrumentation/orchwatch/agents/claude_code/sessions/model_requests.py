"""Requests to a model that wait for their answer, as a file's `api-request` lines report them."""

from __future__ import annotations

from typing import Any, NamedTuple

from orchwatch.agents.sessions.fields import mapping, text

_MAX_WAITING = 1000


class ModelRequest(NamedTuple):
    """A request.

    Attributes:
        record_id: Its own id.
        start_ns: When it was sent, Unix time in nanoseconds.
        source: What asked: the main conversation, a sub-agent, a helper.
        model: Which model was asked.
        request_id: By which name the API knows it, empty before anything of its answer came.
    """

    record_id: str
    start_ns: int
    source: str
    model: str
    request_id: str = ""


class ModelRequests:
    """The requests in one file that wait for their answer.

    Args:
        state: The file's, in which they are kept.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self._waiting: dict[str, list[Any]] = state.setdefault("queries", {})

    def ask(self, record: dict[str, Any], record_id: str, at: int) -> None:
        """A request is sent, perhaps once more."""
        model = text(mapping(record.get("params")).get("model"))
        request = ModelRequest(record_id, at, text(record.get("querySource")), model)
        self._waiting[record_id] = list(request)
        while len(self._waiting) > _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def begin(self, record_id: str, request_id: str) -> None:
        """Something of its answer is there."""
        if record_id in self._waiting:
            request = ModelRequest(*self._waiting[record_id])
            self._waiting[record_id] = list(request._replace(request_id=request_id))

    def answer(self, record_id: str) -> ModelRequest | None:
        """The whole answer is there; so it is not for what the same asked before."""
        if record_id not in self._waiting:
            return None
        request = ModelRequest(*self._waiting[record_id])
        self._drop(request.source)
        return request

    def cut_off(self) -> ModelRequest | None:
        """The last one gets no more of its answer."""
        if not self._waiting:
            return None
        request = ModelRequest(*self._waiting[next(reversed(self._waiting))])
        self._drop(request.source)
        return request

    def given_up(self) -> int:
        """The last one is not tried again; how often it was."""
        if not self._waiting:
            return 0
        return self._drop(str(self._waiting[next(reversed(self._waiting))][2]))

    def _drop(self, source: str) -> int:
        own = [key for key, request in self._waiting.items() if request[2] == source]
        for key in own:
            del self._waiting[key]
        return len(own)
