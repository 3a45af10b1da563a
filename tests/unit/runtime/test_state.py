from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.runtime.state import StateError, StateStore
from orchwatch.testing import capture

if TYPE_CHECKING:
    from pathlib import Path

VIOLATIONS = "orchestration.state.consistency.violations"
KILLS = 8

PERSIST_FOR_EVER = """
import sys
from pathlib import Path
from orchwatch.runtime.state import StateStore
store = StateStore(Path(sys.argv[1]))
while True:
    number = store.document.get("number", 0) + 1
    store.document |= {"number": number, "copies": [number] * 20000}
    store.persist()
    print(number, flush=True)
"""


def written(directory: Path, versions: int = 2) -> None:
    store = StateStore(directory)
    for version in range(1, versions + 1):
        store.document["version"] = version
        store.persist()
    store.close()


def test_the_next_owner_reads_what_was_persisted_last(tmp_path: Path) -> None:
    written(tmp_path / "session")
    store = StateStore(tmp_path / "session")
    assert (store.document, store.version, store.recovered) == ({"version": 2}, 2, False)


def test_files_are_private(tmp_path: Path) -> None:
    written(tmp_path / "session")
    assert (tmp_path / "session").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "session").iterdir()} == {0o600}


@pytest.mark.parametrize("keep_bytes", [0, 1, 40, 100])
def test_a_torn_document_is_counted_and_the_copy_before_it_is_used(
    tmp_path: Path, keep_bytes: int
) -> None:
    written(tmp_path)
    os.truncate(tmp_path / "state.json", keep_bytes)
    with capture() as captured:
        store = StateStore(tmp_path)
    assert (store.document, store.version, store.recovered) == ({"version": 1}, 1, True)
    assert [(counter.name, counter.value) for counter in captured.counters] == [(VIOLATIONS, 1)]
    store.document["version"] = 2
    store.persist()
    store.close()
    assert StateStore(tmp_path).document == {"version": 2}


def test_a_document_that_vanished_is_recovered(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "state.json").unlink()
    assert StateStore(tmp_path).document == {"version": 1}


def test_a_state_that_does_not_fit_its_checksum_is_not_believed(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "state.json"
    path.write_text(path.read_text().replace('"state":{"version":2}', '"state":{"version":3}'))
    assert StateStore(tmp_path).document == {"version": 1}


def test_two_damaged_copies_give_one_clear_line(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "state.json").write_text("{")
    (tmp_path / "state.previous.json").write_text("[]")
    with pytest.raises(StateError, match=r"state\.json: torn.*previous.*no good copy is left") as e:
        StateStore(tmp_path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), b"bytes"])
def test_what_is_no_json_is_refused_and_leaves_the_file_alone(
    tmp_path: Path, value: object
) -> None:
    written(tmp_path)
    store = StateStore(tmp_path)
    store.document["value"] = value
    with pytest.raises(StateError, match="state is not JSON"):
        store.persist()
    assert json.loads((tmp_path / "state.json").read_text())["version"] == 2


def test_a_session_has_one_owner_at_a_time(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    with pytest.raises(StateError, match="another process owns this session"):
        StateStore(tmp_path)
    store.close()
    StateStore(tmp_path).close()


def test_verify_finds_a_file_that_another_program_changed(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "mine")
    store.document["owner"] = "me"
    store.persist()
    store.verify()
    other = StateStore(tmp_path / "other")
    other.document["owner"] = "somebody else"
    other.persist()
    (tmp_path / "other" / "state.json").replace(tmp_path / "mine" / "state.json")
    with (
        capture() as captured,
        pytest.raises(StateError, match="is not the state in memory"),
    ):
        store.verify()
    assert [(counter.name, counter.value) for counter in captured.counters] == [(VIOLATIONS, 1)]


def test_a_writer_killed_at_any_moment_leaves_a_whole_state(tmp_path: Path) -> None:
    reached = 0
    for kill in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", PERSIST_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(kill + 1)]
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        store = StateStore(tmp_path)
        assert not store.recovered
        assert store.document["number"] >= said[-1] > reached
        assert store.document["copies"] == [store.document["number"]] * 20000
        reached = store.document["number"]
        store.close()


def test_each_write_is_recorded_with_its_version_and_size(tmp_path: Path) -> None:
    with capture() as captured:
        written(tmp_path)
    first, last = (operation.attributes for operation in captured.operations)
    assert first["orchestration.state.version"] == 1
    assert last == {
        "orchestration.state.version": 2,
        "orchestration.state.size": (tmp_path / "state.json").stat().st_size,
    }
