from __future__ import annotations

import json
import socket
import struct
import threading
from concurrent import futures
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf.json_format import MessageToDict, MessageToJson
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

OK, UNAVAILABLE, SILENT, RESET = "ok", "unavailable", "silent", "reset"
# What stands between a program and its server may answer so.
REDIRECT, PAGE = "redirect", "page"
LIMIT_S = 30


class Receiver:
    """A real OTLP server, over HTTP and gRPC, that can be told to misbehave."""

    def __init__(self) -> None:
        self.behaviour = OK
        self.pause_s = 0.0  # before each answer
        self.refused_spans = 0  # of each request
        self.refused_points = 0
        self.answers_json = False
        self._stopping = threading.Event()
        self._traces: list[trace_pb2.ExportTraceServiceRequest] = []
        self._metrics: list[metrics_pb2.ExportMetricsServiceRequest] = []
        self._http: ThreadingHTTPServer | None = None
        self._grpc: grpc.Server | None = None
        self._port = 0

    def start(self, protocol: str) -> None:
        """Listens, on the same port as before if it has listened already."""
        if protocol == "grpc":
            pool = futures.ThreadPoolExecutor(8)
            self._grpc = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
            trace_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
                _Traces(self), self._grpc
            )
            metrics_grpc.add_MetricsServiceServicer_to_server(  # type: ignore[no-untyped-call]
                _Metrics(self), self._grpc
            )
            self._port = self._grpc.add_insecure_port(f"127.0.0.1:{self._port}")
            self._grpc.start()
        else:
            self._http = _Server(self, self._port)
            self._port = self._http.server_address[1]
            threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Refuses connections from now on."""
        self._stopping.set()
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
        if self._grpc is not None:
            self._grpc.stop(0).wait(LIMIT_S)
        self._http = self._grpc = None
        self._stopping.clear()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def take(self, request: Any) -> bool:
        """Handles a request; returns whether it may be answered with success."""
        if self.behaviour == OK:
            self._stopping.wait(self.pause_s)
            traces = isinstance(request, trace_pb2.ExportTraceServiceRequest)
            if traces:
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        del scope.spans[: self.refused_spans]
            (self._traces if traces else self._metrics).append(request)
            return True
        if self.behaviour == SILENT:
            self._stopping.wait(LIMIT_S)
        return False

    def answer(self, request: Any) -> Any:
        """What it says to a request that it takes."""
        if isinstance(request, trace_pb2.ExportTraceServiceRequest):
            answer: Any = trace_pb2.ExportTraceServiceResponse()
            answer.partial_success.rejected_spans = self.refused_spans
        else:
            answer = metrics_pb2.ExportMetricsServiceResponse()
            answer.partial_success.rejected_data_points = self.refused_points
        return answer

    def spans(self) -> list[dict[str, Any]]:
        """All spans that were acknowledged; ids in hexadecimal, attributes as a plain dict."""
        return [
            {
                "name": span.name,
                "kind": span.kind,
                "trace_id": span.trace_id.hex(),
                "span_id": span.span_id.hex(),
                "parent_span_id": span.parent_span_id.hex(),
                "attributes": plain(span.attributes),
                "status": span.status.code,
                "resource": plain(resource.resource.attributes),
                "scope": (scope.scope.name, scope.scope.version),
            }
            for request in list(self._traces)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def span_ids(self) -> list[str]:
        """The ids of all spans that were acknowledged."""
        return [
            span.span_id.hex()
            for request in list(self._traces)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> dict[tuple[str, Any], Metric]:
        """The last state of each metric by its name and the process id it came from."""
        return {
            (metric.name, plain(resource.resource.attributes)["process.pid"]): metric
            for request in list(self._metrics)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def metric(self, name: str) -> Metric:
        """The last state of a metric that one process alone has sent."""
        (metric,) = [metric for (of, _), metric in self.metrics().items() if of == name]
        return metric

    def metric_resources(self) -> list[dict[str, Any]]:
        """The resources of all metrics that were acknowledged."""
        return [
            plain(resource.resource.attributes)
            for request in list(self._metrics)
            for resource in request.resource_metrics
        ]


def plain(attributes: Any) -> dict[str, Any]:
    """Protobuf's KeyValues as a dictionary."""
    values = {}
    for attribute in attributes:
        ((_, value),) = MessageToDict(attribute.value).items() or [("", None)]
        values[attribute.key] = value
    return values


_STATUS = {UNAVAILABLE: 503, REDIRECT: 302, PAGE: 200}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, receiver: Receiver, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.receiver = receiver
        self._connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for connection in self._connections:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver: Receiver = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request: Any = (
            trace_pb2.ExportTraceServiceRequest()
            if self.path == "/v1/traces"
            else metrics_pb2.ExportMetricsServiceRequest()
        )
        request.ParseFromString(body)
        good = receiver.take(request)
        if receiver.behaviour in (RESET, SILENT):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        if not good:
            content_type, content = "text/html", b"<!DOCTYPE html><title>Log in</title>"
        elif receiver.answers_json:
            content_type = "application/json"
            content = MessageToJson(receiver.answer(request)).encode()
        else:
            content_type = "application/x-protobuf"
            content = receiver.answer(request).SerializeToString()
        self.send_response(200 if good else _STATUS[receiver.behaviour])
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        if receiver.behaviour == REDIRECT:
            self.send_header("Location", "/login")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Nothing is printed."""


class _Traces(trace_grpc.TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
        if not self._receiver.take(request):
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to")
        return self._receiver.answer(request)


class _Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
        if not self._receiver.take(request):
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to")
        return self._receiver.answer(request)


@pytest.fixture(params=["http/protobuf", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Both ways that OTLP goes over the wire."""
    name: str = request.param
    return name


@pytest.fixture
def receiver(
    protocol: str,
    home: Path,  # noqa: ARG001 - clears the environment first
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Receiver]:
    """A listening server that the environment of started processes names."""
    server = Receiver()
    server.start(protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.endpoint)
    yield server
    server.stop()


@pytest.fixture
def resetting(home: Path) -> Iterator[Receiver]:  # noqa: ARG001 - clears the environment first
    """A server that resets each connection after it has read the request."""
    server = Receiver()
    server.behaviour = RESET
    server.start("http/protobuf")
    yield server
    server.stop()


@pytest.fixture
def slow(home: Path) -> Iterator[Receiver]:  # noqa: ARG001 - clears the environment first
    """A server that takes a moment for each request."""
    server = Receiver()
    server.pause_s = 0.02
    server.start("http/protobuf")
    yield server
    server.stop()


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[str]:  # noqa: ARG001
    """The endpoint of a dead server: a port that nobody listens on, nor can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        yield endpoint


@pytest.fixture
def kept(home: Path) -> Callable[[str], list[dict[str, Any]]]:
    """The spans of a family of the spool, each with its resource; attributes as a plain dict."""

    def read(family: str) -> list[dict[str, Any]]:
        return read_spans(home, family)

    return read


def read_spans(home: Path, family: str) -> list[dict[str, Any]]:
    """The spans of all segments of a family."""
    return [
        {
            **span,
            "attributes": _plain(span["attributes"]),
            "resource": _plain(resource["resource"]["attributes"]),
            "scope": scope["scope"],
        }
        for segment in sorted((home / "spool").glob(f"{family}-*.jsonl"))
        for line in segment.read_text().splitlines()
        if line
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {attribute["key"]: attribute["value"] for attribute in attributes}
