"""The monitor process's address on loopback; each path has a route.

An HTTP server of its own, because an agent waits for each answer: `http.server` needs a thread and
an e-mail parser for each request, and `asyncio` twice the time of a plain selector. Requests are
parsed by `request`.
"""

from __future__ import annotations

import errno
import hmac
import logging
import math
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from orchwatch.agents.claude_code.settings import registration
from orchwatch.errors import OrchwatchError
from orchwatch.monitor import request
from orchwatch.monitor.request import RefusedError
from orchwatch.monitor.route import Response
from orchwatch.recording import losses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchwatch.monitor.request import Head
    from orchwatch.monitor.route import Route

HOST_VARIABLE = "ORCHWATCH_MONITOR_HOST"

_MAX_CONNECTIONS = 128
_READ_BYTES = 256 * 1024
_REQUEST_LIMIT_S = 5.0  # a client on this machine that needs longer is stuck, or means harm
_IDLE_LIMIT_S = 60.0
_CLOSE_LIMIT_S = 1.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_logger = logging.getLogger(__name__)


class Endpoint:
    """Listens in a thread of its own from `start` to `close`.

    Args:
        host: The address to listen on.
        port: The port; 0 takes any free one.
        routes: By path.

    Attributes:
        routes: The routes by path.
        hosts: The names of this host that a request may be for.
    """

    def __init__(self, *, host: str, port: int, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self.hosts: tuple[str, ...] = ()
        self._address = (host, port)
        self._warned: set[str] = set()
        # The one that has been silent for longest comes first.
        self._connections: dict[socket.socket, _Connection] = {}
        self._thread = threading.Thread(target=self._run, name="orchwatch-endpoint", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        number: int = self._listening.getsockname()[1]
        return number

    def start(self) -> None:
        """Begins to listen.

        Raises:
            OrchwatchError: The port cannot be used.
        """
        try:
            self._listening = socket.create_server(self._address, backlog=_MAX_CONNECTIONS)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise OrchwatchError(
                    f"cannot listen on {':'.join(map(str, self._address))}: {error.strerror};"
                    f" set {HOST_VARIABLE} or {registration.PORT_VARIABLE}"
                ) from error
            raise OrchwatchError(
                f"port {self._address[1]}, where hooks post their events, is taken;"
                f" free it or set {registration.PORT_VARIABLE} to another"
            ) from error
        self.hosts = registration.accepted_hosts(self._address[0], self.port)
        self._listening.settimeout(0)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._ended, self._end = socket.socketpair()
        self._selector.register(self._ended, selectors.EVENT_READ)
        self._thread.start()

    def is_host(self, host: str) -> bool:
        """Whether a request for that host is for this endpoint."""
        return host.lower() in self.hosts

    def answer(self, path: str, body: bytes) -> Response:
        """The route's response to a request; a bug in the route does not end the endpoint."""
        try:
            return self.routes[path].take(body)
        except Exception:
            losses.count("internal_error")
            _logger.exception("a request to %s failed", path)
            return Response("500 Internal Server Error")

    def close(self) -> None:
        """Stops listening; requests that were answered have been handled."""
        self._end.close()
        self._thread.join(_CLOSE_LIMIT_S)

    def warn(self, what: str) -> None:
        """Logs it, once."""
        if what not in self._warned:
            self._warned.add(what)
            _logger.warning("%s", what)

    def _run(self) -> None:
        while True:
            first_s = min((one.limit_s for one in self._connections.values()), default=math.inf)
            wait_s = None if first_s == math.inf else max(0.0, first_s - time.monotonic())
            ready = [key.fileobj for key, _ in self._selector.select(wait_s)]
            if self._ended in ready:
                self._hang_up()
                return
            for client in ready:
                if client is not self._listening:
                    assert isinstance(client, socket.socket)
                    self._read(client)
            if self._listening in ready:  # last: clients that were just read are not silent
                self._accept()
            if time.monotonic() >= first_s:
                now_s = time.monotonic()
                for client, connection in list(self._connections.items()):
                    if connection.limit_s <= now_s:
                        self._drop(client)

    def _accept(self) -> None:
        try:
            client, _ = self._listening.accept()
        except OSError:  # gone already, or there are too many open files
            return
        if len(self._connections) >= _MAX_CONNECTIONS:
            # No client waits for a response here, so it costs one that is still there a new
            # connection at most; turning the new one away would cost a hook its event.
            self.warn(f"more than {_MAX_CONNECTIONS} connections at once; ending the silent ones")
            self._drop(next(iter(self._connections)))
        client.settimeout(0)
        self._connections[client] = _Connection(self, client)
        self._selector.register(client, selectors.EVENT_READ)
        self._read(client)  # most often the request is there already

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # it has hung up
            data = b""
        try:
            if data:
                self._connections[client] = connection = self._connections.pop(client)
                connection.take(data)
                return
        except OSError:  # it does not read its response
            pass
        self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        del self._connections[client]
        self._selector.unregister(client)
        client.close()

    def _hang_up(self) -> None:
        for client in list(self._connections):
            self._drop(client)
        self._selector.close()
        self._listening.close()
        self._ended.close()


class _Connection:
    """One client.

    Attributes:
        limit_s: When to hang up on it, by the monotonic clock.
    """

    def __init__(self, endpoint: Endpoint, client: socket.socket) -> None:
        self.limit_s = time.monotonic() + _REQUEST_LIMIT_S
        self._endpoint = endpoint
        self._client = client
        self._buffer = bytearray()
        self._head: Head | None = None  # of the request whose body is awaited
        self._is_done = False

    def take(self, data: bytes) -> None:
        """Handles received bytes.

        Raises:
            OSError: The client does not read its response.
        """
        if not self._buffer and self._head is None and not self._is_done:
            self.limit_s = time.monotonic() + _REQUEST_LIMIT_S
        self._buffer += data
        try:
            while not self._is_done and self._take_request():
                self.limit_s = time.monotonic() + _IDLE_LIMIT_S
        except RefusedError as refused:
            self._endpoint.warn(f"refused a request: {refused.why}")
            self._client.sendall(Response(refused.status).encode(closes=True))
            self._is_done = True
        if self._is_done:  # it is read to its end, or hanging up would take the answer away
            self._buffer.clear()
            self.limit_s = min(self.limit_s, time.monotonic() + _CLOSE_LIMIT_S)
            with suppress(OSError):
                self._client.shutdown(socket.SHUT_WR)

    def _take_request(self) -> bool:
        """Whether a whole request was in the buffer.

        Raises:
            RefusedError: The request is refused.
        """
        head = self._head or self._take_head()
        if head is None:
            return False
        length = head.length or 0
        if len(self._buffer) < length:
            if head.waits and head is not self._head and not self._buffer:
                self._client.sendall(_CONTINUE)
            self._head = head
            return False
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._head = None
        self._is_done = head.closes
        answer = self._endpoint.answer(head.path, body)
        self._client.sendall(answer.encode(closes=head.closes, is_head=head.method == "HEAD"))
        return True

    def _take_head(self) -> Head | None:
        end = self._buffer.find(request.END)
        if max(end, 0 if end >= 0 else len(self._buffer)) > request.MAX_HEAD_BYTES:
            raise RefusedError("431 Request Header Fields Too Large", "its headers are too long")
        if end < 0:
            if request.bare_line_end(self._buffer):
                raise RefusedError(request.BAD, "a line of its head does not end in CR and LF")
            return None
        head = request.parse(bytes(self._buffer[:end]), self._endpoint.is_host)
        del self._buffer[: end + len(request.END)]
        self._check(head)
        return head

    def _check(self, head: Head) -> None:
        route = self._endpoint.routes.get(head.path)
        if route is None:
            known = ", ".join(self._endpoint.routes)
            raise RefusedError("404 Not Found", f"its path is not one of {known}")
        if route.secret:
            secret = head.fields.get(route.header, "").encode("latin-1")
            if not hmac.compare_digest(secret, route.secret):
                why = f"without the right {route.header} for {head.path}"
                raise RefusedError("403 Forbidden", why)
        if head.method != route.method and (head.method, route.method) != ("HEAD", "GET"):
            raise RefusedError("405 Method Not Allowed", f"it is no {route.method}")
        if head.length is None and route.method != "GET":
            raise RefusedError("411 Length Required", "it does not say how long it is")
        if (head.length or 0) > route.max_bytes:
            why = f"it is longer than {route.max_bytes} bytes"
            raise RefusedError("413 Content Too Large", why)
