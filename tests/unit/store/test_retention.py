from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis.spool_health import check_retention
from orchwatch.store import spans
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

DAY_S = 24 * 3600


@pytest.fixture(autouse=True)
def small_segments(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert home
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "4000")
    monkeypatch.chdir(tmp_path)


def count(home: Path) -> int:
    with Store(home) as store:
        return spans.totals(store).get("operations", 0)


def stored(home: Path) -> list[Path]:
    return sorted((home / "store").glob("*.parquet"))


def fill(home: Path, record: Record) -> int:
    """A store whose files are all that is left of their segments; how many operations they hold."""
    for _ in range(60):
        record()
    count(home)
    for segment in sorted((home / "spool").glob("operations-*"))[:-1]:
        segment.unlink()
    return count(home)


def limit(tmp_path: Path, text: str) -> None:
    (tmp_path / "orchwatch.toml").write_text(f"[retention]\n{text}\n")


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))


def said() -> tuple[str, str]:
    (check,) = check_retention()
    return check.state, check.found


def test_what_is_older_than_the_limit_is_dropped_and_nothing_else(
    home: Path, record: Record, tmp_path: Path
) -> None:
    total = fill(home, record)
    first, second = stored(home)[:2]
    age(first, 91)
    age(second, 89)
    assert count(home) < total
    assert first not in stored(home)
    assert second in stored(home)
    limit(tmp_path, "store_days = 30")
    count(home)
    assert second not in stored(home)


def test_the_oldest_go_first_where_the_store_is_too_large(
    home: Path, record: Record, tmp_path: Path
) -> None:
    fill(home, record)
    before = stored(home)
    for number, path in enumerate(before):
        age(path, len(before) - number)
    kept_bytes = sum(path.stat().st_size for path in before[-2:])
    limit(tmp_path, f"store_bytes = {kept_bytes}")
    assert count(home) > 0
    assert stored(home) == before[-2:]


def test_what_the_spool_still_holds_is_not_dropped(
    home: Path, record: Record, tmp_path: Path
) -> None:
    for _ in range(60):
        record()
    limit(tmp_path, "store_bytes = 1\nstore_days = 0.001")
    assert [count(home), count(home)] == [60, 60]
    assert stored(home)


@pytest.mark.parametrize("text", ["store_days = 0\nstore_bytes = 0", "store_days = -1"])
def test_without_a_limit_and_with_a_broken_file_nothing_is_dropped(
    home: Path, record: Record, tmp_path: Path, text: str
) -> None:
    total = fill(home, record)
    limit(tmp_path, text)
    for path in stored(home):
        age(path, 4000)
    assert count(home) == total


def test_a_reader_that_has_the_store_open_goes_on(home: Path, record: Record) -> None:
    fill(home, record)
    with Store(home) as open_before:
        before = spans.totals(open_before)["operations"]
        age(stored(home)[0], 91)
        left = count(home)
        open_before.refresh()
        assert spans.totals(open_before)["operations"] == left < before


def test_doctor_states_the_limits_and_what_is_beyond_them(
    home: Path, record: Record, tmp_path: Path
) -> None:
    fill(home, record)
    state, found = said()
    assert state == "ok"
    assert "kept: 90 days and up to 1GiB ([retention] in orchwatch.toml)" in found
    age(stored(home)[0], 5)
    limit(tmp_path, "store_days = 2\nstore_bytes = 0")
    state, found = said()
    assert state == "warn"
    assert "the oldest from 5d00h ago; kept: 2 days ([retention]" in found
    assert found.endswith("beyond that: 1 file")
    count(home)
    assert said()[0] == "ok"
    limit(tmp_path, "store_days = 0\nstore_bytes = 0")
    assert "kept: everything" in said()[1]
