from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.analysis import history
from orchwatch.store import slowest
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

S = 1_000_000_000


def test_each_column_has_the_p95_of_what_ended_in_it(home: Path, record: Record) -> None:
    now_ns = NOW_NS // (24 * S) * 24 * S
    for second in (0, 1, 1, 12, 23):
        record("state.query", duration_ns=(second + 1) * 1000, end_ns=now_ns - 24 * S + second * S)
    record("state.persist", duration_ns=5000, end_ns=now_ns - 12 * S)
    with Store(home) as store:
        found = history.measure(store, Selection(), now_ns=now_ns)
    assert (found.first_ns, found.step_ns) == (now_ns - 24 * S, S)
    columns = found.p95_s["state.query"]
    assert {place: value for place, value in enumerate(columns) if value} == pytest.approx(
        {0: 1e-6, 1: 2e-6, 12: 13e-6, 23: 24e-6}
    )
    assert found.counts["state.query"][:3] == (1, 2, 0)
    assert sum(found.counts["state.persist"]) == 1
    assert len(columns) == len(found.p95_s["state.persist"]) == history.COLUMNS + 1


def test_columns_that_are_over_stay_as_they_are(home: Path, record: Record) -> None:
    first_ns = NOW_NS // S * S - 100 * S
    for second in range(100):
        record("state.query", duration_ns=second + 1, end_ns=first_ns + second * S)
    with Store(home) as store:
        now, later = (
            history.measure(store, Selection(), now_ns=first_ns + ahead)
            for ahead in (95 * S, 99 * S)
        )
    assert now.step_ns == later.step_ns == 5 * S
    assert now.p95_s["state.query"][:18] == later.p95_s["state.query"][:18]


@pytest.mark.parametrize(
    ("length_s", "step_s"),
    [(0, 1), (24, 1), (25, 2), (3600, 300), (86_400, 3600), (604_800, 43_200), (3e8, 145 * 86_400)],
)
def test_a_column_is_as_long_as_a_clock_divides_time(length_s: float, step_s: int) -> None:
    assert history._step_s(length_s / history.COLUMNS) == step_s


def test_nothing_has_no_history(home: Path, record: Record) -> None:
    with Store(home) as store:
        assert history.measure(store, Selection(), now_ns=NOW_NS) == history.History()
    record("state.query", end_ns=NOW_NS)
    with Store(home) as store:
        assert history.measure(store, Selection(), now_ns=NOW_NS).p95_s["state.query"]
        nobody = Selection(session_id="nobody")
        assert history.measure(store, nobody, now_ns=NOW_NS) == history.History()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), None),
        ((1.0,), None),
        ((None, 1.0, None), None),
        ((1.0, 1.0), "steady"),
        ((1.0, None, 1.01), "steady"),
        ((1.0, 1.5), "up"),
        ((1.0, 1.0, 1.0, 2.0, 2.0, 2.0), "up"),
        ((9.0, 9.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0), "down"),
        ((0.0, 0.0), "steady"),
    ],
)
def test_a_trend_is_the_last_three_columns_against_the_three_before(
    values: tuple[float | None, ...], expected: str | None
) -> None:
    assert history.trend(values, 0.02) == expected


def test_the_slowest_traces_come_first_each_once(home: Path, record: Record) -> None:
    record("state.query", duration_ns=5000, trace_id="aa" * 16)
    record("state.query", duration_ns=9000, trace_id="aa" * 16, failed=True)
    record("state.query", duration_ns=7000, trace_id="bb" * 16, attributes={"session.id": "s"})
    record("state.persist", duration_ns=99000, trace_id="cc" * 16)
    with Store(home) as store:
        found = slowest.traces(store, Selection(operation="state.query"), 10)
        assert [one.trace_id for one in slowest.traces(store, Selection(), 1)] == ["cc" * 16]
    assert [(one.trace_id, one.duration_ns, one.calls, one.errors) for one in found] == [
        ("aa" * 16, 9000, 2, 1),
        ("bb" * 16, 7000, 1, 0),
    ]
    assert found[1].session_id == "s"
