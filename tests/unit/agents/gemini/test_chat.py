from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.conftest import used
from tests.unit.agents.damage import mistyped
from tests.unit.agents.gemini.conftest import SESSION, Recording, at, call, ns, shell

from orchwatch.agents import registry
from orchwatch.agents.gemini.chat import Chat
from orchwatch.agents.sessions.assembler import Assembler
from orchwatch.agents.sessions.claims import Claims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.unit.agents.conftest import Span

    from orchwatch.agents.importer import Summary
    from orchwatch.agents.sessions.spans import Span as Finished

    Import = Callable[..., Summary]
    Spans = Callable[[], list[Span]]
    Make = Callable[..., Recording]

pytestmark = pytest.mark.usefixtures("home")

AGENT = "11111111-2222-4333-8444-555566667777"
NESTED = "22222222-2222-4333-8444-555566667777"
LONG_NS = 36_000 * 1_000_000_000


def tool(spans: Iterable[Span], own: str) -> Span:
    return next(span for span in spans if span.call == own)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_message_that_is_written_again_counts_once(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1, "p1")
    session.answer(3, "m1", tokens=None)
    session.answer(3, "m1")
    session.answer(3, "m1", toolCalls=[call("c1", 5)])
    session.results(5.1, "r1")
    session.answer(7, "m2")
    summary = import_of("gemini-cli", session.path)
    (turn,) = [span for span in imported() if span.is_turn]
    assert (turn.start_ns, turn.end_ns, turn.unfinished) == (ns(1), ns(7), "")
    wanted = {"requests": 2, "input": 200, "cached": 120, "output": 28, "reasoning": 8}
    assert used(turn) == wanted
    assert turn.attributes["orchestration.project.name"] == "shop"
    assert summary.tools == {"read_file": 1}
    assert not summary.skipped
    assert import_of("gemini-cli", session.path).spans == 0


def test_all_calls_of_a_message_begin_with_it_and_end_as_the_file_says(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1, "p1")
    calls = [
        call("c1", 5),
        call("c2", 5, status="error"),
        call("c3", 5, status="cancelled"),
        shell("c4", 5, "<untrusted_context>\nOutput: no\nExit Code: 3\nProcess Group PGID: 7\n"),
        shell("c5", 5, "Output: Exit Code: 9\nProcess Group PGID: 7\nor so\nProcess Group PGID: 8"),
    ]
    session.answer(3, "m1", toolCalls=calls)
    session.answer(7, "m2")
    import_of("gemini-cli", session.path)
    spans = imported()
    assert {(one.start_ns, one.end_ns) for one in spans if one.call} == {(ns(3), ns(5))}
    errors = {one.call: one.error for one in spans if one.call}
    assert errors == {"c1": "", "c2": "tool_error", "c3": "", "c4": "", "c5": ""}
    assert tool(spans, "c3").attributes["orchestration.outcome"] == "cancelled"
    assert tool(spans, "c4").attributes["process.exit.code"] == 3
    assert "process.exit.code" not in tool(spans, "c5").attributes


def test_a_session_that_is_resumed_keeps_its_times_and_tokens(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1, "p1")
    session.answer(3, "m1")
    history = [
        {"id": "p1", "timestamp": at(900), "type": "user", "content": [{"text": "a secret"}]},
        {"id": "m1", "timestamp": at(900), "type": "gemini", "content": [{"text": "a secret"}]},
    ]
    session.start(899)
    session.patch(sessionId=SESSION)
    session.patch(messages=history, lastUpdated=at(900))
    session.prompt(901, "p2")
    session.answer(903, "m2")
    import_of("gemini-cli", session.path)
    turns = [span for span in imported() if span.is_turn]
    assert [(turn.start_ns, turn.end_ns) for turn in turns] == [
        (ns(1), ns(3)),
        (ns(901), ns(903)),
    ]
    assert [used(turn)["input"] for turn in turns] == [100, 100]


def test_what_is_taken_back_has_happened(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1, "p1")
    session.answer(3, "m1", content="")
    session.write({"$rewindTo": "p1"})
    session.prompt(10, "p2")
    session.answer(12, "m2")
    import_of("gemini-cli", session.path)
    first, second = [span for span in imported() if span.is_turn]
    assert (first.end_ns, first.unfinished) == (ns(3), "interrupted")
    assert (second.start_ns, second.end_ns, second.unfinished) == (ns(10), ns(12), "")
    assert used(first, second)["requests"] == 2


def test_a_turn_that_a_process_left_open_ended_with_it(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1, "p1")
    session.answer(3, "m1", content="")
    session.start(50)
    session.prompt(51, "p2")
    import_of("gemini-cli", session.path)
    assert [turn.unfinished for turn in imported() if turn.is_turn] == ["session_ended", "silence"]


def test_sub_agents_stand_under_their_calls_however_deep(
    session: Recording, agent: Make, import_of: Import, imported: Spans
) -> None:
    inner = agent(NESTED, parent=AGENT)
    inner.start(4)
    inner.prompt(4.1, "p3")
    inner.answer(5, "m3", toolCalls=[call("done-2", 5.2, "complete_task")])
    outer = agent(AGENT)
    outer.start(3)
    outer.prompt(3.1, "p2")
    started = {"args": {"agent_name": "inner", "prompt": "a secret"}, "agentId": NESTED}
    outer.answer(3.9, "m2", toolCalls=[call("deep", 6, "invoke_agent", **started)])
    outer.answer(7, "m2-2", toolCalls=[call("done-1", 7.5, "complete_task")])
    outer.patch(summary="a secret")
    session.prompt(1, "p1")
    failed = {"agentName": "outer", "terminateReason": "MAX_TURNS"}
    started = {"agentId": AGENT, "args": {}, "resultDisplay": failed}
    session.answer(2.9, "m1", toolCalls=[call("c1", 8, "invoke_agent", **started)])
    session.answer(10, "m4")
    summary = import_of("gemini-cli", session.path.parent)
    spans = imported()
    agents = {span.name: span for span in spans if span.is_agent}
    assert summary.agents == 2
    first, second = agents["invoke_agent outer"], agents["invoke_agent inner"]
    assert first.parent_id == tool(spans, "c1").span_id
    assert second.parent_id == tool(spans, "deep").span_id
    assert (first.start_ns, first.end_ns, first.error) == (ns(3), ns(7.5), "max_turns")
    assert (second.start_ns, second.end_ns, second.error) == (ns(4), ns(5.2), "")
    assert [used(one)["requests"] for one in (first, second)] == [2, 1]
    assert {span.trace_id for span in spans} == {first.trace_id}
    spawned = next(span for span in spans if span.name == "agent.spawn" and span.end_ns < ns(4))
    assert (spawned.start_ns, spawned.end_ns) == (ns(2.9), ns(3.1))


def test_what_is_not_known_is_counted_and_passed_over(
    session: Recording, import_of: Import
) -> None:
    session.prompt(1, "p1")
    session.write({"$push": {"messages": []}})
    session.patch(novelty=1, summary="")
    session.message(2, "n1", "hologram", "")
    session.message(2, "n2", "info", "a secret")
    session.write({"id": "n3", "type": "gemini"})
    session.write({"some": "thing"})
    session.answer(3, "m1", toolCalls=[call("c1", 4, status="levitating"), {"id": "c2"}])
    assert import_of("gemini-cli", session.path).skipped == {
        "unknown kind $push": 1,
        "unknown kind $set/novelty": 1,
        "unknown kind hologram": 1,
        "unknown kind status/levitating": 1,
        "unknown kind ?": 1,
        "call without a name": 1,
        "no time": 1,
    }


def test_a_file_without_its_first_line_is_a_sub_agents_or_no_sessions(
    session: Recording, agent: Make, import_of: Import
) -> None:
    lone = agent(AGENT)
    for one in (session, lone):
        one.start(0)
        one.prompt(1, "p1")
        one.answer(2, "m1")
        one.path.write_text("".join(one.path.read_text().splitlines(keepends=True)[-2:]))
    summary = import_of("gemini-cli", session.path.parent)
    assert (summary.sessions, summary.agents) == (1, 1)
    assert summary.skipped == {"file of no session": 1}
    assert summary.session_ids == {SESSION}


def test_a_damaged_first_line_still_names_the_session(
    session: Recording, import_of: Import
) -> None:
    session.prompt(1, "p1")
    session.path.write_bytes(session.path.read_bytes().replace(b'"kind":"main"}', b'"kind":"ma'))
    summary = import_of("gemini-cli", session.path)
    assert summary.session_ids == {SESSION}
    assert summary.skipped == {"no JSON": 1}


def test_no_record_is_too_strange(session: Recording) -> None:
    session.prompt(1, "p1")
    session.patch(messages=[{"id": "p1"}])
    details = {"agentName": "a", "terminateReason": "GOAL"}
    started = {"agentId": AGENT, "args": {"agent_name": "a"}, "resultDisplay": details}
    calls = [shell("c1", 5, "Output: x"), call("c2", 5, "invoke_agent", **started)]
    session.answer(3, "m1", toolCalls=calls)
    session.message(4, "m2", "gemini", [{"text": "x", "thought": True}, {"functionCall": {}}])
    session.results(5, "r1")
    chat, assembler = Chat(SESSION, None, Claims()), Assembler()
    for record in mistyped(records(session.path), seed=1, number=2000):
        for fact in chat.read_record(record):
            assembler.add(fact)
    assert assembler.finished(ns(0) + LONG_NS)
    json.dumps(chat.state())


def follow(parts: list[list[dict[str, Any]]]) -> list[Finished]:
    """What comes of a file that is read in parts, each by a new reader that goes on."""
    assembler, claims, state = Assembler(), Claims(), None
    spans: list[Finished] = []
    now_ns = ns(0)
    for part in parts:
        chat = Chat(SESSION, None, claims, state)
        for record in part:
            for fact in chat.read_record(record):
                now_ns = max(now_ns, fact.time_ns)
                assembler.add(fact, now_ns)
        state = json.loads(json.dumps(chat.state()))
        spans += assembler.finished(now_ns)
        saved = json.loads(json.dumps(assembler.save()))
        assembler = Assembler()
        assembler.restore(saved)
    return spans + assembler.finished(now_ns + LONG_NS)


def test_a_file_that_grows_gives_what_it_gives_at_its_end(session: Recording) -> None:
    session.prompt(1, "p1")
    session.answer(3, "m1")
    session.answer(3, "m1", toolCalls=[call("c1", 60)])
    session.results(60.1, "r1")
    session.answer(62, "m2")
    session.start(80)
    session.patch(messages=[{"id": "m1", "type": "gemini", "timestamp": at(80)}])
    session.prompt(90, "p2")
    session.answer(93, "m3", content="")
    session.write({"$rewindTo": "p2"})
    session.prompt(100, "p3")
    session.answer(103, "m4")
    all_of_it = records(session.path)
    at_once = follow([all_of_it])
    assert Counter(span.operation for span in at_once) == {"agent.turn": 3, "tool.execute": 1}
    in_steps = follow([[record] for record in all_of_it])
    assert sorted(in_steps, key=_id) == sorted(at_once, key=_id)


def _id(span: Finished) -> str:
    return span.span_id


def test_its_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_CLI_HOME", "/elsewhere")
    assert registry.named("gemini-cli").places() == ["/elsewhere/.gemini/tmp"]
