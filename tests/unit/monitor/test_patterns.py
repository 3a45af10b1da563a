from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import alert_events
from orchwatch.analysis.alert_events import ALERTMANAGER, MONITOR, AlertEvent
from orchwatch.mixin.alerts import patterns as table
from orchwatch.monitor.alert_stream import AlertStream
from orchwatch.monitor.patterns import Patterns
from orchwatch.recording import otlp_json, spool
from orchwatch.store import spans
from orchwatch.store.database import Store
from orchwatch.targets import target_table
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.store.spans import Work

ERRORS, MEAN = table.load()["errors"], table.load()["mean.duration"]
QUICK = next(
    one for one in target_table.load(Config()).operations.values() if one.target_s <= MEAN.limit
)
SLOW = next(
    one for one in target_table.load(Config()).operations.values() if one.target_s > MEAN.limit
)


class Looking:
    """Patterns over a home; `restart` is what a new monitor process knows."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.store = Store(home)
        self.restart()

    def restart(self) -> None:
        self.stream = AlertStream()
        self.patterns = Patterns(self._work, self.stream)

    def _work(self, since_ns: int) -> list[Work]:
        self.store.refresh()
        return spans.work(self.store, since_ns=since_ns)

    def look(self) -> list[tuple[str, str]]:
        """What has been written so far."""
        self.patterns.look()
        return [(event.name, event.state) for event in self.events()]

    def look_while_nothing_can_be_written(self) -> None:
        family = spool._spools[spool.EVENTS]
        family._failure, family._home = "disk_full", str(self._home)
        family._retry_at = time.monotonic() + 1000
        assert self.look() == []
        family._retry_at = 0.0

    def events(self) -> list[AlertEvent]:
        return alert_events.latest(self._home / "spool", 1000)


@pytest.fixture
def looking(home: Path) -> Iterator[Looking]:
    found = Looking(home)
    yield found
    found.store.close()


def record(
    number: int, *, operation: str = QUICK.id, took_s: float = 0.0, ago_s: float = 0.0, ok: bool
) -> None:
    end_ns = time.time_ns() - int(ago_s * 1e9)
    for count in range(number):
        span = otlp_json.encode_span(
            trace_id=f"{end_ns:032x}",
            span_id=f"{count + 1:016x}",
            parent_span_id="",
            name='"a"',
            start_ns=end_ns - int(took_s * 1e9),
            end_ns=end_ns,
            attributes=otlp_json.encode_attributes({"orchestration.operation.name": operation}),
            status=otlp_json.STATUS_OK if ok else otlp_json.STATUS_ERROR,
        )
        line = otlp_json.spans_prefix("", "test", "1") + span + otlp_json.LINE_SUFFIX
        assert spool.append(spool.OPERATIONS, line.encode())


def test_nothing_is_said_of_nothing_and_of_as_many_failures_as_may_be(looking: Looking) -> None:
    assert looking.look() == []
    record(int(ERRORS.limit), ok=False)
    record(100, ok=True)
    record(9, ok=False, ago_s=ERRORS.window_s + 1)
    assert looking.look() == []


def test_more_failures_than_that_are_one_alert_until_they_are_long_ago(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(int(ERRORS.limit) + 1, ok=False)
    assert looking.look() == looking.look() == [("ManyErrors", "firing")]
    (fired,) = looking.events()
    assert (fired.value, fired.target, fired.evaluator) == (ERRORS.limit + 1, ERRORS.id, MONITOR)
    assert fired.summary == "6 operations failed within 10m, more than 5"
    assert fired.severity == ERRORS.severity
    assert fired.recommendation == ERRORS.recommendation
    assert fired.runbook is not None
    assert fired.runbook.endswith("#manyerrors")
    later_ns = time.time_ns() + (ERRORS.window_s + 1) * 10**9
    monkeypatch.setattr(
        "orchwatch.monitor.patterns.time", SimpleNamespace(time_ns=lambda: later_ns)
    )
    assert looking.look() == [("ManyErrors", "firing"), ("ManyErrors", "resolved")]


def test_only_operations_that_should_be_quick_make_the_mean(looking: Looking) -> None:
    record(9, operation=SLOW.id, took_s=MEAN.limit * 100, ok=True)
    record(9, operation="a.users.own", took_s=MEAN.limit * 100, ok=True)
    record(2, took_s=MEAN.limit, ok=True)
    assert looking.look() == []
    record(1, took_s=MEAN.limit * 2.5, ok=True)
    assert looking.look() == [("SlowOnAverage", "firing")]
    (fired,) = looking.events()
    assert fired.value == pytest.approx(MEAN.limit * 1.5)
    assert fired.summary == "An operation takes 1.5s on average, more than 1s"


def test_the_next_process_goes_on_where_the_last_one_ended(looking: Looking) -> None:
    record(int(ERRORS.limit) + 1, ok=False)
    assert len(looking.look()) == 1
    looking.restart()
    assert len(looking.look()) == 1
    for segment in (looking._home / "spool").glob("operations-*"):
        segment.unlink()
    looking.restart()
    assert looking.look() == [("ManyErrors", "firing"), ("ManyErrors", "resolved")]


def test_what_alertmanager_says_is_not_said_again(looking: Looking) -> None:
    told = AlertEvent(
        name="ManyErrors",
        state="firing",
        severity="warning",
        summary="",
        start_ns=time.time_ns(),
        fingerprint="1",
        evaluator=ALERTMANAGER,
        target=ERRORS.id,
    )
    assert looking.stream.write([told])
    record(int(ERRORS.limit) + 1, ok=False)
    assert looking.look() == [("ManyErrors", "firing")]
    for segment in (looking._home / "spool").glob("operations-*"):
        segment.unlink()
    assert looking.look() == [("ManyErrors", "firing")]


def test_what_could_not_be_written_is_written_later(looking: Looking) -> None:
    record(int(ERRORS.limit) + 1, ok=False)
    looking.look_while_nothing_can_be_written()
    assert looking.look() == [("ManyErrors", "firing")]


def test_a_table_whose_every_operation_may_be_slow_has_no_mean_to_look_at(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "orchwatch.toml"
    slow = MEAN.limit * 2
    file.write_text(
        "".join(
            f'[operations."{one}"]\ntarget_s = {slow}\nwarning_s = {slow}\nalert_s = {slow}\n'
            for one in target_table.load(Config()).operations
        )
    )
    monkeypatch.setenv("ORCHWATCH_CONFIG", str(file))
    looking = Looking(home)
    record(int(ERRORS.limit) + 1, took_s=slow, ok=False)
    assert looking.look() == [("ManyErrors", "firing")]
    looking.store.close()
