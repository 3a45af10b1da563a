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

HERE = SHARED / "qwen-0.24.4"
MS = 1_000_000
_MEMORY = "managed-auto-memory-extractor"
_NAMES = ("general-purpose",)  # of sub-agents: arguments that are no content

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.skipif(not HERE.is_dir(), reason="the whole home is not here"),
]


@pytest.fixture
def truth() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "truth.json").read_text())
    return found


def reported() -> dict[str, dict[str, Any]]:
    """What the client said of its calls over OTLP."""
    told = [
        one.get("attributes", {})
        for one in map(json.loads, (HERE / "otlp.jsonl").read_text().splitlines())
        if one.get("kind") == "log"
    ]
    return {one["call_id"]: one for one in told if one.get("event.name") == "qwen-code.tool_call"}


def test_all_is_as_the_models_side_saw_it(
    truth: dict[str, Any], import_of: Import, imported: Spans
) -> None:
    summary = import_of("qwen-code", HERE / "home")
    spans, calls = imported(), {call["id"]: call for call in truth["tools"]}
    tools = {span.call: span for span in spans if span.call}
    assert summary.tools == Counter(call["name"] for call in calls.values())
    assert tools.keys() == calls.keys()
    turns = [span for span in spans if span.is_turn]
    assert len(turns) == len(truth["runs"]) == summary.turns
    assert Counter(turn.unfinished for turn in turns) == {"": 6, "interrupted": 1}
    assert Counter(turn.error for turn in turns) == {"": 6, "BadRequestError": 1}
    assert summary.api_errors == 1
    own, each = Counter[str](), []
    for cases in truth["totals_by_run_and_case"].values():
        for case, sums in cases.items():
            if case.startswith("sub-"):
                each.append(sums)
            else:
                own.update(sums)
    agents = [span for span in spans if span.is_agent]
    hidden = [one for one in agents if one.name == f"invoke_agent {_MEMORY}"]
    called = [one for one in agents if one not in hidden]
    assert used(*turns) + used(*hidden) == own
    assert used(*turns)["input"] == own["input"] - used(*hidden)["input"]
    assert sorted(used(one)["input"] for one in called) == sorted(one["input"] for one in each)
    assert used(*called) == sum(map(Counter, each), Counter())
    assert len(hidden) == 2
    starts = {call_id for call_id, call in calls.items() if call["name"] == "agent"}
    assert {tools[one].span_id: calls[one]["args"]["subagent_type"] for one in starts} == {
        one.parent_id: one.name.removeprefix("invoke_agent ") for one in called
    }
    inner = {span.span_id for span in spans if span.name == "agent.turn"}
    inner -= {turn.span_id for turn in turns}
    of_agents = {call_id for call_id, call in calls.items() if call["case"].startswith("sub-")}
    assert {call_id for call_id, span in tools.items() if span.parent_id in inner} == of_agents
    answered = [one for one in truth["requests"] if one["status"] == 200]
    assert len([span for span in spans if span.name.startswith("chat ")]) == len(answered)
    assert not summary.skipped
    assert import_of("qwen-code", HERE / "home").spans == 0


def test_calls_begin_and_end_as_the_client_reports(
    truth: dict[str, Any], import_of: Import, imported: Spans
) -> None:
    import_of("qwen-code", HERE / "home")
    calls, told = {call["id"]: call for call in truth["tools"]}, reported()
    tools = [span for span in imported() if span.call]
    assert len(tools) == len(told) > 10
    for span in tools:
        seen, one = calls[span.call], told[span.call]
        assert (time_ns(seen["start"]) or 0) <= span.start_ns, span.call
        assert span.end_ns <= (time_ns(seen["end"]) or span.end_ns), span.call
        ended_ns = time_ns(one["event.timestamp"]) or 0
        began_ns = ended_ns - int(one["duration_ms"] * MS)
        assert [span.start_ns, span.end_ns] == pytest.approx([began_ns, ended_ns], abs=5 * MS)


def test_a_call_fails_as_the_client_says_but_for_what_a_command_exits_with(
    truth: dict[str, Any], import_of: Import, imported: Spans
) -> None:
    import_of("qwen-code", HERE / "home")
    spans, told = imported(), reported()
    codes = {
        call["id"]: int(call["result_head"].partition("Exit Code: ")[2].partition("\n")[0])
        for call in truth["tools"]
        if "Exit Code: " in call.get("result_head", "")
    }
    assert Counter(codes.values()) == {0: 3, 3: 1}
    for span in spans:
        if not span.call:
            continue
        one = told[span.call]
        assert span.attributes.get("process.exit.code") == codes.get(span.call)
        interrupted = span.attributes.get("orchestration.outcome") == "interrupted"
        assert (bool(span.error) or interrupted) != (
            one["success"] or one.get("error_type") == "shell_execute_error"
        )


def test_nothing_of_the_conversation_is_kept(
    truth: dict[str, Any], home: Path, import_of: Import
) -> None:
    import_of("qwen-code", HERE / "home")
    kept = "".join(path.read_text() for path in (home / "spool").glob("*.jsonl"))
    assert [one for one in said(truth).difference(_NAMES) if one in kept] == []


@pytest.mark.parametrize("seed", range(4))
def test_cuts_and_flipped_bits_lose_nothing_silently(
    seed: int, truth: dict[str, Any], tmp_path: Path, home: Path, import_of: Import
) -> None:
    """Each line is either read as it was, or counted."""
    chats = HERE / "home" / ".qwen" / "projects"
    for number, (source, content) in enumerate(damaged(chats, seed, 50)):
        copy = tmp_path / str(number) / source.relative_to(HERE)
        copy.parent.mkdir(parents=True)
        copy.write_bytes(content)
        summary = import_of("qwen-code", copy)
        broken = unreadable(source.read_bytes(), content)
        if "file of no session" not in summary.skipped:
            assert summary.skipped.total() >= broken, (source.name, number, summary.skipped)
        shutil.rmtree(tmp_path / str(number))
    kept = "".join(path.read_text() for path in (home / "spool").glob("*.jsonl"))
    assert kept
    assert [one for one in said(truth).difference(_NAMES) if one in kept] == []
