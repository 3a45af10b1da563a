"""The address on loopback that `http` hooks post their events to; `registration` has the contract.

An HTTP server of its own, because an agent waits for each answer: `http.server` needs a thread and
its header parser several times as long for a request. It takes one kind of request only.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchwatch.claude import registration
from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HOST_VARIABLE = "ORCHWATCH_MONITOR_HOST"
MOST_BODY_BYTES = 16 * 1024 * 1024

_MOST_HEAD_BYTES = 16 * 1024
_MOST_CONNECTIONS = 128
_REQUEST_LIMIT_S = 5.0  # a client on this machine that needs longer is stuck, or means harm
_IDLE_LIMIT_S = 60.0
_CLOSE_LIMIT_S = 1.0
_SECRET_HEADER = registration.SECRET_HEADER.lower()
_HEAD_END = b"\r\n\r\n"
_DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_logger = logging.getLogger(__name__)


class Endpoint:
    """Listens in a thread of its own from `start` to `close`.

    Args:
        host: The address to listen on.
        port: The port; 0 takes any free one.
        secret: What a request must carry.
        receive: Takes the body of each event, in that thread, when its sender has its answer.

    Attributes:
        receive: The same.
        secret: The same, as bytes.
        connections: Those that are open.
    """

    def __init__(
        self, *, host: str, port: int, secret: str, receive: Callable[[bytes], None]
    ) -> None:
        self.receive = receive
        self.secret = secret.encode()
        self.connections: set[_Connection] = set()
        self._address = (host, port)
        self._refused: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="orchwatch-endpoint", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    def start(self) -> None:
        """Begins to listen.

        Raises:
            OrchwatchError: The port cannot be had.
        """
        listen = self._loop.create_server(
            lambda: _Connection(self), *self._address, backlog=_MOST_CONNECTIONS
        )
        try:
            self._server = self._loop.run_until_complete(listen)
        except OSError as error:
            self._loop.close()
            if error.errno != errno.EADDRINUSE:
                raise OrchwatchError(
                    f"cannot listen on {':'.join(map(str, self._address))}: {error.strerror};"
                    f" set {HOST_VARIABLE} or {registration.PORT_VARIABLE}"
                ) from error
            raise OrchwatchError(
                f"port {self._address[1]}, where hooks post their events, is taken;"
                f" free it or set {registration.PORT_VARIABLE} to another"
            ) from error
        self.hosts = registration.accepted_hosts(self.port)
        self._thread.start()

    def close(self) -> None:
        """Takes no more; what was answered has been received."""

        def stop() -> None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            self._loop.stop()

        self._loop.call_soon_threadsafe(stop)
        self._thread.join(_CLOSE_LIMIT_S)

    def refuse(self, why: str) -> None:
        """Says so in the log, once for each reason."""
        if why not in self._refused:
            self._refused.add(why)
            _logger.warning("refused a request to the hook endpoint: %s", why)


@dataclass(eq=False)
class _Connection(asyncio.Protocol):
    endpoint: Endpoint
    _buffer: bytearray = field(default_factory=bytearray)
    _wanted: int = -1  # bytes of the body that is awaited; negative before the head has come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._limit = self._limited(_REQUEST_LIMIT_S)
        connections = self.endpoint.connections
        if len(connections) >= _MOST_CONNECTIONS:
            self.endpoint.refuse(f"more than {_MOST_CONNECTIONS} connections at once")
            transport.abort()
        connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.cancel()
        self.endpoint.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if not self._buffer and self._wanted < 0:
            self._renew_limit(_REQUEST_LIMIT_S)
        self._buffer += data
        while not self._transport.is_closing() and self._take_request():
            self._renew_limit(_IDLE_LIMIT_S)

    def abort(self) -> None:
        """Ends it at once."""
        self._transport.abort()

    def _take_request(self) -> bool:
        """Whether a whole request was in the buffer."""
        if self._wanted < 0 and not self._take_head():
            return False
        if len(self._buffer) < self._wanted:
            return False
        body = bytes(self._buffer[: self._wanted])
        del self._buffer[: self._wanted]
        self._wanted = -1
        # The agent waits for this, and for nothing of what becomes of the event.
        self._transport.write(_DONE)
        self.endpoint.receive(body)
        return True

    def _take_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            if len(self._buffer) > _MOST_HEAD_BYTES:
                self._refuse("431 Request Header Fields Too Large", "its headers are too long")
            return False
        request, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + len(_HEAD_END)]
        headers = {}
        for line in lines:
            key, _, value = line.partition(":")
            headers[key.lower()] = value.strip()
        problem = self._problem(request, headers)
        if problem is not None:
            self._refuse(*problem)
            return False
        self._wanted = int(headers["content-length"])
        if headers.get("expect", "").lower() == "100-continue":
            self._transport.write(_CONTINUE)
        return True

    def _problem(self, request: str, headers: Mapping[str, str]) -> tuple[str, str] | None:
        """The status and reason to refuse a request with."""
        return self._problem_of_sender(headers) or self._problem_of_request(request, headers)

    def _problem_of_sender(self, headers: Mapping[str, str]) -> tuple[str, str] | None:
        # A page in a browser can reach loopback, by a name of its own too, but not without telling
        # its origin or that name.
        if headers.get("host") not in self.endpoint.hosts or "origin" in headers:
            return "403 Forbidden", "it did not come for this host"
        secret = headers.get(_SECRET_HEADER, "").encode("latin-1")
        if not hmac.compare_digest(secret, self.endpoint.secret):
            return "403 Forbidden", f"without the right {registration.SECRET_HEADER}"
        return None

    @staticmethod
    def _problem_of_request(request: str, headers: Mapping[str, str]) -> tuple[str, str] | None:
        method, _, rest = request.partition(" ")
        if rest.partition(" ")[0] != registration.HOOK_PATH:
            return "404 Not Found", f"its path is not {registration.HOOK_PATH}"
        if method != "POST":
            return "405 Method Not Allowed", "it is no POST"
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            return "411 Length Required", "it does not say how long it is"
        if len(length) > len(str(MOST_BODY_BYTES)) or int(length) > MOST_BODY_BYTES:
            return "413 Content Too Large", f"it is longer than {MOST_BODY_BYTES} bytes"
        return None

    def _refuse(self, status: str, why: str) -> None:
        self.endpoint.refuse(why)
        answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self._transport.write(answer.encode())
        self._transport.close()
        self._buffer.clear()

    def _renew_limit(self, limit_s: float) -> None:
        self._limit.cancel()
        self._limit = self._limited(limit_s)

    def _limited(self, limit_s: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(limit_s, self._transport.abort)
