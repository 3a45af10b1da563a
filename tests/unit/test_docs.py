"""Every path that a page names is there."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/requirements.md", "docs/architecture.md", "docs/decisions.md", "CONTRIBUTING.md")
# What a page may take as said: its own words name the folder.
BELOW = ("", "instrumentation/orchwatch/", "tests/")
# What users have of their own, and what a build leaves.
NOT_HERE = ("store/rows.json", "orchwatch.toml", "dist/")

_SPAN = re.compile(r"`([^`\s]+)`")
_PATH = re.compile(r"\.?[\w.-]+/[\w./-]*|[\w-]+\.(?:py|toml|md|yml|yaml|json)")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
_MODULE = re.compile(r"\b[a-z_]+/[a-z_]+\b")


@cache
def files() -> frozenset[str]:
    """Every file of the project, and every folder with a slash at its end."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).split("\n")
    folders = {f"{parent}/" for name in names for parent in Path(name).parents}
    return frozenset({*names, *folders})


def is_there(path: str) -> bool:
    return any({f"{below}{path}", f"{below}{path}/"} & files() for below in BELOW)


def ends_a_path(path: str) -> bool:
    """Whether one ends so: a page says `settings/` where it speaks of that folder's parent."""
    endings = tuple(f"/{path}{more}" for more in ("", "/", ".py"))
    return is_there(path) or any(name.endswith(endings) for name in files())


def named(page: str) -> list[str]:
    spans = [span for span in _SPAN.findall((ROOT / page).read_text()) if _PATH.fullmatch(span)]
    assert len(spans) > 5
    return [span for span in spans if span not in NOT_HERE]


def test_every_path_in_the_requirements_exists() -> None:
    assert [path for path in named("docs/requirements.md") if not is_there(path)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_path_on_a_page_exists(page: str) -> None:
    assert [path for path in named(page) if not ends_a_path(path)] == []


def test_every_module_in_the_diagrams_exists() -> None:
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / PAGES[1]).read_text(), re.MULTILINE | re.DOTALL)
    modules = _MODULE.findall("\n".join(blocks))
    assert len(modules) > 10
    assert [module for module in modules if not ends_a_path(module)] == []


def test_every_link_between_pages_leads_to_a_file() -> None:
    pages = [name for name in files() if re.fullmatch(r"docs/[\w-]+\.md|CONTRIBUTING\.md", name)]
    links = [(page, link) for page in pages for link in _LINK.findall((ROOT / page).read_text())]
    assert len(links) > 20
    assert [
        found for found in links if not (ROOT / found[0]).parent.joinpath(found[1]).exists()
    ] == []


def test_a_path_that_is_not_there_is_seen() -> None:
    assert is_there("recording/spool.py")
    assert not is_there("monitor/spool.py")
    assert not ends_a_path("monitor/spool.py")
    assert not ends_a_path("follower/")
