from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.state import StateError, encode_state, of_one_file
from orchwatch.testing import capture

if TYPE_CHECKING:
    from pathlib import Path

VIOLATIONS = "orchestration.state.consistency.violations"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session of one file, as sessions were kept before, with the copy before its last one."""
    directory = tmp_path / "s1"
    directory.mkdir()
    for name, version in (("state.previous.json", 1), ("state.json", 2)):
        path = directory / name
        path.write_bytes(encode_state(path, {"version": version}, version))
    return directory


def test_a_session_of_one_file_is_taken_over(session: Path) -> None:
    with SessionStateManager(session.parent, "s1") as state:
        assert state.get("version") == 2
        state.set("version", 3)
    with SessionStateManager(session.parent, "s1") as state:
        assert state.get("version") == 3


@pytest.mark.parametrize("keep_bytes", [0, 1, 40, 70])
def test_a_torn_copy_is_counted_and_the_one_before_it_is_taken(
    session: Path, keep_bytes: int
) -> None:
    path = session / "state.json"
    path.write_bytes(path.read_bytes()[:keep_bytes])
    with capture() as captured:
        assert of_one_file(session) == {"version": 1}
    assert [(counter.name, counter.value) for counter in captured.counters] == [(VIOLATIONS, 1)]


def test_a_copy_that_vanished_is_made_up_for(session: Path) -> None:
    (session / "state.json").unlink()
    with SessionStateManager(session.parent, "s1") as state:
        assert state.get("version") == 1


def test_a_state_that_does_not_fit_its_checksum_is_not_believed(session: Path) -> None:
    path = session / "state.json"
    path.write_text(path.read_text().replace('"state":{"version":2}', '"state":{"version":3}'))
    assert of_one_file(session) == {"version": 1}


def test_two_damaged_copies_give_one_clear_line(session: Path) -> None:
    (session / "state.json").write_text("{")
    (session / "state.previous.json").write_text("[]")
    with pytest.raises(StateError, match=r"state\.json: torn.*previous.*no good copy is left") as e:
        SessionStateManager(session.parent, "s1")
    assert "\n" not in str(e.value)


def test_one_that_a_program_of_before_still_owns_is_left_to_it(session: Path) -> None:
    with (session / "state.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StateError, match="another process owns this session"):
            SessionStateManager(session.parent, "s1")


def test_a_lock_that_is_no_file_is_one_clear_line(session: Path) -> None:
    (session / "state.lock").mkdir()
    with pytest.raises(StateError, match=r"state\.lock: cannot be opened"):
        SessionStateManager(session.parent, "s1")
