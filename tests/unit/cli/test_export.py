from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch import count, gauge
from orchwatch.cli.main import main
from orchwatch.mixin import dashboards
from orchwatch.mixin.lib.promql import DURATION
from orchwatch.reporters import figure_rows
from orchwatch.store import histograms, small, spans, steps
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

pytestmark = pytest.mark.usefixtures("home")
S = 10**9
ODD = ('a "b" \\ c', "line\nbreak", "tab\t\x1b[31m", "日本", "{x=1}", "", "# EOF", "\ud7ff")
TABLE = target_table.load()


def fill(record: Record) -> None:
    for number in range(60):
        record(
            ("state.query", "tool.execute", *ODD)[number % 10],
            duration_ns=(50_000_000, 50_000_001, 10 * number)[number % 3],
            end_ns=NOW_NS - number * 60 * S,
            failed=number % 7 == 0,
            family=("operations", "history", "undelivered", "operations")[number % 4],
            attributes={"session.id": f"s{number % 2}"},
        )


def exported(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["export", *words]) == 0
    return capsys.readouterr().out


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Each sample, as the text format says."""
    found = {}
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            matched = re.fullmatch(r"([a-zA-Z_]\w*)(?:\{(.*)\})? ([^ ]+)", line)
            assert matched, line
            labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', matched[2] or "")
            key = (matched[1], *(f"{name}={value}" for name, value in labels))
            assert key not in found
            found[key] = float(matched[3])
    return found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "in the last 24h; --since all takes in all there is"),
        (["--since", "all"], "yet"),
        (["--since", "all", "--until", "2026-01-02"], "until 2026-01-02"),
        (
            ["--until", "2026-01-02"],
            "in the 24h until 2026-01-02; --since all takes in all there is",
        ),
    ],
)
def test_an_empty_bundle_is_no_file_and_names_what_would_take_in_more(
    words: list[str], said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home.parent / "b.zip"
    assert main(["export", "--bundle", str(file), *words]) == 1
    assert capsys.readouterr().err.rstrip().endswith(f"nothing is stored in {home} {said}")
    assert not file.exists()


def test_prometheus_text_counts_each_operation_under_the_edge_it_ended_at(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    for duration_ns, failed in ((50_000_000, False), (50_000_001, False), (7 * 3600 * S, True)):
        record("state.query", duration_ns=duration_ns, failed=failed)
    record("state.query", family="history")
    found = parsed(exported(capsys, "--format", "prometheus"))
    place = ("service_name=orchestration", "orchestration_operation_name=state.query")
    ok = (*place, "status_code=STATUS_CODE_OK")
    edges = [key[-1] for key in found if key[:4] == (f"{DURATION}_bucket", *ok)]
    assert [float(edge.removeprefix("le=")) for edge in edges] == [*TABLE.edges_s, math.inf]
    assert found[f"{DURATION}_bucket", *ok, "le=0.03"] == 0
    assert found[f"{DURATION}_bucket", *ok, "le=0.05"] == 1
    assert found[f"{DURATION}_bucket", *ok, "le=0.06"] == 2
    assert found[f"{DURATION}_sum", *ok] == 0.100000001
    error = (*place, "status_code=STATUS_CODE_ERROR", "error_type=TimeoutError")
    assert found[f"{DURATION}_bucket", *error, "le=3600"] == 0
    assert found[f"{DURATION}_bucket", *error, "le=+Inf"] == found[f"{DURATION}_count", *error] == 1


def test_key_figures_and_own_metrics_have_the_stacks_names(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record("agent.task", end_ns=NOW_NS - S)
    count("shop.orders", 3)
    gauge("queue length", 7.5, unit="s")
    gauge("orchestration.operation.duration", 1.0, unit="s")
    gauge("日本", 1.0)
    gauge("9lives", 1.0)
    gauge("shared", 1.0, {"a": "b"})
    gauge("shared", 2.0, {"a": "c"})
    text = exported(capsys, "--format", "prometheus")
    found = parsed(text)
    assert found["shop_orders_total",] == 3
    assert found["queue_length_seconds",] == 7.5
    assert found["orchestration_task_success_ratio",] == 1
    assert found["orchestration_storage_size_bytes",] > 0
    assert not {key[0] for key in found} & {"shared", "9lives", "", DURATION}
    series = {
        key[0].removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for key in found
    }
    assert set(re.findall("^# TYPE ([^ ]+) ", text, re.MULTILINE)) >= series - {DURATION}
    for words in (["--session", "x"], ["--until", "0s"]):
        if words[0] == "--until":
            assert "storage" not in exported(capsys, "--format", "prometheus", *words)
        else:
            assert main(["export", "--format", "prometheus", *words]) == 1
            assert "matches nothing" in capsys.readouterr().err


def test_odd_names_are_a_label_each_and_break_no_line(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(record)
    found = parsed(exported(capsys, "--format", "prometheus"))
    names = {
        part for key in found for part in key if part.startswith("orchestration_operation_name=")
    }
    assert len(names) >= len(ODD) - 1
    rows = json.loads(exported(capsys, "--since", "all"))["rows"]
    assert {row["name"] for row in rows} >= set(ODD)
    table = list(csv.DictReader(io.StringIO(exported(capsys, "--since", "all", "--format", "csv"))))
    assert len(table) == len(rows)


def test_both_stores_give_the_same_histograms_and_steps(home: Path, record: Record) -> None:
    fill(record)
    edges_ns = [spans.whole_ns(edge_s) for edge_s in TABLE.edges_s]
    targets_s = {row.id: row.target_s for row in TABLE.operations.values()}
    in_python = small.read(home)
    assert in_python is not None
    with Store(home) as store:
        for selection in (
            Selection(), Selection(history=True), Selection(since_ns=NOW_NS - 600 * S),
            Selection(session_id="s1", history=True), Selection(operation=ODD[0]),
        ):  # fmt: skip
            expected = histograms.read(store, selection, edges_ns)
            assert histograms.read(in_python, selection, edges_ns) == expected
            asked: dict[str, Any] = {"step_ns": 600 * S, "targets_s": targets_s}
            found = steps.read(store, selection, **asked)
            assert steps.read(in_python, selection, **asked) == found
            whole = spans.summaries(store, selection, targets_s=targets_s)
            assert sum(one.count for _, one in found) == sum(one.count for one in whole)
            assert sum(one.number for one in expected) == sum(one.count for one in whole)


def test_a_range_in_steps_has_a_row_for_each_operation_in_each(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    base_ns = NOW_NS // (3600 * S) * (3600 * S) - 7200 * S
    for at_s, duration_ns in ((0, 10**6), (1, 10**9), (3599, 10**6), (3600, 10**6)):
        record("state.query", duration_ns=duration_ns, end_ns=base_ns + at_s * S)
    rows = json.loads(exported(capsys, "--step", "1h"))["rows"]
    assert [(row["count"], row["p95_s"], row["status"]) for row in rows] == [
        (3, 1, "miss"), (1, 0.001, "ok"),
    ]  # fmt: skip
    assert rows[0]["until"] == rows[1]["since"]
    assert rows[0]["under_target"] == 2 / 3


@pytest.mark.parametrize("form", ["prometheus", "json", "csv", "parquet"])
def test_an_empty_store_has_no_operation_to_tell_of(
    form: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out"
    assert main(["export", "--format", form, "-o", str(path)]) == 0
    assert capsys.readouterr() == ("", "")
    assert not home.exists()
    assert [one.name for one in tmp_path.iterdir() if one != home] == ["out"]
    assert b"state.query" not in path.read_bytes() if form == "prometheus" else path.stat().st_size
    assert main(["export", "--format", form, "-o", str(path), "--step", "1h"]) == (
        2 if form == "prometheus" else 0
    )


def test_parquet_has_the_rows_of_json(
    home: Path, record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(record)
    path = tmp_path / "it's here.parquet"
    words = ["--since", "all", "--until", "0s"]
    assert main(["export", "--format", "parquet", "-o", str(path), *words]) == 0
    rows = json.loads(exported(capsys, *words))["rows"]
    with Store(home) as store:
        columns = ", ".join(figure_rows.COLUMNS)
        found = store.query(f"SELECT {columns} FROM read_parquet($path)", {"path": str(path)})
    for row, values in zip(rows, found, strict=True):
        for (name, kind), value in zip(figure_rows.COLUMNS.items(), values, strict=True):
            if kind != "TIMESTAMP" and name != "value":  # the hour's end is another one each time
                assert row[name] == value


def test_the_dashboards_are_those_of_the_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = json.loads(exported(capsys, "--format", "grafana"))
    assert tuple(pages) == dashboards.PAGES
    assert pages["overview"] == json.loads(dashboards.text("overview", TABLE))
    assert main(["export", "--format", "grafana", "-o", str(tmp_path / "all.json")]) == 0
    assert json.loads((tmp_path / "all.json").read_text()) == pages


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--format", "parquet"], 2, "export: --format parquet needs --output FILE"),
        (["--format", "grafana", "--since", "1h"], 2, "so --since has nothing to choose"),
        (["--format", "grafana", "--step", "1h"], 2, "has no place for --step"),
        (["--step", "all"], 2, "--step must be a length such as 5m or 1h, not 'all'"),
        (["--step", "0s"], 2, "--step must be a length such as 5m or 1h, not '0s'"),
        (["--step", "x"], 2, "--step must be like 90s, 15m, 24h, 7d, not 'x'"),
        (["-o", ""], 2, "export: --output must not be empty"),
        (["-o", "/proc/nowhere/x"], 1, "export: /proc/nowhere/x cannot be written: "),
        (["--format", "parquet", "-o", "/proc/nowhere/x"], 1, "cannot be written: "),
        (["--session", "x"], 1, "--session x: matches nothing"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *words]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_a_failed_write_leaves_the_file_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept"
    path.mkdir()  # which no file replaces
    for form in ("json", "parquet"):
        assert main(["export", "--format", form, "-o", str(path)]) == 1
        assert "cannot be written" in capsys.readouterr().err
    assert [one.name for one in tmp_path.glob("kept*")] == ["kept"]
