"""OTLP exporters by the standard `OTEL_*` variables.

Source: OpenTelemetry Protocol Exporter specification and SDK environment variables.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from orchwatch.errors import OrchwatchError
from orchwatch.recording import stack_access
from orchwatch.sdk.delivery import SEND_LIMIT_S

if TYPE_CHECKING:
    import requests
    from google.protobuf.message import Message
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

    from orchwatch.sdk.answers import Answers

HTTP = "http/protobuf"
GRPC = "grpc"

# The exporters' retries end before `Delivery` stops waiting for them: otherwise a batch that it
# keeps would arrive after all, and be stored twice. A standard variable cannot make it longer.
TIMEOUT_S = 0.75 * SEND_LIMIT_S

# A batch that cannot be sent is kept, so a host without logging need not see it on its terminal; a
# host with logging finds it in its log.
logging.getLogger("opentelemetry.exporter").addHandler(logging.NullHandler())

_SESSION_PREFIX = "OTEL_PYTHON_EXPORTER_OTLP_HTTP"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_DEFAULT_ENDPOINT = "http://localhost:4318"


def is_configured() -> bool:
    """Whether the environment names an exporter or an endpoint for spans."""
    exporter = os.environ.get("OTEL_TRACES_EXPORTER")
    if exporter:
        return "otlp" in [name.strip() for name in exporter.split(",")]
    return any(os.environ.get(variable) for variable in _ENDPOINTS)


def endpoint() -> str:
    """The endpoint for spans, by the variables that the exporter reads."""
    for variable in reversed(_ENDPOINTS):
        address = os.environ.get(variable)
        if address:
            return address
    return "http://localhost:4317" if _protocol("TRACES") == GRPC else "http://localhost:4318"


def span_exporter(answers: Answers) -> SpanExporter:
    """The exporter for spans.

    Args:
        answers: Read what the server says to it.

    Raises:
        OrchwatchError: The protocol is unknown.
    """
    # Imported by protocol: gRPC is large, and most processes use neither.
    if _protocol("TRACES") == GRPC:
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc  # noqa: PLC0415

        exporter = grpc.OTLPSpanExporter(timeout=TIMEOUT_S)
        answers.follow(exporter)
        return exporter
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as http  # noqa: PLC0415
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceResponse,
    )

    session = _session("TRACES", answers, ExportTraceServiceResponse)
    return http.OTLPSpanExporter(timeout=TIMEOUT_S, session=session)


def metric_exporter(answers: Answers) -> MetricExporter:
    """The exporter for metrics.

    Args:
        answers: Read what the server says to it.

    Raises:
        OrchwatchError: The protocol is unknown.
    """
    if _protocol("METRICS") == GRPC:
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc  # noqa: PLC0415

        exporter = grpc.OTLPMetricExporter(timeout=TIMEOUT_S)
        answers.follow(exporter)
        return exporter
    from opentelemetry.exporter.otlp.proto.http import metric_exporter as http  # noqa: PLC0415
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (  # noqa: PLC0415
        ExportMetricsServiceResponse,
    )

    session = _session("METRICS", answers, ExportMetricsServiceResponse)
    return http.OTLPMetricExporter(timeout=TIMEOUT_S, session=session)


def _session(signal: str, answers: Answers, answer: type[Message]) -> requests.Session | None:
    # A credential provider that the host has chosen takes precedence over reading responses.
    provider = "CREDENTIAL_PROVIDER"
    variables = (f"{_SESSION_PREFIX}_{signal}_{provider}", f"{_SESSION_PREFIX}_{provider}")
    if any(os.environ.get(variable) for variable in variables):
        return None
    session = answers.session(answer)
    authorization = _authorization(signal)
    if authorization:
        # OTEL_EXPORTER_OTLP_HEADERS overrides the headers of a session.
        session.headers["Authorization"] = authorization
    return session


def _authorization(signal: str) -> str | None:
    """The credentials for this home's Collector over HTTP, if the endpoint is on loopback."""
    variables = (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", _ENDPOINTS[0])
    endpoint = next(filter(None, map(os.environ.get, variables)), _DEFAULT_ENDPOINT)
    return stack_access.authorization_for(endpoint)


def _protocol(signal: str) -> str:
    variables = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    for variable in variables:
        protocol = os.environ.get(variable)
        if protocol in (HTTP, GRPC):
            return protocol
        if protocol:
            raise OrchwatchError(f"{variable}: must be {HTTP} or {GRPC}, not {protocol!r}")
    return HTTP
