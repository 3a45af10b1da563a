"""Rows that were parsed once are those of the lines, or they are not used."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from orchwatch.store import row_cache, segments, small
from orchwatch.store.database import Store
from orchwatch.store.row_cache import Parsed
from orchwatch.store.small import Row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record


@pytest.fixture(autouse=True)
def keeping_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "_WORTH_KEEPING_BYTES", 1)


def rows(home: Path) -> list[Row]:
    found = small.read(home)
    assert found is not None
    return found.rows


def pretend(home: Path) -> list[Row]:
    """Leaves rows that no line holds, as if they had been read from all that there is."""
    shown = [row._replace(name="kept") for row in rows(home)]
    (segment,) = segments.find(home / "spool")
    parsed = {segment.id: Parsed(segment.size_bytes, list(shown))}
    row_cache.write(home / "store", parsed, small._TEXTS)
    return shown


def test_rows_are_kept_whatever_they_hold(home: Path, record: Record) -> None:
    for number in range(3):
        record(attributes={"session.id": "t-ä", "n": number, "gen_ai.agent.id": "a"}, failed=True)
    record(None, parent_span_id="00000000000000ff")
    parsed = rows(home)
    assert (home / "store" / "rows.json").stat().st_mode & 0o777 == 0o600
    assert rows(home) == parsed
    assert all(type(row) is Row for row in rows(home))


def test_what_was_parsed_is_not_parsed_again_and_what_is_new_is(home: Path, record: Record) -> None:
    record()
    kept = pretend(home)
    assert rows(home) == kept
    record()
    assert [row.name for row in rows(home)] == ["kept", "state.query"]
    assert [row.name for row in rows(home)] == ["kept", "state.query"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[:-1],
        lambda content: content.replace(b"kept", b"kepd"),
        lambda content: content.replace(b"orchwatch rows ", b"orchwatch rows 0"),
        lambda content: content.replace(b"\n", b"", 1),
        lambda content: os.urandom(len(content)),
        lambda _: row_cache._head(b'{"a":[1,{}]}') + b'\n{"a":[1,{}]}',
        lambda _: row_cache._head(b"[" * 99_999) + b"\n" + b"[" * 99_999,
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_not_used(
    home: Path, record: Record, damage: object
) -> None:
    record()
    pretend(home)
    path = home / "store" / "rows.json"
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    assert [row.name for row in rows(home)] == ["state.query"]
    pretend(home)
    assert [row.name for row in rows(home)] == ["kept"]


def test_a_pipe_or_a_directory_in_its_place_blocks_no_one(home: Path, record: Record) -> None:
    record()
    (home / "store").mkdir()
    path = home / "store" / "rows.json"
    os.mkfifo(path)
    assert len(rows(home)) == 1
    assert path.is_file()
    path.unlink()
    path.mkdir()
    assert len(rows(home)) == 1


def test_a_segment_that_is_another_one_now_is_read_anew(home: Path, record: Record) -> None:
    record()
    record()
    pretend(home)
    (path,) = (home / "spool").glob("*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b'{"resourceSpans', 0, len(whole) - 1)])
    assert [row.name for row in rows(home)] == ["state.query"]


def test_that_a_line_is_odd_is_known_without_reading_all_again(home: Path, record: Record) -> None:
    record()
    (path,) = (home / "spool").glob("*.jsonl")
    with path.open("ab") as segment:
        segment.write(b"no json\n")
    assert small.read(home) is None
    (segment_found,) = segments.find(home / "spool")
    known = row_cache.read(home / "store", small._TEXTS, Row._make)
    assert known == {segment_found.id: Parsed(segment_found.size_bytes, None)}
    record()
    assert small.read(home) is None


def test_what_was_compacted_is_small_as_long_as_the_spool_has_it(
    home: Path, record: Record, tmp_path: Path
) -> None:
    record()
    shutil.copytree(home, other := tmp_path / "other")  # this process has its own segment open
    (other / "spool" / "operations-000002.jsonl").touch()
    assert small.read(other) is None
    Store(other).close()
    assert list((other / "store").glob("*.parquet"))
    assert [row.name for row in rows(other)] == ["state.query"]


def test_the_rows_of_a_store_that_has_grown_are_removed(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record()
    pretend(home)
    monkeypatch.setattr(small, "MAX_BYTES", 10)
    assert small.read(home) is None
    assert not (home / "store" / "rows.json").exists()
