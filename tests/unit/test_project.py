"""What an index and an installer are told of the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from readme_renderer import markdown

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HOMEPAGE = PROJECT["urls"]["Homepage"]
PYTHONS = ROOT / ".ci" / "pythons"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_every_link_of_the_readme_leads_from_an_index_to_a_file_of_the_repository() -> None:
    shown = markdown.render((ROOT / "README.md").read_text())
    assert shown
    links = re.findall(r'(?:href|src)="([^"]*)"', shown)
    own = [link for link in links if not link.startswith(("http://127.0.0.1:", "#"))]
    assert len(own) > 5
    for link in own:
        path = link.removeprefix(f"{HOMEPAGE}/blob/main/")
        assert path != link, f"{link} does not begin with {HOMEPAGE}/blob/main/"
        # A picture is asked for as it is, not as a page about it.
        file = path.partition("#")[0].removesuffix("?raw=true")
        assert (ROOT / file).is_file(), link
        assert file.endswith(".png") == path.endswith("?raw=true"), link


def test_no_reference_of_the_readme_is_shown_as_text() -> None:
    shown = markdown.render((ROOT / "README.md").read_text())
    assert shown is not None
    text = re.sub(r"<(pre|code)\b.*?</\1>|<[^>]+>", "", shown, flags=re.DOTALL)
    assert not re.findall(r".*\](?:\[|:).*|.*\[[A-Z].*", text)


def test_every_url_of_the_project_begins_with_its_homepage() -> None:
    assert {url for url in PROJECT["urls"].values() if not url.startswith(HOMEPAGE)} == set()


def requirements() -> Iterator[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    for text in [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]:
        yield Requirement(text)


@pytest.mark.parametrize("wanted", list(requirements()), ids=lambda wanted: wanted.name)
def test_every_dependency_that_may_change_under_us_is_bounded_above(wanted: Requirement) -> None:
    # Read for what the standards of packaging say; it has no versions that break.
    if wanted.name != "packaging":
        assert {specifier.operator for specifier in wanted.specifier} & {"<", "=="}


@pytest.mark.parametrize("name", ["dev.txt", "image.txt"])
def test_a_lock_file_names_no_registry_and_pins_one_version_of_each_for_every_python(
    name: str,
) -> None:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    assert [line for line in lines if "://" in line or line.startswith("-")] == []
    pinned = [line.split("==")[0] for line in lines if re.match(r"[a-zA-Z0-9._-]+==", line)]
    assert len(pinned) == len(set(pinned))


def test_each_python_from_the_oldest_on_is_named_to_an_index() -> None:
    oldest = int(PROJECT["requires-python"].removeprefix(">=3."))
    named = re.findall(r"Python :: 3\.(\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert [int(minor) for minor in named] == list(range(oldest, oldest + len(named)))


# Which Python is found.


def find(*words: str, path: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PYTHONS), *words],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": path, "HOME": str(home)},
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory that is the whole PATH, and holds no Python yet."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for tool in ("sh", "awk", "sort", "head"):
        found = next(
            Path(place, tool)
            for place in os.environ["PATH"].split(os.pathsep)
            if Path(place, tool).exists()
        )
        (directory / tool).symlink_to(found)
    return directory


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def real(path: Path) -> None:
    executable(path, f'#!/bin/sh\nexec {sys.executable} "$@"\n')


def base() -> str:
    return getattr(sys, "_base_executable", sys.executable)


def test_a_fitting_python3_is_taken_without_a_word(tools: Path, tmp_path: Path) -> None:
    real(tools / "python3")
    found = find("--first", path=str(tools), home=tmp_path)
    assert (found.stdout, found.stderr, found.returncode) == (f"{base()}\n", "", 0)


@pytest.mark.parametrize("usual", ["exit 1", "echo 'pyenv: command not found' >&2; exit 127"])
def test_where_python3_does_not_fit_another_is_taken_and_one_line_says_so(
    tools: Path, tmp_path: Path, usual: str
) -> None:
    executable(tools / "python3", f"#!/bin/sh\n{usual}\n")
    real(tools / f"python{PYTHON}")
    found = find("--first", path=str(tools), home=tmp_path)
    assert (found.stdout, found.returncode) == (f"{base()}\n", 0)
    (line,) = found.stderr.splitlines()
    assert f"taking {base()}; PYTHON=" in line


def test_those_that_pyenv_keeps_are_found_and_each_version_once(
    tools: Path, tmp_path: Path
) -> None:
    executable(tools / "python3.11", "#!/bin/sh\nexit 127\n")
    for version in ("9.8", "9.9"):
        real(tmp_path / f".pyenv/versions/3.{version}/bin/python3")
    executable(tmp_path / ".pyenv/versions/3.6.15/bin/python3", "#!/bin/sh\nexit 1\n")
    found = find(path=str(tools), home=tmp_path)
    assert found.stdout == f"{PYTHON} {base()}\n"


def test_where_there_is_none_one_line_says_what_is_needed(tools: Path, tmp_path: Path) -> None:
    found = find("--first", path=str(tools), home=tmp_path)
    assert (found.stdout, found.returncode) == ("", 1)
    (line,) = found.stderr.splitlines()
    assert "needs Python 3.11 or newer" in line
