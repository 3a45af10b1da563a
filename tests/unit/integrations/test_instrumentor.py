from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchwatch import OrchestrationInstrumentor, operation
from orchwatch.recording import active

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Spans = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

OPENTELEMETRY_INSTRUMENT = shutil.which(
    "opentelemetry-instrument", path=str(Path(sys.executable).parent)
)
PROGRAM = """
import app
from opentelemetry import trace

with trace.get_tracer("host").start_as_current_span("outer"):
    print(app.query())
"""


@pytest.fixture
def work(home: Path) -> Path:
    """The working directory, with a program that nobody edited and its configuration."""
    directory = home.parent / "work"
    (directory / "app.py").write_text("def query():\n    return 41 + 1\n")
    (directory / "main.py").write_text(PROGRAM)
    (directory / "orchwatch.toml").write_text('[instrument]\n"app:query" = "state.query"\n')
    return directory


def instrument(work: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    assert OPENTELEMETRY_INSTRUMENT
    return subprocess.run(
        [OPENTELEMETRY_INSTRUMENT, sys.executable, "main.py"],
        cwd=work,
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
    )


@pytest.fixture
def instrumentor() -> Iterator[OrchestrationInstrumentor]:
    instance = OrchestrationInstrumentor()
    yield instance
    if instance.is_instrumented_by_opentelemetry:
        instance.uninstrument()


def test_its_entry_point_is_found_by_name() -> None:
    (entry_point,) = entry_points(group="opentelemetry_instrumentor", name="orchwatch")
    assert entry_point.load() is OrchestrationInstrumentor


def test_opentelemetry_instrument_watches_over_the_sdk_that_the_host_configures(
    work: Path, tmp_path: Path, spans: Spans
) -> None:
    # What the package opentelemetry-distro registers, which is not needed beyond that.
    metadata = tmp_path / "site" / "host-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: host\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[opentelemetry_configurator]\n"
        "configurator = opentelemetry.sdk._configuration:_OTelSDKConfigurator\n"
    )
    ended = instrument(
        work,
        PYTHONPATH=str(metadata.parent),
        OTEL_TRACES_EXPORTER="console",
        OTEL_METRICS_EXPORTER="console",
        OTEL_LOGS_EXPORTER="none",
    )
    assert ended.stdout.startswith("42\n")
    printed = _documents(ended.stdout.removeprefix("42\n"))
    inner, outer = (document for document in printed if "name" in document)
    assert (inner["name"], outer["name"]) == ("state.query", "outer")
    assert inner["parent_id"] == outer["context"]["span_id"]
    assert inner["attributes"] == {"orchestration.operation.name": "state.query"}
    assert "orchestration.operation.duration" in json.dumps(printed)
    assert spans() == []


def test_opentelemetry_instrument_without_an_sdk_watches_into_the_spool(
    work: Path, spans: Spans
) -> None:
    assert instrument(work).stdout == "42\n"
    (span,) = spans()
    assert span["name"] == "state.query"


def test_orchwatch_run_and_opentelemetry_instrument_together_count_once(
    work: Path, spans: Spans
) -> None:
    assert OPENTELEMETRY_INSTRUMENT
    wrapped = [OPENTELEMETRY_INSTRUMENT, sys.executable, "main.py"]
    for words in (
        [sys.executable, "-m", "orchwatch.cli", "run", "--", *wrapped],
        [OPENTELEMETRY_INSTRUMENT, *wrapped],
    ):
        subprocess.run(words, cwd=work, check=True, timeout=240)
    assert [span["name"] for span in spans()] == ["state.query", "command.run", "state.query"]


def test_callables_named_in_code_are_watched_until_it_is_taken_back(
    instrumentor: OrchestrationInstrumentor, spans: Spans
) -> None:
    original = shutil.copyfile
    instrumentor.instrument(callables={"shutil:copyfile": "state.persist"})
    Path("a").touch()
    shutil.copyfile("a", "b")
    instrumentor.uninstrument()
    shutil.copyfile("a", "c")
    assert shutil.copyfile is original
    assert [span["name"] for span in spans()] == ["state.persist"]


def test_instrumenting_twice_changes_nothing(
    instrumentor: OrchestrationInstrumentor, spans: Spans
) -> None:
    for _ in range(2):
        instrumentor.instrument(callables={"shutil:copyfile": "state.persist"})
    Path("a").touch()
    shutil.copyfile("a", "b")
    assert len(spans()) == 1


def test_the_hosts_providers_are_used_until_it_is_taken_back(
    instrumentor: OrchestrationInstrumentor, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The global provider can be set once a process; other tests want it unset.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    before = active.recorder
    instrumentor.instrument(callables={})
    with operation("first"):
        pass
    instrumentor.uninstrument()
    with operation("second"):
        pass
    assert active.recorder is before
    assert [span.name for span in exporter.get_finished_spans()] == ["first"]
    assert [span["name"] for span in spans()] == ["second"]


def _documents(text: str) -> list[dict[str, Any]]:
    decoder = json.JSONDecoder()
    found = []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found
