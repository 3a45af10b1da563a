from __future__ import annotations

import io
import json
from collections import Counter

import pytest

from orchwatch.agents.importer import Summary
from orchwatch.reporters import import_summary

SUMMARY = Summary(
    sessions=2,
    unchanged=1,
    turns=3,
    open_turns=1,
    tools=Counter(Read=4, Bash=5),
    failed=Counter(Bash=1),
    skipped=Counter({"no JSON": 2}),
    spans=20,
    slowest_ns=75_000_000_000,
    slowest_trace="abc123",
)


def test_a_person_reads_counts_with_what_they_are_made_of() -> None:
    text = io.StringIO()
    import_summary.render(SUMMARY, "http://grafana/d/session", text)
    lines = [" ".join(line.split()) for line in text.getvalue().splitlines()]
    assert "sessions 2 1 without news" in lines
    assert "turns 3 1 more still open" in lines
    assert "tool calls 9 Bash 5, Read 4" in lines
    assert "errors 1 Bash 1" in lines
    assert "skipped lines 2 no JSON 2" in lines
    assert "spans added 20" in lines
    assert lines[-2].endswith(" http://grafana/d/session")
    assert lines[-1] == "The slowest turn took 1m15s: orchwatch trace abc123"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_many_names_are_wrapped_and_the_rarest_only_counted(columns: int) -> None:
    many = Counter({f"unknown kind number {number}": 100 - number for number in range(40)})
    file = io.StringIO()
    import_summary.render(
        Summary(tools=many, failed=many, skipped=many), None, file, columns=columns
    )
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= min(columns, 80)
    text = " ".join(file.getvalue().split())
    assert text.count("and 32 more") == 3
    assert text.count("unknown kind number 7 93") == 3
    assert "number 8" not in text
    assert not any(line.split(",")[0].strip().isdecimal() for line in lines)
    assert {line[:25].strip() for line in lines if line.startswith(" ")} == {""}


def test_a_program_reads_the_same() -> None:
    text = io.StringIO()
    import_summary.render_json(SUMMARY, None, text)
    told = json.loads(text.getvalue())
    assert told["tools"] == {"Bash": 5, "Read": 4}
    assert told["errors"] == 1
    assert told["skipped"] == {"no JSON": 2}
    assert told["slowest_turn"] == {"trace_id": "abc123", "duration_s": 75.0}
    assert told["dashboard"] is None
