from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.monitor import levels
from orchwatch.monitor.spans import Summary
from orchwatch.monitor.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.monitor.conftest import Record

DAY_NS = levels.DAY_NS


def summary(count: int, errors: int, operation: str = "state.query") -> Summary:
    return Summary(
        operation=operation,
        count=count,
        errors=errors,
        p50_s=1,
        p95_s=1,
        p99_s=1,
        under_target=None,
    )


def test_shares_are_counted_over_the_operations_that_have_targets() -> None:
    summaries = [summary(90, 0), summary(10, 5, "agent.spawn"), summary(7, 7, "command.run")]
    assert levels.of_operations(summaries, {"state.query", "agent.spawn"}) == {
        "availability": 0.95,
        "error.rate": 0.05,
    }


def test_without_operations_no_share_is_made_up() -> None:
    assert levels.of_operations([], {"state.query"}) == {}
    assert levels.of_operations([summary(7, 7)], {"agent.spawn"}) == {}


def test_memory_utilization_is_a_share() -> None:
    assert 0 < levels.Machine.memory_utilization() < 1


def test_cpu_utilization_is_unknown_before_time_has_passed_and_a_share_afterwards() -> None:
    machine = levels.Machine()
    assert machine.cpu_utilization() is None
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass
    share = machine.cpu_utilization()
    assert share is not None
    assert 0 <= share <= 1


def test_a_home_without_files_has_no_growth(home: Path) -> None:
    assert levels.storage_growth_bytes(home, time.time_ns()) is None


def test_growth_counts_the_real_bytes_of_spool_and_store(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "2000")
    for _ in range(20):
        record()
    Store(home).close()
    files = [*(home / "spool").iterdir(), *(home / "store").glob("*.parquet")]
    assert levels.storage_growth_bytes(home, time.time_ns()) == sum(
        file.stat().st_size for file in files
    )


def test_growth_counts_a_file_by_the_share_of_its_time_in_the_last_day(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "300")
    for _ in range(3):
        record()
    now_ns = time.time_ns()
    paths = sorted((home / "spool").iterdir())
    for path, age in zip(paths, (2.0, 1.5, 0.5), strict=True):
        written_ns = now_ns - int(age * DAY_NS)
        os.utime(path, ns=(written_ns, written_ns))
    # The last one was begun when the one before was left: half of its day lies in the last day.
    assert levels.storage_growth_bytes(home, now_ns) == pytest.approx(
        paths[-1].stat().st_size / 2, rel=1e-6
    )
