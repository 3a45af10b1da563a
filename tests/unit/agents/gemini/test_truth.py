"""A whole home, against what the model's side saw."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.conftest import SHARED, said, used
from tests.unit.agents.damage import damaged, unreadable

from orchwatch.agents.sessions.fields import time_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.agents.conftest import Span

    from orchwatch.agents.importer import Summary

    Import = Callable[..., Summary]
    Spans = Callable[[], list[Span]]

HERE = SHARED / "gemini-0.61.0"
MS = 1_000_000

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.skipif(not HERE.is_dir(), reason="the whole home is not here"),
]


@pytest.fixture
def truth() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "truth.json").read_text())
    return found


def answered(truth: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The calls that ended: no file tells of one that was interrupted."""
    return {
        f"{call['name']}__{call['id']}": call
        for call in truth["tools"]
        if call["end"] or call["name"] == "complete_task"
    }


def test_all_is_as_the_models_side_saw_it(
    truth: dict[str, Any], import_of: Import, imported: Spans
) -> None:
    summary = import_of("gemini-cli", HERE / "home")
    spans, calls = imported(), answered(truth)
    tools = {span.call: span for span in spans if span.call}
    assert summary.tools == Counter(call["name"] for call in calls.values())
    assert tools.keys() == calls.keys()
    turns = [span for span in spans if span.is_turn]
    # A request that failed for good left no file.
    assert len(turns) == len([run for run in truth["runs"] if run["run"] != "fatal"])
    assert [turn.unfinished for turn in turns if turn.unfinished] == ["silence"]  # interrupted
    by_case: Counter[str] = Counter()
    each = []
    for cases in truth["totals_by_run_and_case"].values():
        for case, sums in cases.items():
            if case.startswith("sub-"):
                each.append(sums)
            elif case != "aux":
                by_case.update(sums)
    agents = [span for span in spans if span.is_agent]
    assert used(*turns) == by_case
    assert sorted(used(one)["input"] for one in agents) == sorted(one["input"] for one in each)
    assert used(*agents) == sum(map(Counter, each), Counter())
    starts = {call_id for call_id, call in calls.items() if call["name"] == "invoke_agent"}
    assert {tools[one].span_id for one in starts} == {one.parent_id for one in agents}
    names = {call["args"]["agent_name"] for call in calls.values() if "agent_name" in call["args"]}
    assert {one.name for one in agents} == {f"invoke_agent {name}" for name in names}
    inner = {span.span_id for span in spans if span.name == "agent.turn"}
    inner -= {turn.span_id for turn in turns}
    of_agents = {call_id for call_id, call in calls.items() if call["case"].startswith("sub-")}
    assert {call_id for call_id, span in tools.items() if span.parent_id in inner} == of_agents
    assert not summary.skipped
    assert import_of("gemini-cli", HERE / "home").spans == 0


def test_calls_lie_within_what_the_models_side_saw_and_end_as_the_client_reports(
    truth: dict[str, Any], import_of: Import, imported: Spans
) -> None:
    """The file's start is that of all calls of a message: it has no other."""
    import_of("gemini-cli", HERE / "home")
    calls = answered(truth)
    tools = [span for span in imported() if span.call]
    for span in tools:
        seen = calls[span.call]
        assert (time_ns(seen["start"]) or 0) <= span.start_ns
        assert span.end_ns <= (time_ns(seen["end"]) or span.end_ns)
    reported = [
        one["attributes"]
        for one in map(json.loads, (HERE / "otlp.jsonl").read_text().splitlines())
        if one.get("attributes", {}).get("event.name") == "gemini_cli.tool_call"
    ]
    assert len(tools) == len(reported) > 10
    # Of several calls of a message only the slowest one is as long as they all are.
    for span in tools:
        name, batch = span.attributes["gen_ai.tool.name"], span.end_ns
        same = [
            one
            for one in reported
            if one["function_name"] == name
            and abs((time_ns(one["event.timestamp"]) or 0) - batch) <= 8 * MS
        ]
        assert same, span.call
        assert (span.error != "") == (not same[0]["success"])


def test_an_exit_code_is_no_error_of_the_call(
    truth: dict[str, Any], import_of: Import, imported: Spans
) -> None:
    import_of("gemini-cli", HERE / "home")
    codes = {
        span.call: (span.attributes["process.exit.code"], span.error)
        for span in imported()
        if "process.exit.code" in span.attributes
    }
    wanted = {
        call_id: (int(call["args"]["command"].rpartition("exit ")[2]), "")
        for call_id, call in answered(truth).items()
        if "; exit " in call["args"].get("command", "")
    }
    assert codes == wanted
    assert len(codes) == 2


def test_nothing_of_the_conversation_is_kept(
    truth: dict[str, Any], home: Path, import_of: Import
) -> None:
    import_of("gemini-cli", HERE / "home")
    kept = "".join(path.read_text() for path in (home / "spool").glob("*.jsonl"))
    assert [one for one in said(truth) if one in kept] == []


@pytest.mark.parametrize("seed", range(4))
def test_cuts_and_flipped_bits_lose_nothing_silently(
    seed: int, truth: dict[str, Any], tmp_path: Path, home: Path, import_of: Import
) -> None:
    """Each line is either read as it was, or counted."""
    for number, (source, content) in enumerate(damaged(HERE / "home", seed, 50)):
        copy = tmp_path / str(number) / source.relative_to(HERE)
        copy.parent.mkdir(parents=True)
        copy.write_bytes(content)
        summary = import_of("gemini-cli", copy)
        broken = unreadable(source.read_bytes(), content)
        if "file of no session" not in summary.skipped:
            assert summary.skipped.total() >= broken, (source.name, number, summary.skipped)
        shutil.rmtree(tmp_path / str(number))
    kept = "".join(path.read_text() for path in (home / "spool").glob("*.jsonl"))
    assert kept
    assert [one for one in said(truth) if one in kept] == []
