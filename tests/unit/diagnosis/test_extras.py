from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis import extras

if TYPE_CHECKING:
    from pathlib import Path

DOCTOR = [sys.executable, "-m", "orchwatch.cli", "doctor"]


def install(directory: Path, distribution: str, version: str, code: str) -> None:
    """Puts a library of that name and version where it is found before the real one."""
    name = distribution.replace("-", "_")
    for module in (name, f"_{name}"):  # DuckDB's engine is a module of its own
        (directory / f"{module}.py").write_text(code)
    info = directory / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    )


def doctor(directory: Path) -> tuple[int, list[str]]:
    ended = subprocess.run(
        DOCTOR,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,  # on a machine that is busy with something else
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "ORCHWATCH_HOME": str(directory / "home"),
            "PYTHONPATH": str(directory),
        },
    )
    assert "Traceback" not in ended.stderr
    lines = ended.stdout.splitlines()
    (found,) = (number for number, line in enumerate(lines) if " extra local " in line)
    return ended.returncode, lines[found : found + 2]


def test_what_is_installed_is_imported_and_fine() -> None:
    assert {(check.name, check.state) for check in extras.check_extras()} == {
        ("extra local", "ok"),
        ("extra grafana", "ok"),
        ("extra tui", "ok"),
        ("extra history", "ok"),
        ("extra forecast", "ok"),
        ("extra codex", "ok"),
        ("extra prices", "ok"),
        ("extra config", "ok"),
    }


def test_for_each_extra_it_is_known_who_uses_it() -> None:
    provided = metadata.metadata("orchwatch").get_all("Provides-Extra")
    assert set(extras._USERS) == set(provided or ())


def test_a_version_that_does_not_fit_fails_and_both_are_named(tmp_path: Path) -> None:
    install(tmp_path, "jsonpath-rfc9535", "2.0.2", "")
    code, (line, remedy) = doctor(tmp_path)
    assert code == 3
    assert line.startswith("fail ")
    assert "jsonpath-rfc9535 2.0.2 is installed, <2,>=1.0 is wanted" in line
    assert remedy.endswith("-> pip install 'orchwatch[local]'")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('libstdc++.so.6:\\n  no such file')", "libstdc++.so.6: no such file"),
        ("raise RuntimeError('x')", "RuntimeError: x"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its process ended with -11"),
        ("a b", "SyntaxError: "),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
    ],
)
def test_what_is_installed_but_cannot_be_imported_fails_with_the_error_in_one_line(
    tmp_path: Path, code: str, reason: str
) -> None:
    install(tmp_path, "duckdb", metadata.version("duckdb"), code)
    exit_code, (line, _) = doctor(tmp_path)
    assert exit_code == 3
    assert line.startswith("fail ")
    assert "orchwatch.store.engine cannot be imported: " in line
    assert reason in line


def test_a_library_without_what_is_used_of_it_fails_though_its_version_fits(tmp_path: Path) -> None:
    install(tmp_path, "jsonpath-rfc9535", "1.9", "def compile(path): ...")
    code, (line, _) = doctor(tmp_path)
    assert code == 3
    assert "orchwatch.runtime.query_library cannot be imported: " in line
    assert "filter_expressions" in line


def test_a_demo_without_its_libraries_is_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    install(tmp_path, "duckdb", "1.0", "raise ModuleNotFoundError")
    ended = subprocess.run(
        [sys.executable, "-m", "orchwatch.cli", "demo"],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,  # on a machine that is busy with something else
        env={**os.environ, "PYTHONPATH": str(tmp_path), "ORCHWATCH_HOME": str(tmp_path / "home")},
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.endswith("pip install 'orchwatch[local]'")
