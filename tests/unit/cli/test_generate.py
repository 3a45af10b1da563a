from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchwatch.mixin import dashboards, generate

REPO = Path(__file__).parents[3]
GENERATED = [*generate.PARTS, *generate.FILES]
# The overview names every operation; the other pages show the one that is chosen on them.
PAGES = [name for name in dashboards.files() if not name.endswith("overview.json")]
OF_EACH_OPERATION = [name for name in GENERATED if name not in PAGES]
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
        [*GENERATE, *words], check=False, capture_output=True, text=True, timeout=60, cwd=checkout
    )


def test_what_is_committed_has_not_drifted(checkout: Path) -> None:
    ended = run(checkout, "--check")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"nothing to write: all {len(GENERATED)} files follow from the table\n"


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
    assert run(checkout).stdout == f"wrote {', '.join(OF_EACH_OPERATION)}\n"
    assert run(checkout, "--check").returncode == 0
    assert run(checkout).stdout.startswith("nothing to write: ")


def test_another_directory_can_be_named(checkout: Path) -> None:
    assert run(REPO / "tests", "--check", "--output", str(checkout)).returncode == 0


def test_a_directory_that_is_no_checkout_is_one_line(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
