"""What the endpoint makes of a request, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told.

    Attributes:
        status: HTTP's.
        body: Usually nothing.
        kind: The body's media type; empty where there is no body.
    """

    status: str = "200 OK"
    body: bytes = b""
    kind: str = ""

    def encode(self, *, closes: bool = False, is_head: bool = False) -> bytes:
        """As it goes over the wire.

        Args:
            closes: Nothing comes after it.
            is_head: Only the head was asked for.
        """
        kind = f"Content-Type: {self.kind}\r\n" if self.kind else ""
        closing = "Connection: close\r\n" if closes else ""
        head = f"HTTP/1.1 {self.status}\r\n{kind}Content-Length: {len(self.body)}\r\n{closing}\r\n"
        return head.encode() if is_head else head.encode() + self.body


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """What is made of the requests for a path.

    Attributes:
        method: `POST`, or `GET`, which has no body and stands for `HEAD`, too.
        take: Makes something of a request's body, in the endpoint's thread, and only then its
            sender is answered: what is answered by success has been kept. It must not raise.
        header: Which header carries the secret, in lower case.
        secret: What it must be, so that only this user is let in; empty where everybody on this
            machine may ask.
        max_bytes: A longer body is refused.
    """

    method: str
    take: Callable[[bytes], Answer]
    header: str = ""
    secret: bytes = b""
    max_bytes: int = 0
