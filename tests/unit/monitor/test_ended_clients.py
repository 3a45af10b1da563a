from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.unit.monitor.test_same_as_import import run_import

from orchwatch.agents.claude_code.sessions import clients
from orchwatch.monitor.ended_clients import LostClients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.monitor.conftest import Json, Watching, Writer

pytestmark = pytest.mark.skipif(not clients.pid_domain(), reason="this machine has no id")

SESSION = "00000000-0000-4000-8000-000000000001"


def start_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[19]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as found:
        yield found
        found.kill()


def note(projects: Path, pid: int, session_id: str = SESSION, **other: object) -> Path:
    """Writes down who runs a session, as Claude Code does."""
    path = projects.with_name("sessions") / f"{pid}.json"
    path.parent.mkdir(exist_ok=True)
    told = {
        "pid": pid,
        "sessionId": session_id,
        "procStart": start_of(pid),
        "pidDomain": clients.pid_domain(),
        **other,
    }
    path.with_suffix(".new").write_text(json.dumps(told))
    path.with_suffix(".new").replace(path)
    return path


def lost(found: LostClients, *moments_s: float) -> list[str]:
    return [fact.session_id for now_s in moments_s for fact in found.poll(now_s)]


def test_a_session_is_lost_once_when_its_process_was_killed(
    projects: Path, process: subprocess.Popen[bytes]
) -> None:
    note(projects, process.pid)
    found = LostClients([str(projects)], ())
    assert lost(found, 0, 10, 20) == []
    process.kill()
    process.wait()
    assert lost(found, 30) == []  # what it wrote last is being read
    assert lost(found, 36, 37, 50) == [SESSION]


def test_a_zombie_process_is_gone(projects: Path, process: subprocess.Popen[bytes]) -> None:
    note(projects, process.pid)
    found = LostClients([str(projects)], ())
    assert lost(found, 0) == []
    process.kill()
    with open(f"/proc/{process.pid}/stat") as stat:
        while stat.seek(0) or " Z " not in stat.read():
            pass
    assert lost(found, 10, 16) == [SESSION]


def test_who_died_between_two_monitors_is_known_though_its_file_is_gone(
    projects: Path, process: subprocess.Popen[bytes]
) -> None:
    path = note(projects, process.pid)
    before = LostClients([str(projects)], ())
    assert lost(before, 0) == []
    process.kill()
    process.wait()
    path.unlink()
    saved = json.loads(json.dumps(before.save()))
    assert lost(LostClients([str(projects)], saved), 0, 6) == [SESSION]


def test_a_process_that_got_the_same_id_later_is_not_taken_for_it(
    projects: Path, process: subprocess.Popen[bytes]
) -> None:
    note(projects, process.pid, procStart=str(int(start_of(process.pid)) - 1))
    assert lost(LostClients([str(projects)], ()), 0, 6) == [SESSION]


@pytest.mark.parametrize("domain", ["linux:another:pid:[4026531836]", "", None])
def test_a_process_of_another_machine_or_container_is_left_alone(
    projects: Path, process: subprocess.Popen[bytes], domain: object
) -> None:
    note(projects, process.pid, procStart="1", pidDomain=domain)
    assert lost(LostClients([str(projects)], ()), 0, 6, 12) == []


def test_a_session_that_another_process_goes_on_with_is_not_lost(
    projects: Path, process: subprocess.Popen[bytes]
) -> None:
    note(projects, process.pid)
    dead = note(projects, process.pid, procStart="1")
    dead.rename(dead.with_name("1.json"))
    note(projects, process.pid)
    assert lost(LostClients([str(projects)], ()), 0, 6, 12) == []


def test_of_a_process_that_has_gone_on_to_another_session_only_that_one_is_lost(
    projects: Path, process: subprocess.Popen[bytes]
) -> None:
    note(projects, process.pid)
    found = LostClients([str(projects)], ())
    assert lost(found, 0) == []
    note(projects, process.pid, "another")
    assert lost(found, 2) == []
    process.kill()
    process.wait()
    assert lost(found, 4, 10, 20) == ["another"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"pid": true}', '{"pid": -1, "procStart": 1}', '{"pid": "1"}'],
)
def test_a_file_of_another_shape_is_passed_over(projects: Path, content: str) -> None:
    place = projects.with_name("sessions")
    place.mkdir()
    (place / "7.json").write_text(content)
    (place / "8.json").mkdir()
    (place / "9.0123.key").write_text("secret")
    assert lost(LostClients([str(projects)], ()), 0, 6, 12) == []


def test_what_a_killed_client_left_open_is_closed_with_the_reason(
    watching: Watching,
    session: Writer,
    projects: Path,
    recorded: Callable[..., list[Json]],
    process: subprocess.Popen[bytes],
) -> None:
    session.turn(tools=2, ended=False)
    note(projects, process.pid)
    watching.watch(lambda: len(recorded()) == 2)
    process.kill()
    process.wait()
    watching.watch(lambda: len(recorded()) == 3)
    assert reasons(recorded()) == ["killed"]


@pytest.mark.usefixtures("home")
def test_an_import_closes_what_a_killed_client_left_open_and_nothing_of_one_that_runs(
    session: Writer,
    projects: Path,
    recorded: Callable[..., list[Json]],
    process: subprocess.Popen[bytes],
) -> None:
    session.turn(tools=2, ended=False)
    note(projects, process.pid)
    run_import(projects)
    assert reasons(recorded("history")) == []
    process.kill()
    process.wait()
    run_import(projects)
    assert reasons(recorded("history")) == ["killed"]


def reasons(spans: list[Json]) -> list[str]:
    """Why each turn is unfinished."""
    return [
        pair["value"]["stringValue"]
        for span in spans
        if span["name"] == "agent.turn"
        for pair in span["attributes"]
        if pair["key"] == "orchestration.unfinished.reason"
    ]
