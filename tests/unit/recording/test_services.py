from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.recording import services

if TYPE_CHECKING:
    from collections.abc import Callable

    Spans = Callable[[], list[dict[str, Any]]]

TRACE, SPAN = "a" * 32, "b" * 16
HANDED_OVER = {"TRACEPARENT": f"00-{TRACE}-{SPAN}-01", "BAGGAGE": "session.id=s-1"}

PROGRAM = """
import socket
from orchwatch import child_environment, configure, operation
if sys.argv[1] == "sdk":
    configure()
with operation("before"):
    pass
server = socket.create_server(("127.0.0.1", 0))
for _ in range(2):
    with operation("request"):
        with operation("inner"):
            pass
"""


@pytest.mark.parametrize("way", ["spool", "sdk"])
def test_once_it_listens_each_root_operation_is_a_trace_linked_to_the_starter(
    run_python: Callable[..., str], spans: Spans, way: str
) -> None:
    run_python(PROGRAM, way, **HANDED_OVER)
    named: dict[str, list[dict[str, Any]]] = {}
    for span in spans():
        named.setdefault(span["name"], []).append(span)
    (before,) = named["before"]
    assert (before["traceId"], before["parentSpanId"]) == (TRACE, SPAN)
    assert len({span["traceId"] for span in named["request"]} - {TRACE}) == 2
    for request, inner in zip(named["request"], named["inner"], strict=True):
        assert "parentSpanId" not in request
        (link,) = request["links"]
        assert (link["traceId"], link["spanId"]) == (TRACE, SPAN)
        assert request["attributes"]["session.id"] == {"stringValue": "s-1"}
        assert (inner["traceId"], inner["parentSpanId"]) == (request["traceId"], request["spanId"])
        assert "links" not in inner


@pytest.mark.parametrize("way", ["spool", "sdk"])
def test_a_service_that_was_started_without_a_context_has_no_links(
    run_python: Callable[..., str], spans: Spans, way: str
) -> None:
    run_python(PROGRAM, way)
    assert all("links" not in span for span in spans())


def test_a_worker_that_a_service_forks_is_one_too(
    run_python: Callable[..., str], spans: Spans
) -> None:
    code = (
        "import os, socket\nfrom orchwatch import operation\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    with operation('request'): pass\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
    )
    run_python(code, **HANDED_OVER)
    (span,) = spans()
    assert span["traceId"] != TRACE
    assert span["links"][0]["spanId"] == SPAN


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "is_one", False)
    monkeypatch.setattr(services, "_looks", 0)


def listens(listener: socket.socket, address: Any) -> bool:
    with listener:
        listener.bind(address)
        assert not services._waits(socket, listener)
        listener.listen()
        return services._waits(socket, listener)


def test_a_socket_that_waits_makes_a_service_whatever_its_family() -> None:
    with tempfile.TemporaryDirectory() as directory:
        unix = os.path.join(directory, "s")
        assert listens(socket.socket(socket.AF_UNIX), unix)
        assert not listens(socket.socket(socket.AF_UNIX), os.path.join(directory, "listener-1"))
        os.mkdir(os.path.join(directory, "pymp-1"))
        assert not listens(socket.socket(socket.AF_UNIX), os.path.join(directory, "pymp-1/sock-1"))
    assert listens(socket.socket(socket.AF_INET), ("127.0.0.1", 0))
    if sys.platform == "linux":
        assert not listens(socket.socket(socket.AF_UNIX), f"\0listener-{os.getpid()}-0")


@pytest.mark.usefixtures("fresh")
def test_looking_leaves_every_descriptor_as_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Path(__file__).open() as file:
        before = sorted(os.listdir("/dev/fd"))
        assert services.look()
        assert sorted(os.listdir("/dev/fd")) == before
        assert server.getsockname()
        assert file.readline()
