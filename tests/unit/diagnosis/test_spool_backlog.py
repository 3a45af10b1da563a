"""On a spool of which a Collector has read a part."""

from __future__ import annotations

import gzip
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from orchwatch.diagnosis.spool_backlog import Backlog, BacklogReader, budget_bytes, check_backlog
from orchwatch.recording import metrics, spool, spool_budget
from orchwatch.sdk.spool_exporter import append_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.conftest import Record

DATA = Path(__file__).parents[2] / "data" / "collector"
DATABASE = "receiver_otlpjsonfile_{family}"
SPAN_ENDED_S = 1_795_379_000


def _look(family: str = spool.OPERATIONS) -> Backlog:
    return next(one for one in BacklogReader().look() if one.family == family)


def _know(home: Path, family: str = spool.OPERATIONS) -> None:
    """As if a Collector had followed this family, too."""
    directory = home / "stack" / "collector"
    directory.mkdir(parents=True, exist_ok=True)
    state = gzip.decompress((DATA / "receiver_otlpjsonfile_operations.gz").read_bytes())
    (directory / DATABASE.format(family=family)).write_bytes(state)


def test_what_lies_behind_the_collectors_offsets_is_unread(home: Path) -> None:
    shutil.copytree(DATA / "spool", home / "spool")
    _know(home)
    found = _look()
    segments = sorted((home / "spool").iterdir())
    # Three operations that were recorded after it had stopped, and the header of a segment.
    *_, last = segments
    lines = last.read_bytes().splitlines(keepends=True)
    operation_bytes = len(lines[-1])
    assert found.size_bytes == sum(segment.stat().st_size for segment in segments)
    assert found.unread_bytes == len(lines[0]) + 3 * operation_bytes
    assert found.age_s == pytest.approx(time.time() - SPAN_ENDED_S, abs=200)


def test_a_segment_that_the_collector_does_not_know_is_unread_as_a_whole(
    home: Path, record: Record
) -> None:
    _know(home)
    record(end_ns=time.time_ns() - 60 * 10**9)
    found = _look()
    assert found.unread_bytes == found.size_bytes > 0
    assert 60 <= (found.age_s or 0) < 120


def test_where_everything_was_read_nothing_waits(home: Path) -> None:
    shutil.copytree(DATA / "spool", home / "spool")
    for segment in sorted((home / "spool").iterdir())[6:]:
        segment.unlink()
    _know(home)
    assert (_look().unread_bytes, _look().age_s) == (0, 0)


def _metrics_of_the_sdk() -> None:
    """As the monitor process writes its figures."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test")
    meter.create_counter("tasks").add(3)
    meter.create_gauge("agents").set(1)
    data = reader.get_metrics_data()
    assert data is not None
    assert append_metrics(data)


def _gauge_of_the_fast_path() -> None:
    metrics.gauge("agents", 1)


def _count_of_the_fast_path() -> None:
    metrics.count("tasks")


@pytest.mark.parametrize(
    "write", [_metrics_of_the_sdk, _gauge_of_the_fast_path, _count_of_the_fast_path]
)
def test_metrics_are_as_old_as_the_first_that_waits_not_as_the_last_that_was_written(
    home: Path, write: Callable[[], None]
) -> None:
    _know(home, spool.METRICS)
    write()
    segment = home / "spool" / "metrics-000001.jsonl"
    hour_ago_ns = time.time_ns() - 3600 * 10**9
    old = re.sub(rb'("timeUnixNano": ?")\d+', rb"\g<1>%d" % hour_ago_ns, segment.read_bytes())
    segment.write_bytes(old)
    write()
    assert 3600 <= (_look(spool.METRICS).age_s or 0) < 3660


def test_the_imported_past_has_no_age(home: Path, record: Record) -> None:
    record(family=spool.HISTORY, end_ns=10**18)
    _know(home, spool.HISTORY)
    found = _look(spool.HISTORY)
    assert found.unread_bytes == found.size_bytes > 0
    assert found.age_s is None


@pytest.mark.usefixtures("home")
def test_without_a_collector_only_the_size_is_known(record: Record) -> None:
    record()
    found = _look()
    assert found.size_bytes > 0
    assert (found.unread_bytes, found.age_s) == (None, None)


@pytest.mark.usefixtures("home")
def test_without_a_spool_there_is_nothing_to_say() -> None:
    assert BacklogReader().look() == []


def test_a_segment_that_goes_between_two_looks_is_no_longer_counted(
    home: Path, record: Record
) -> None:
    looker = BacklogReader()
    record()
    assert looker.look()[0].size_bytes > 0
    (home / "spool" / "operations-000001.jsonl").unlink()
    assert looker.look()[0].size_bytes == 0


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("1000", 1000),
        ("0", spool_budget.BUDGET_BYTES),
        ("x", spool_budget.BUDGET_BYTES),
        ("9" * 5000, spool_budget.BUDGET_BYTES),
    ],
)
def test_a_budget_that_is_no_number_is_the_default(
    monkeypatch: pytest.MonkeyPatch, setting: str, expected: int
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_BUDGET_BYTES", setting)
    assert budget_bytes() == expected


@pytest.fixture
def expected(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home  # it clears the environment
    monkeypatch.setenv("ORCHWATCH_COLLECTOR_HEALTH_URL", "http://127.0.0.1:1")


@pytest.mark.usefixtures("expected")
def test_doctor_says_how_late_the_collector_is(home: Path, record: Record) -> None:
    _know(home)
    record(end_ns=time.time_ns() - 3600 * 10**9)
    (check,) = check_backlog()
    assert check.state == "warn"
    assert re.fullmatch(
        r"\d+B not read by the Collector yet, the first of it 1h00m old", check.found
    )


@pytest.mark.usefixtures("expected")
def test_what_has_just_been_recorded_is_not_late(home: Path, record: Record) -> None:
    _know(home)
    record(end_ns=time.time_ns())
    (check,) = check_backlog()
    assert check.state == "ok"


def test_a_collector_that_ran_long_ago_is_not_waited_for(home: Path, record: Record) -> None:
    _know(home)
    record(end_ns=time.time_ns() - 3600 * 10**9)
    assert list(check_backlog()) == []


@pytest.mark.usefixtures("home", "expected")
def test_without_a_collector_doctor_says_nothing_of_a_backlog(record: Record) -> None:
    record()
    assert list(check_backlog()) == []
