"""Whole homes of two versions, against what the model's side saw."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.codex.conftest import SHARED

from orchwatch.agents.sessions.fields import time_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchwatch.agents.importer import Summary

    Spans = Callable[[], list[dict[str, Any]]]
    Add = Callable[..., Summary]

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.skipif(not SHARED.is_dir(), reason="the whole homes are not here"),
]

_MS = 1_000_000
_LEAST_CHARS = 12
KINDS = {
    "requests": "orchestration.api.requests",
    "input": "gen_ai.usage.input_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
}


@pytest.fixture(params=["codex-0.171.0", "codex-0.120.0"])
def version(request: pytest.FixtureRequest) -> Path:
    path: Path = SHARED / request.param
    return path


def records(home: Path) -> Iterator[dict[str, Any]]:
    for path in home.rglob("rollout-*.jsonl"):
        for line in path.read_text().splitlines():
            yield json.loads(line)


def total(counted: list[dict[str, Any]]) -> dict[str, int]:
    return {
        kind: sum(span["attributes"].get(key, 0) for span in counted) for kind, key in KINDS.items()
    }


def test_all_is_as_the_models_side_saw_it(version: Path, add: Add, spans: Spans) -> None:
    truth = json.loads((version / "truth.json").read_text())
    summary = add(version / "home")
    found = spans()
    tools = {
        span["attributes"]["gen_ai.tool.call.id"]: span
        for span in found
        if span["name"].startswith("execute_tool")
    }
    assert summary.tools == Counter(call["name"] for call in truth["tools"])
    assert tools.keys() == {call["id"] for call in truth["tools"]}
    turns = [span for span in found if span["name"] == "agent.turn"]
    roots = [span for span in turns if not span.get("parentSpanId")]
    assert len(roots) == len(truth["runs"]) == summary.turns
    agents = [span for span in found if span["name"].startswith("invoke_agent")]
    by_case: dict[str, Counter[str]] = defaultdict(Counter)
    for cases in truth["totals_by_run_and_case"].values():
        for case, sums in cases.items():
            by_case["sub" if case.startswith("sub-") else "main"].update(sums)
    assert total(roots) == by_case["main"]
    assert total(agents) == by_case["sub"]
    each = sorted(
        (
            sums
            for cases in truth["totals_by_run_and_case"].values()
            for case, sums in cases.items()
            if case.startswith("sub-")
        ),
        key=lambda sums: sorted(sums.items()),
    )
    assert sorted(map(total, ([one] for one in agents)), key=lambda s: sorted(s.items())) == each
    spawns = {span["spanId"] for span in tools.values() if "spawn" in span["name"]}
    assert {span["parentSpanId"] for span in agents} == spawns
    of_agents = {call["id"] for call in truth["tools"] if call["case"].startswith("sub-")}
    inner = {span["spanId"] for span in turns} - {span["spanId"] for span in roots}
    assert {call_id for call_id, one in tools.items() if one["parentSpanId"] in inner} == of_agents
    failed = {call_id for call_id, one in tools.items() if one["status"]["code"] == 2}
    said = {call["id"] for call in truth["tools"] if _failed(call)}
    assert failed == said
    assert add(version / "home").spans == 0


def _failed(call: dict[str, Any]) -> bool:
    return any(
        mark in str(call.get("result_head")) for mark in ("unsupported call", "Script failed")
    )


def test_a_call_lasts_as_the_file_says(version: Path, add: Add, spans: Spans) -> None:
    lines: dict[str, list[int]] = defaultdict(list)
    ran: dict[str, list[int]] = {}
    codes: dict[str, int] = {}
    for record in records(version / "home"):
        payload = record["payload"]
        if "call_id" in payload:
            lines[payload["call_id"]].append(time_ns(record["timestamp"]) or 0)
        if payload.get("type") == "item_completed":
            item = payload["item"]
            ran[item["id"]] = [payload["started_at_ms"] * _MS, payload["completed_at_ms"] * _MS]
            if isinstance(item.get("exit_code"), int):
                codes[item["id"]] = item["exit_code"]
    add(version / "home")
    for span in spans():
        if not span["name"].startswith("execute_tool"):
            continue
        call_id = span["attributes"]["gen_ai.tool.call.id"]
        times = [int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])]
        asked, answered = min(lines[call_id]), max(lines[call_id])
        wanted = ran.get(call_id, [asked, answered])
        if span["attributes"].get("orchestration.outcome") == "interrupted":
            wanted = [wanted[0], answered]
        if "subagent" not in call_id and "spawn" not in span["name"]:
            assert times == pytest.approx(wanted, abs=5 * _MS), call_id
        if call_id in codes:
            assert span["attributes"]["process.exit.code"] == codes[call_id]


def test_nothing_of_the_conversation_is_kept(version: Path, home: Path, add: Add) -> None:
    add(version / "home")
    assert len(contents(version)) > 20
    assert found_of(contents(version), home) == []


def contents(version: Path) -> set[str]:
    """What was asked, answered, called with and given back."""
    truth = json.loads((version / "truth.json").read_text())
    found = {str(run["args"][-1]) for run in truth["runs"]}
    found |= {call["text"] for call in truth["requests"] if call.get("text")}
    for call in truth["tools"]:
        arguments = call["args"] if isinstance(call["args"], dict) else {"input": call["args"]}
        found |= {str(value) for value in arguments.values()}
        found |= set(str(call.get("result_head")).split("\\n"))
    found |= {"/src/h-agents/w-codex", "/bin/bash", "hello file"}
    ids = {path.stem[-36:] for path in version.rglob("rollout-*.jsonl")}
    return {content for content in found - ids if len(content) >= _LEAST_CHARS}


def found_of(wanted: set[str], home: Path) -> list[str]:
    kept = "".join(path.read_text() for path in (home / "spool").glob("*.jsonl"))
    assert kept
    return [one for one in wanted if json.dumps(one)[1:-1] in kept]


@pytest.mark.parametrize("seed", range(4))
def test_cuts_and_flipped_bytes_lose_nothing_silently(
    version: Path, seed: int, tmp_path: Path, home: Path, add: Add
) -> None:
    """Each line is either read as it was, or counted; and no text slips in."""
    chance = random.Random(seed)
    files = sorted((version / "home").rglob("rollout-*.jsonl"))
    for number in range(25):
        source = chance.choice(files)
        content = bytearray(source.read_bytes())
        damaged = tmp_path / f"{number}" / source.name
        damaged.parent.mkdir()
        if number % 2:
            content = content[: chance.randrange(1, len(content))]
        else:
            for _ in range(chance.randrange(1, 4)):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(content)
        whole = source.read_bytes().splitlines()
        kept = bytes(content).splitlines()
        broken = [line for line in kept if line not in whole and not _is_json(line)]
        summary = add(damaged)
        assert summary.skipped.total() >= len(broken), (source.name, number, summary.skipped)
        shutil.rmtree(damaged.parent)
    assert found_of(contents(version), home) == []


def _is_json(line: bytes) -> bool:
    """Whether it is whole, if not as it was: a damaged letter in a text does no harm."""
    try:
        json.loads(line.decode("utf-8", "replace"), strict=False)
    except ValueError:
        return False
    return True
