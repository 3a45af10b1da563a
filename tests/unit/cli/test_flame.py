from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from orchwatch.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

    from orchwatch.recording.otlp_json import AttributeValue

pytestmark = pytest.mark.usefixtures("home")
S = 10**9


@pytest.fixture(autouse=True)
def filled(record: Record) -> None:
    """Two sessions of one turn each, an hour ago and now; the second calls a tool for longer."""
    now_ns = time.time_ns()
    for number, session in enumerate(("first", "second")):
        own: dict[str, AttributeValue] = {"session.id": session}
        end_ns = now_ns - (3600 - 3600 * number) * S
        place = {"trace_id": f"{number + 1:x}" * 32, "end_ns": end_ns, "attributes": own}
        record("agent.turn", duration_ns=10 * S, span_id="1" * 16, **place)  # type: ignore[arg-type]
        record(
            "tool.execute",
            name="execute_tool Bash",
            duration_ns=(2 + 4 * number) * S,
            span_id="2" * 16,
            parent_span_id="1" * 16,
            **place,  # type: ignore[arg-type]
        )


def folded(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, list[int]]:
    assert main(["flame", *words, "--format", "folded"]) == 0
    found = {}
    for line in capsys.readouterr().out.splitlines():
        stack, *numbers = line.split(" ")
        found[stack] = [int(number) for number in numbers]
    return found


def test_a_trace_a_session_an_operation_or_a_range_is_folded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = {"agent.turn": [8 * S], "agent.turn;Bash": [2 * S]}
    second = {"agent.turn": [4 * S], "agent.turn;Bash": [6 * S]}
    assert folded(capsys) == second
    assert folded(capsys, "111") == first
    assert folded(capsys, "--session", "first") == first
    assert folded(capsys, "--since", "30m") == second
    assert folded(capsys, "--since", "all") == {"agent.turn": [12 * S], "agent.turn;Bash": [8 * S]}
    assert folded(capsys, "--operation", "tool.execute") == {"Bash": [8 * S]}


def test_two_are_compared_by_trace_by_session_or_by_range(
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = {"agent.turn": [8 * S, 4 * S], "agent.turn;Bash": [2 * S, 6 * S]}
    assert folded(capsys, "222", "--against", "111") == expected
    assert folded(capsys, "--session", "second", "--against", "first") == expected
    assert folded(capsys, "--since", "30m", "--against", "2h..30m") == expected


@pytest.mark.parametrize("form", ["table", "json", "html", "folded", "speedscope", "chrome"])
def test_a_file_holds_what_stdout_would(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flame", "--format", form]) == 0
    shown = capsys.readouterr().out
    path = tmp_path / "out"
    assert main(["flame", "--format", form, "--output", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert path.read_text() == shown
    assert "Bash" in shown
    if form != "chrome":
        assert main(["flame", "--format", form, "--against", "111"]) == 0
        assert capsys.readouterr().out != shown


def test_the_table_says_how_many_were_at_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flame"]) == 0
    head, covered, _, _, turn, bash, *_ = capsys.readouterr().out.splitlines()
    assert head == f"trace {'2' * 32}, agent.turn"
    assert covered == "2 spans of 1 trace, which ran for 10s"
    assert turn.split()[2:] == ["10s", "4s", "1"]
    assert bash.split()[2:] == ["6s", "6s", "1"]


def test_json_has_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flame", "--format", "json", "--against", "111"]) == 0
    frames = json.loads(capsys.readouterr().out)["frames"]
    assert [(frame["total_s"], frame["before_total_s"]) for frame in frames] == [(10, 10), (6, 2)]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["abc"], 1, "flame: no span of abc is stored in "),
        (["111", "--since", "1h"], 2, "an ID names one trace, so --since has nothing to choose"),
        (["--against", "abc"], 1, "flame: no span of abc is stored in "),
        (["--against", "..1h"], 2, "--against must be like 48h..24h, not '..1h'"),
        (["--against", "2h..soon"], 2, "--against must be like "),
        (["--against", "1h..2h"], 2, "--against must begin before it ends, as 48h..24h does, not "),
        (["--against", "2999-01-01..1h"], 2, "--against must not lie in the future, and '2999-"),
        (["--session", "first", "--against", "x"], 1, "flame: no span of x is stored in "),
        (["--format", "chrome", "--against", "111"], 2, "has no place for --against"),
        (["--since", "90d", "--until", "80d"], 1, "flame: nothing is stored in "),
        (["--output", "/proc/nowhere/x"], 1, "flame: /proc/nowhere/x cannot be written: "),
        (["--output", ""], 2, "flame: --output must not be empty"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flame", *words]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
