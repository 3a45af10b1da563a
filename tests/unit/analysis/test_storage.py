from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import storage
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record


def put(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_where_nothing_was_ever_kept_nothing_is_said(home: Path) -> None:
    put(home / "stack" / "prometheus" / "wal" / "00000000", 5000)
    assert storage.size_bytes(home) is None
    assert storage.growth_bytes(home, time.time_ns()) is None


def test_the_servers_data_and_state_files_do_not_count(home: Path) -> None:
    put(home / "stack" / "tempo" / "blocks" / "data.parquet", 5000)
    put(home / "monitor" / "lock", 100)
    put(home / "losses", 100)
    put(home / "spool" / "operations-000001.jsonl", 1000)
    put(home / "spool" / "metrics-000001.jsonl", 200)
    put(home / "store" / "operations-000001.a.1.0.parquet", 30)
    put(home / "sessions" / "s1" / "tasks" / "task-1.json", 4)
    assert storage.size_bytes(home) == 1234
    assert storage.growth_bytes(home, time.time_ns()) == 1234


def test_a_home_younger_than_a_day_has_grown_by_its_size_and_no_more(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    for _ in range(20):
        record()
    Store(home).close()
    assert any((home / "store").glob("*.parquet"))
    assert storage.growth_bytes(home, time.time_ns()) == storage.size_bytes(home)


def test_growth_counts_a_segment_by_the_share_of_its_time_in_the_last_day(home: Path) -> None:
    now_ns = time.time_ns()
    for number, age_days in enumerate((2.0, 1.5, 0.5)):
        path = home / "spool" / f"operations-{number:06}.jsonl"
        put(path, 300)
        written_ns = now_ns - int(age_days * storage.DAY_NS)
        os.utime(path, ns=(written_ns, written_ns))
    # The last one was begun when the one before was left: half of its day lies in the last day.
    assert storage.growth_bytes(home, now_ns) == pytest.approx(150, rel=1e-6)
