from __future__ import annotations

import os
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis.fleet import machine
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path))
    return tmp_path


def called(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename=name))


def test_a_machine_keeps_its_id_when_its_host_is_renamed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called("before", monkeypatch)
    found = machine.machine_id()
    called("after", monkeypatch)
    assert machine.machine_id() == found
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert (home / "fleet" / "machine-id").stat().st_mode & 0o777 == 0o600
    assert (home / "fleet").stat().st_mode & 0o777 == 0o700


def test_two_homes_have_two_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.machine_id()
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "other"))
    assert machine.machine_id() != found


@pytest.mark.parametrize("text", ["", "short", "g" * 32, "a" * 33, "a" * 32 + " b", "\xff"])
def test_an_id_of_another_kind_is_named_and_kept(home: Path, text: str) -> None:
    path = home / "fleet" / "machine-id"
    path.parent.mkdir()
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(OrchwatchError, match=re.escape(str(path))):
        machine.machine_id()
    assert path.read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize(
    ("called_", "name"),
    [
        ("host.example.com", "host.example.com"),
        ('a"b${env:HOME}', "a-b-env-HOME"),
        ("é", "unnamed"),
        ("", "unnamed"),
        ("x" * 200, "x" * 63),
        ("-a-", "a"),
    ],
)
def test_a_host_is_called_what_a_configuration_can_hold(
    called_: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called(called_, monkeypatch)
    assert machine.host_name() == name


@pytest.mark.parametrize("name", ["a", "a-b.c_d", "9", "x" * 63])
def test_a_plain_name_is_taken(name: str) -> None:
    assert machine.checked_name("--team", name) == name


@pytest.mark.parametrize(
    "name", ["", " ", "-a", "a-", "a b", 'a"b', "a$b", "a\nb", "a\n", "ä", "x" * 64, "\x1b[31m"]
)
def test_a_name_that_would_mean_something_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"--team .*: must be up to 63 letters"):
        machine.checked_name("--team", name)
