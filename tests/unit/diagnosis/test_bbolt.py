"""On a database that the Collector has written."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from orchwatch.diagnosis import bbolt

DATABASE = Path(__file__).parents[2] / "data" / "collector" / "receiver_otlpjsonfile_operations.gz"
PAGE_BYTES = 4096
BUCKET, KEY = b"default", b"knownFiles"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "database"
    path.write_bytes(gzip.decompress(DATABASE.read_bytes()))
    return path


def _overwrite(path: Path, start: int, text: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(text)


def test_a_value_longer_than_a_page_is_read_whole(database: Path) -> None:
    value = bbolt.get(database, BUCKET, KEY)
    assert value is not None
    assert len(value) > PAGE_BYTES
    assert value.count(b'{"orchwatch":{"segment":"operations-00000') == 7


def test_a_key_that_is_not_in_it_has_an_empty_value(database: Path) -> None:
    assert bbolt.get(database, BUCKET, b"another") == b""


def test_a_bucket_that_is_not_in_it_has_no_values(database: Path) -> None:
    assert bbolt.get(database, b"another", KEY) is None


def test_one_meta_page_written_by_half_leaves_the_state_before(database: Path) -> None:
    for start in (0, PAGE_BYTES):
        text = database.read_bytes()
        _overwrite(database, start + 40, b"\xff" * 8)
        assert b"operations-000001" in (bbolt.get(database, BUCKET, KEY) or b"")
        database.write_bytes(text)


def test_two_broken_meta_pages_are_no_database(database: Path) -> None:
    for start in (0, PAGE_BYTES):
        _overwrite(database, start + 40, b"\xff" * 8)
    assert bbolt.get(database, BUCKET, KEY) is None


@pytest.mark.parametrize("kept_bytes", [0, 10, PAGE_BYTES, 2 * PAGE_BYTES, 3 * PAGE_BYTES])
def test_one_that_is_cut_off_has_no_value(database: Path, kept_bytes: int) -> None:
    database.write_bytes(database.read_bytes()[:kept_bytes])
    assert bbolt.get(database, BUCKET, KEY) is None


def test_a_bucket_that_leads_nowhere_has_no_value(database: Path) -> None:
    text = re.sub(rb"default.{8}", b"default" + b"\xff" * 8, database.read_bytes(), flags=re.DOTALL)
    database.write_bytes(text)
    assert bbolt.get(database, BUCKET, KEY) is None


def test_what_is_no_file_has_no_value(tmp_path: Path) -> None:
    assert bbolt.get(tmp_path, BUCKET, KEY) is None
    assert bbolt.get(tmp_path / "absent", BUCKET, KEY) is None
