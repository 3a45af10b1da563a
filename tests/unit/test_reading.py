"""The reading API says what the commands say."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import FrozenInstanceError, asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.cli.main import main
from orchwatch.errors import OrchwatchError, UsageError
from orchwatch.reading import Operation, Reader, Within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.conftest import Record

S = 10**9
TRACE = "a" * 32


@pytest.fixture
def reader(home: Path) -> Iterator[Reader]:
    assert home
    with Reader() as found:
        yield found


@pytest.fixture
def filled(record: Record) -> None:
    for number in range(20):
        record(
            "state.query",
            duration_ns=(number + 1) * 5_000_000,
            end_ns=NOW_NS - number * 60 * S,
            failed=number == 3,
            trace_id=TRACE if number < 2 else None,
            attributes={"session.id": f"s{number % 2}", "gen_ai.agent.name": "w", "n": number},
        )
    record("agent.task", end_ns=NOW_NS - S, attributes={"session.id": "s1"})


@pytest.mark.usefixtures("filled")
def test_the_snapshot_is_what_current_shows(
    reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, within in (
        (["--since", "all"], Within()),
        (["--since", "all", "--session", "s1"], Within(session="s1")),
        (["--since", "all", "--operation", "state.query"], Within(operation="state.query")),
        (["--since", "630s"], Within(since=timedelta(seconds=630))),
    ):
        assert main(["current", "--format", "json", *words]) == 0
        shown = json.loads(capsys.readouterr().out)
        taken = reader.snapshot(within)
        found = {one.name: asdict(one) for one in taken.operations}
        assert {name: {"name": name, **row} for name, row in shown["operations"].items()} == found
        if within == Within(session="s1"):  # CPU is another one each time, and so is an hour's end
            levels = {one.name: one.value for one in taken.levels if one.unit == "1"}
            assert levels["task.success"] == 1
            assert {name: shown["levels"][name]["value"] for name in levels} == levels


@pytest.mark.usefixtures("filled")
def test_a_window_is_two_moments_or_lengths_of_time_and_its_ends_belong_to_it(
    reader: Reader,
) -> None:
    last = datetime.fromtimestamp(NOW_NS // S, UTC) + timedelta(microseconds=NOW_NS % S // 1000)
    minute = timedelta(minutes=1)
    for since, until, count in (
        (last - 4 * minute, None, 5),
        (last - 4 * minute - minute / 60, last - minute, 3),
        (last - 4 * minute - minute / 60, last - minute + minute / 60, 4),
        ((last - 4 * minute - minute / 60).astimezone(), None, 5),
        (None, last - 10 * minute, 9),
    ):
        within = Within(since=since, until=until, operation="state.query")
        assert [one.count for one in reader.operations(within)] == [count]
    assert reader.operations(Within(since=timedelta(0))) == ()


@pytest.mark.usefixtures("filled")
def test_traces_are_listed_and_read(reader: Reader) -> None:
    assert len(reader.traces(limit=0)) == 20
    first, *others = reader.traces(limit=3)
    assert len(others) == 2
    assert (first.trace_id, first.operations, first.errors) == (TRACE, 2, 0)
    spans = reader.trace(TRACE)
    assert [span.attributes["n"] for span in spans] == [1, 0]
    assert first.started == spans[0].started
    assert all(span.started.tzinfo is not None for span in spans)
    assert (spans[1].session_id, spans[1].agent, spans[1].duration_s) == ("s0", "w", 0.005)
    with pytest.raises(OrchwatchError, match="no span of trace x is stored"):
        reader.trace("x")


@pytest.mark.usefixtures("filled")
def test_key_figures_are_those_of_the_command(
    reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    until = datetime.fromtimestamp(NOW_NS // S + 1, UTC)
    asked = ["--since", "all", "--until", until.isoformat()]
    assert main(["kpi", "list", "--format", "json", *asked]) == 0
    shown = json.loads(capsys.readouterr().out)["kpis"]
    found = asdict(reader.figures(Within(until=until)))
    assert {name: shown.get(name) for name in found} == found
    assert found["tasks"] == 1


def test_what_is_written_meanwhile_is_read_by_the_next_call(reader: Reader, record: Record) -> None:
    assert reader.operations() == ()
    assert reader.traces() == ()
    record("state.query")
    assert [(one.name, one.count) for one in reader.operations()] == [("state.query", 1)]
    table = reader.table("SELECT count(*) AS n FROM ended_operations")
    assert table.rows() == [(1,)]
    record("state.query")
    assert reader.table("SELECT count(*) FROM ended_operations").rows() == [(2,)]
    assert len(reader.traces()) == 2


def test_an_empty_home_answers_and_stays_unmade(home: Path) -> None:
    with Reader(home) as reader:
        assert all(one.count == 0 for one in reader.snapshot().operations)
        assert reader.figures().tasks is None
        assert reader.table("FROM ended_operations").rows() == []
    assert not home.exists()


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("library", "kind"), [("pyarrow", "arrow"), ("pandas", "pandas")])
def test_a_table_is_arrow_or_pandas_or_the_library_that_lacks_is_named(
    reader: Reader, library: str, kind: str
) -> None:
    table = reader.table("SELECT span_id, duration_s, ended FROM ended_operations ORDER BY ALL")
    assert table.columns == ("span_id", "duration_s", "ended")
    if importlib.util.find_spec(library) is None:
        with pytest.raises(OrchwatchError, match=rf"needs {library}.*pip install {library}"):
            getattr(table, kind)()
        return
    found = getattr(table, kind)()
    column = found["duration_s"]
    values = column.to_pylist() if kind == "arrow" else column.tolist()
    assert values == [row[1] for row in table.rows()]


@pytest.mark.parametrize("sql", ["DROP TABLE spool", "", "SELECT 1; SELECT 2", "SELECT nope", "x"])
def test_what_is_no_question_is_refused(reader: Reader, sql: str) -> None:
    with pytest.raises(UsageError, match=r"^sql: "):
        reader.table(sql)


def test_what_is_read_cannot_be_changed() -> None:
    one = Operation(
        name="x", count=0, errors=0, p50_s=None, p95_s=None, p99_s=None, under_target=None,
        target_s=None, status="unknown",
    )  # fmt: skip
    assert one.error_ratio is None
    with pytest.raises(FrozenInstanceError):
        one.count = 3  # type: ignore[misc]
