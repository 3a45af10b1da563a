from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.monitor.session_files import SessionFiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DAY_S = 24 * 3600


class Follower:
    """Polls with a clock of its own: each `look` is a second later, when all had their turn."""

    def __init__(
        self,
        projects: Path,
        positions: Mapping[str, Sequence[Any]] | None = None,
        since_s: float | None = None,
    ) -> None:
        since_s = time.time() - 3600 if since_s is None else since_s
        self.files = SessionFiles({str(projects): since_s}, positions or {})
        self.now_s = 0.0

    def look(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for _ in range(5):
            self.now_s += 0.25
            for tails in self.files.poll(self.now_s, 0.25):
                for tail in tails:
                    read = b"".join(tail.pieces())
                    if read:
                        found[Path(tail.path).name] = found.get(Path(tail.path).name, b"") + read
        return found


def _write(path: Path, text: str, *, age_s: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)
    os.utime(path, (time.time() - age_s,) * 2)


def test_sessions_sub_agents_and_projects_are_found_as_they_come(projects: Path) -> None:
    follower = Follower(projects)
    assert follower.look() == {}  # not even the folder is there
    _write(projects / "p" / "s1.jsonl", "1\n")
    assert follower.look() == {"s1.jsonl": b"1\n"}
    _write(projects / "p" / "s1" / "subagents" / "agent-a.jsonl", "2\n")
    assert follower.look() == {"agent-a.jsonl": b"2\n"}
    _write(projects / "p" / "s1" / "subagents" / "deeper" / "agent-b.jsonl", "3\n")
    _write(projects / "q" / "s2.jsonl", "4\n")
    assert follower.look() == {"agent-b.jsonl": b"3\n", "s2.jsonl": b"4\n"}
    _write(projects / "p" / "s1" / "subagents" / "agent-a.jsonl", "5\n")
    assert follower.look() == {"agent-a.jsonl": b"5\n"}


def test_other_files_are_left_alone(projects: Path) -> None:
    _write(projects / "p" / "memory" / "notes.md", "1\n")
    _write(projects / "p" / "s1.json", "1\n")
    assert Follower(projects).look() == {}


def test_what_is_older_than_the_first_look_is_left_until_it_grows(projects: Path) -> None:
    _write(projects / "p" / "old.jsonl", "1\n", age_s=DAY_S)
    _write(projects / "p" / "new.jsonl", "2\n")
    follower = Follower(projects)
    assert follower.look() == {"new.jsonl": b"2\n"}
    _write(projects / "p" / "old.jsonl", "3\n")
    assert follower.look() == {"old.jsonl": b"3\n"}


def test_what_came_while_no_monitor_ran_is_caught_up_however_old_it_is(projects: Path) -> None:
    _write(projects / "p" / "s1.jsonl", "1\n", age_s=3 * DAY_S)
    before = Follower(projects, since_s=time.time() - 4 * DAY_S)
    before.look()
    _write(projects / "p" / "s1.jsonl", "2\n", age_s=2 * DAY_S)
    _write(projects / "p" / "s2.jsonl", "3\n", age_s=2 * DAY_S)
    after = Follower(projects, before.files.positions(), since_s=time.time() - 4 * DAY_S)
    assert after.look() == {"s1.jsonl": b"2\n", "s2.jsonl": b"3\n"}


def test_positions_are_kept_of_files_that_were_not_looked_at_yet(projects: Path) -> None:
    _write(projects / "p" / "s1.jsonl", "1\n")
    before = Follower(projects)
    before.look()
    positions = before.files.positions()
    assert SessionFiles({str(projects): 0.0}, positions).positions() == positions


@pytest.mark.parametrize("stopped", [False, True])
def test_a_file_that_is_moved_is_not_read_again(projects: Path, *, stopped: bool) -> None:
    _write(projects / "p" / "s1.jsonl", "1\n")
    follower = Follower(projects)
    follower.look()
    (projects / "p").rename(projects / "q")
    if stopped:
        follower = Follower(projects, follower.files.positions())
    else:
        follower.look()
    _write(projects / "q" / "s1.jsonl", "2\n")
    assert follower.look() == {"s1.jsonl": b"2\n"}


def test_deleted_files_are_no_trouble(projects: Path) -> None:
    _write(projects / "p" / "s1.jsonl", "1\n")
    _write(projects / "p" / "s1" / "subagents" / "agent-a.jsonl", "2\n")
    follower = Follower(projects)
    follower.look()
    shutil.rmtree(projects / "p" / "s1")
    assert follower.look() == {}
    shutil.rmtree(projects)
    assert follower.look() == {}
    _write(projects / "p" / "s3.jsonl", "3\n")
    assert follower.look() == {"s3.jsonl": b"3\n"}


def test_it_says_when_every_session_was_looked_at(projects: Path) -> None:
    for number in range(20):
        _write(projects / "p" / f"s{number}.jsonl", "1\n")
    follower = Follower(projects)
    assert not follower.files.complete
    assert len(follower.look()) == 20
    assert follower.files.complete
