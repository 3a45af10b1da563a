"""On the state that a Collector has left."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.diagnosis import collector_offsets
from orchwatch.recording import spool

if TYPE_CHECKING:
    import pytest

DATA = Path(__file__).parents[2] / "data" / "collector"
DATABASE = "receiver_otlpjsonfile_operations"


def _leave_state(directory: Path) -> Path:
    directory.mkdir(parents=True)
    path = directory / DATABASE
    path.write_bytes(gzip.decompress((DATA / f"{DATABASE}.gz").read_bytes()))
    return path


def test_each_segment_that_was_read_has_its_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave_state(tmp_path / "state")
    monkeypatch.setenv(collector_offsets.DIRECTORY_VARIABLE, str(tmp_path / "state"))
    found = collector_offsets.read(spool.OPERATIONS)
    assert found is not None
    segments = sorted((DATA / "spool").iterdir())
    offsets = [
        found.get(collector_offsets.first_line(segment.read_bytes())) for segment in segments
    ]
    sizes = [segment.stat().st_size for segment in segments]
    assert offsets[:6] == sizes[:6]
    assert 0 < (offsets[6] or 0) < sizes[6]
    assert offsets[7:] == [None]


def test_the_native_stack_keeps_it_in_the_home_directory(home: Path) -> None:
    _leave_state(home / "stack" / "collector")
    assert len(collector_offsets.read(spool.OPERATIONS) or ()) == 7


def test_where_there_is_no_collector_nothing_is_known(home: Path) -> None:
    assert home
    assert collector_offsets.read(spool.OPERATIONS) is None


def test_state_in_another_form_says_nothing(home: Path) -> None:
    path = _leave_state(home / "stack" / "collector")
    content = path.read_bytes()
    # In place of the field of a fingerprint's bytes, one of a type that no longer exists.
    path.write_bytes(content.replace(b"\xeb\x07\x0a\xe8\x07", b"\xeb\x07\x0b\xe8\x07"))
    assert collector_offsets.read(spool.OPERATIONS) is None


def test_before_its_first_round_has_ended_a_collector_has_read_nothing(home: Path) -> None:
    path = _leave_state(home / "stack" / "collector")
    path.write_bytes(path.read_bytes().replace(b"knownFiles", b"otherFiles"))
    assert collector_offsets.read(spool.OPERATIONS) == {}
