from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch import operation
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from tests.unit.conftest import Record

    from orchwatch.recording.otlp_json import AttributeValue

pytestmark = pytest.mark.usefixtures("home")
S = 10**9


def fill(record: Record) -> None:
    """Two traces of one session, the second of which began a minute after the first had ended."""
    for number, trace_id in enumerate(("a" * 32, "b" * 32)):
        end_ns = NOW_NS - (100 - 70 * number) * S
        own: dict[str, AttributeValue] = {"session.id": "one"}
        record(
            "agent.turn",
            duration_ns=10 * S,
            end_ns=end_ns,
            trace_id=trace_id,
            span_id="1" * 16,
            attributes=own,
        )
        record(
            "tool.execute",
            name="execute_tool Bash",
            duration_ns=4 * S,
            end_ns=end_ns - S,
            trace_id=trace_id,
            span_id="2" * 16,
            parent_span_id="1" * 16,
            attributes=own,
        )


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["critical-path", *words, "--format", "json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_trace_says_what_it_waited_for(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(record)
    found = answer(capsys, "aaa")
    assert (found["trace_id"], found["path_s"], found["idle_s"]) == ("a" * 32, 10, 0)
    keys = ("kind", "name", "agent", "spans", "path_s", "share", "saved_s")
    expected = [("agent", "agent.turn", None, 1, 6, 0.6, 6), ("tool", "Bash", None, 1, 4, 0.4, 4)]
    assert found["entries"] == [dict(zip(keys, values, strict=True)) for values in expected]
    assert answer(capsys)["trace_id"] == "b" * 32


def test_a_session_is_all_of_its_traces_without_the_time_between(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(record)
    found = answer(capsys, "--session", "on")
    assert (found["trace_id"], found["session_id"]) == (None, "one")
    assert (found["path_s"], found["idle_s"]) == (20, 60)
    assert main(["critical-path", "--session", "one"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("critical path of session one, 2 traces, 4 spans, ")
    assert "\n20s in all, besides 1m00s of which nothing is recorded.\n" in out
    assert "\ntool Bash       2    8s  40.00%     8s\n" in out
    assert [line.split() for line in out.splitlines() if line.strip().startswith("+")][-2:] == [
        ["+1m15s", "4s", "tool", "Bash"],
        ["+1m19s", "1s", "agent.turn"],
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 1, "critical-path: nothing is stored in "),
        (["abc"], 1, "critical-path: no span of abc is stored in "),
        (["abc", "--session", "s"], 2, "an ID names one trace, so --session has nothing to choose"),
        (["--session", "s"], 1, "--session s: matches nothing in "),
        (["--since", "soon"], 2, "--since must be like "),
    ],
)
def test_what_is_not_there_is_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["critical-path", *words]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_an_id_that_begins_two_traces_is_refused(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record(trace_id="ab" + "0" * 30)
    record(trace_id="ab" + "1" * 30)
    assert main(["critical-path", "ab"]) == 1
    assert "begins more than one id" in capsys.readouterr().err


def test_a_name_is_obeyed_by_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with operation("x\x1b[2J\ny", {"gen_ai.agent.name": "\u202e"}):
        pass
    assert main(["critical-path"]) == 0
    out = capsys.readouterr().out
    assert "x\\x1b[2J\\ny [\\u202e]" in out
    assert not any(letter in out for letter in "\x1b\u202e")
