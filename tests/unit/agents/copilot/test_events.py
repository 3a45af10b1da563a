from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.imported import add, by_id, in_memory, spans_of, times_ms, tools, used

from orchwatch import semconv
from orchwatch.agents.copilot.reader import Copilot
from orchwatch.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Lines = Callable[[str], tuple[list[dict[str, Any]], int]]
    Imported = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

START_S = 1_780_000_000
SESSION = "0b5e2f6a-0000-4000-8000-000000000001"


@dataclass
class Log:
    """Writes a session's events; times are seconds after the start."""

    path: Path
    start_s: float = START_S
    number: int = 0

    def write(self, second: float, kind: str, agent: str = "", **data: Any) -> None:
        self.number += 1
        moment = datetime.fromtimestamp(self.start_s + second, UTC)
        line: dict[str, Any] = {
            "type": kind,
            "data": data,
            "id": f"e{self.number}",
            "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "parentId": None,
            **({"agentId": agent} if agent else {}),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def start(self) -> None:
        context = {"cwd": "/home/ada/shop"}
        self.write(0, "session.start", sessionId=SESSION, copilotVersion="1.0.102", context=context)

    def ask(self, second: float, turn: str, agent: str = "", **more: Any) -> None:
        text = "a secret question"
        self.write(second, "user.message", agent, interactionId=turn, content=text, **more)

    def use(self, second: float, fresh: int, output: int, agent: str = "", **more: int) -> None:
        counts = {"inputTokens": fresh, "outputTokens": output, **more}
        self.write(second, "session.usage_record", agent, usage={"model": "big-1", **counts})

    def answer(self, second: float, agent: str = "", *calls: str) -> None:
        asked = [{"toolCallId": call} for call in calls]
        self.write(second, "assistant.message", agent, toolRequests=asked, content="a secret")
        if not calls:
            self.write(second, "assistant.turn_end", agent)

    def begin(self, second: float, call: str, name: str = "bash", agent: str = "") -> None:
        given = {"command": "cat secret.txt"}
        about = {"toolCallId": call, "toolName": name, "arguments": given}
        self.write(second, "tool.execution_start", agent, **about)

    def end(
        self, second: float, call: str, agent: str = "", *, success: bool = True, **more: Any
    ) -> None:
        about = {"toolCallId": call, "success": success, **more}
        self.write(second, "tool.execution_complete", agent, **about)

    def ms(self, second: float) -> float:
        return self.start_s * 1000 + round(second * 1000)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    made = Log(tmp_path / "session-state" / SESSION / "events.jsonl")
    made.start()
    return made


@pytest.fixture
def imported(log: Log, lines: Lines) -> Imported:
    """Imports the session; gives all spans by now."""

    def run() -> list[dict[str, Any]]:
        add(Copilot(), log.path)
        return spans_of(lines("history")[0])

    return run


def test_a_turn_is_what_a_person_asked_for(log: Log, imported: Imported) -> None:
    log.ask(1, "t1")
    log.use(2, 100, 9, cacheReadTokens=60, cacheWriteTokens=10, reasoningTokens=4)
    log.answer(2, "", "c1")
    log.begin(3, "c1")
    log.end(5, "c1", shellExecution={"exitCode": 3})
    log.ask(5.5, "t1b", source="skill-x")  # what the client adds itself
    log.use(6, 50, 1)
    log.answer(6)
    log.ask(20, "t2")
    log.use(21, 7, 1)
    log.answer(22)
    spans = imported()
    turns = [span for span in spans if span["name"] == "agent.turn"]
    assert [times_ms(turn) for turn in turns] == [
        [log.ms(1), log.ms(6)],
        [log.ms(20), log.ms(22)],
    ]
    assert used(turns[:1]) == {
        "requests": 2,
        "input": 150,
        "cached": 60,
        "output": 10,
        "reasoning": 4,
    }
    call = tools(spans)["c1"]
    assert times_ms(call) == [log.ms(3), log.ms(5)]
    assert (call["status"]["code"], call["attributes"]["process.exit.code"]) == (1, 3)
    assert add(Copilot(), log.path).spans == 0


@pytest.mark.parametrize(
    ("code", "error", "outcome"),
    [
        ("failure", "tool_error", None),
        ("timeout", "timeout", None),
        ("rejected", None, "denied_by_user"),
        ("denied", None, "denied_by_rule"),
        (None, "tool_error", None),
    ],
)
def test_a_call_that_was_not_carried_out_says_why(
    log: Log, imported: Imported, code: str | None, error: str | None, outcome: str | None
) -> None:
    log.ask(1, "t1")
    log.begin(2, "c1")
    log.end(3, "c1", success=False, error={"code": code, "message": "no secret.txt"})
    log.answer(4)
    about = tools(imported())["c1"]["attributes"]
    assert (about.get("error.type"), about.get("orchestration.outcome")) == (error, outcome)


def test_the_wait_for_a_permission_is_no_part_of_the_call(log: Log, imported: Imported) -> None:
    log.ask(1, "t1")
    log.begin(2, "c1")
    request = {"toolCallId": "c1", "kind": "shell"}
    log.write(2, "permission.requested", requestId="r", permissionRequest=request)
    log.write(7, "permission.completed", requestId="r", result={"kind": "approved"})
    log.end(9, "c1")
    log.answer(10)
    spans = imported()
    (wait,) = [span for span in spans if span["name"] == "user.wait"]
    assert times_ms(wait) == [log.ms(2), log.ms(7)]
    assert times_ms(tools(spans)["c1"]) == [log.ms(7), log.ms(9)]


@pytest.mark.parametrize("named", [True, False])
def test_sub_agents_hang_under_the_calls_that_started_them(
    log: Log, imported: Imported, named: bool
) -> None:
    """Also in the background, and where events only name the call."""
    agent = "agent-1" if named else ""
    whose = {} if named else {"parentToolCallId": "c1"}
    log.ask(1, "t1")
    log.begin(2, "c1", "task")
    about = {"toolCallId": "c1", "agentName": "explore", "executionMode": "background"}
    log.write(2, "subagent.started", agent, **about)
    log.end(3, "c1")
    log.ask(3, "s1", agent, **whose)
    log.write(3.5, "assistant.turn_start", agent, **whose)
    log.answer(4)
    log.ask(5, "t2")
    usage = {"model": "big-1", "inputTokens": 30, "outputTokens": 3}
    log.write(6, "session.usage_record", agent, usage=usage, **whose)
    start = {"toolCallId": "c2", "toolName": "view", **whose}
    log.write(6.5, "tool.execution_start", agent, **start)
    log.write(7, "tool.execution_complete", agent, toolCallId="c2", success=True, **whose)
    log.write(8, "assistant.message", agent, toolRequests=[], **whose)
    log.write(9, "subagent.completed", agent, toolCallId="c1")
    log.answer(10)
    spans = imported()
    (run,) = [span for span in spans if span["name"] == "invoke_agent explore"]
    first = next(span for span in spans if span["name"] == "agent.turn")
    assert run["parentSpanId"] == tools(spans)["c1"]["spanId"]
    assert run["traceId"] == first["traceId"] == tools(spans)["c2"]["traceId"]
    assert times_ms(run)[0] == log.ms(2)
    assert used([run])["input"] == 30


def test_totals_are_the_sessions_however_often_it_was_resumed(log: Log, imported: Imported) -> None:
    """What they hold more than the records counts once, and what they repeat does not."""

    def shutdown(second: float, fresh: int) -> None:
        used_by = {"usage": {"inputTokens": fresh, "outputTokens": fresh // 10}}
        log.write(second, "session.shutdown", modelMetrics={"big-1": used_by})

    for process, total in enumerate((100, 260)):
        at = process * 100
        log.ask(at + 1, f"t{process}")
        log.use(at + 2, 100, 10)
        log.answer(at + 3)
        shutdown(at + 4, total)
        log.write(at + 50, "session.resume")
    shutdown(151, 260)
    turns = [span for span in imported() if span["name"] == "agent.turn"]
    assert [used([turn])["input"] for turn in turns] == [100, 160]
    assert sum(used([turn])["output"] for turn in turns) == 26


def tabled(log: Log) -> Path:
    """A session of two turns whose requests only the table knows of."""
    store = log.path.parents[2] / "session-store.db"
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(
            "CREATE TABLE assistant_usage_events (id INTEGER PRIMARY KEY, session_id TEXT,"
            " agent_id TEXT, model TEXT, input_tokens INT, output_tokens INT,"
            " cache_read_tokens INT, cache_write_tokens INT, reasoning_tokens INT, created_at TEXT)"
        )
        for at in ("2026-05-28T20:26:42.000Z", "2026-05-28T20:27:02.000Z"):
            row = [SESSION, "big-1", 50, 5, 20, 0, 1, at]
            connection.execute(
                "INSERT INTO assistant_usage_events VALUES (NULL, ?, NULL, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
    for number, second in enumerate((1, 20)):
        log.ask(second, f"t{number}")
        log.answer(second + 3)
    return store


def test_the_table_is_read_where_the_events_have_no_records(log: Log, imported: Imported) -> None:
    store = tabled(log)
    turns = [span for span in imported() if span["name"] == "agent.turn"]
    wanted = {"requests": 1, "input": 50, "cached": 20, "output": 5, "reasoning": 1}
    assert [used([turn]) for turn in turns] == [wanted, wanted]
    _, strange = Copilot().find([str(store), str(log.path)])
    assert strange == []


def test_while_the_table_is_locked_nothing_is_written_of_its_session(
    log: Log, imported: Imported
) -> None:
    with closing(sqlite3.connect(tabled(log), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        summary = add(Copilot(), log.path)
        other.execute("ROLLBACK")
    assert summary.skipped == {"unread for now: session-store.db": 1}
    assert (summary.unchanged, summary.spans) == (0, 0)
    assert [used([span])["input"] for span in imported()] == [50, 50]


def test_what_a_person_stops_is_interrupted(log: Log, imported: Imported) -> None:
    log.ask(1, "t1")
    log.begin(2, "c1")
    log.write(5, "assistant.turn_end", turnId="0")
    log.write(5, "abort", reason="user_abort")
    log.write(6, "session.shutdown", modelMetrics={})
    turn, call = imported()
    for span in (turn, call):
        assert span["attributes"]["orchestration.unfinished.reason"] == "interrupted"
        assert span["status"].get("code", 0) != 2
    assert times_ms(call) == [log.ms(2), log.ms(5)]


def test_an_error_of_the_model_ends_the_turn(log: Log, imported: Imported) -> None:
    log.ask(1, "t1")
    log.write(2, "session.error", errorType="query", message="a secret", statusCode=429)
    turn, failed = imported()
    assert turn["attributes"]["error.type"] == failed["attributes"]["error.type"] == "query"
    assert failed["attributes"]["http.response.status_code"] == 429


def test_hooks_and_compactions_last_from_their_start_to_their_end(
    log: Log, imported: Imported
) -> None:
    log.ask(1, "t1")
    log.write(2, "hook.start", hookInvocationId="h", hookType="preToolUse", input={"a": "secret"})
    log.write(3, "hook.end", hookInvocationId="h", hookType="preToolUse", success=False)
    log.write(4, "session.compaction_start")
    log.write(8, "session.compaction_complete", success=True, preCompactionTokens=900)
    log.answer(9)
    spans = {span["name"]: span for span in imported()}
    assert times_ms(spans["hook.process"]) == [log.ms(2), log.ms(3)]
    assert spans["hook.process"]["status"]["code"] == 2
    assert times_ms(spans["context.compact"]) == [log.ms(4), log.ms(8)]


def test_what_is_not_known_is_counted_and_passed_over(log: Log) -> None:
    log.ask(1, "t1")
    log.write(2, "session.hologram")
    log.write(2, "tool.execution_start", toolName="bash")
    log.write(2, "session.usage_record", usage={})
    log.write(2, "hook.end", hookInvocationId="h")
    log.answer(3)
    with log.path.open("a") as file:
        file.write('{"type": "abort", "data": {}}\n{"type": "abort", "da\n')
    summary = add(Copilot(), log.path)
    assert summary.turns == 1
    assert summary.skipped == {
        "unknown kind session.hologram": 1,
        "unreadable tool.execution_start": 1,
        "unreadable session.usage_record": 1,
        "unreadable hook.end": 1,
        "no time": 1,
        "no JSON": 1,
    }


def test_a_file_that_grows_gives_the_same_as_one_import(
    tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_s = time.time() - 60
    log = Log(tmp_path / "session-state" / SESSION / "events.jsonl", before_s)
    log.start()
    log.ask(1, "t1")
    log.begin(2, "c1")
    log.end(3, "c1")
    log.begin(4, "c2")
    os.utime(log.path, (before_s, before_s))
    assert add(Copilot(), log.path).open_turns == 1
    log.end(9, "c2")
    log.use(10, 5, 1)
    log.answer(11)
    log.write(12, "session.shutdown", modelMetrics={})
    os.utime(log.path, (before_s, before_s))
    assert add(Copilot(), log.path).open_turns == 0
    in_halves = by_id(spans_of(lines("history")[0]))
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "other"))
    add(Copilot(), log.path)
    other = [
        json.loads(line)
        for path in (tmp_path / "other" / "spool").glob("history-*")
        for line in path.read_text().splitlines()
    ]
    assert in_halves == by_id(spans_of(other))
    assert len(in_halves) == 3


def test_a_session_is_known_without_its_first_line(log: Log) -> None:
    log.ask(1, "t1")
    log.answer(3)
    log.path.write_text("{half\n" + "".join(log.path.read_text().splitlines(True)[1:]))
    spans, skipped, _ = in_memory(Copilot(), log.path)
    assert {span.attributes["session.id"] for span in spans} == {SESSION}
    assert skipped == {"no JSON": 1}


def test_other_files_are_not_its(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "events.jsonl").write_text('{"type": "x", "data": {}}\n')
    (tmp_path / "session-store.db").write_text("no database")
    assert main(["import", str(tmp_path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == {"file of no session": 2}
    assert Copilot().places()[0].endswith("session-state")


def test_a_request_that_was_tried_again_is_told_by_the_clients_own_spans(
    log: Log, tmp_path: Path, lines: Lines
) -> None:
    def span(own: str, second: float, *, failed: bool, interaction: str = "t1") -> dict[str, Any]:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.conversation.id": SESSION,
            "github.copilot.interaction_id": interaction,
            **({"error.type": "ModelCallError"} if failed else {}),
        }
        return {
            "type": "span",
            "spanId": own,
            "name": "chat big-1",
            "endTime": [int(log.start_s + second), 0],
            "attributes": attributes,
            "status": {"code": 2 if failed else 0, "message": "a secret"},
            "resource": {"attributes": {"service.name": "github-copilot"}},
        }

    log.ask(1, "t1")
    log.answer(9)
    log.ask(20, "t2")
    log.write(23, "session.error", errorType="query", statusCode=503)
    spans = [
        span("s1", 3, failed=True),
        span("s2", 5, failed=True),
        span("s3", 8, failed=False),
        span("s4", 22, failed=True, interaction="t2"),
    ]
    own = tmp_path / "spans.jsonl"
    own.write_text("".join(json.dumps(one) + "\n" for one in spans))
    add(Copilot(), log.path, own)
    found = [one for one in spans_of(lines("history")[0]) if one["name"] == "api.error"]
    assert [times_ms(one)[1] for one in found] == [log.ms(3), log.ms(5), log.ms(23)]
    assert [one["attributes"].get(semconv.RETRY_ATTEMPT) for one in found] == [1, 2, None]
    assert add(Copilot(), log.path, own).spans == 0
    own.write_text(own.read_text().replace('"t2"', '"t2'))
    assert Copilot().find([str(log.path), str(own)])[1] == [str(own)]  # a line that is damaged
    # Of a session that is not here it says too little to make one.
    assert Copilot().find([str(own)]) == ([], [str(own)])
