from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchwatch.analysis.snapshot import LevelReading, OperationReading, Sample, Snapshot
from orchwatch.reporters import document, table
from orchwatch.targets import target_table

GOLDEN = Path(__file__).parents[2] / "golden" / "current.txt"
AS_OF = datetime(2026, 11, 22, 17, 30, 5, tzinfo=UTC)


def snapshot() -> Snapshot:
    """Every row of the table, measured just so that each status occurs."""
    rows = target_table.load()
    operations = []
    for index, row in enumerate(rows.operations.values()):
        p95_s = row.target_s * (0.3, 1.1, 2, 1)[index % 4]
        measured = index % 5 != 4
        operations.append(
            OperationReading(
                id=row.id,
                title=row.title,
                count=12345 * index if measured else 0,
                errors=index if measured else 0,
                p50_s=p95_s / 3 if measured else None,
                p95_s=p95_s if measured else None,
                p99_s=p95_s * 1.7 if measured else None,
                under_target=1 - index / 7919 if measured else None,
                target_s=row.target_s,
                status=row.status(p95_s if measured else None),
                error_status=rows.levels["error.rate"].status(
                    (0.0, 0.0001, 0.5)[index % 3] if measured else None
                ),
            )
        )
    levels = [
        LevelReading(
            id=row.id,
            title=row.title,
            value=(value := None if index % 3 == 2 else row.target * 0.9),
            target=row.target,
            direction=row.direction,
            unit=row.unit,
            status=row.status(value),
            sample=Sample(3, "task") if row.id in ("task.success", "task.errors") else None,
        )
        for index, row in enumerate(rows.levels.values())
    ]
    return Snapshot(
        as_of=AS_OF,
        since=AS_OF - timedelta(hours=24),
        operations=tuple(operations),
        levels=tuple(levels),
        earlier=992_528,
        unreadable={"operations-000001": 2, "history-000001": 1},
    )


def shown(taken: Snapshot, *, colour: bool = False) -> str:
    file = io.StringIO()
    table.render(taken, file, colour=colour)
    return file.getvalue()


def test_the_table_is_as_it_was_agreed() -> None:
    assert shown(snapshot()) == GOLDEN.read_text()


def test_no_line_is_longer_than_80_columns_and_the_figures_stand_below_each_other() -> None:
    lines = shown(snapshot()).splitlines()
    assert max(map(len, lines)) <= table.WIDTH
    heads = lines[0]
    column = heads.index("status")
    assert all(line[column - 1] == " " and line[column] != " " for line in lines[:11])


def test_a_long_name_stands_on_its_own_line_and_is_never_cut() -> None:
    taken = snapshot()
    name = "a.very.long." + "name." * 20
    long = replace(taken.operations[0], id=name)
    text = shown(replace(taken, operations=(long, *taken.operations[1:])))
    lines = text.splitlines()
    assert name in lines
    assert max(len(line) for line in lines if line != name) <= table.WIDTH


def test_colour_changes_nothing_but_the_colour() -> None:
    coloured = shown(snapshot(), colour=True)
    assert "\x1b[31mmiss\x1b[0m" in coloured
    assert re.sub("\x1b\\[\\d+m", "", coloured) == shown(snapshot())


def test_levels_that_were_not_measured_are_left_out() -> None:
    taken = snapshot()
    text = shown(taken)
    for reading in taken.levels:
        assert (reading.title in text) == (reading.value is not None)


@pytest.mark.parametrize("without", ["earlier", "unreadable", "since"])
def test_what_there_is_not_is_not_mentioned(without: str) -> None:
    words = {"earlier": "ended earlier", "unreadable": "unreadable", "since": "since 2026"}
    empty = {"earlier": 0, "unreadable": {}, "since": None}[without]
    assert words[without] in shown(snapshot())
    assert words[without] not in shown(replace(snapshot(), **{without: empty}))  # type: ignore[arg-type]


def only(**changes: Any) -> Snapshot:
    """One operation, in order but for the changes, and nothing else."""
    plain: dict[str, Any] = {
        "count": 12,
        "errors": 0,
        "p95_s": 0.01,
        "status": "ok",
        "error_status": "ok",
    }
    reading = replace(snapshot().operations[1], **{**plain, **changes})
    return replace(snapshot(), operations=(reading,), levels=(), earlier=0, unreadable={})


def test_failures_are_named_with_the_way_to_the_latest() -> None:
    text = shown(only(errors=4, error_status="miss"))
    assert "\nFailed: state.query 4 of 12 (orchwatch trace --failed shows the latest).\n" in text
    assert "Failed" not in shown(only())


def test_the_largest_share_of_failures_comes_first_and_the_list_ends() -> None:
    row = only().operations[0]
    rows = [replace(row, id=f"op.{number}", errors=number) for number in range(1, 8)]
    words = " ".join(shown(replace(only(), operations=tuple(rows))).split())
    assert "Failed: op.7 7 of 12, op.6 6 of 12, op.5 5 of 12, op.4 4 of 12, op.3 3 of 12" in words
    assert "op.3 3 of 12 and 2 more (" in words


def test_errors_that_are_too_many_are_coloured_whatever_the_status() -> None:
    many = shown(only(errors=7, error_status="miss"), colour=True)
    assert "\x1b[31m7\x1b[0m" in many
    assert "\x1b[32mok\x1b[0m" in many
    few = shown(only(errors=7), colour=True)
    assert "\x1b[31m" not in few


def test_a_row_that_misses_its_target_leads_to_its_slowest_trace() -> None:
    for status in ("warn", "miss"):
        assert "\nSlowest: orchwatch trace --slowest state.query.\n" in shown(only(status=status))
    assert "Slowest" not in shown(only())
    assert "Slowest" not in shown(only(status="unknown", p95_s=None))


@pytest.mark.parametrize(
    ("window", "since"),
    [
        (timedelta(seconds=90), "since 2026-11-22 17:28:35 until"),
        (timedelta(minutes=59), "since 2026-11-22 16:31:05 until"),
        (timedelta(hours=1), "since 2026-11-22 16:30 until"),
    ],
)
def test_a_short_window_is_shown_to_the_second(window: timedelta, since: str) -> None:
    assert since in shown(replace(only(), since=AS_OF - window))


def test_one_of_something_is_not_called_many() -> None:
    assert "Skipped: 1 unreadable line;" in shown(replace(only(), unreadable={"x": 1}))


def test_the_json_document_is_what_others_build_on() -> None:
    file = io.StringIO()
    taken = snapshot()
    document.render(taken, file)
    found = json.loads(file.getvalue())
    assert list(found) == [
        *("schema_version", "operations", "levels", "as_of", "since", "earlier", "later"),
        *("metrics", "elsewhere", "phases"),
    ]
    assert list(found["operations"]["state.query"]) == [
        "count",
        "errors",
        "p50_s",
        "p95_s",
        "p99_s",
        "under_target",
        "target_s",
        "status",
    ]
    assert list(found["levels"]["cpu.utilization"]) == ["value", "target", "unit", "status"]
    assert found["as_of"] == "2026-11-22T17:30:05.000Z"
    assert found["since"] == "2026-11-21T17:30:05.000Z"
    assert found["operations"]["agent.spawn"]["p95_s"] is None
    reading = taken.operations[1]
    assert found["operations"][reading.id]["p95_s"] == reading.p95_s
