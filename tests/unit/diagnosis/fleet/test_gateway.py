from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest

from orchwatch.diagnosis.fleet.gateway import Gateway, Operation, TokenRefusedError, checked_url
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN = "owf_00000000_secret"


class Handler(BaseHTTPRequestHandler):
    """A server of any kind: answers as it is told, and keeps what it was asked."""

    answer: ClassVar[tuple[int, dict[str, str], bytes]]
    asked: ClassVar[list[tuple[str, str | None, bytes]]]

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        self.asked.append((self.path, self.headers.get("Authorization"), body))
        code, headers, text = self.answer
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    Handler.answer = 200, {"Content-Type": "application/json"}, b"{}"
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


def test_one_operation_is_sent_as_otlp_with_the_token(server: str) -> None:
    operation = Operation.now({"host.id": "abc"})
    Gateway(url=server).take(SHOWN, operation)
    ((path, authorization, body),) = Handler.asked
    assert (path, authorization) == ("/v1/traces", f"Bearer {SHOWN}")
    (resource,) = json.loads(body)["resourceSpans"]
    assert resource["resource"]["attributes"] == [
        {"key": "host.id", "value": {"stringValue": "abc"}}
    ]
    (span,) = resource["scopeSpans"][0]["spans"]
    assert (span["traceId"], span["spanId"]) == (operation.trace_id, operation.span_id)


def test_the_token_is_shown_to_no_server_that_another_one_names(server: str) -> None:
    Handler.answer = 302, {"Location": f"{server}/elsewhere"}, b""
    with pytest.raises(OrchwatchError, match="no gateway of a fleet: it answers 302"):
        Gateway(url=server).take_nothing(SHOWN)
    assert [path for path, _, _ in Handler.asked] == ["/v1/traces"]


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_token_is_an_error_of_its_own(server: str, code: int) -> None:
    Handler.answer = code, {}, b"no"
    with pytest.raises(TokenRefusedError, match="the gateway refuses the token"):
        Gateway(url=server).take_nothing(SHOWN)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {}, b""), "is no gateway of a fleet: it answers 404"),
        ((401, {"WWW-Authenticate": "Basic"}, b""), "is no gateway of a fleet: it answers 401"),
        ((503, {}, b""), "has no room at the moment"),
        ((500, {}, b"\x1b[31m" * 100), "it answers 500"),
        ((200, {"Content-Type": "text/html"}, b"<p>"), "is no gateway of a fleet"),
        ((200, {}, b""), "is no gateway of a fleet"),
    ],
)
def test_another_answer_is_one_line(
    server: str, answer: tuple[int, dict[str, str], bytes], said: str
) -> None:
    Handler.answer = answer
    with pytest.raises(OrchwatchError, match=said) as found:
        Gateway(url=server).take_nothing(SHOWN)
    assert "\n" not in str(found.value)
    assert SHOWN not in str(found.value)


def test_a_server_that_is_away_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(OrchwatchError, match=r"no gateway answers there \(Connection refused\)"):
        Gateway(url=url).take_nothing(SHOWN)


def test_a_server_that_speaks_something_else_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            with listening.accept()[0] as connection:
                connection.sendall(b"220 mail.example.com ESMTP\r\n")
                connection.recv(65536)

        threading.Thread(target=greet, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(OrchwatchError, match="no gateway answers there"):
            Gateway(url=url).take_nothing(SHOWN)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://gateway:4318/", "https://gateway:4318"),
        ("https://gateway/otlp", "https://gateway/otlp"),
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
        ("http://[::1]:4318", "http://[::1]:4318"),
    ],
)
def test_an_address_is_taken(url: str, found: str) -> None:
    assert checked_url(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "", "gateway:4318", "https://", "https://:4318", "ftp://gateway", "https://gateway:x",
        "https://gateway:99999", "https://user@gateway", "https://gateway?x=1", "https://gateway#x",
        "https://gate way", "https://gateway\n", "https://${env:HOME}", "https://gäteway", "https://[",
    ],
)  # fmt: skip
def test_what_is_no_address_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError):
        checked_url(url)


@pytest.mark.parametrize("host", ["gateway", "10.0.0.1", "localhost.example.com"])
def test_a_token_is_not_sent_where_others_can_read_it(host: str) -> None:
    with pytest.raises(UsageError, match="must begin with https"):
        checked_url(f"http://{host}:4318")


def test_no_proxy_reads_the_token_on_its_way_to_loopback(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, address)
        Gateway(url=server).take_nothing(SHOWN)
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert len(Handler.asked) == 1


@pytest.mark.parametrize("url", ["https://a..b", f"https://{'x' * 70}.com"])
def test_what_is_no_name_of_a_host_is_one_line(url: str) -> None:
    with pytest.raises(OrchwatchError, match=r"is no name of a host|no gateway answers"):
        Gateway(url=checked_url(url)).take_nothing(SHOWN)


@pytest.mark.parametrize("url", ["https://me:s3cret@gw", "https://s3cret@gw:4318", "http://@gw"])
def test_an_address_with_a_password_is_refused_without_saying_it(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        checked_url(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://gw?", "https://gw#", "https://gw/?", "https://gw?a=b"])
def test_nothing_may_follow_the_path(url: str) -> None:
    with pytest.raises(UsageError, match="must be an address like"):
        checked_url(url)
