"""Routes and responses of the monitor's HTTP endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response.

    Attributes:
        status: The status code and reason.
        body: Usually empty.
        kind: The body's media type; empty where there is no body.
    """

    status: str = "200 OK"
    body: bytes = b""
    kind: str = ""

    def encode(self, *, closes: bool = False, is_head: bool = False) -> bytes:
        """The response on the wire.

        Args:
            closes: Whether the connection is closed after it.
            is_head: Whether the request was a HEAD.
        """
        kind = f"Content-Type: {self.kind}\r\n" if self.kind else ""
        closing = "Connection: close\r\n" if closes else ""
        head = f"HTTP/1.1 {self.status}\r\n{kind}Content-Length: {len(self.body)}\r\n{closing}\r\n"
        return head.encode() if is_head else head.encode() + self.body


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """How the requests for a path are handled.

    Attributes:
        method: `POST`, or `GET`, which has no body and stands for `HEAD`, too.
        take: Handles a request's body, in the endpoint's thread, before the response is sent: what
            is answered with success has been stored. It must not raise.
        header: Which header carries the secret, in lower case.
        secret: The value required there, so that only this user is let in; empty where every
            user of this machine may ask.
        max_bytes: A longer body is refused.
    """

    method: str
    take: Callable[[bytes], Response]
    header: str = ""
    secret: bytes = b""
    max_bytes: int = 0
