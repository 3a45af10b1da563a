from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch import attach, operation
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

pytestmark = pytest.mark.usefixtures("home")


def test_the_latest_trace_is_shown_unless_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with operation("earlier") as earlier:
        pass
    with operation("session.init"), operation("state.query"):
        pass
    assert main(["trace"]) == 0
    assert "└─ state.query" in capsys.readouterr().out
    assert main(["trace", earlier.trace_id]) == 0
    assert "\nearlier " in capsys.readouterr().out


def test_json_gives_every_span_of_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    with operation("session.init") as outer, operation("state.query") as inner:
        pass
    assert main(["trace", "--format", "json"]) == 0
    spans = {span["span_id"]: span for span in json.loads(capsys.readouterr().out)}
    assert spans[inner.span_id]["parent_span_id"] == outer.span_id
    assert spans.keys() == {outer.span_id, inner.span_id}


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The id of the trace that was shown."""
    assert main(["trace", *words]) == 0
    return capsys.readouterr().out.split()[1].rstrip(",")


def test_the_trace_of_the_slowest_call_of_an_operation_is_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    traces = {}
    for loops in (10, 1_000_000, 100):
        with operation("state.query") as op:
            sum(range(loops))
        traces[loops] = op.trace_id
    with operation("session.init"):
        sum(range(3_000_000))
    assert shown(capsys, "--slowest", "state.query") == traces[1_000_000]


def test_the_trace_of_the_latest_failure_is_found_of_all_or_of_one_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    traces = {}
    for name, error in (("state.query", KeyError), ("agent.spawn", TimeoutError)):
        with pytest.raises(error), operation(name) as op:
            raise error
        traces[name] = op.trace_id
        with operation(name):
            pass
    assert shown(capsys, "--failed") == traces["agent.spawn"]
    assert shown(capsys, "--failed", "state.query") == traces["state.query"]
    main(["trace", "--failed", "state.query"])
    assert "  1 KeyError\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["ab" * 16, "--failed"],
        ["ab" * 16, "--slowest", "state.query"],
        ["--slowest", "state.query", "--failed"],
        ["ab" * 16, "--session", "s"],
        ["--slowest", "state.query", "--operation", "state.query"],
    ],
)
def test_one_trace_is_shown_so_only_one_way_to_find_it_can_be_given(words: list[str]) -> None:
    assert main(["trace", *words]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--slowest", "agent.spawn"], "agent.spawn was not measured yet in"),
        (["--failed"], "no operation has failed in"),
        (["--failed", "state.query"], "no state.query has failed in"),
    ],
)
def test_what_never_happened_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with operation("state.query"):
        pass
    assert main(["trace", *words]) == 1
    assert capsys.readouterr().err.startswith(f"orchwatch: trace: {said}")


@pytest.mark.parametrize("words", [[], ["ab" * 16], ["no id at all"]])
def test_a_trace_that_is_not_stored_is_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main(["trace", *words]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    if words:
        with operation("state.query"):
            pass
        assert main(["trace", *words]) == 1
        assert f"no span of {words[0]} is stored in {home}" in capsys.readouterr().err


def test_the_first_digits_of_an_id_are_enough_where_they_tell_it_from_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for first in "1af":
        with (
            attach({"traceparent": f"00-{first * 16}{'1' * 16}-{'2' * 16}-01"}),
            operation("state.query"),
        ):
            pass
    for start in ("1", "aaaa", "F", "f" * 16 + "1" * 16):
        assert shown(capsys, start).startswith(start.lower())
    with (
        attach({"traceparent": f"00-{'a' * 16}{'3' * 16}-{'2' * 16}-01"}),
        operation("state.query"),
    ):
        pass
    assert main(["trace", "aaaa"]) == 1
    assert capsys.readouterr().err.count("a" * 16) == 2
    for unknown in ("b", "no id", "f" * 33):
        assert main(["trace", unknown]) == 1
        assert "no span of" in capsys.readouterr().err


def test_a_waterfall_is_as_wide_as_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with operation("session.init"), operation("state.query"):
        sum(range(100_000))
    for columns in (60, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(["trace", "--waterfall"]) == 0
        head, *lines = capsys.readouterr().out.splitlines()
        assert head.startswith("trace ")
        first, second, *_ = (line for line in lines if "█" in line or "░" in line)
        assert first.startswith("session.init ")
        assert second.startswith("  state.query ")
        assert max(map(len, lines)) == columns


def test_two_traces_are_compared_by_phase(capsys: pytest.CaptureFixture[str]) -> None:
    ids = []
    for loops in (1000, 1_000_000):
        own = {"session.id": f"session-{loops}"}
        with operation("agent.turn", own) as turn:
            with operation("state.query", own):
                sum(range(loops))
            if loops > 1000:
                with operation("new\x1b.one"):
                    pass
        ids.append(turn.trace_id)
    assert main(["trace", "diff", *ids]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith(f"before: trace {ids[0]}, agent.turn; 1 trace, ")
    rows = {words[0]: words[1:] for line in out.splitlines()[4:] if (words := line.split())}
    assert rows["state.query"][2].startswith("+")
    assert rows["new\\x1b.one"][-1] == "new"
    assert main(["trace", "diff", ids[0], ids[0]]) == 0
    assert capsys.readouterr().out.endswith("0s in all\n\nNo phase differs.\n")
    for sides in (["session-1000", "session-1000000"], ["1h..0s", "1h..0s"]):
        assert main(["trace", "diff", *sides, "--format", "json"]) == 0
        found = json.loads(capsys.readouterr().out)
        queries = [phase for phase in found["phases"] if phase["name"] == "state.query"]
        assert len(queries) == 1
        assert (queries[0]["now_path_s"] > queries[0]["before_path_s"]) == ("1h" not in sides[0])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["diff"], 2, "trace: diff takes two: orchwatch trace diff A B"),
        (["diff", "a"], 2, "trace: diff takes two"),
        (["diff", "a", "b", "c"], 2, "trace: diff takes two"),
        (["a", "b"], 2, "trace: one ID at a time, not 2; diff A B compares two"),
        (["diff", "1h..", "a"], 2, "trace diff: a range must be like 48h..24h, not '1h..'"),
        (["diff", "1h..2h", "a"], 2, "trace diff: a range must begin before it ends, as 48h..24h"),
        (["diff", "ffff", "a"], 1, "trace diff: no span of ffff is stored in "),
        (["diff", "9d..8d", "9d..8d"], 1, "trace diff: nothing is stored in "),
        (["--waterfall", "--format", "json"], 2, "trace: --waterfall is a view of one trace"),
        (["diff", "a", "b", "--waterfall"], 2, "trace: --waterfall is a view of one trace"),
        (["ffff", "--waterfall"], 1, "trace: no span of ffff is stored in "),
    ],
)
def test_what_cannot_be_compared_or_drawn_is_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with operation("state.query"):
        pass
    assert main(["trace", *words]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_no_refresh_of_a_dashboard_is_the_latest_unless_it_is_asked_for(
    home: Path, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    assert home
    record("dashboard.refresh", trace_id="aa" * 16)
    assert main(["trace"]) == 0
    assert "aa" * 16 in capsys.readouterr().out  # there is no other
    record("state.query", trace_id="bb" * 16, end_ns=NOW_NS - 1_000_000_000)
    assert main(["trace"]) == 0
    assert "bb" * 16 in capsys.readouterr().out
    assert main(["trace", "--operation", "dashboard.refresh"]) == 0
    assert "aa" * 16 in capsys.readouterr().out
