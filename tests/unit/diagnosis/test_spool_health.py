from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.diagnosis import spool_health
from orchwatch.diagnosis.spool_health import check_spool, newest_operation
from orchwatch.recording import spool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

    from orchwatch.diagnosis.check import Check

HOUR_NS = 3600 * 10**9


def checks() -> dict[str, Check]:
    return {check.name: check for check in check_spool()}


@pytest.mark.usefixtures("home")
def test_a_spool_that_is_not_there_is_no_failure() -> None:
    assert {name: check.state for name, check in checks().items()} == {"spool": "unknown"}
    assert newest_operation() is None


def test_a_spool_in_order_is_ok(record: Record) -> None:
    record()
    found = checks()
    assert {check.state for check in found.values()} == {"ok"}
    assert "in 1 segment in" in found["spool"].found


def test_the_newest_operation_is_the_one_that_was_appended_last(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "100")
    for number in range(3):
        record(trace_id=f"{number:032x}", end_ns=(number + 1) * HOUR_NS)
    record(trace_id=f"{9:032x}", family=spool.HISTORY)
    assert len(list((home / "spool").glob("operations-*"))) > 1
    newest = newest_operation()
    assert newest is not None
    assert (newest.trace_id, newest.end_s) == (f"{2:032x}", 3 * 3600)


def test_the_newest_that_had_ended_by_a_moment_is_found_behind_many_younger_ones(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several segments of several pieces each, all but the first full of younger operations.
    monkeypatch.setattr(spool_health, "_PIECE_BYTES", 2000)
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "10000")
    for number in range(100):
        record(trace_id=f"{number:032x}", end_ns=(number + 1) * HOUR_NS)
    assert len(list((home / "spool").glob("operations-*"))) > 2
    newest = newest_operation(2 * 3600)
    assert newest is not None
    assert (newest.trace_id, newest.end_s) == (f"{1:032x}", 2 * 3600)
    assert newest_operation(3599) is None


def test_a_time_beyond_all_numbers_is_no_operation(home: Path, record: Record) -> None:
    line = record(trace_id=f"{1:032x}", end_ns=HOUR_NS)
    with (home / "spool" / "operations-000001.jsonl").open("ab") as file:
        file.write(line.replace(b'"%d"' % HOUR_NS, b'"' + b"9" * 400 + b'"'))
    newest = newest_operation()
    assert newest is not None
    assert newest.trace_id == f"{1:032x}"
    assert newest.end_s == 3600


def test_unreadable_lines_are_counted(home: Path, record: Record) -> None:
    line = record()
    segment = home / "spool" / "operations-000001.jsonl"
    with segment.open("ab") as file:
        # Torn by a killed writer, text of another program, valid JSON that is no object, blank.
        file.write(line[: len(line) // 2] + b"\nhello\n[1]\n\n")
    record()
    check = checks()["spool lines"]
    assert (check.state, check.found) == (
        "warn",
        "3 lines cannot be read, skipped by every command",
    )


def test_a_brace_inside_of_a_text_makes_no_line_unreadable(record: Record) -> None:
    record(attributes={"text": "{{{"})
    assert checks()["spool lines"].state == "ok"


def test_a_line_that_is_being_written_is_not_unreadable(home: Path, record: Record) -> None:
    line = record()
    with (home / "spool" / "operations-000001.jsonl").open("ab") as file:
        file.write(line[: len(line) // 2])
    assert checks()["spool lines"].state == "ok"


def test_an_operation_from_the_future_says_so(record: Record) -> None:
    record(end_ns=time.time_ns() + 3 * HOUR_NS)
    check = checks()["clock"]
    assert check.state == "warn"
    assert "3h00m ahead of the clock" in check.found


def test_a_segment_from_the_future_says_so(home: Path, record: Record) -> None:
    record()
    ahead_s = time.time() + 7200
    os.utime(home / "spool" / "operations-000001.jsonl", (ahead_s, ahead_s))
    assert checks()["clock"].state == "warn"
