from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.recording import stack_access

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("home")


def read(name: str) -> str:
    with open(os.path.join(stack_access.directory(), name)) as file:
        return file.read()


def test_what_is_made_is_closed_to_others_and_stays_the_same() -> None:
    stack_access.make()
    made = {name: read(name) for name in os.listdir(stack_access.directory())}
    stack_access.make()
    # But for the salt of its hash.
    assert {name: read(name) for name in made if name != "web.yml"} == {
        name: text for name, text in made.items() if name != "web.yml"
    }
    assert set(os.listdir(stack_access.directory())) == made.keys()
    for name in made:
        assert stat.S_IMODE(os.stat(os.path.join(stack_access.directory(), name)).st_mode) == 0o600
    where = stack_access.directory()
    for directory in (where, os.path.dirname(where), os.path.dirname(os.path.dirname(where))):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700


def test_the_same_password_stands_in_every_file() -> None:
    stack_access.make()
    password = read("password").strip()
    basic = base64.b64encode(f"orchwatch:{password}".encode()).decode()
    assert read("authorization") == stack_access.authorization() == f"Basic {basic}"
    assert read("otlp-headers") == f"Authorization=Basic%20{basic.replace('=', '%3D')}\n"
    assert read("htpasswd") == f"orchwatch:{password}\n"
    assert password not in read("web.yml")
    assert read("path") == f"/{read('path-secret').strip()}"


def test_two_homes_have_nothing_in_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack_access.make()
    mine = {read("password"), read("path")}
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "other"))
    stack_access.make()
    assert mine.isdisjoint({read("password"), read("path")})


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9090", "http://localhost:9090/x", "http://[::1]:1", "http://LOCALHOST"],
)
def test_it_is_shown_on_loopback(url: str) -> None:
    stack_access.make()
    assert stack_access.authorization_for(url) == stack_access.authorization()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "http://127.0.0.1.example.org:9090",
        "http://localhost@example.org",
        "http://10.0.0.1",
        "",
        "127.0.0.1:9090",
        "http://[",
    ],
)
def test_it_is_shown_nowhere_else(url: str) -> None:
    stack_access.make()
    assert stack_access.authorization_for(url) is None
    assert stack_access.below_path(url) == url


def test_an_address_gets_the_path_and_loses_it_again_before_a_person_sees_it() -> None:
    stack_access.make()
    below = stack_access.below_path("http://127.0.0.1:3200/")
    assert below == f"http://127.0.0.1:3200{read('path')}"
    assert stack_access.below_path(below) == below
    assert stack_access.without_secret(f"{below}/api/search") == "http://127.0.0.1:3200/api/search"


def test_without_a_stack_there_is_nothing_to_show() -> None:
    assert stack_access.authorization() is None
    assert stack_access.below_path("http://127.0.0.1:3200") == "http://127.0.0.1:3200"
    assert stack_access.without_secret("text") == "text"


def test_what_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "orchwatch.recording.stack_access"],
        env={**os.environ, "ORCHWATCH_HOME": str(tmp_path / "file")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
