"""Responses of an OTLP server, which the SDK's exporters do not read.

To them any HTTP status below 400 is a success, even a redirect to a login page, and rejected parts
of a request (`partial_success`) go unnoticed.
Source: OpenTelemetry Protocol specification, partial success and OTLP/HTTP response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import Parse

if TYPE_CHECKING:
    import requests
    from google.protobuf.message import Message

_REDIRECTION = range(300, 400)


class UnknownAnswerError(Exception):
    """The response did not come from an OTLP server."""


class Answers:
    """Reads the answers to one exporter's requests.

    Attributes:
        refused: How many spans or data points of the last accepted request the server has rejected.
    """

    def __init__(self) -> None:
        self.refused = 0

    def session(self, answer: type[Message]) -> requests.Session:
        """An HTTP session that reads each response; one that is not OTLP is a failure.

        Args:
            answer: The response's message type.
        """
        import requests  # noqa: PLC0415 - large, and most processes never send

        def read(response: requests.Response, *_: object, **__: object) -> None:
            if response.status_code in _REDIRECTION:
                raise UnknownAnswerError(response.status_code)
            if response.ok:
                self._read(_decode(response, answer()))

        session = requests.Session()
        session.hooks["response"].append(read)
        return session

    def follow(self, exporter: Any) -> None:
        """Reads the responses to a gRPC exporter, also over connections that it opens later.

        There is no public API for that: with a version that names its internals differently,
        responses go unread, as without this.
        """
        if not all(hasattr(exporter, part) for part in ("_stub", "_client", "_channel")):
            return
        make_stub = exporter._stub

        def make_read_stub(channel: object) -> Any:
            stub = make_stub(channel)
            export = stub.Export
            stub.Export = lambda *args, **named: self._read(export(*args, **named))
            return stub

        exporter._stub = make_read_stub
        exporter._client = make_read_stub(exporter._channel)

    def _read(self, answer: Any) -> None:
        partial = answer.partial_success
        fields = ("rejected_spans", "rejected_data_points")
        self.refused = max(getattr(partial, field, 0) for field in fields)


def _decode(response: requests.Response, answer: Message) -> Message:
    try:
        if "json" in response.headers.get("Content-Type", ""):
            return Parse(response.content, answer, ignore_unknown_fields=True)
        answer.ParseFromString(response.content)
    except Exception as error:
        raise UnknownAnswerError from error  # the page of a proxy, say
    return answer
