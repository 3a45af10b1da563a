from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., str]

DECLARED = """
file_format: "1.0"
resource:
  attributes:
    - {name: service.name, value: "${SERVICE:-declared}"}
tracer_provider:
  processors:
    - simple: {exporter: {console: {}}}
meter_provider:
  readers:
    - periodic: {interval: 3600000, exporter: {console: {}}}
"""
RECORD = """
import orchwatch, sys
from orchwatch.errors import OrchwatchError
try:
    orchwatch.configure(**eval(sys.argv[1]))
except OrchwatchError as error:
    sys.exit(f"{type(error).__name__}: {error}")
with orchwatch.operation("state.query", {"session.id": "s"}):
    pass
"""


@pytest.fixture
def declared(tmp_path: Path) -> str:
    path = tmp_path / "otel.yaml"
    path.write_text(DECLARED)
    return str(path)


def printed(text: str) -> list[dict[str, Any]]:
    """The JSON documents that the console exporters wrote, one after another."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def test_the_file_says_where_operations_go(run_python: Run, home: Path, declared: str) -> None:
    out = run_python(RECORD, "{}", OTEL_CONFIG_FILE=declared, SERVICE="shop")
    spans = [one for one in printed(out) if "context" in one]
    (span,) = spans
    assert span["attributes"] == {
        "orchestration.operation.name": "state.query",
        "session.id": "s",
    }
    assert span["resource"]["attributes"]["service.name"] == "shop"
    # The Collector counts what comes over the spool, so here the process does.
    (metrics,) = [one for one in printed(out) if "resource_metrics" in one]
    (scope,) = metrics["resource_metrics"][0]["scope_metrics"]
    (counted,) = scope["metrics"]
    assert counted["name"] == "orchestration.operation.duration"
    assert counted["data"]["data_points"][0]["count"] == 1
    assert "/schemas/gen-ai" in scope["schema_url"]
    assert not (home / "spool").exists()


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [("{'export': 'spool'}", {}), ("{}", {"ORCHWATCH_EXPORT": "spool"})],
)
def test_what_is_said_of_our_own_is_stronger(
    run_python: Run, spans: Any, declared: str, arguments: str, environ: dict[str, str]
) -> None:
    assert run_python(RECORD, arguments, OTEL_CONFIG_FILE=declared, **environ) == ""
    assert [span["name"] for span in spans()] == ["state.query"]


def test_a_file_that_sets_nothing_up_records_nothing_and_hurts_nobody(
    run_python: Run, tmp_path: Path
) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text('file_format: "1.0"\n')
    assert run_python(RECORD, "{}", OTEL_CONFIG_FILE=path) == ""


@pytest.mark.parametrize(
    "content",
    [
        None,
        "file_format: [",
        'file_format: "1.0"\ntracer_provider: 3\n',
        'file_format: "1.0"\ntracer_provider: {processors: [{simple: {exporter: {no: {}}}}]}\n',
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    start_python: Callable[..., Any], tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "otel.yaml"
    if content is not None:
        path.write_text(content)
    process = start_python(RECORD, "{}", OTEL_CONFIG_FILE=str(path))
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert err.startswith(f"OrchwatchError: OTEL_CONFIG_FILE: {path}: ")


SECRET = "SUPER SECRET: {KEY}"
TRACES = 'file_format: "1.0"\ntracer_provider: {processors: [{simple: {exporter: %s}}]}\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            TRACES % '{otlp_http: {headers: {api-key: "${API_KEY}"}}}',
            "-> simple -> exporter -> otlp_http -> headers: must be of type array",
        ),
        (
            TRACES % '{otlp_http: {headers: [{nam: "${API_KEY}"}]}}',
            "-> headers -> 0: ",
        ),
        (TRACES % '{otlp_http: {timeout: "${API_KEY}"}}', "-> timeout: must be of type "),
        (TRACES % '{otlp_http: {compression: "${API_KEY}"}}', "ConfigurationError"),
        (TRACES % '{unknown: {key: "${API_KEY}"}}', "Plugin 'unknown' not found in group "),
        (TRACES % '{console: {key: "${API_KEY}"}}', "-> console: does not know key"),
        ('file_format: "${API_KEY}"\n', "ValueError"),
        ('file_format: "1.0"\nlog_level: "${API_KEY}"\n', "at log_level: must be one of "),
        ('file_format: "1.0"\npropagator: {composite_list: "${API_KEY}"}\n', "ConfigurationError"),
        (f'file_format: "1.0"\nkey: "{SECRET}\n', "ScannerError in line "),
    ],
)
def test_what_is_wrong_is_said_without_a_value_of_the_file(
    start_python: Callable[..., Any], tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text(content)
    caught = "except OrchwatchError as error:\n"
    shown = f"{caught}    import traceback; traceback.print_exc()\n"
    process = start_python(
        RECORD.replace(caught, shown), "{}", OTEL_CONFIG_FILE=str(path), API_KEY=SECRET
    )
    _, err = process.communicate(timeout=240)
    last = err.splitlines()[-1]
    assert last.startswith(f"OrchwatchError: OTEL_CONFIG_FILE: {path}: ")
    assert said in last
    assert "SECRET" not in err


def test_a_file_that_failed_halfway_fails_again(
    start_python: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text(
        TRACES % "{console: {}}"
        + "meter_provider: {readers: [{periodic: {exporter: {unknown: {}}}}]}\n"
    )
    twice = """
import orchwatch, sys
from orchwatch.errors import OrchwatchError
for _ in range(2):
    try:
        orchwatch.configure()
    except OrchwatchError as error:
        print(error, file=sys.stderr)
"""
    process = start_python(twice, OTEL_CONFIG_FILE=str(path))
    _, err = process.communicate(timeout=240)
    first, second = err.splitlines()
    assert first == second
    assert "Plugin 'unknown' not found" in first


def test_without_what_reads_such_files_it_is_said_what_brings_it(
    start_python: Callable[..., Any], declared: str
) -> None:
    hide = f"import sys; sys.modules['opentelemetry.configuration'] = None\n{RECORD}"
    process = start_python(hide, "{}", OTEL_CONFIG_FILE=declared)
    _, err = process.communicate(timeout=240)
    assert err == (
        "MissingExtraError: OTEL_CONFIG_FILE is set, and reading it takes"
        " pip install 'orchwatch[config]'\n"
    )
