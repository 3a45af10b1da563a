from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orchwatch import attach, operation
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

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
