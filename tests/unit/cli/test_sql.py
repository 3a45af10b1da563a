from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

from orchwatch.cli.main import main
from orchwatch.store.database import Store
from orchwatch.store.published import Question

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

pytestmark = pytest.mark.usefixtures("home")
ODD = 'a,"b"\n\x1b[31m=1+1'


@pytest.fixture(autouse=True)
def filled(record: Record) -> None:
    record("state.query", duration_ns=3_000_000, attributes={"session.id": ODD})
    record("tool.execute", duration_ns=2_000_000, failed=True)


ASKED = "SELECT operation, duration_s, failed, session_id FROM ended_operations ORDER BY operation"


def test_the_table_shows_names_safely_and_says_how_many_rows_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["sql", ASKED]) == 0
    head, query, tool, number = capsys.readouterr().out.splitlines()
    assert head.split() == ["operation", "duration_s", "failed", "session_id"]
    assert query.split()[:3] == ["state.query", "0.003", "false"]
    assert "\\x1b" in query
    assert tool.split() == ["tool.execute", "0.002", "true", "-"]
    assert number == "(2 rows)"


def test_json_and_csv_hold_the_exact_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", ASKED, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [column["type"] for column in found["columns"]] == [
        "VARCHAR", "DOUBLE", "BOOLEAN", "VARCHAR",
    ]  # fmt: skip
    assert found["rows"] == [
        ["state.query", 0.003, False, ODD],
        ["tool.execute", 0.002, True, None],
    ]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_file_is_written_as_a_whole(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    assert main(["sql", ASKED, "--format", form, "-o", str(path)]) == 0
    assert capsys.readouterr().out == ""
    if form == "csv":
        rows = list(csv.reader(io.StringIO(path.read_text())))
        assert rows[1:] == [
            ["state.query", "0.003", "false", ODD],
            ["tool.execute", "0.002", "true", ""],
        ]
    else:
        assert "state.query" in path.read_text()
    assert [one.name for one in tmp_path.glob("out*")] == ["out"]


def test_parquet_holds_what_was_asked_for(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "it's.parquet"
    assert main(["sql", f"{ASKED} -- and a remark", "--format", "parquet", "-o", str(path)]) == 0
    assert capsys.readouterr() == ("", "")
    with Store(home) as store:
        found = store.query("SELECT session_id FROM read_parquet($path)", {"path": str(path)})
        assert found == [(row[3],) for row in Question(store, ASKED).answer().rows]
    assert main(["sql", ASKED, "--format", "parquet"]) == 2
    assert "--format parquet needs --output FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["SELECT nope"], 2, "sql: Binder Error: "),
        (["DROP TABLE x"], 2, "sql: must be one SELECT, which only reads"),
        (["FROM opertions"], 2, "sql: there is no view opertions; there are ended_operations and"),
        ([ASKED, "-o", ""], 2, "sql: --output must not be empty"),
        ([ASKED, "-o", "/proc/nowhere/x"], 1, "sql: /proc/nowhere/x cannot be written: "),
        ([ASKED, "--format", "parquet", "-o", "/proc/nowhere/x"], 1, "cannot be written: "),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sql", *words]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "asked", ["show tables", "SHOW ALL TABLES;", " Show\nTables ", "SHOW", "describe", "DESC"]
)
def test_what_there_is_to_ask_is_listed_without_what_it_is_made_of(
    asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sql", asked, "--format", "csv"]) == 0
    assert capsys.readouterr().out.split() == ["name", "all_spans", "ended_operations"]


@pytest.mark.usefixtures("home")
def test_what_is_no_number_and_what_has_no_end_are_not_null(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = "SELECT 1/0 AS a, -1/0 AS b, 0/0 AS c, NULL AS d, [1/0] AS e"
    assert main(["sql", asked]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "Infinity", "-Infinity", "NaN", "-", '["Infinity"]',
    ]  # fmt: skip
    assert main(["sql", asked, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == 'Infinity,-Infinity,NaN,,"[""Infinity""]"'
    assert main(["sql", asked, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows == [["Infinity", "-Infinity", "NaN", None, ["Infinity"]]]


def test_all_kinds_of_values_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    asked = (
        "SELECT DATE '2026-01-02' AS d, TIME '01:02:03' AS t, 1.50::DECIMAL(5, 2) AS m,"
        " INTERVAL 90 SECOND AS i, [1, NULL] AS l, {'a': 'x'} AS s, 'ab'::BLOB AS b,"
        " 'nan'::DOUBLE AS n, 1::HUGEINT << 100 AS h, uuid() AS u, MAP {'k': 1} AS k, NULL AS z"
    )
    assert main(["sql", asked]) == 0
    assert main(["sql", asked, "--format", "csv"]) == 0
    capsys.readouterr()
    assert main(["sql", asked, "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row[:6] == ["2026-01-02", "01:02:03", 1.5, 90.0, [1, None], {"a": "x"}]
    assert row[7:9] == ["NaN", 1 << 100]
