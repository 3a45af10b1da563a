from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from orchwatch.analysis import snapshot
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

MS = 1_000_000


def test_a_home_that_does_not_exist_gives_every_row_and_all_unknown(home: Path) -> None:
    taken = snapshot.take(home)
    table = target_table.load()
    assert [reading.id for reading in taken.operations] == list(table.operations)
    assert [reading.id for reading in taken.levels] == list(table.levels)
    for reading in taken.operations:
        assert (reading.count, reading.p95_s, reading.under_target) == (0, None, None)
        assert reading.status == "unknown"
    assert not home.exists()


def test_what_is_not_measured_is_none_and_neither_nothing_nor_everything(home: Path) -> None:
    values = {reading.id: reading.value for reading in snapshot.take(home).levels}
    assert values["memory.utilization"] is not None
    del values["memory.utilization"], values["cpu.utilization"]
    assert set(values.values()) == {None}


def test_an_operation_is_compared_with_its_target(home: Path, record: Record) -> None:
    row = target_table.load().operations["state.query"]
    for factor, expected in ((0.5, "ok"), (1.1, "warn"), (3, "miss")):
        for _ in range(20):
            record(duration_ns=int(row.target_s * factor * 1e9))
        taken = snapshot.take(home)
        reading = next(reading for reading in taken.operations if reading.id == "state.query")
        assert reading.status == expected
        assert reading.target_s == row.target_s
    assert reading.under_target == 20 / 60


def test_operations_of_ones_own_appear_after_the_table(home: Path, record: Record) -> None:
    record("my.own")
    reading = snapshot.take(home).operations[-1]
    assert (reading.id, reading.count, reading.target_s) == ("my.own", 1, None)
    assert (reading.under_target, reading.status) == (None, "unknown")


def test_the_window_leaves_out_what_ended_before_and_says_how_many(
    home: Path, record: Record
) -> None:
    now_ns = time.time_ns()
    record(end_ns=now_ns - 3600 * 10**9)
    record(end_ns=now_ns)
    taken = snapshot.take(home, selection=Selection(since_ns=now_ns - 60 * 10**9))
    assert sum(reading.count for reading in taken.operations) == 1
    assert taken.earlier == 1
    assert snapshot.take(home).earlier == 0


def test_failures_give_the_rates(home: Path, record: Record) -> None:
    for index in range(20):
        record(failed=index == 0)
    readings = {reading.id: reading for reading in snapshot.take(home).levels}
    assert readings["error.rate"].value == 0.05
    assert readings["error.rate"].status == "miss"
    assert readings["availability"].value == 0.95
    # No task ended: that operations did says nothing about tasks.
    assert (readings["task.success"].value, readings["task.errors"].value) == (None, None)


def test_a_command_that_fails_is_not_the_system_being_unavailable(
    home: Path, record: Record
) -> None:
    record()
    record("command.run", failed=True)
    taken = snapshot.take(home)
    assert {reading.id: reading.value for reading in taken.levels}["availability"] == 1
    states = {reading.id: reading.error_status for reading in taken.operations}
    assert (states["command.run"], states["state.query"]) == ("miss", "ok")
    assert states["agent.spawn"] == "unknown"


def test_a_store_held_open_sees_what_is_new(home: Path, record: Record) -> None:
    with Store(home) as store:
        for number in range(1, 4):
            record()
            taken = snapshot.take(home, store=store)
            assert sum(reading.count for reading in taken.operations) == number


def test_unreadable_lines_are_reported(home: Path, record: Record) -> None:
    record()
    with (home / "spool" / "operations-000001.jsonl").open("ab") as segment:
        segment.write(b"garbage\n")
    assert snapshot.take(home).unreadable == {"operations-000001": 1}


def test_the_reading_side_does_not_import_the_sdk(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from orchwatch.analysis import snapshot;"
        "snapshot.take(Path(sys.argv[1]));"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
