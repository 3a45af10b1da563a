"""Durations one by one: with DuckDB and without, the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchwatch.recording import otlp_json, spool
from orchwatch.store import samples, small
from orchwatch.store.database import Store
from orchwatch.store.selection import ALL, Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

SECOND_NS = 1_000_000_000


def of_version(version: str | None, duration_ns: int, end_ns: int) -> None:
    of_resource({} if version is None else {"service.version": version}, duration_ns, end_ns)


def of_resource(said: dict[str, str], duration_ns: int, end_ns: int) -> None:
    span = otlp_json.encode_span(
        trace_id=f"{end_ns:032x}",
        span_id=f"{end_ns:016x}",
        parent_span_id="",
        name=otlp_json.quote("state.query"),
        start_ns=end_ns - duration_ns,
        end_ns=end_ns,
        attributes=otlp_json.encode_attributes({"orchestration.operation.name": "state.query"}),
        status=otlp_json.STATUS_OK,
    )
    resource: dict[str, otlp_json.AttributeValue] = {"service.name": "shop", **said}
    prefix = otlp_json.spans_prefix(otlp_json.encode_attributes(resource), "orchwatch", "0.1.0")
    assert spool.append(spool.OPERATIONS, otlp_json.to_bytes(prefix + span + otlp_json.LINE_SUFFIX))


def opened(home: Path) -> tuple[Store, small.SmallStore]:
    found = small.read(home)
    assert found is not None
    return Store(home), found


def test_both_give_each_operation_in_order_without_those_that_failed(
    home: Path, record: Record
) -> None:
    for number in range(5):
        record("b", duration_ns=number * SECOND_NS, end_ns=(10 + number) * SECOND_NS)
    record("a", duration_ns=SECOND_NS, end_ns=9 * SECOND_NS, failed=True)
    answers = [samples.read(store, ALL, most=100) for store in opened(home)]
    assert answers[0] == answers[1]
    first, second = answers[0]
    assert (first.operation, first.durations_s, first.succeeded, first.failed) == ("a", (), 0, 1)
    assert second.durations_s == (0.0, 1.0, 2.0, 3.0, 4.0)


def test_of_many_both_give_the_same_few_evenly(home: Path, record: Record) -> None:
    for number in range(100):
        record("b", duration_ns=number * SECOND_NS, end_ns=(1000 + number) * SECOND_NS)
    answers = [samples.read(store, ALL, most=10) for store in opened(home)]
    assert answers[0] == answers[1]
    (one,) = answers[0]
    assert one.succeeded == 100
    assert one.durations_s == tuple(float(number) for number in range(9, 100, 10))


def test_a_window_and_a_filter_select(home: Path, record: Record) -> None:
    for number in range(10):
        record("b", duration_ns=SECOND_NS, end_ns=(1000 + number) * SECOND_NS)
    window = Selection(since_ns=1003 * SECOND_NS, until_ns=1005 * SECOND_NS)
    for store in opened(home):
        assert [one.succeeded for one in samples.read(store, window, most=100)] == [3]
        assert samples.read(store, Selection(operation="a"), most=100) == []


def test_versions_are_those_of_the_selection(home: Path) -> None:
    for end, version in ((5, "1.0"), (6, "1.1"), (7, "2.0")):
        of_version(version, SECOND_NS, end * SECOND_NS)
    until = Selection(until_ns=6 * SECOND_NS)
    for store in opened(home):
        assert samples.values_of(store, until, "service.version") == ["1.0", "1.1"]


@pytest.mark.parametrize("odd", ["2.0", 'a "quoted" one', "back\\slash", "ä", "x" * 200])
def test_versions_come_in_the_order_in_which_they_were_seen_and_select(
    home: Path, odd: str
) -> None:
    for end, version in ((5, "1.0"), (6, odd), (7, "1.0"), (8, None)):
        of_version(version, end * SECOND_NS, end * SECOND_NS)
    for store in opened(home):
        assert samples.values_of(store, ALL, "service.version") == ["1.0", odd]
        (one,) = samples.read(store, ALL, most=100, of=("service.version", odd))
        assert one.durations_s == (6.0,)
        (one,) = samples.read(store, ALL, most=100, of=("service.version", "1.0"))
        assert one.durations_s == (5.0, 7.0)
        assert samples.read(store, ALL, most=100, of=("service.version", "3")) == []
