from __future__ import annotations

import os
import resource
import threading
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.analysis import snapshot_file

if TYPE_CHECKING:
    from pathlib import Path


def document(operations: int = 2, sessions: int = 0) -> dict[str, Any]:
    return {
        "operations": {
            "state.query": {"count": 0, "target_s": 0.05},
            **{f"my.{n}": {"count": n, "target_s": None} for n in range(operations)},
        },
        "sessions": {f"session-{n}": {"memory_bytes": n} for n in range(sessions)},
    }


def test_what_was_written_is_read(home: Path) -> None:
    home.mkdir()
    snapshot_file.write(str(home), document())
    assert snapshot_file.read(str(home)) == document()
    assert (home / "snapshot.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == ["snapshot.json"]


def test_on_a_full_disk_the_one_before_stays(home: Path) -> None:
    home.mkdir()
    snapshot_file.write(str(home), document())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            snapshot_file.write(str(home), document(operations=5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert snapshot_file.read(str(home)) == document()
    assert [path.name for path in home.iterdir()] == ["snapshot.json"]


def test_without_a_snapshot_there_is_none(home: Path) -> None:
    assert snapshot_file.read(str(home)) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff", b"[" * 10_000, b'"' + b"x" * 20_000 + b'"', b"{}{}"]
)
def test_what_is_no_snapshot_is_none(home: Path, content: bytes) -> None:
    home.mkdir()
    (home / "snapshot.json").write_bytes(content)
    assert snapshot_file.read(str(home)) is None


def test_neither_a_directory_nor_a_pipe_in_its_place_is_waited_for(home: Path) -> None:
    (home / "snapshot.json").mkdir(parents=True)
    assert snapshot_file.read(str(home)) is None
    (home / "snapshot.json").rmdir()
    os.mkfifo(home / "snapshot.json")
    assert snapshot_file.read(str(home)) is None


def test_it_stays_small_and_keeps_what_has_a_target_and_is_most(home: Path) -> None:
    home.mkdir()
    snapshot_file.write(str(home), document(operations=2000, sessions=3))
    assert (home / "snapshot.json").stat().st_size <= snapshot_file.MAX_BYTES
    found = snapshot_file.read(str(home))
    assert found is not None
    assert "state.query" in found["operations"]
    assert "my.1999" in found["operations"]
    assert "my.0" not in found["operations"]
    assert len(found["sessions"]) == 3


def test_many_sessions_are_cut_to_the_largest(home: Path) -> None:
    home.mkdir()
    snapshot_file.write(str(home), document(sessions=2000))
    found = snapshot_file.read(str(home))
    assert found is not None
    assert (home / "snapshot.json").stat().st_size <= snapshot_file.MAX_BYTES
    assert "session-1999" in found["sessions"]


def test_a_reader_always_sees_a_whole_one(home: Path) -> None:
    home.mkdir()
    snapshot_file.write(str(home), document())
    done = threading.Event()

    def write() -> None:
        for number in range(200):
            snapshot_file.write(str(home), document(sessions=number))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert snapshot_file.read(str(home)) is not None
    writer.join()


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(home: Path) -> None:
    (home / "snapshot.json" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        snapshot_file.write(str(home), document())
    assert [path.name for path in home.iterdir()] == ["snapshot.json"]
