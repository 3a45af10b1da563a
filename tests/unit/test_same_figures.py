"""The same data has the same figures, whoever shows it: 0 may differ."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.cli.test_export import parsed
from tests.unit.conftest import NOW_NS

from orchwatch.cli.main import main
from orchwatch.mixin.lib.promql import DURATION
from orchwatch.reading import Reader, Within
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

SELECTIONS = int(os.environ.get("ORCHWATCH_TEST_SELECTIONS", "6"))
S = 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_NS = (NOW_NS // S - 3600) * S
TABLE = target_table.load()
OPERATIONS = ("state.query", "hook.process", "event.process", "tool.execute", "agent.task", "it's")
FAMILIES = ("operations", "operations", "undelivered", "history")
_ASKED = """
SELECT operation, count(*), count(*) FILTER (failed), quantile_disc(duration_s, 0.95),
    avg((duration_s <= MAP {targets}[operation])::INT)
FROM ended_operations WHERE {where} GROUP BY operation
"""
Figures = dict[str, tuple[int, float, float | None, float | None]]


def fill(record: Record, draw: random.Random, families: tuple[str, ...]) -> list[int]:
    """Operations around their targets, some in two places; when they ended."""
    ends = []
    for number in range(300):
        operation = draw.choice(OPERATIONS)
        row = TABLE.operations.get(operation)
        edge_ns = int(row.target_s * S) if row else S
        attributes: dict[str, Any] = {"session.id": draw.choice(["s1", "s2", "ä 'x'"])}
        if draw.random() < 0.6:
            attributes["gen_ai.agent.name"] = draw.choice(["worker", "main"])
        ends.append(FIRST_NS + draw.randrange(3500 * 10**6) * 1000)
        one: dict[str, Any] = {
            "duration_ns": draw.choice([edge_ns, edge_ns + 1, draw.randrange(2 * edge_ns)]),
            "end_ns": ends[-1],
            "failed": draw.random() < 0.1,
            "trace_id": f"{number // 3 + 1:032x}",
            "span_id": f"{number + 1:016x}",
            "attributes": attributes,
        }
        for family in sorted({draw.choice(families), draw.choice(families)}):
            record(operation, family=family, **one)
    return ends


def moment(time_ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=time_ns // 1000)


def chosen(draw: random.Random, ends: list[int]) -> dict[str, Any]:
    """A selection: two moments, often those at which an operation ended, and filters."""
    since_ns, until_ns = sorted(
        draw.choice([draw.choice(ends), FIRST_NS + draw.randrange(3500 * 10**6) * 1000])
        for _ in range(2)
    )
    found: dict[str, Any] = {"since": moment(since_ns), "until": moment(until_ns)}
    for name, values in (
        ("session", ["s1", "ä 'x'"]), ("agent", ["worker"]), ("operation", ["state.query", "it's"]),
    ):  # fmt: skip
        if draw.random() < 0.25:
            found[name] = draw.choice(values)
    return found


def told(rows: dict[str, Any]) -> Figures:
    return {
        name: (row["count"], row["errors"] / row["count"], row["p95_s"], row["under_target"])
        for name, row in rows.items()
        if row["count"]
    }


def where(selection: dict[str, Any]) -> str:
    columns = {"session": "session_id", "agent": "agent", "operation": "operation"}
    parts = [
        f"ended >= TIMESTAMP_NS '{selection['since']:%Y-%m-%d %H:%M:%S.%f}'",
        f"ended <= TIMESTAMP_NS '{selection['until']:%Y-%m-%d %H:%M:%S.%f}'",
    ]
    for name, column in columns.items():
        if name in selection:
            text = selection[name].replace("'", "''")
            parts.append(f"{column} = '{text}'")
    return " AND ".join(parts)


def of_sql(selection: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> Figures:
    targets = {row.id: row.target_s for row in TABLE.operations.values()}
    sql = _ASKED.format(targets=targets, where=where(selection))
    rows = json.loads(asked(capsys, "sql", sql))["rows"]
    return {
        name: (count, errors / count, p95_s, under) for name, count, errors, p95_s, under in rows
    }


def of_prometheus(text: str) -> dict[str, tuple[int, float, float | None]]:
    """Count, share of errors, share within the target, by operation."""
    counts: dict[str, list[float]] = {}
    for key, number in parsed(text).items():
        labels = dict(part.split("=", 1) for part in key[1:])
        name = labels.get("orchestration_operation_name", "")
        found = counts.setdefault(name, [0, 0, 0])
        if key[0] == f"{DURATION}_count":
            found[0] += number
            found[1] += number if labels["status_code"] == "STATUS_CODE_ERROR" else 0
        elif key[0] == f"{DURATION}_bucket" and name in TABLE.operations:
            found[2] += number if float(labels["le"]) == TABLE.operations[name].target_s else 0
    return {
        name: (int(count), errors / count, within / count if name in TABLE.operations else None)
        for name, (count, errors, within) in counts.items()
        if count
    }


def asked(capsys: pytest.CaptureFixture[str], *words: str, form: str = "json") -> str:
    assert main([*words, "--format", form]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("families", [FAMILIES, FAMILIES[:3]], ids=["history", "no history"])
def test_every_command_shows_the_same(
    home: Path,
    record: Record,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    families: tuple[str, ...],
    *,
    compacted: bool,
) -> None:
    draw = random.Random(f"{families} {compacted}")
    if compacted:
        monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "8192")
    ends = fill(record, draw, families)
    if compacted:  # nothing small is left
        monkeypatch.setattr("orchwatch.store.small.MAX_BYTES", 0)
    compared = 0
    with Reader(home) as reader:
        for _ in range(SELECTIONS):
            selection = chosen(draw, ends)
            words = [
                f"--{name}={value.isoformat() if isinstance(value, datetime) else value}"
                for name, value in selection.items()
            ]
            expected = of_sql(selection, capsys)
            current = json.loads(asked(capsys, "current", *words))["operations"]
            assert told(current) == expected, selection
            rows = json.loads(asked(capsys, "export", *words))["rows"]
            operations = {row["name"]: row for row in rows if row["kind"] == "operation"}
            assert told(operations) == expected, selection
            report = json.loads(asked(capsys, "report", *words))
            assert told(report["operations"]) == expected, selection
            steps: dict[str, int] = {}
            for step in report["history"]:
                steps[step["operation"]] = steps.get(step["operation"], 0) + step["count"]
            assert steps == {name: figures[0] for name, figures in expected.items()}
            read = reader.operations(Within(**selection))
            assert expected == {
                one.name: (one.count, one.error_ratio, one.p95_s, one.under_target) for one in read
            }
            if families == FAMILIES[:3]:
                text = asked(capsys, "export", *words, form="prometheus")
                assert of_prometheus(text) == {
                    name: (count, errors, under)
                    for name, (count, errors, _, under) in expected.items()
                }
            compared += bool(expected)
    assert compared > SELECTIONS / 2
