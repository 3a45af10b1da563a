"""Programs that nobody edited, watched from outside, on the real servers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import (
    Span,
    buckets,
    counted,
    eventually,
    expected_buckets,
    search,
    spooled,
    stored,
)

from orchwatch import semconv

if TYPE_CHECKING:
    from native import Stack

# One worker, one stack.
pytestmark = pytest.mark.xdist_group("shared stack")

COMMANDS = Path(sys.executable).parent
CALLS = 3

STORE = """
class Store:
    def get(self, key):
        return {"answer": 42}[key]
"""
APP = f"""
from store import Store

for _ in range({CALLS}):
    print(Store().get("answer"))
try:
    Store().get("question")
except KeyError:
    pass
"""
TABLE_OF_CALLABLES = '[instrument]\n"store:Store.get" = "state.query"\n'


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "store.py").write_text(STORE)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def start(stack: Stack, program: Path, service: str, *words: str, **variables: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(program),
        "ORCHWATCH_HOME": str(stack.home),
        "OTEL_SERVICE_NAME": service,
        **variables,
    }
    ended = subprocess.run(
        [COMMANDS / words[0], *words[1:], sys.executable, "app.py"],
        cwd=program,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "42\n" * CALLS, "")


def check_counted(stack: Stack, service: str, spans: list[Span]) -> None:
    calls = [span for span in spans if span.name == semconv.STATE_QUERY]
    failed = [span for span in calls if span.error_type]
    assert (len(calls), len(failed)) == (CALLS + 1, 1)
    query = {"service": service, "operation": semconv.STATE_QUERY}
    assert eventually(lambda: counted(stack, **query) == len(calls))
    assert buckets(stack, **query) == expected_buckets(calls)
    assert buckets(stack, **query, error_type="KeyError") == expected_buckets(failed)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_opentelemetry_instrument_sends_an_unedited_programs_operations(
    stack: Stack, program: Path, protocol: str
) -> None:
    service = f"instrumented-{protocol}"
    (program / "orchwatch.toml").write_text(TABLE_OF_CALLABLES)
    # What the package opentelemetry-distro registers: it sets up the SDK by the variables.
    metadata = program / "distribution-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: distribution\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[opentelemetry_configurator]\n"
        "configurator = opentelemetry.sdk._configuration:_OTelSDKConfigurator\n"
    )
    grpc = protocol == "grpc"
    start(
        stack,
        program,
        service,
        "opentelemetry-instrument",
        PYTHONPATH=str(program),
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT=stack.otlp_grpc_url if grpc else stack.otlp_http_url,
        # Orchwatch's exporters find it themselves; these are not its.
        **({} if grpc else {"OTEL_EXPORTER_OTLP_HEADERS": stack.otlp_headers}),
    )
    assert spooled(stack, service) == []

    def found() -> list[Span]:
        query = f'{{resource.service.name="{service}"}}'
        return [span for trace_id in search(stack, query) for span in stored(stack, trace_id)]

    eventually(lambda: len(found()) == CALLS + 1)
    check_counted(stack, service, found())


def test_orchwatch_run_spools_an_unedited_programs_operations_as_one_trace(
    stack: Stack, program: Path
) -> None:
    callables = f"store:Store.get={semconv.STATE_QUERY}"
    start(stack, program, "run", "orchwatch", "run", "--", ORCHWATCH_INSTRUMENT=callables)
    spans = spooled(stack, "run")
    [command] = [span for span in spans if span.name == semconv.COMMAND_RUN]
    calls = [span for span in spans if span is not command]
    assert {span.parent_span_id for span in calls} == {command.span_id}
    assert eventually(lambda: sorted(stored(stack, command.trace_id)) == sorted(spans))
    check_counted(stack, "run", spans)
