from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcMetrics,
)
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpMetrics,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

from orchwatch.errors import OrchwatchError
from orchwatch.sdk import otlp
from orchwatch.sdk.answers import Answers

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize(
    ("environment", "spans", "metrics"),
    [
        ({}, HttpSpans, HttpMetrics),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, HttpSpans, HttpMetrics),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, GrpcSpans, GrpcMetrics),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, GrpcSpans, HttpMetrics),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
            },
            GrpcSpans,
            HttpMetrics,
        ),
    ],
)
def test_the_standard_variables_choose_the_protocol_of_each_signal(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], spans: type, metrics: type
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    for exporter, expected in (
        (otlp.span_exporter(Answers()), spans),
        (otlp.metric_exporter(Answers()), metrics),
    ):
        assert type(exporter) is expected
        exporter.shutdown()


@pytest.mark.parametrize("make", [otlp.span_exporter, otlp.metric_exporter])
def test_an_unknown_protocol_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Answers], object]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")

    with pytest.raises(OrchwatchError) as raised:
        make(Answers())

    message = "OTEL_EXPORTER_OTLP_PROTOCOL: must be http/protobuf or grpc, not 'http/json'"
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no header"),
    ],
)
def test_other_values_that_the_sdk_does_not_know_raise_nothing(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    otlp.span_exporter(Answers()).shutdown()
    otlp.metric_exporter(Answers()).shutdown()


@pytest.mark.parametrize(
    ("environment", "configured"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
    ],
)
def test_otlp_is_chosen_where_the_environment_names_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], configured: bool
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    assert otlp.is_configured() is configured


def test_the_exporters_over_otlp_are_imported_only_where_otlp_is_used(
    run_python: Callable[..., str],
) -> None:
    code = """
        import sys
        import orchwatch
        from orchwatch.sdk import providers

        prefix = "opentelemetry.exporter.otlp.proto."
        exporters = (prefix + "http", prefix + "grpc", "grpc", "requests")

        class NotInstalled:
            def find_spec(self, name, path=None, target=None):
                if name.startswith(exporters):
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, NotInstalled())
        try:
            orchwatch.configure(export=sys.argv[1])
        except ModuleNotFoundError as error:
            print("missing", error)
            sys.exit()
        with orchwatch.operation("state.query"):
            orchwatch.count("my.counter")
        providers.export_metrics()
        print(*[name for name in sys.modules if name.startswith(exporters)])
    """
    assert run_python(code, "spool").split() == []
    assert run_python(code, "otlp").startswith("missing opentelemetry.exporter.otlp.proto.http")
