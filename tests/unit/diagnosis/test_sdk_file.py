from __future__ import annotations

import socket
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis import doctor, sdk_file

if TYPE_CHECKING:
    from pathlib import Path

    from orchwatch.diagnosis.check import Check

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "otel.yaml"
    path.write_text('file_format: "1.0"\n')
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(path))
    return path


def check() -> Check:
    (found,) = sdk_file.check_sdk_file()
    return found


def test_nothing_is_said_where_no_file_is_named() -> None:
    assert list(sdk_file.check_sdk_file()) == []


def test_the_file_is_named_with_what_it_is_for_and_what_it_is_not(file: Path) -> None:
    found = check()
    assert found.state == "ok"
    assert found.found == (
        f"OTEL_CONFIG_FILE names {file}: configure() sets the SDK up by it alone;"
        " processes without configure() append to the spool as ever"
    )
    assert found in doctor.examine()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "file_format: [",
        "tracer_provider: 3",
        "",
        'file_format: "1.0"\nmeter_provider: {readers: [{periodic: {exporter: {unknown: {}}}}]}\n',
    ],
)
def test_a_file_that_configure_would_refuse_fails(file: Path, content: str | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    found = check()
    assert found.state == "fail"
    assert found.found.startswith(f"OTEL_CONFIG_FILE names {file}, which configure() cannot use: ")
    assert "\n" not in found.found
    assert found.remedy


def test_what_is_wrong_is_said_without_a_value_of_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "SECRET")
    file.write_text('file_format: "1.0"\nresource: {attributes: {key: "${API_KEY}"}}\n')
    assert check().found.endswith(": at resource -> attributes: must be of type array")


def test_a_port_that_the_running_program_has_is_no_fault_of_the_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin.py").write_text(
        "import socket\ndef pull(port):\n    return socket.create_server(('localhost', port))\n"
    )
    package = tmp_path / "plugin-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: plugin\nVersion: 1\n")
    entry_point = "[opentelemetry_pull_metric_exporter]\npull = plugin:pull\n"
    (package / "entry_points.txt").write_text(entry_point)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(
            'file_format: "1.0"\nmeter_provider: {readers: [{pull: {exporter:'
            f" {{pull: {{port: {port}}}}}}}}}]}}\n"
        )
        assert check().state == "ok"


def test_one_that_is_not_used_is_named_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_EXPORT", "spool")
    assert check().found == (
        f"OTEL_CONFIG_FILE names {file}; not used, as ORCHWATCH_EXPORT says spool"
    )


def test_without_what_reads_it_the_remedy_is_the_extra(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    found = check()
    assert (found.state, "orchwatch[config]" in found.remedy) == ("fail", True)
    assert str(file) in found.found
