from __future__ import annotations

import http.client
import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from orchwatch.agents.claude_code.settings import registration
from orchwatch.errors import OrchwatchError
from orchwatch.monitor import endpoint
from orchwatch.monitor.endpoint import Endpoint
from orchwatch.monitor.route import Response, Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SECRET = "0123456789abcdef"
PATH = registration.HOOK_PATH
ASKED, OPEN = "/asked", "/open"
MAX_BODY_BYTES = 3_000_000


class Listening:
    """An endpoint, and what it received."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.received: list[bytes] = []
        self.answer = Response()
        self.fails = False
        header = registration.SECRET_HEADER.lower()
        secret = SECRET.encode()
        self.endpoint = Endpoint(
            host=host,
            port=0,
            routes={
                PATH: Route(
                    method="POST",
                    take=self.take,
                    header=header,
                    secret=secret,
                    max_bytes=MAX_BODY_BYTES,
                ),
                ASKED: Route(
                    method="POST", take=self.take, header=header, secret=secret, max_bytes=10
                ),
                OPEN: Route(method="GET", take=self.take),
            },
        )
        self.endpoint.start()
        self._clients: list[http.client.HTTPConnection] = []

    def take(self, body: bytes) -> Response:
        if self.fails:
            raise RuntimeError(body)
        self.received.append(body)
        return self.answer

    def connect(self) -> http.client.HTTPConnection:
        self._clients.append(
            http.client.HTTPConnection("127.0.0.1", self.endpoint.port, timeout=10)
        )
        return self._clients[-1]

    def close(self) -> None:
        self.endpoint.close()
        for client in self._clients:
            client.close()

    def headers(self, **changed: str | None) -> dict[str, str]:
        wanted: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self.endpoint.port}",
            registration.SECRET_HEADER: SECRET,
            **{name.replace("_", "-"): text for name, text in changed.items()},
        }
        return {name: text for name, text in wanted.items() if text is not None}

    def post(
        self, body: bytes = b"{}", path: str = PATH, changed: Mapping[str, str | None] | None = None
    ) -> int:
        connection = self.connect()
        connection.request("POST", path, body, self.headers(**(changed or {})))
        with connection.getresponse() as answer:
            return answer.status

    def send(self, raw: bytes) -> bytes:
        """Everything that is answered until it hangs up."""
        with socket.create_connection(("127.0.0.1", self.endpoint.port), timeout=10) as client:
            client.sendall(raw)
            return b"".join(iter(lambda: client.recv(4096), b""))


@pytest.fixture
def listening() -> Iterator[Listening]:
    found = Listening()
    yield found
    found.close()


def test_an_event_is_answered_with_nothing_and_received(listening: Listening) -> None:
    connection = listening.connect()
    for body in (b'{"a":1}', b'{"a":2}'):  # on the same connection
        connection.request("POST", PATH, body, listening.headers())
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert listening.received[-1] == body


def test_an_event_is_answered_only_when_it_was_taken() -> None:
    taken, may_end = threading.Event(), threading.Event()

    def take(_: bytes) -> Response:
        taken.set()
        assert may_end.wait(10)
        return Response("503 Service Unavailable")

    slow = Endpoint(host="127.0.0.1", port=0, routes={"/": Route(method="GET", take=take)})
    slow.start()
    with socket.create_connection(("127.0.0.1", slow.port), timeout=10) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: localhost:{slow.port}\r\n\r\n".encode())
        assert taken.wait(10)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        client.settimeout(10)
        may_end.set()
        assert client.recv(4096).startswith(b"HTTP/1.1 503 ")
    slow.close()


def test_a_route_with_a_defect_costs_one_answer(
    listening: Listening, lost: Callable[[], dict[str, int]]
) -> None:
    listening.fails = True
    assert listening.post() == 500
    listening.fails = False
    assert listening.post() == 200
    assert lost() == {"internal_error": 1}


@pytest.mark.parametrize(
    ("status", "path", "changed"),
    [
        (403, PATH, {"X_Orchwatch_Secret": None}),
        (403, PATH, {"X_Orchwatch_Secret": "wrong"}),
        (403, PATH, {"X_Orchwatch_Secret": "ümlaut"}),
        (403, PATH, {"Host": "evil.example:7319"}),
        (403, PATH, {"Host": "127.0.0.1"}),
        (403, ASKED, {"X_Orchwatch_Secret": None}),
        (403, OPEN, {"Host": "evil.example:7319"}),
        (403, OPEN, {"Origin": "http://evil.example"}),
        (405, OPEN, {}),
        (413, ASKED, {"Content_Length": "11"}),
        (403, PATH, {"Origin": "http://evil.example"}),
        (404, "/", {}),
        (400, PATH, {"Content_Length": "-1"}),
        (400, PATH, {"Content_Length": "many"}),
        (400, PATH, {"Content_Length": "2, 2"}),
        (411, PATH, {"Transfer_Encoding": "chunked"}),
        (403, OPEN, {"Sec_Fetch_Site": "cross-site"}),
        (403, PATH, {"Host": "monitor:7319"}),
        (413, PATH, {"Content_Length": str(MAX_BODY_BYTES + 1)}),
        (413, PATH, {"Content_Length": "9" * 5000}),
    ],
)
def test_what_is_no_event_of_ours_is_refused(
    listening: Listening, status: int, path: str, changed: dict[str, str | None]
) -> None:
    assert listening.post(path=path, changed=changed) == status
    listening.endpoint.close()
    assert listening.received == []


def test_another_container_may_call_it_by_the_name_of_its_service() -> None:
    listening = Listening("0.0.0.0")
    port = listening.endpoint.port
    assert listening.post(changed={"Host": f"monitor:{port}"}) == 200
    assert listening.post(changed={"Host": f"evil.example:{port}"}) == 403
    listening.endpoint.close()


def test_a_route_says_what_is_answered(listening: Listening) -> None:
    listening.answer = Response("503 Service Unavailable")
    assert listening.post(path=ASKED) == 503


def test_an_open_route_needs_no_secret_and_no_length(listening: Listening) -> None:
    listening.answer = Response(body=b"1\n", kind="text/plain")
    connection = listening.connect()
    for path in (OPEN, f"{OPEN}?name=a"):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Type"], answer.read()) == (
            200,
            "text/plain",
            b"1\n",
        )


def test_only_posts_are_taken(listening: Listening) -> None:
    connection = listening.connect()
    connection.request("GET", PATH, headers=listening.headers())
    with connection.getresponse() as answer:
        assert answer.status == 405


def test_a_length_is_needed(listening: Listening) -> None:
    head = "".join(f"{name}: {text}\r\n" for name, text in listening.headers().items())
    answer = listening.send(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 411 ")


def test_endless_headers_are_refused(listening: Listening) -> None:
    answer = listening.send(b"POST / HTTP/1.1\r\nA: " + b"a" * 20_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_of_a_page_only_the_head_may_be_asked_for(listening: Listening) -> None:
    listening.answer = Response(body=b"1\n", kind="text/plain")
    connection = listening.connect()
    for _ in range(2):  # a body that nobody expects would be read as the next answer
        connection.request("HEAD", OPEN)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "2", b"")


def test_requests_sent_one_after_the_other_are_answered_in_their_order(
    listening: Listening,
) -> None:
    head = "".join(f"{name}: {text}\r\n" for name, text in listening.headers().items())
    requests = [
        f"POST {PATH} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}"
        for body in ("{1}", "{22}", "{333}")
    ]
    closing = f"GET {OPEN} HTTP/1.1\r\n{head}Connection: close\r\n\r\n"
    answer = listening.send("".join([*requests, closing, *requests]).encode())
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert listening.received == [b"{1}", b"{22}", b"{333}", b""]


def test_nothing_that_follows_a_refused_request_is_taken(listening: Listening) -> None:
    head = "".join(f"{name}: {text}\r\n" for name, text in listening.headers().items())
    smuggled = f"POST {PATH} HTTP/1.1\r\n{head}Content-Length: 2\r\n\r\n{{}}"
    carrier = (
        f"POST {PATH} HTTP/1.1\r\n{head}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = listening.send((carrier + smuggled).encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert listening.received == []


def test_a_client_that_wants_no_second_answer_is_hung_up_on(listening: Listening) -> None:
    address = f"127.0.0.1:{listening.endpoint.port}"
    for request in (
        f"GET {OPEN} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
        f"GET {OPEN} HTTP/1.0\r\nHost: {address}\r\n\r\n",
    ):
        assert listening.send(request.encode()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("sent", [b"GET /open HTTP/1.1\nHost: a\n\n", b"\x16\x03\x01\n"])
def test_what_never_ends_as_a_head_does_is_refused_at_once(
    listening: Listening, sent: bytes
) -> None:
    assert listening.send(sent).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_waits_before_its_body_gets_100_continue(listening: Listening) -> None:
    head = "".join(
        f"{name}: {text}\r\n"
        for name, text in listening.headers(Expect="100-continue", Content_Length="2").items()
    )
    with socket.create_connection(("127.0.0.1", listening.endpoint.port), timeout=10) as client:
        client.sendall(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode())
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_does_not_take_its_answer_is_hung_up_on(listening: Listening) -> None:
    listening.answer = Response(body=b"x" * 50_000_000)
    head = f"GET {OPEN} HTTP/1.1\r\nHost: 127.0.0.1:{listening.endpoint.port}\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(endpoint._REQUEST_LIMIT_S / 2)
        client.connect(("127.0.0.1", listening.endpoint.port))
        client.sendall(head.encode())
        received = sum(len(data) for data in iter(lambda: client.recv(1_000_000), b""))
    assert received < 50_000_000


def test_a_client_that_dawdles_is_hung_up_on(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_REQUEST_LIMIT_S", 0.05)
    assert listening.send(b"POST / HTTP/1.1\r\nA: a\r\n") == b""


def test_silent_clients_do_not_keep_others_out(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as silent:
        for sent in (b"", b"P", b"POST ") * endpoint._MAX_CONNECTIONS:
            address = ("127.0.0.1", listening.endpoint.port)
            client = silent.enter_context(socket.create_connection(address, timeout=10))
            client.sendall(sent)
        assert listening.post() == 200
    assert len(caplog.messages) == 1


def test_of_too_many_clients_the_one_that_was_silent_for_longest_is_hung_up_on(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_MAX_CONNECTIONS", 2)
    kept, silent = listening.connect(), listening.connect()
    for connection in (kept, silent, kept):
        connection.request("POST", PATH, b"{}", listening.headers())
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    assert listening.post() == 200
    assert kept.sock is not None
    assert silent.sock is not None
    assert silent.sock.recv(1) == b""
    kept.auto_open = 0  # on this very connection, or not at all
    kept.request("POST", PATH, b"{}", listening.headers())
    with kept.getresponse() as last:
        assert last.status == 200


def test_a_port_that_is_taken_is_named_with_its_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        second = Endpoint(host="127.0.0.1", port=port, routes={})
        with pytest.raises(OrchwatchError, match=rf"port {port}.*ORCHWATCH_MONITOR_PORT"):
            second.start()
