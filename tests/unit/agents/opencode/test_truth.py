"""A whole home, against what the model's side saw."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.imported import add, followed, in_memory, spans_of, times_ms, tools, used

from orchwatch import semconv
from orchwatch.agents.opencode.reader import OpenCode
from orchwatch.agents.sessions.claims import Claims
from orchwatch.monitor.other_agents import OtherAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchwatch.agents.sessions.spans import Span

    Lines = Callable[[str], tuple[list[dict[str, Any]], int]]

SHARED = Path(__file__).parents[5] / "shared" / "data" / "agents" / "opencode-1.18.33"
_LEAST_CHARS = 9

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.skipif(not SHARED.is_dir(), reason="the whole home is not here"),
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    copy = tmp_path / "opencode.db"
    shutil.copyfile(SHARED / "home" / ".local" / "share" / "opencode" / "opencode.db", copy)
    return copy


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SHARED / "truth.json").read_text())
    return found


def parts(database: Path) -> dict[str, dict[str, Any]]:
    """The state of each call."""
    with closing(sqlite3.connect(database)) as connection:
        found = [json.loads(row[0]) for row in connection.execute("SELECT data FROM part")]
    return {part["callID"]: part["state"] for part in found if part["type"] == "tool"}


def test_all_is_as_the_models_side_saw_it(
    database: Path, truth: dict[str, Any], lines: Lines
) -> None:
    summary = add(OpenCode(), database)
    spans = spans_of(lines("history")[0])
    # The client was killed before it had written the call that the answer held.
    calls = {call["id"]: call for call in truth["tools"] if call["run"] != "interrupted-early"}
    assert tools(spans).keys() == calls.keys()
    assert summary.tools == Counter(call["name"] for call in calls.values())
    roots = [s for s in spans if s["name"] == "agent.turn" and not s.get("parentSpanId")]
    assert len(roots) == len(truth["runs"]) == summary.turns
    agents = [span for span in spans if span["name"].startswith("invoke_agent")]
    # What was interrupted has left no tokens; a title's request is nowhere.
    by_kind: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for run, cases in truth["totals_by_run_and_case"].items():
        for case, sums in cases.items():
            if case != "aux" and not run.startswith("interrupted"):
                by_kind[case.startswith("sub-")].update(sums)
    assert used(roots) == by_kind[False]
    assert used(agents) == by_kind[True]
    starters = {span["spanId"]: call for call, span in tools(spans).items()}
    assert {starters[one["parentSpanId"]] for one in agents} == {"call_0082_0", "call_0082_1"}
    assert {one["attributes"]["gen_ai.agent.name"] for one in agents} == {"general", "explore"}
    inner = {span["spanId"] for span in spans if span["name"] == "agent.turn"} - {
        span["spanId"] for span in roots
    }
    inside = {call for call, span in tools(spans).items() if span["parentSpanId"] in inner}
    assert inside == {call for call, one in calls.items() if one["case"].startswith("sub-")}
    errors = [span for span in spans if span["name"] == "api.error"]
    assert [one["attributes"]["http.response.status_code"] for one in errors] == [400]
    assert add(OpenCode(), database).spans == 0


def test_a_database_that_is_followed_as_it_is_written_gives_the_same(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, _ = in_memory(OpenCode(), database)
    grown = tmp_path / "grown.db"
    monkeypatch.setenv("OPENCODE_DB", str(grown))
    with (
        closing(sqlite3.connect(database)) as source,
        closing(sqlite3.connect(grown, isolation_level=None)) as target,
    ):
        target.execute("PRAGMA journal_mode = WAL")
        began = dict(source.execute("SELECT id, time_created FROM session").fetchall())
        rows: list[tuple[int, int, str, tuple[Any, ...]]] = []
        for rank, (table, key) in enumerate(
            {"session": "id", "message": "session_id", "part": "session_id"}.items()
        ):
            (schema,) = source.execute(
                "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", [table]
            ).fetchone()
            target.execute(schema)
            # What a fork has copied is as old as its original, and was written later.
            query = f"SELECT {key}, time_created, * FROM {table}"
            for session, at, *row in source.execute(query):
                rows.append((max(at, began[session]), rank, table, tuple(row)))
        rows.sort(key=itemgetter(0, 1))

        def written() -> Iterator[int]:
            for number, (*_, table, row) in enumerate(rows):
                target.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
                if number % 3 == 0 or row is rows[-1][-1]:
                    yield number

        spans = followed(OtherAgent(OpenCode(), Claims(), 0.0, {}), written())
    assert spans == {span.span_id: span for span in whole}


def test_a_call_lasts_and_ends_as_the_database_says(
    database: Path, truth: dict[str, Any], lines: Lines
) -> None:
    add(OpenCode(), database)
    calls = {call["id"]: call for call in truth["tools"]}
    states = parts(database)
    for call_id, span in tools(spans_of(lines("history")[0])).items():
        state, attributes = states[call_id], span["attributes"]
        is_error = state["status"] == "error" or calls[call_id]["name"] == "no_such_tool"
        assert (span["status"]["code"] == 2) == is_error
        assert attributes.get("process.exit.code") == state.get("metadata", {}).get("exit")
        wanted = state["time"]
        if "end" in wanted:
            assert times_ms(span) == pytest.approx([wanted["start"], wanted["end"]], abs=5)
        else:
            assert attributes["orchestration.unfinished.reason"] == "silence"


def secrets(truth: dict[str, Any]) -> set[str]:
    found = {str(run["args"][-1]) for run in truth["runs"]}
    found |= {call["text"] for call in truth["requests"] if call.get("text")}
    for call in truth["tools"]:
        found |= {str(value) for value in call["args"].values()}
        found |= set(str(call.get("result_head")).split("\n"))
    found |= {"/src/h-agents", "hello file", "Stub title"}
    return {one for one in found if len(one) >= _LEAST_CHARS}


def test_nothing_of_the_conversation_is_kept(
    database: Path, truth: dict[str, Any], home: Path
) -> None:
    add(OpenCode(), database)
    kept = "".join(path.read_text() for path in (home / "spool").glob("*.jsonl"))
    assert len(secrets(truth)) > 20
    assert [one for one in secrets(truth) if json.dumps(one)[1:-1] in kept] == []


@pytest.mark.parametrize("seed", range(4))
def test_cuts_and_flipped_bytes_lose_nothing_silently(
    seed: int, truth: dict[str, Any], database: Path
) -> None:
    """What is no more found has been counted; a changed letter in a text does no harm."""
    chance = random.Random(seed)
    content = database.read_bytes()
    whole, skipped, _ = in_memory(OpenCode(), database)
    texts = [json.dumps(one)[1:-1] for one in secrets(truth)]
    assert not skipped
    for number in range(50):
        damaged = bytearray(content)
        if number % 2:
            damaged = damaged[: chance.randrange(1, len(damaged))]
        else:
            for _ in range(chance.randrange(1, 4)):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        database.write_bytes(damaged)
        found, skipped, kept = in_memory(OpenCode(), database)
        if len(found) < len(whole) or requests(found) < requests(whole):
            assert skipped, number
        assert [text for text in texts if text in kept] == []


def requests(spans: list[Span]) -> int:
    return sum(int(str(span.attributes.get(semconv.API_REQUESTS, 0))) for span in spans)
