from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchwatch.mixin import stack_files

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = Path(__file__).parents[3]
# What a server of the stack is mounted from, and nothing of it is for the repository alone.
NOT_FOR_A_STACK = {
    "collector/builder.yaml",
    "grafana/dashboards/.lint",
    "prometheus/pint.hcl",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `orchwatch generate --output` writes for a user who has changed nothing."""
    directory = tmp_path_factory.mktemp("written") / "stack"
    ended = generate(directory)
    assert (ended.returncode, ended.stderr) == (0, "")
    return directory


@pytest.fixture
def own(written: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(written, tmp_path / "own"))


def generate(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchwatch.cli", "generate", "--output", str(directory), *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=directory.parent,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory.parent),
            "ORCHWATCH_HOME": "/some/where",
        },
    )


def mounted(directory: Path) -> Iterator[str]:
    """What of the directory docker-compose.yml mounts or builds from."""
    file: dict[str, Any] = yaml.safe_load((directory / "docker-compose.yml").read_text())
    for service in file["services"].values():
        for mount in service.get("volumes", []):
            source = mount if isinstance(mount, str) else mount["source"]
            if source.startswith("./"):
                yield source.partition(":")[0]
        if "build" in service:
            yield f"{service['build']}/Dockerfile"


def test_all_that_the_compose_file_mounts_is_there(written: Path) -> None:
    names = set(mounted(written))
    assert len(names) > 5
    assert [name for name in names if not (written / name).exists()] == []


def test_it_is_what_a_checkout_has_in_the_same_places(written: Path) -> None:
    directories = {name.split("/")[1] for name in mounted(REPO)} - {"Dockerfile"}
    tracked = subprocess.run(
        ["git", "ls-files", *directories], check=True, capture_output=True, text=True, cwd=REPO
    ).stdout.split()
    for name in set(tracked) - NOT_FOR_A_STACK:
        assert (written / name).read_text() == (REPO / name).read_text(), name


def test_the_image_finds_all_that_its_dockerfile_copies(written: Path) -> None:
    admitted = (written / ".dockerignore").read_text()
    copied = [
        name
        for line in (written / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    assert "instrumentation" in copied
    for name in copied:
        assert (written / name).exists(), name
        assert f"!{name}\n" in admitted, name
    package = written / "instrumentation/orchwatch"
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    source = REPO / "instrumentation/orchwatch"
    assert modules == {str(path.relative_to(source)) for path in source.rglob("*.py")}


def test_the_settings_are_those_that_make_writes_and_are_never_overwritten(
    written: Path, own: Path, tmp_path: Path
) -> None:
    subprocess.run(
        ["make", "--silent", "-f", str(REPO / "Makefile"), ".env"],
        check=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": "/h", "ORCHWATCH_HOME": "/some/where"},
    )
    assert (written / ".env").read_text() == (tmp_path / ".env").read_text()
    (own / ".env").write_text("ORCHWATCH_UID=4321\n")
    assert generate(own).stdout.startswith("nothing to write")


@pytest.mark.skipif(not shutil.which("docker"), reason="no docker compose here")
def test_docker_compose_accepts_it(written: Path) -> None:
    config = ["docker", "compose", "--profile=demo", "config", "--quiet"]
    if subprocess.run(config[:2], check=False, capture_output=True).returncode:
        pytest.skip("no docker compose here")
    ended = subprocess.run(config, check=False, capture_output=True, text=True, cwd=written)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_a_second_time_there_is_nothing_to_write(own: Path) -> None:
    assert generate(own).stdout.startswith("nothing to write")
    assert generate(own, "--check").returncode == 0


def test_what_its_user_has_changed_stays_and_is_no_drift(own: Path) -> None:
    for name in ("alertmanager/alertmanager.yml", "collector/config.yaml", "docker-compose.yml"):
        with (own / name).open("a") as file:
            file.write("# mine\n")
    assert generate(own, "--check").returncode == 0
    assert generate(own).stdout.startswith("nothing to write")
    assert (own / "docker-compose.yml").read_text().endswith("# mine\n")


def test_the_part_that_follows_from_the_table_is_written_into_a_changed_file(own: Path) -> None:
    config = own / "collector/config.yaml"
    config.write_text(config.read_text() + "# mine\n")
    (own.parent / "orchwatch.toml").write_text('[operations."review.run"]\ntarget_s = 77\n')
    assert generate(own).returncode == 0
    assert "77s" in config.read_text()
    assert config.read_text().endswith("# mine\n")


def of_an_older_version(own: Path, name: str, text: str) -> None:
    note = json.loads((own / stack_files.NOTE).read_text())
    note[name] = stack_files._digest(text)
    (own / stack_files.NOTE).write_text(json.dumps(note))


def test_what_an_older_version_wrote_becomes_this_ones(own: Path) -> None:
    tempo = own / "tempo/tempo.yaml"
    text = tempo.read_text()
    tempo.write_text("old\n")
    of_an_older_version(own, "tempo/tempo.yaml", "old\n")
    gone = own / "compose/gone"
    gone.write_text("old\n")
    of_an_older_version(own, "compose/gone", "old\n")
    assert generate(own, "--check").returncode == 3
    assert generate(own).returncode == 0
    assert tempo.read_text() == text
    assert not gone.exists()


def test_a_changed_file_that_a_new_version_changes_too_gets_a_neighbour_once(own: Path) -> None:
    tempo = own / "tempo/tempo.yaml"
    text = tempo.read_text()
    tempo.write_text("mine\n")
    of_an_older_version(own, "tempo/tempo.yaml", "old\n")
    ended = generate(own)
    assert f"tempo.yaml was changed and is kept; the new version is {tempo}.new\n" in ended.stdout
    assert tempo.read_text() == "mine\n"
    assert Path(f"{tempo}.new").read_text() == text
    Path(f"{tempo}.new").unlink()
    assert generate(own).stdout.startswith("nothing to write")


def test_a_directory_of_something_else_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text("[project]\n")
    ended = generate(project)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.endswith(
        f"{project / 'pyproject.toml'} is not from orchwatch: name a directory of its own"
    )
    assert [path.name for path in project.iterdir()] == ["pyproject.toml"]
