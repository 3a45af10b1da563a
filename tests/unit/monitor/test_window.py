"""The window's figures against those that `kpi` and `current` compute from the store."""

from __future__ import annotations

import os
import random
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import semconv
from orchwatch.analysis import kpis
from orchwatch.analysis.busy import Interval
from orchwatch.monitor import agents, durations, intake, window
from orchwatch.monitor.call_times import CallTimes
from orchwatch.monitor.ended_operations import EndedOperation
from orchwatch.monitor.intake import Intake
from orchwatch.monitor.window import Window
from orchwatch.recording import spool
from orchwatch.store import spans
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.unit.conftest import Record

    from orchwatch.analysis.kpis import Kpis

pytestmark = pytest.mark.own_names
S = 1_000_000_000
HOUR_NS = 3600 * S
TABLE = target_table.load()
OPERATIONS = (
    semconv.STATE_QUERY,
    semconv.AGENT_TASK,
    semconv.AGENT_RUN,
    semconv.AGENT_TURN,
    semconv.AGENT_SPAWN,
    semconv.TOOL_EXECUTE,
    semconv.MESSAGE_DELIVER,
    "an.operation.of.ones.own",
)


class Both:
    """A store and a window over the same home, at the same moment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Store(home)
        self.window = Window(TABLE, HOUR_NS)
        # At a whole minute both windows begin at the same nanosecond.
        self.now_ns = -(-time.time_ns() // (60 * S)) * 60 * S
        self.window.move_on(self.now_ns)
        self.intake = Intake(home, self.window, CallTimes(home))

    def take_in(self) -> None:
        """What is there, and what is late: that is asked about once more is there to be counted."""
        self._step_until(lambda: self.intake.is_complete)
        self.intake._look_at_s = self.intake._compact_at_s = 0.0
        # Set again when all is read, which may take more than one step.
        self._step_until(lambda: self.intake._look_at_s > 0)
        self._step_until(lambda: not self.intake._late)
        self.store.refresh()

    def _step_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline
            self.intake.step(time.monotonic())
            time.sleep(0.01)

    def kpis(self, unfinished: Iterable[Interval] = ()) -> tuple[Kpis, Kpis]:
        since_ns, open_ones = self.window.since_ns, list(unfinished)
        told = kpis.measure(self.store, now_ns=self.now_ns, since_ns=since_ns, unfinished=open_ones)
        return self.window.kpis(self.now_ns, open_ones), told

    def summaries(self) -> tuple[list[spans.Summary], list[spans.Summary]]:
        targets_s = {row.id: row.target_s for row in TABLE.operations.values()}
        selection = Selection(since_ns=self.window.since_ns)
        told = spans.summaries(self.store, selection, targets_s=targets_s)
        return self.window.durations.summaries(), sorted(told, key=lambda one: one.operation)


@pytest.fixture
def both(home: Path) -> Iterator[Callable[[], Both]]:
    opened = []

    def open_both() -> Both:
        opened.append(Both(home))
        return opened[-1]

    yield open_both
    for one in opened:
        one.store.close()
        one.intake.close()


def _orchestration(record: Record, now_ns: int, chance: random.Random, number: int) -> None:
    """Operations of all kinds, some of which are within others, and name no agent themselves."""
    parents: list[str] = []
    for _ in range(number):
        operation = chance.choice(OPERATIONS)
        span_id = f"{chance.getrandbits(64):016x}"
        parent = chance.choice(parents) if parents and chance.random() < 0.5 else ""
        attributes: dict[str, Any] = {}
        if chance.random() < 0.9:
            attributes[semconv.SESSION_ID] = f"session-{chance.randrange(4)}"
        if chance.random() < 0.5:
            attributes[semconv.GEN_AI_AGENT_NAME] = chance.choice(("planner", "coder", "compact"))
        if chance.random() < 0.3:
            attributes[semconv.GEN_AI_AGENT_ID] = f"agent-{chance.randrange(5)}"
        ended_ns = now_ns - int(chance.uniform(0, 4200) * S)
        duration_ns = int(chance.lognormvariate(18, 4)) % (2 * HOUR_NS)
        record(
            operation,
            duration_ns=duration_ns,
            end_ns=ended_ns,
            failed=chance.random() < 0.1,
            span_id=span_id,
            parent_span_id=parent,
            attributes=attributes,
            family=spool.UNDELIVERED if chance.random() < 0.1 else spool.OPERATIONS,
        )
        parents.append(span_id)


@pytest.mark.parametrize("seed", range(4))
def test_of_few_operations_every_figure_is_the_stores(
    both: Callable[[], Both], record: Record, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "30000")
    chance = random.Random(seed)
    watching = both()
    for _ in range(3):
        _orchestration(record, watching.now_ns, chance, 150)
        watching.take_in()
    going_on = [
        Interval("session-1", "", "turn", watching.now_ns - 100 * S, watching.now_ns),
        Interval("session-1", "x", "work", watching.now_ns - 2 * HOUR_NS, watching.now_ns),
    ]
    own, told = watching.kpis(going_on)
    assert _rounded(own) == _rounded(told)
    assert own.parallel_ratio
    assert _same_counts(*watching.summaries())
    assert watching.summaries()[0] == watching.summaries()[1]
    assert (
        watching.window.durations.earlier
        == spans.outside(watching.store, Selection(since_ns=watching.window.since_ns)).earlier
    )


def test_the_next_process_finds_the_same_in_the_store(
    both: Callable[[], Both], record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "30000")
    first = both()
    _orchestration(record, first.now_ns, random.Random(5), 300)
    first.take_in()
    # Sent again a while ago, so that it lies in the store, too.
    record(end_ns=first.now_ns - S, trace_id="a" * 32, span_id="b" * 16)
    record(end_ns=first.now_ns - S, trace_id="a" * 32, span_id="b" * 16, family=spool.UNDELIVERED)
    for segment in (first.home / "spool").glob("undelivered-*"):
        os.utime(segment, (time.time() - 120,) * 2)
    first.store.refresh()
    first.store.refresh()
    _orchestration(record, first.now_ns, random.Random(6), 10)  # which nobody has compacted
    second = both()
    second.take_in()
    assert second.intake._offsets.keys() & second.intake._compacted
    assert second.intake._counted_late
    own, told = second.kpis()
    assert _rounded(own) == _rounded(told)
    assert _same_counts(*second.summaries())
    assert second.window.durations.earlier > 0


def test_what_was_sent_again_counts_once(both: Callable[[], Both], record: Record) -> None:
    watching = both()
    ids: dict[str, Any] = {"trace_id": "a" * 32, "span_id": "b" * 16}
    record(end_ns=watching.now_ns - S, **ids)
    watching.take_in()
    for _ in range(2):
        record(end_ns=watching.now_ns - S, family=spool.UNDELIVERED, **ids)
        other: dict[str, Any] = {"trace_id": "c" * 32, "span_id": "d" * 16}
        record(end_ns=watching.now_ns - S, family=spool.UNDELIVERED, **other)
        watching.take_in()
    assert [one.count for one in watching.summaries()[0]] == [2]
    assert _same_counts(*watching.summaries())


def test_of_many_operations_the_figures_are_the_stores_to_within_the_stated_bounds(
    both: Callable[[], Both], record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "MAX_EXACT", 20)
    monkeypatch.setattr(durations, "MAX_EXACT", 20)
    monkeypatch.setattr(window, "_MAX_CALLS", 20)
    watching = both()
    chance = random.Random(7)
    for number in range(8000):
        record(
            chance.choice(OPERATIONS[:3]),
            duration_ns=int(chance.uniform(0.1, 1.0) * S),
            end_ns=watching.now_ns - int(chance.uniform(0, 590) * S),
            failed=chance.random() < 0.1,
            attributes={
                semconv.SESSION_ID: f"session-{number % 2}",
                semconv.GEN_AI_AGENT_NAME: f"agent-{number % 16}",
            },
        )
    watching.take_in()
    own, told = (asdict(figures) for figures in watching.kpis())
    for key, value in told.items():
        if key.endswith(("utilization", "parallel_ratio", "efficiency_ratio")):
            assert own[key] == pytest.approx(value, abs=0.005), key
        else:
            assert own[key] == value, key
    summaries, expected = watching.summaries()
    assert _same_counts(summaries, expected)
    for one, other in zip(summaries, expected, strict=True):
        assert one != other
        for share in ("p50_s", "p95_s", "p99_s"):
            assert getattr(one, share) == pytest.approx(getattr(other, share), rel=1 / 64)


def test_a_percentile_is_on_the_right_side_of_target_and_warning() -> None:
    row = next(iter(TABLE.operations.values()))
    for share_under in (0.5, 0.94, 0.95, 0.96, 0.99):
        for edge_s in (row.target_s, row.warning_s):
            counted = durations.Durations(TABLE)
            for number in range(1000):
                is_under = number < 1000 * share_under
                duration_ns = int(edge_s * S) + (0 if is_under else 1)
                counted.add(_ended(row.id, S, duration_ns))
            (summary,) = counted.summaries()
            assert (summary.p95_s <= edge_s) is (share_under >= 0.95)


def test_nothing_of_an_hour_ago_is_left(both: Callable[[], Both], record: Record) -> None:
    watching = both()
    _orchestration(record, watching.now_ns, random.Random(8), 300)
    watching.take_in()
    watching.window.move_on(watching.now_ns + 2 * HOUR_NS)
    assert watching.window.durations.summaries() == []
    assert watching.window.durations.work(0) == []
    assert watching.window.durations.earlier == 300
    assert not any(watching.window.durations._settled.bins)
    assert asdict(watching.window.kpis(watching.now_ns + 2 * HOUR_NS)) == asdict(kpis.Kpis())
    assert not watching.window._agents._last_minute
    assert not watching.window._calls


def test_a_hundred_thousand_names_agents_and_sessions_take_bounded_memory() -> None:
    watched = Window(TABLE, HOUR_NS)
    now_ns = 10 * HOUR_NS
    watched.move_on(now_ns)
    known = next(iter(TABLE.operations))
    for number in range(100_000):
        at_ns = now_ns - HOUR_NS // 2 + number * S // 1000
        ended = _ended(f"operation-{number}", at_ns, S)._replace(
            session_id=f"session-{number}",
            agent=f"agent-{number}",
            span_id=f"{number:016x}",
            parent_span_id=f"{number + 1:016x}",
            host=os.uname().nodename,
            pid=str(number),
        )
        watched.add(ended, now_ns)
        watched.add(ended._replace(operation=semconv.TOOL_EXECUTE, agent=None), now_ns)
    watched.add(_ended(known, now_ns, S), now_ns)
    summaries = watched.durations.summaries()
    assert len(summaries) <= durations.MAX_OPERATIONS + len(TABLE.operations)
    assert known in {one.operation for one in summaries}
    work = {one.operation: one.count for one in watched.durations.work(0)}
    assert sum(work.values()) == 200_001
    assert work[durations.LEFT_OUT] > 90_000
    assert len(watched._agents._last_minute) == agents.MAX_AGENTS
    assert watched._agents.left_out > 90_000
    for held in (watched._calls, watched._callers, watched._delegating, watched._recorders):
        assert len(held) <= window._MAX_CALLERS
    assert watched.kpis(now_ns).agents


def test_what_ends_in_the_future_does_not_count_yet() -> None:
    watched = Window(TABLE, HOUR_NS)
    watched.move_on(HOUR_NS * 10)
    watched.add(_ended("a", 11 * HOUR_NS, S), HOUR_NS * 10)
    assert watched.durations.summaries() == []


def _ended(operation: str, end_ns: int, duration_ns: int) -> EndedOperation:
    return EndedOperation(
        operation,
        end_ns,
        duration_ns,
        False,
        None,
        None,
        None,
        "0" * 15 + "1",
        None,
        None,
        None,
        None,
    )


def _rounded(found: Kpis) -> dict[str, Any]:
    return {key: value and round(value, 9) for key, value in asdict(found).items()}


def _same_counts(own: list[spans.Summary], told: list[spans.Summary]) -> bool:
    def counts(found: list[spans.Summary]) -> list[spans.Summary]:
        return [replace(one, p50_s=0.0, p95_s=0.0, p99_s=0.0) for one in found]

    return counts(own) == counts(told)


def test_a_store_that_cannot_be_read_costs_what_was_before_and_is_said_once(
    home: Path, record: Record, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_WORKER", "orchwatch.no_such_module")
    record(end_ns=time.time_ns())
    watched = Window(TABLE, HOUR_NS)
    watched.move_on(time.time_ns())
    taking_in = Intake(home, watched, CallTimes(home))
    deadline = time.monotonic() + 60
    while not watched.durations.summaries() and time.monotonic() < deadline:
        taking_in.step(time.monotonic())
        time.sleep(0.01)
    taking_in.close()
    assert [one.count for one in watched.durations.summaries()] == [1]
    (said,) = caplog.messages
    assert said == "the store cannot be read or compacted: its process ended with 1"
