from __future__ import annotations

import http.server
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis import client, prometheus
from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Serve = Callable[[list[tuple[int, bytes]]], tuple[str, list[str]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that gives the answers in turn; its address, and what it was asked."""
    servers = []

    def start(answers: list[tuple[int, bytes]]) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                status, body = answers.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_answer_is_parsed_and_what_the_server_does_not_know_is_none(
    serve: Serve,
) -> None:
    root, asked = serve([(200, b'{"a": 1}'), (404, b"")])
    assert client.get_json("Tempo", root, "/api", q="a b") == {"a": 1}
    assert client.get_json("Tempo", root, "/api") is None
    assert asked == ["/api?q=a+b", "/api"]


def test_a_server_that_is_busy_is_asked_again(
    serve: Serve,
) -> None:
    root, asked = serve([(503, b"busy"), (200, b"no JSON"), (200, b"[]")])
    assert client.get_json("Tempo", root, "/api") == []
    assert len(asked) == 3


def test_a_refusal_is_one_clear_error_and_final(
    serve: Serve,
) -> None:
    root, asked = serve([(400, b"bad query")])
    with pytest.raises(OrchwatchError, match=r"Prometheus at .* answers 400: bad query"):
        client.get_json("Prometheus", root, "/api")
    assert len(asked) == 1


@pytest.mark.parametrize("answer", [(404, b""), (200, b"{}"), (200, b'{"data": []}')])
def test_something_else_that_answers_is_not_taken_for_prometheus(
    serve: Serve, answer: tuple[int, bytes]
) -> None:
    root, _ = serve([answer])
    with pytest.raises(OrchwatchError, match=f"^the server at {root} is not Prometheus;"):
        prometheus.counted(root, since_s=0, until_s=7200)


def test_what_speaks_no_http_is_something_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        root = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def greet() -> None:
            for _ in range(5):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(OrchwatchError, match=f"the server at {root} is not Tempo"):
            client.get_json("Tempo", root, "/api")
        assert not client.answers(root)


def test_an_address_that_is_none_is_one_clear_error() -> None:
    with pytest.raises(OrchwatchError, match="'tempo' is no URL"):
        client.get_json("Tempo", "tempo", "/api")


def test_a_server_that_is_not_there_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        root = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(OrchwatchError, match=f"Tempo does not answer at {root}.*--tempo-url"):
        client.get_json("Tempo", root, "/api")
    assert not client.answers(root)


def test_a_counter_that_began_anew_is_added_up_from_its_zero(
    serve: Serve,
) -> None:
    held = b'{"data": {"result": [{"metric": {}, "values": [[3600, "1"], [7200, "1"]]}]}}'
    series = (
        b'{"data": {"result": [{"metric": {"orchestration_operation_name": "state.query"},'
        b' "values": [%s]}]}}'
    )
    # The first range lies before the window and only says where the counter stood.
    root, _ = serve(
        [
            (200, held),
            (200, series % b'[3500, "40"]'),
            (200, series % b'[3610, "45"], [3700, "0"], [3800, "60"], [3900, "NaN"], [4000, "61"]'),
        ]
    )
    found = prometheus.counted(root, since_s=3600, until_s=7200)
    assert found.operations == {"state.query": 5 + 60 + 1}
    assert found.restarts == 1
    assert found.last_flushes_s == {3610}


def test_a_prometheus_without_any_sample_has_counted_nothing(
    serve: Serve,
) -> None:
    root, _ = serve([(200, b'{"data": {"result": []}}')])
    found = prometheus.counted(root, since_s=0, until_s=7200)
    assert (found.operations, found.restarts) == ({}, 0)
