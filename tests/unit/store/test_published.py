from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import NOW_NS

import orchwatch
from orchwatch.errors import UsageError
from orchwatch.store.database import Store
from orchwatch.store.published import COLUMNS, OPERATIONS, SPANS, Question

if TYPE_CHECKING:
    from tests.unit.conftest import Record

DOCS = Path(orchwatch.__file__).parents[2] / "docs" / "sql.md"


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return Question(store, sql).answer().rows


def test_the_page_has_every_column_and_each_view_has_what_the_page_says(home: Path) -> None:
    table_lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    documented = {
        name for line in table_lines for name in re.findall("`(.+?)`", line.split("|")[1])
    }
    assert documented == {column for columns in COLUMNS.values() for column in columns}
    with Store(home) as store:
        assert Question(store, f"FROM {OPERATIONS}").columns() == tuple(COLUMNS[OPERATIONS])
        both = (*COLUMNS[OPERATIONS], *COLUMNS[SPANS])
        assert Question(store, f"FROM {SPANS}").columns() == both


def test_every_example_of_the_page_is_answered(home: Path, record: Record) -> None:
    record("state.query", attributes={"gen_ai.agent.name": "w"})
    examples = re.findall(r'orchwatch sql "(.+?)"', DOCS.read_text(), re.DOTALL)
    assert len(examples) > 3
    with Store(home) as store:
        for example in examples[1:]:  # the first one shows the form
            Question(store, example).answer()


def test_an_operation_counts_once_and_a_span_as_often_as_it_was_written(
    home: Path, record: Record
) -> None:
    for family in ("operations", "undelivered", "history"):
        record("state.query", family=family, span_id="1" * 16, trace_id="2" * 32, failed=True)
    record(None, name="other", parent_span_id="1" * 16)
    with Store(home) as store:
        assert rows(store, f"SELECT count(*) FROM {OPERATIONS}") == [(1,)]
        assert rows(store, f"SELECT count(*), count(operation) FROM {SPANS}") == [(4, 3)]
        asked = f"SELECT duration_s, failed, error_type, trace_id, span_id FROM {OPERATIONS}"
        assert rows(store, asked) == [(0.001, True, "TimeoutError", "2" * 32, "1" * 16)]
        ((ended,),) = rows(store, f"SELECT epoch_ns(ended) FROM {OPERATIONS}")
        assert ended == NOW_NS


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{}'", "ATTACH '{}'", "CREATE TABLE x AS SELECT 1", "INSTALL httpfs",
        "SET enable_external_access = true", "PRAGMA version", "EXPLAIN ANALYZE DROP VIEW span",
        "SELECT * FROM read_text('{}')", "FROM read_csv('{}')", "FROM '{}'", "FROM glob('{}')",
        "SELECT * FROM sniff_csv('{}')", "SELECT 1; DROP VIEW span", "CALL pragma_version()",
        "SELECT getenv('HOME')", "SELECT error('x')", "SELECT 1::UUID", "/* */", "\0",
        "SELECT '\ud800'",
        f"SELECT {'(' * 20_000}1{')' * 20_000}",
    ],
)  # fmt: skip
def test_a_question_only_reads_and_only_the_store(home: Path, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a\n1\n")
    with Store(home) as store:
        with pytest.raises(UsageError, match=r"^sql: ") as refused:
            Question(store, sql.format(secret) if "{}" in sql else sql).answer()
        assert "\n" not in str(refused.value)
        assert rows(store, "SELECT 1 -- as before") == [(1,)]
    assert sorted(path.name for path in tmp_path.iterdir() if path != home) == ["secret"]


def test_a_damaged_file_is_left_out_of_the_answer_and_named(
    home: Path, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ORCHWATCH_SPOOL_SEGMENT_BYTES", "4096")
    for _ in range(60):
        record("state.query")
    with Store(home):
        pass
    files = sorted((home / "store").glob("*.parquet"))
    first = files[0]
    first.write_bytes(first.read_bytes()[:100] + bytes(300) + first.read_bytes()[400:])
    (home / "spool" / f"{first.name.split('.')[0]}.jsonl").unlink()
    with Store(home) as store:
        ((left,),) = rows(store, f"SELECT count(DISTINCT trace_id) FROM {OPERATIONS}")
    assert 0 < left < 60
    assert "damaged and left out" in caplog.text
