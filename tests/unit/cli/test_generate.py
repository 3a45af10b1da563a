from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchwatch.cli import reference
from orchwatch.mixin import dashboards, generate

REPO = Path(__file__).parents[3]
GENERATED = [*generate.PARTS, *generate.FILES, *generate.OF_PACKAGE, reference.FILE]
# The overview names every operation; the other pages show the one that is chosen on them.
PAGES = [name for name in dashboards.files() if not name.endswith("overview.json")]
OF_NONE = [*PAGES, *generate.OF_PACKAGE, reference.FILE]
OF_EACH_OPERATION = [name for name in GENERATED if name not in OF_NONE]
GENERATE = [sys.executable, "-m", "orchwatch.cli", "generate"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The generated files of this checkout, and nothing else of it."""
    for name in GENERATED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    return tmp_path


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GENERATE, *words], check=False, capture_output=True, text=True, timeout=240, cwd=checkout
    )


def test_what_is_committed_has_not_drifted(checkout: Path) -> None:
    ended = run(checkout, "--check")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "nothing to write: every file is up to date\n"


def test_drift_is_exit_code_3_names_each_file_and_writes_none(checkout: Path) -> None:
    before = {name: (checkout / name).read_text() for name in GENERATED}
    (checkout / "orchwatch.toml").write_text('[operations."my.operation"]\ntarget_s = 7.5\n')
    ended = run(checkout, "--check")
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert [name for name in GENERATED if name in line] == OF_EACH_OPERATION
    assert {name: (checkout / name).read_text() for name in GENERATED} == before


def test_writing_names_what_changed_and_ends_the_drift(checkout: Path) -> None:
    (checkout / "orchwatch.toml").write_text('[operations."my.operation"]\ntarget_s = 7.5\n')
    written, hint = run(checkout).stdout.splitlines()
    assert written == f"wrote {', '.join(OF_EACH_OPERATION)}"
    assert hint.endswith("make down up")
    assert run(checkout, "--check").returncode == 0
    assert run(checkout).stdout.startswith("nothing to write: ")


def test_a_page_that_does_not_follow_from_the_commands_is_drift_too(checkout: Path) -> None:
    page = checkout / reference.FILE
    page.write_text(page.read_text().replace("--since", "--from"))
    ended = run(checkout, "--check")
    assert ended.returncode == 3
    assert f"out of date: {reference.FILE}; " in ended.stderr
    assert run(checkout).stdout.startswith(f"wrote {reference.FILE}\n")
    assert page.read_text() == reference.page()


def test_another_directory_can_be_named(checkout: Path) -> None:
    assert run(REPO / "tests", "--check", "--output", str(checkout)).returncode == 0


def test_a_directory_that_is_no_checkout_is_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert f"{tmp_path}: is no checkout; --output DIR" in line
    assert list(tmp_path.iterdir()) == []


def test_a_directory_for_servers_of_ones_own_gets_what_they_read(tmp_path: Path) -> None:
    (tmp_path / "orchwatch.toml").write_text('[operations."review.run"]\ntarget_s = 90\n')
    ended = run(tmp_path, "--output", "monitoring")
    assert (ended.returncode, ended.stderr) == (0, "")
    own = tmp_path / "monitoring"
    written = {str(path.relative_to(own)) for path in own.rglob("*") if path.is_file()}
    assert written > {*generate.FILES, *generate.OWN_FILES}
    for name in OF_EACH_OPERATION:
        if name in generate.FILES:
            assert "review.run" in (own / name).read_text()
    buckets = yaml.safe_load((own / "collector/buckets.yaml").read_text())
    explicit = buckets["connectors"]["span_metrics"]["histogram"]["explicit"]
    assert {"90s", "108s"} <= set(explicit["buckets"])
    assert run(tmp_path, "--check", "--output", "monitoring").returncode == 0
    (own / "prometheus/rules/alerts.yml").unlink()
    assert run(tmp_path, "--check", "--output", "monitoring").returncode == 3


def test_no_directory_at_all_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    ended = run(tmp_path, "--output", "")
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line == "orchwatch: generate: --output must not be empty"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run(tmp_path, "--output", "file")
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
