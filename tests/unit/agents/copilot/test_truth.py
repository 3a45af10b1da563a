"""A whole home, against what the model's side saw."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.imported import add, followed, in_memory, spans_of, times_ms, tools, used

from orchwatch.agents.copilot.reader import Copilot
from orchwatch.agents.sessions.claims import Claims
from orchwatch.agents.sessions.fields import time_ns
from orchwatch.monitor.other_agents import OtherAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Lines = Callable[[str], tuple[list[dict[str, Any]], int]]

SHARED = Path(__file__).parents[5] / "shared" / "data" / "agents" / "copilot-1.0.102"
_LEAST_CHARS = 12
_KEPT = ("agent_id", "agent_type")  # of all arguments

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.skipif(not SHARED.is_dir(), reason="the whole home is not here"),
]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    copy = tmp_path / ".copilot"
    shutil.copytree(SHARED / "home" / ".copilot", copy)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o700)
    return copy


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SHARED / "truth.json").read_text())
    return found


def test_all_is_as_the_models_side_saw_it(own: Path, truth: dict[str, Any], lines: Lines) -> None:
    summary = add(Copilot(), own)
    assert summary.skipped == {}
    spans = spans_of(lines("history")[0])
    calls = {call["id"]: call for call in truth["tools"]}
    assert tools(spans).keys() == calls.keys()
    assert summary.tools == Counter(call["name"] for call in calls.values())
    roots = [s for s in spans if s["name"] == "agent.turn" and not s.get("parentSpanId")]
    assert len(roots) == len(truth["runs"]) == summary.turns
    agents = [span for span in spans if span["name"].startswith("invoke_agent")]
    by_kind: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for cases in truth["totals_by_run_and_case"].values():
        for case, sums in cases.items():
            by_kind[case.startswith("sub-")].update(sums)
    assert used(roots) == by_kind[False]
    assert used(agents) == by_kind[True]
    starters = {span["spanId"]: call for call, span in tools(spans).items()}
    tasks = {call for call, one in calls.items() if one["name"] == "task"}
    assert {starters[one["parentSpanId"]] for one in agents} == tasks
    inner = {span["spanId"] for span in spans if span["name"] == "agent.turn"} - {
        span["spanId"] for span in roots
    }
    inside = {call for call, span in tools(spans).items() if span["parentSpanId"] in inner}
    assert inside == {call for call, one in calls.items() if one["case"].startswith("sub-")}
    errors = [span for span in spans if span["name"] == "api.error"]
    assert [one["attributes"]["http.response.status_code"] for one in errors] == [400]
    reasons = [one["attributes"].get("orchestration.unfinished.reason") for one in roots]
    assert Counter(reasons) == {None: 6, "interrupted": 1}
    assert add(Copilot(), own).spans == 0


def test_its_file_of_spans_tells_of_requests_that_were_tried_again(
    own: Path, truth: dict[str, Any]
) -> None:
    """The one that ends its turn is in the events too, and counts once."""
    before, _, _ = in_memory(Copilot(), own)
    shutil.copyfile(SHARED / "home" / "otel-file.jsonl", own / "mine.jsonl")
    after, skipped, _ = in_memory(Copilot(), own)
    assert not skipped
    (retried,) = {span.span_id: span for span in after}.keys() - {one.span_id for one in before}
    (span,) = [one for one in after if one.span_id == retried]
    (failed,) = [one for one in truth["requests"] if one["status"] == 503]
    assert span.name == "api.error"
    assert span.end_ns >= (time_ns(failed["time"]) or 0)
    turn = next(one for one in after if one.span_id == span.parent_span_id)
    assert turn.attributes["orchestration.api.requests"] == 7
    assert len(after) == len(before) + 1


def test_events_that_are_followed_as_they_come_give_the_same(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, _ = in_memory(Copilot(), own)
    grown = tmp_path / "grown"
    monkeypatch.setenv("COPILOT_HOME", str(grown))
    files = {
        grown / path.relative_to(own): path.read_bytes().splitlines(keepends=True)
        for path in own.rglob("events.jsonl")
    }
    for path in files:
        path.parent.mkdir(parents=True)

    def written() -> Iterator[int]:
        for number in range(max(map(len, files.values()))):
            for path, content in files.items():
                with path.open("ab") as file:
                    file.writelines(content[number : number + 1])
            yield number

    spans = followed(OtherAgent(Copilot(), Claims(), 0.0, {}), written())
    assert spans == {span.span_id: span for span in whole}


def test_a_call_lasts_and_ends_as_the_events_say(own: Path, lines: Lines) -> None:
    at: dict[str, list[int]] = {}
    ends: dict[str, dict[str, Any]] = {}
    for path in own.rglob("events.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if record["type"].startswith("tool.execution_"):
                call = record["data"]["toolCallId"]
                at.setdefault(call, []).append(time_ns(record["timestamp"]) or 0)
                if record["type"].endswith("complete"):
                    ends[call] = record["data"]
    add(Copilot(), own)
    for call, span in tools(spans_of(lines("history")[0])).items():
        attributes = span["attributes"]
        if call not in ends:
            assert attributes["orchestration.outcome"] == "interrupted"
            continue
        assert times_ms(span) == pytest.approx([moment / 1e6 for moment in at[call]], abs=5)
        assert (span["status"]["code"] == 2) == (not ends[call]["success"])
        code = ends[call].get("shellExecution", {}).get("exitCode")
        assert attributes.get("process.exit.code") == code


def test_each_request_lasts_as_long_as_its_record_says(own: Path) -> None:
    spans, _, _ = in_memory(Copilot(), own)
    asked = {
        span.attributes["gen_ai.response.id"]: span
        for span in spans
        if span.name.startswith("chat ")
    }
    told = [
        json.loads(line)["data"]["usage"]
        for path in own.rglob("events.jsonl")
        for line in path.read_text().splitlines()
        if '"session.usage_record"' in line
    ]
    assert {one["apiCallId"] for one in told} == asked.keys()
    for one in told:
        span = asked[one["apiCallId"]]
        assert (span.end_ns - span.start_ns) / 1e6 == pytest.approx(one["duration"])
        first_s = span.attributes["gen_ai.response.time_to_first_chunk"]
        assert first_s == pytest.approx(one["timeToFirstTokenMs"] / 1e3)


def test_the_table_says_the_same_as_the_records(own: Path, truth: dict[str, Any]) -> None:
    """An older version has no records in its events: the table knows each request."""
    whole, _, _ = in_memory(Copilot(), own)
    for path in own.rglob("events.jsonl"):
        kept = [line for line in path.read_text().splitlines() if ".usage_record" not in line]
        path.write_text("\n".join(kept) + "\n")
    tabled, skipped, _ = in_memory(Copilot(), own)
    assert not skipped
    ours = {span.span_id: span.attributes for span in tabled}
    # Whose model it was, and when it was asked, is only in the records.
    theirs = {
        span.span_id: {**span.attributes, "gen_ai.provider.name": "github"}
        if "gen_ai.provider.name" in span.attributes
        else span.attributes
        for span in whole
        if not span.name.startswith("chat ")
    }
    assert ours == theirs
    assert len(ours) > len(truth["tools"])


def secrets(truth: dict[str, Any]) -> set[str]:
    found = {str(run["args"][-1]) for run in truth["runs"]}
    found |= {call["text"] for call in truth["requests"] if call.get("text")}
    for call in truth["tools"]:
        found |= {str(value) for name, value in call["args"].items() if name not in _KEPT}
        found |= set(str(call.get("result_head")).split("\n"))
    found.add("/src/h-agents")
    return {one for one in found if len(one) >= _LEAST_CHARS}


def test_nothing_of_the_conversation_is_kept(own: Path, truth: dict[str, Any], home: Path) -> None:
    add(Copilot(), own)
    kept = "".join(path.read_text() for path in (home / "spool").glob("*.jsonl"))
    assert len(secrets(truth)) > 20
    assert [one for one in secrets(truth) if json.dumps(one)[1:-1] in kept] == []


@pytest.mark.parametrize("seed", range(4))
def test_cuts_and_flipped_bytes_lose_nothing_silently(
    seed: int, truth: dict[str, Any], own: Path
) -> None:
    """Each line is either read, or counted; and what the totals know is not lost."""
    chance = random.Random(seed)
    (own / "session-store.db").unlink()
    texts = [json.dumps(one)[1:-1] for one in secrets(truth)]
    paths = sorted(own.rglob("events.jsonl"))
    for number in range(50):
        path = chance.choice(paths)
        content = path.read_bytes()
        damaged = bytearray(content)
        if number % 2:
            damaged = damaged[: chance.randrange(1, len(damaged))]
        else:
            for _ in range(chance.randrange(1, 4)):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        broken = [line for line in bytes(damaged).split(b"\n") if line and not _is_json(line)]
        _, skipped, kept = in_memory(Copilot(), path)
        assert skipped.total() >= len(broken), (number, skipped)
        assert [text for text in texts if text in kept] == []
        path.write_bytes(content)


def _is_json(line: bytes) -> bool:
    """Whether it is whole, if not as it was: a damaged letter in a text does no harm."""
    try:
        json.loads(line.decode("utf-8", "replace"), strict=False)
    except ValueError:
        return False
    return True
