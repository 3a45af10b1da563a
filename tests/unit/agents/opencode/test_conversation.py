from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.imported import add, by_id, followed, spans_of, times_ms, tools, used
from tests.unit.agents.opencode.conftest import Database, step, tokens

from orchwatch import semconv
from orchwatch.agents.importer import import_sessions
from orchwatch.agents.opencode.reader import OpenCode
from orchwatch.agents.sessions.claims import Claims
from orchwatch.agents.sessions.import_record import ImportRecord
from orchwatch.cli.main import main
from orchwatch.monitor.other_agents import OtherAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchwatch.agents.reader import SessionFile
    from orchwatch.agents.sessions.lines import Source

    Lines = Callable[[str], tuple[list[dict[str, Any]], int]]
    Imported = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("home")

SYNTHETIC = {"type": "text", "text": "go on", "synthetic": True}


@pytest.fixture
def imported(database: Database, lines: Lines) -> Callable[[], list[dict[str, Any]]]:
    """Imports the database; gives all spans by now."""

    def run() -> list[dict[str, Any]]:
        add(OpenCode(), database.path)
        return spans_of(lines("history")[0])

    return run


def test_a_turn_is_what_a_person_asked_for(database: Database, imported: Imported) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    call = database.call("c1", 3, 5, metadata={"exit": 3})
    database.assistant(
        "ses_a", "a1", "u1", 2, call, step(10, 4, 2, 30, 7), done=6, finish="tool-calls"
    )
    database.assistant("ses_a", "a2", "u1", 6, step(20, 5), done=8)
    database.user("ses_a", "u2", 20)
    database.assistant("ses_a", "a3", "u2", 21, step(1, 1), done=22)
    spans = imported()
    turns = [span for span in spans if span["name"] == "agent.turn"]
    assert [times_ms(turn) for turn in turns] == [
        [database.ms(1), database.ms(8)],
        [database.ms(20), database.ms(22)],
    ]
    wanted = {"requests": 2, "input": 67, "cached": 30, "output": 11, "reasoning": 2}
    assert used(turns[:1]) == Counter(wanted)
    about = turns[0]["attributes"]
    assert about["gen_ai.usage.cache_write.input_tokens"] == 7
    assert about["gen_ai.provider.name"] == "gcp.gemini"
    assert about[semconv.PROJECT_NAME] == "shop"
    call_span = tools(spans)["c1"]
    assert call_span["parentSpanId"] == turns[0]["spanId"]
    assert times_ms(call_span) == [database.ms(3), database.ms(5)]
    assert call_span["attributes"]["process.exit.code"] == 3
    assert call_span["status"]["code"] == 1
    assert add(OpenCode(), database.path).spans == 0


@pytest.mark.parametrize(
    ("state", "error", "outcome"),
    [
        ({"error": "File not found: /home/ada/secret"}, "tool_error", None),
        ({"error": "Tool execution aborted"}, None, "interrupted"),
        ({"error": "?", "metadata": {"interrupted": True}}, None, "interrupted"),
        ({"error": "The user rejected permission to use this tool."}, None, "denied_by_user"),
        ({"error": "The user has specified a rule which prevents it"}, None, "denied_by_rule"),
        ({"error": "The user dismissed this question"}, None, "cancelled"),
        ({"error": None}, "tool_error", None),
    ],
)
def test_a_call_that_was_not_carried_out_says_why(
    database: Database,
    imported: Imported,
    state: dict[str, Any],
    error: str | None,
    outcome: str | None,
) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    call = database.call("c1", 3, 5, status="error", **state)
    database.assistant("ses_a", "a1", "u1", 2, call, done=6)
    about = tools(imported())["c1"]["attributes"]
    assert (about.get("error.type"), about.get("orchestration.outcome")) == (error, outcome)


def test_a_call_of_a_tool_that_is_not_there_has_its_name_and_failed(
    database: Database, imported: Imported
) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    call = database.call("c1", 3, 5, tool="invalid", input={"tool": "magic", "error": "no such"})
    database.assistant("ses_a", "a1", "u1", 2, call, done=6)
    about = tools(imported())["c1"]["attributes"]
    assert (about["gen_ai.tool.name"], about["error.type"]) == ("magic", "invalid_call")


def test_sub_agents_hang_under_the_calls_that_started_them(
    database: Database, imported: Imported
) -> None:
    def task(call_id: str, start: float, end: float, child: str) -> dict[str, Any]:
        given = {"subagent_type": "explore", "prompt": "find the secret"}
        about = {"sessionId": child}
        return database.call(call_id, start, end, tool="task", input=given, metadata=about)

    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    database.assistant("ses_a", "a1", "u1", 2, task("c1", 3, 20, "ses_b"), step(1, 1), done=21)
    database.session("ses_b", 3.1, "ses_a", "explore")
    database.user("ses_b", "u2", 3.2)
    inner = task("c2", 5, 15, "ses_c")
    database.assistant("ses_b", "a2", "u2", 4, inner, step(10, 1), done=16, finish="tool-calls")
    database.assistant("ses_b", "a3", "u2", 16, step(10, 1), done=19)
    database.session("ses_c", 5.1, "ses_b", "explore")
    database.user("ses_c", "u3", 5.2)
    database.assistant("ses_c", "a4", "u3", 6, database.call("c3", 7, 9), step(100, 1), done=14)
    spans = imported()
    assert len({span["traceId"] for span in spans}) == 1
    calls = tools(spans)
    agents = {s["attributes"]["gen_ai.agent.id"]: s for s in spans if "invoke" in s["name"]}
    assert {span["attributes"]["session.id"] for span in spans} == {"ses_a"}
    assert agents["ses_b"]["parentSpanId"] == calls["c1"]["spanId"]
    assert agents["ses_c"]["parentSpanId"] == calls["c2"]["spanId"]
    assert [used([agents[one]])["input"] for one in ("ses_b", "ses_c")] == [20, 100]
    assert calls["c3"]["attributes"]["gen_ai.agent.id"] == "ses_c"
    assert times_ms(agents["ses_b"]) == [database.ms(3.1), database.ms(19)]


def fork(database: Database) -> None:
    """As opencode copies a session: all with new ids, messages with their old times."""
    database.session("ses_f", 100)
    for copy, prefix in (("ses_a", ""), ("ses_f", "f")):
        if copy == "ses_a":
            database.session(copy)
        database.user(copy, f"{prefix}u1", 1)
        call = {**database.call("c1", 3, 5), "id": f"prt_{prefix}c1"}
        database.assistant(copy, f"{prefix}a1", f"{prefix}u1", 2, call, step(10, 1), done=6)
    database.user("ses_f", "u2", 101)
    database.assistant("ses_f", "a2", "u2", 102, step(5, 1), done=103)


def test_what_a_fork_has_copied_counts_once(database: Database, imported: Imported) -> None:
    fork(database)
    spans = imported()
    turns = [span for span in spans if span["name"] == "agent.turn"]
    assert [turn["attributes"]["session.id"] for turn in turns] == ["ses_a", "ses_f"]
    assert [used([turn])["input"] for turn in turns] == [10, 5]
    assert len(tools(spans)) == len([s for s in spans if "execute" in s["name"]]) == 1


def test_a_fork_holds_what_is_no_more_in_its_original(
    database: Database, imported: Imported
) -> None:
    fork(database)
    for table in ("session", "message", "part"):
        key = "id" if table == "session" else "session_id"
        database.connection.execute(f"DELETE FROM {table} WHERE {key} = 'ses_a'")
    spans = imported()
    turns = [span for span in spans if span["name"] == "agent.turn"]
    assert [used([turn])["input"] for turn in turns] == [10, 5]


def test_a_turn_goes_on_after_a_compaction(database: Database, imported: Imported) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    database.assistant("ses_a", "a1", "u1", 2, step(10, 1), done=6, finish="tool-calls")
    database.user("ses_a", "u2", 7, {"type": "compaction", "auto": True})
    database.assistant("ses_a", "a2", "u2", 8, step(20, 1), done=11, summary=True)
    database.user("ses_a", "u3", 12, SYNTHETIC)
    database.assistant("ses_a", "a3", "u3", 13, step(30, 1), done=15)
    spans = imported()
    (turn,) = [span for span in spans if span["name"] == "agent.turn"]
    assert times_ms(turn) == [database.ms(1), database.ms(15)]
    assert used([turn])["input"] == 60
    assert "orchestration.unfinished.reason" not in turn["attributes"]
    (compaction,) = [span for span in spans if span["name"] == "context.compact"]
    assert times_ms(compaction) == [database.ms(8), database.ms(11)]
    assert "auto" in compaction["attributes"].values()


def test_a_compaction_that_a_person_asks_for_is_a_turn(
    database: Database, imported: Imported
) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    database.assistant("ses_a", "a1", "u1", 2, step(10, 1), done=6)
    database.user("ses_a", "u2", 50, {"type": "compaction", "auto": False})
    database.assistant("ses_a", "a2", "u2", 51, step(20, 1), done=55, summary=True)
    turns = [span for span in imported() if span["name"] == "agent.turn"]
    assert [used([turn])["input"] for turn in turns] == [10, 20]


def test_a_message_of_several_steps_counts_each(database: Database, imported: Imported) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    last = tokens(20, 2)
    database.assistant("ses_a", "a1", "u1", 2, step(10, 1), step(20, 2), done=6, tokens=last)
    database.assistant("ses_a", "a2", "u1", 7, done=9, tokens=tokens(5, 1))
    assert used(imported()) == Counter(
        {"requests": 3, "input": 35, "cached": 0, "output": 4, "reasoning": 0}
    )


def test_calls_that_a_model_numbers_anew_are_all_there(
    database: Database, imported: Imported
) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    for number in (0, 1):
        call = {**database.call("call_0", 3 + number, 4 + number), "id": f"prt_{number}"}
        database.assistant("ses_a", f"a{number}", "u1", 2 + number, call, done=5)
    assert tools(imported()).keys() == {"call_0", "call_0/prt_1"}


def test_an_error_of_the_model_ends_the_turn(database: Database, imported: Imported) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    error = {"name": "APIError", "data": {"message": "a secret", "statusCode": 429}}
    database.assistant("ses_a", "a1", "u1", 2, done=3, finish="", error=error)
    turn, failed = imported()
    assert turn["attributes"]["error.type"] == failed["attributes"]["error.type"] == "APIError"
    assert failed["attributes"]["http.response.status_code"] == 429


def test_what_a_person_stops_is_interrupted(database: Database, imported: Imported) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    call = database.call("c1", 3, 4, status="error", metadata={"interrupted": True})
    error = {"name": "MessageAbortedError", "data": {"message": "Aborted"}}
    database.assistant("ses_a", "a1", "u1", 2, call, done=5, finish="", error=error)
    turn, _ = imported()
    assert turn["attributes"]["orchestration.unfinished.reason"] == "interrupted"
    assert "error.type" not in turn["attributes"]


def test_what_never_closed_is_unfinished(database: Database, imported: Imported) -> None:
    database.session("ses_a")
    for number in (1, 100):
        database.user("ses_a", f"u{number}", number)
        call = database.call(f"c{number}", number + 2)
        database.assistant("ses_a", f"a{number}", f"u{number}", number + 1, call)
    spans = imported()
    reasons = [span["attributes"]["orchestration.unfinished.reason"] for span in spans]
    assert reasons == ["next_prompt", "next_prompt", "silence", "silence"]


def test_what_is_not_known_is_counted_and_passed_over(database: Database) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    odd = database.call("c1", 3, 4, status="dreaming")
    database.assistant("ses_a", "a1", "u1", 2, {"type": "hologram"}, odd, step(1, 1), done=5)
    database.message("ses_a", "x", 6, {"role": "oracle"})
    database.session("ses_n")
    database.connection.execute("INSERT INTO session_message VALUES ('m', 'ses_n')")
    summary = add(OpenCode(), database.path)
    assert summary.skipped == {
        "unknown kind part hologram": 1,
        "unknown kind tool state dreaming": 1,
        "unknown kind message oracle": 1,
        "unknown kind session_message": 1,
    }
    assert summary.turns == 1


def test_a_damaged_row_is_counted_and_the_others_are_read(database: Database) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    database.assistant("ses_a", "a1", "u1", 2, database.call("c1", 3, 4), step(1, 1), done=5)
    database.connection.execute("UPDATE part SET data = '{half' WHERE id = 'prt_c1'")
    database.user("ses_a", "u2", 10)
    database.assistant("ses_a", "a2", "u2", 12, done=15, tokens={"inbut": 1})
    database.connection.execute("UPDATE message SET data = x'ff00' WHERE id = 'u2'")
    database.connection.execute("DELETE FROM session")
    summary = add(OpenCode(), database.path)
    assert summary.turns == 2
    assert summary.skipped == {
        "damaged rows": 1,
        "unreadable part": 1,
        "unreadable message": 1,
        "unknown kind message ?": 1,
        "unreadable tokens": 1,
    }


def grow(database: Database, now: int) -> None:
    """A session in two halves: the second goes on inside what the first has left open."""
    task: dict[str, Any] = {
        "metadata": {"sessionId": "ses_b"},
        "input": {"subagent_type": "general"},
    }
    if now == 0:
        database.session("ses_a")
        database.user("ses_a", "u1", 1)
        call, open_call = database.call("c1", 3, 5), database.call("c2", 6, tool="task", **task)
        database.assistant("ses_a", "a1", "u1", 2, call, open_call)
        database.session("ses_b", 6, "ses_a", "general")
        database.user("ses_b", "u2", 6.5)
        database.assistant("ses_b", "a2", "u2", 7, database.call("c3", 8))
        return
    database.assistant("ses_b", "a2", "u2", 7, database.call("c3", 8, 9), step(5, 1), done=10)
    call = database.call("c2", 6, 11, tool="task", **task)
    database.assistant("ses_a", "a1", "u1", 2, call, step(3, 1), done=12, finish="tool-calls")
    database.assistant("ses_a", "a3", "u1", 12, step(4, 1), done=14)


def test_a_database_that_is_written_between_imports_gives_the_same_as_one_import(
    tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_s = time.time() - 60
    growing = Database(tmp_path / "opencode.db", round(before_s * 1000))
    for half in (0, 1):
        grow(growing, half)
        os.utime(growing.path, (before_s, before_s))
        summary = add(OpenCode(), growing.path)
        assert summary.open_turns == 1 - half
    in_halves = by_id(spans_of(lines("history")[0]))
    monkeypatch.setenv("ORCHWATCH_HOME", str(tmp_path / "other"))
    add(OpenCode(), growing.path)
    other = [
        json.loads(line)
        for path in (tmp_path / "other" / "spool").glob("history-*")
        for line in path.read_text().splitlines()
    ]
    assert in_halves == by_id(spans_of(other))
    assert len(in_halves) == 7
    growing.connection.close()


def test_what_a_turn_used_after_it_was_imported_counts_however_often_it_is_imported(
    database: Database, imported: Imported
) -> None:
    day_s = 24 * 3600
    database.start_ms = round(time.time() * 1000)  # what comes tomorrow may still go on
    database.session("ses_a", -day_s)
    database.user("ses_a", "u1", -day_s)
    database.assistant("ses_a", "a1", "u1", 1 - day_s, step(1, 1), done=2 - day_s)
    assert used(imported())["input"] == 1
    database.user("ses_a", "u2", day_s, SYNTHETIC)
    for number, answer in enumerate(("a2", "a3"), 1):
        finish = "stop" if answer == "a3" else "tool-calls"
        database.assistant(
            "ses_a",
            answer,
            "u2",
            day_s + number,
            step(10**number, 1),
            done=day_s + number + 0.1,
            finish=finish,
        )
        assert used(imported())["input"] == 1
    database.user("ses_a", "u3", 2 * day_s)
    database.assistant("ses_a", "a4", "u3", 2 * day_s + 1, step(1000, 1), done=2 * day_s + 2)
    assert used(imported())["input"] == 111
    database.user("ses_a", "u4", 3 * day_s)
    assert used(imported())["input"] == 1111


def test_a_session_is_read_as_it_was_at_one_moment(database: Database) -> None:
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    database.assistant("ses_a", "a1", "u1", 2, step(1, 1), done=5)
    (session,), _ = OpenCode().find([str(database.path)])
    skipped: Counter[str] = Counter()
    source = OpenCode().source(session.files[0], skipped)
    assert source.peek()
    database.user("ses_a", "u2", 10)  # which a reader does not hinder
    kinds = []
    while source.peek():
        kinds += [record["id"] for record in source.take()[0]]
    assert kinds == ["u1", "a1"]
    assert not skipped
    (later,), _ = OpenCode().find([str(database.path)])
    assert later.files[0].version != session.files[0].version


def asked_once(database: Database) -> None:
    """One turn, in a database that another program can lock as a whole."""
    database.connection.execute("PRAGMA journal_mode = DELETE")
    database.session("ses_a")
    database.user("ses_a", "u1", 1)
    database.assistant("ses_a", "a1", "u1", 2, step(1, 1), done=5)


def test_what_was_locked_when_it_was_to_be_read_is_no_loss(database: Database) -> None:
    asked_once(database)
    found, _ = OpenCode().find([str(database.path)])
    database.connection.execute("BEGIN EXCLUSIVE")
    with ImportRecord(lambda: None) as record:
        summary = import_sessions([(OpenCode(), one) for one in found], record, lambda _: None)
    database.connection.execute("ROLLBACK")
    assert summary.skipped == {"unread for now: database": 1}
    assert (summary.sessions, summary.unchanged, summary.spans) == (0, 0, 0)
    assert add(OpenCode(), database.path).spans == 1
    assert add(OpenCode(), database.path).unchanged == 1


def test_the_monitor_reads_again_what_was_locked_when_it_was_to_be_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCODE_DB", str(database.path))
    asked_once(database)
    holds = [True]

    class Locked(OpenCode):
        def source(self, file: SessionFile, skipped: Counter[str]) -> Source:
            if holds.pop():
                database.connection.execute("BEGIN EXCLUSIVE")
            return super().source(file, skipped)

    def steps() -> Iterator[None]:
        yield
        database.connection.execute("ROLLBACK")
        holds.append(False)
        yield

    assert len(followed(OtherAgent(Locked(), Claims(), 0.0, {}), steps())) == 1


def test_another_programs_database_is_not_its(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Database(tmp_path / "other.db")
    other.connection.execute("DROP TABLE part")
    other.connection.close()
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "empty.db").touch()  # which nothing can be missing from
    assert main(["import", str(tmp_path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == {"file of no session": 2}


def test_its_databases_are_found_where_it_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    own = tmp_path / "opencode"
    assert OpenCode().places() == [str(own / "opencode.db")]
    own.mkdir()
    for name in ("opencode.db", "opencode-dev.db", "opencode.db-wal"):
        (own / name).touch()
    assert OpenCode().places() == [str(own / "opencode-dev.db"), str(own / "opencode.db")]
    monkeypatch.setenv("OPENCODE_DB", "mine.db")
    assert OpenCode().places() == [str(own / "mine.db")]
    monkeypatch.setenv("OPENCODE_DB", "/else/where.db")
    assert OpenCode().places() == ["/else/where.db"]
