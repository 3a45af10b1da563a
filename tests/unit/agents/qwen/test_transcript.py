from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.conftest import used
from tests.unit.agents.damage import mistyped
from tests.unit.agents.qwen.conftest import SESSION, Recording, call, ns

from orchwatch.agents import registry
from orchwatch.agents.qwen.transcript import Transcript
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

FORK = "1f7b6f0e-1111-4222-8333-444455556666"
LONG_NS = 36_000 * 1_000_000_000
EXITED = "Command: a secret\nExit Code: 3\nSignal: (none)\nProcess Group PGID: 7"


def tool(spans: Iterable[Span], own: str) -> Span:
    return next(span for span in spans if span.call == own)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def notice(agent_id: str, own: str, status: str = "completed") -> str:
    task, use = f"<task-id>{agent_id}</task-id>", f"<tool-use-id>{own}</tool-use-id>"
    return f"<task-notification>\n{task}\n{use}\n<status>{status}</status>\n<summary>a secret"


def test_a_call_lasts_as_its_event_says(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1)
    session.responded(2.9, 1500)
    session.answer(3, {"text": "a secret"}, call("c1"), call("c2"))
    session.called(3.5, "c1", 400)
    session.called(5, "c2", 1900, status="error", error_type="file_not_found")
    session.result(5.1, "c1")
    session.result(5.1, "c2", said={"error": "a secret"}, status="error")
    session.answer(7)
    summary = import_of("qwen-code", session.path)
    spans = imported()
    (turn,) = [span for span in spans if span.is_turn]
    assert (turn.start_ns, turn.end_ns, turn.unfinished) == (ns(1), ns(7), "")
    wanted = {"requests": 2, "input": 200, "cached": 120, "output": 28, "reasoning": 8}
    assert used(turn) == wanted
    assert turn.attributes["orchestration.project.name"] == "shop"
    first, second = tool(spans, "c1"), tool(spans, "c2")
    assert (first.start_ns, first.end_ns, first.error) == (ns(3.1), ns(3.5), "")
    assert (second.start_ns, second.end_ns, second.error) == (ns(3.1), ns(5), "tool_error")
    request = next(span for span in spans if span.name == "chat qwen3.5-plus")
    assert (request.start_ns, request.end_ns) == (ns(1.4), ns(2.9))
    assert not summary.skipped
    assert import_of("qwen-code", session.path).spans == 0


def test_output_has_the_thoughts_whatever_the_provider_counts(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1)
    counts = {"promptTokenCount": 100, "candidatesTokenCount": 10, "thoughtsTokenCount": 4}
    session.answer(2, usageMetadata={**counts, "totalTokenCount": 114})
    session.answer(3, usageMetadata={**counts, "totalTokenCount": 110})
    import_of("qwen-code", session.path)
    assert [used(span)["output"] for span in imported() if span.is_turn] == [24]


def test_a_command_that_exits_with_3_is_a_call_that_was_carried_out(
    session: Recording, agent: Make, import_of: Import, imported: Spans
) -> None:
    shell = "run_shell_command"
    session.prompt(1)
    session.answer(2, call("c1", shell), call("c2", shell))
    failed = {"function_name": shell, "status": "error", "error_type": "shell_execute_error"}
    session.called(3, "c1", 500, **failed)
    session.called(3, "c2", 500, **failed)
    exited = {"type": "shell_result", "exitCode": 3, "outcome": "failed"}
    session.result(3.1, "c1", shell, status="error", resultDisplay=exited)
    session.result(3.1, "c2", shell, status="error", resultDisplay={"type": "shell_result"})
    one = agent("Explore-c0", "Explore", toolUseId="c0")
    one.prompt(1.5)
    one.answer(1.6, call("c3", shell))
    one.result(1.9, "c3", shell, said={"error": EXITED})
    import_of("qwen-code", session.path.parents[1])
    spans = imported()
    codes = {
        span.call: (span.attributes.get("process.exit.code"), span.error)
        for span in spans
        if span.call
    }
    assert codes == {"c1": (3, ""), "c2": (None, "tool_error"), "c3": (3, "")}


def test_a_sub_agents_tokens_are_counted_by_its_own_file(
    session: Recording, agent: Make, import_of: Import, imported: Spans
) -> None:
    session.prompt(1)
    session.answer(2, call("c1", "agent", subagent_type="Explore"))
    session.responded(3, 500, "Explore-c1", subagent_id="Explore-c1")
    session.called(4, "c2", 200, "Explore-c1")
    session.responded(5, 500, "Explore-c1", subagent_id="Explore-c1")
    session.called(5.9, "c1", 3900, function_name="agent")
    ended = {"type": "task_execution", "subagentName": "Explore", "status": "failed"}
    session.result(6, "c1", "agent", resultDisplay={**ended, "terminateReason": "MAX_TURNS"})
    session.answer(7)
    one = agent("Explore-c1", "Explore", toolUseId="c1")
    one.prompt(2.2)
    one.answer(3, {"text": ""})
    one.answer(3.1, call("c2"), usageMetadata=None)
    one.result(4.02, "c2", durationMs=200)
    one.answer(5.01)
    summary = import_of("qwen-code", session.path.parents[1])
    spans = imported()
    (run,) = [span for span in spans if span.is_agent]
    (turn,) = [span for span in spans if span.is_turn]
    assert used(run) == used(turn)
    assert used(run)["requests"] == 2
    assert run.parent_id == tool(spans, "c1").span_id
    assert (run.start_ns, run.end_ns, run.error) == (ns(2.2), ns(5.01), "max_turns")
    assert run.attributes["gen_ai.request.model"] == "qwen3.5-plus"
    inner = tool(spans, "c2")
    assert (inner.start_ns, inner.end_ns) == (ns(3.8), ns(4))
    assert inner.attributes["gen_ai.agent.id"] == "Explore-c1"
    assert summary.tools == {"agent": 1, "read_file": 1}
    assert not summary.skipped


def test_tokens_of_a_model_that_nothing_names_are_counted_too(
    agent: Make, import_of: Import, imported: Spans
) -> None:
    one = agent("Explore-c1", "Explore")
    one.prompt(1)
    one.answer(2)
    import_of("qwen-code", one.path)
    (run,) = [span for span in imported() if span.is_agent]
    assert (run.attributes["gen_ai.response.model"], used(run)["input"]) == ("unknown", 100)


def test_an_agent_without_a_file_is_counted_once_by_its_events(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1)
    session.answer(2)
    memory = "managed-auto-memory-extractor-8c2f7aaa"
    for second in (3, 5):
        about = {"subagent_id": memory, "subagent_type": "managed-auto-memory-extractor"}
        session.responded(second, 500, memory, **about)
    session.called(4, "c1", 200, memory)
    import_of("qwen-code", session.path)
    spans = imported()
    (run,) = [span for span in spans if span.is_agent]
    (turn,) = [span for span in spans if span.is_turn]
    assert run.name == "invoke_agent managed-auto-memory-extractor"
    assert (run.start_ns, run.end_ns, run.unfinished) == (ns(2.5), ns(5), "")
    assert (used(run)["requests"], used(turn)["requests"]) == (2, 1)
    assert (turn.end_ns, turn.unfinished) == (ns(2), "")
    assert run.parent_id == turn.span_id
    assert tool(spans, "c1").parent_id == run.span_id


def test_a_turn_waits_for_what_it_started_in_the_background(
    session: Recording, agent: Make, import_of: Import, imported: Spans
) -> None:
    session.prompt(1)
    session.answer(2, call("c1", "agent"))
    display = {"type": "task_execution", "subagentName": "general-purpose"}
    session.result(2.1, "c1", "agent", resultDisplay={**display, "status": "background"})
    session.answer(3)
    one = agent("general-purpose-c1", "general-purpose", toolUseId="c1")
    one.prompt(2.05)
    one.answer(300)
    automatic = {"subtype": "notification", "provenance": "system"}
    session.prompt(300.1, notice("general-purpose-c1", "c1"), **automatic)
    session.answer(302)
    session.prompt(400, notice("general-purpose-c1", "c1", "failed"), **automatic)
    session.answer(402)
    import_of("qwen-code", session.path.parents[1])
    spans = imported()
    turns = [span for span in spans if span.is_turn]
    assert [(turn.start_ns, turn.end_ns) for turn in turns] == [
        (ns(1), ns(302)),
        (ns(400), ns(402)),
    ]
    assert not any(turn.unfinished for turn in turns)
    (run,) = [span for span in spans if span.is_agent]
    assert (run.end_ns, run.error, run.trace_id) == (ns(300), "", turns[0].trace_id)


def test_what_was_interrupted_says_so(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1)
    session.answer(2, call("c1"), call("c2"))
    session.called(4, "c1", 1900, status="cancelled", execution_status="cancelled")
    session.result(4.1, "c1", status="cancelled", executionStatus="cancelled")
    session.result(4.1, "c2", status="cancelled", executionStatus="not_started")
    session.prompt(10)
    session.answer(11, call("c3"), call("c4"))
    session.result(12, "c3")
    session.result(12, "c4", status="cancelled", executionStatus="not_started")
    session.answer(13)
    import_of("qwen-code", session.path)
    spans = imported()
    outcomes = {span.call: span.attributes.get("orchestration.outcome") for span in spans}
    assert outcomes | {"": None} == {
        "": None,
        "c1": "interrupted",
        "c2": "cancelled",
        "c3": None,
        "c4": "cancelled",
    }
    assert [turn.unfinished for turn in spans if turn.is_turn] == ["interrupted", ""]


def test_a_request_that_failed_for_good_fails_its_turn(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1)
    session.event(2, "api_error", error_type="BadRequestError", status_code=400)
    summary = import_of("qwen-code", session.path)
    (turn,) = [span for span in imported() if span.is_turn]
    assert (turn.end_ns, turn.error) == (ns(2), "BadRequestError")
    assert summary.api_errors == 1


def test_a_request_says_how_long_it_took_and_when_its_answer_began(
    session: Recording, import_of: Import, imported: Spans
) -> None:
    session.prompt(1)
    session.responded(3, 1500, ttft_ms=862)
    session.answer(3)
    import_of("qwen-code", session.path)
    (chat,) = [span for span in imported() if span.name.startswith("chat ")]
    assert (chat.start_ns, chat.end_ns) == (ns(1.5), ns(3))
    assert chat.attributes["gen_ai.response.time_to_first_chunk"] == 0.862


def test_a_fork_counts_nothing_of_what_it_was_forked_from(
    session: Recording, project: Path, import_of: Import, imported: Spans
) -> None:
    session.prompt(1)
    session.answer(2)
    fork = Recording(project / "chats" / f"{FORK}.jsonl", FORK)
    for record in records(session.path):
        origin = {"sessionId": SESSION, "messageUuid": record["uuid"]}
        copy = {**record, "sessionId": FORK, "forkedFrom": origin}
        with fork.path.open("a") as file:
            file.write(json.dumps(copy) + "\n")
    fork.prompt(10)
    fork.answer(12)
    import_of("qwen-code", project)
    turns = [span for span in imported() if span.is_turn]
    assert [used(turn)["requests"] for turn in turns] == [1, 1]
    assert [turn.attributes["session.id"] for turn in turns] == [SESSION, FORK]
    assert turns[1].attributes["session.previous_id"] == SESSION


def test_a_summary_of_the_conversation_is_a_compaction(
    session: Recording, import_of: Import
) -> None:
    session.prompt(1)
    session.answer(2)
    session.write(
        3,
        "system",
        subtype="chat_compression",
        systemPayload={"info": {"originalTokenCount": 5000}, "compressedHistory": ["a secret"]},
    )
    assert import_of("qwen-code", session.path).compactions == 1


def test_what_is_not_known_is_counted_and_passed_over(
    session: Recording, import_of: Import
) -> None:
    session.prompt(1)
    session.write(2, "hologram", provenance="system")
    session.write(2, "system", subtype="levitation")
    session.write(2, "user", subtype="telepathy")
    session.event(2, "dream")
    session.write(2, "assistant", isSidechain=True)
    session.write(2, "assistant", timestamp=None)
    session.write(2, "assistant", uuid="")
    session.write(2, "tool_result")
    session.answer(3, call("", "x"))
    assert import_of("qwen-code", session.path).skipped == {
        "unknown kind hologram": 1,
        "unknown kind system/levitation": 1,
        "unknown kind user/telepathy": 1,
        "unknown kind ui_telemetry/dream": 1,
        "unknown kind sidechain": 1,
        "no time": 1,
        "no id": 1,
        "answer to no call": 1,
        "call without a name": 1,
    }


def test_its_files_are_no_other_agents_and_its_summary_is_no_session(
    session: Recording, project: Path
) -> None:
    session.prompt(1)
    session.answer(2)
    added_up = project.parents[1] / "usage_record.jsonl"
    added_up.write_text(
        json.dumps({"version": 1, "sessionId": SESSION, "models": {}, "totalLatencyMs": 1}) + "\n"
    )
    claude = project / "claude.jsonl"
    claude.write_text(
        json.dumps({"uuid": "u", "sessionId": "s", "type": "user", "message": {"content": "x"}})
    )
    found, strange = registry.find(registry.known().readers, [str(project.parents[1])])
    assert [(one.reader.name, one.session.session_id) for one in found] == [
        ("qwen-code", SESSION),
        ("claude-code", "s"),
    ]
    assert not strange


def of_session(claims: Claims, state: dict[str, Any] | None) -> Transcript:
    return Transcript(SESSION, None, claims, state, origin={}, is_filed=lambda _: False)


def test_no_record_is_too_strange(session: Recording) -> None:
    session.prompt(1)
    session.responded(2, 500)
    session.answer(2, {"text": "x", "thought": True}, call("c1", "agent", subagent_type="a"))
    session.called(3, "c1", 400, "somebody")
    session.responded(3, 400, "somebody", subagent_id="somebody")
    session.event(3, "api_error", error_type="X", status_code=400)
    display = {"type": "task_execution", "subagentName": "a", "status": "background"}
    session.result(4, "c1", "agent", resultDisplay=display)
    session.result(4, "c2", "run_shell_command", said={"error": EXITED})
    session.prompt(5, notice("a", "c1"), subtype="notification")
    session.write(6, "system", subtype="chat_compression", systemPayload={"info": {"a": 1}})
    transcript, assembler = of_session(Claims(), None), Assembler()
    for record in mistyped(records(session.path), seed=1, number=3000):
        for fact in transcript.read_record(record):
            assembler.add(fact)
    assert assembler.finished(ns(0) + LONG_NS)
    json.dumps(transcript.state())


def follow(parts: list[list[dict[str, Any]]]) -> list[Finished]:
    """What comes of a file that is read in parts, each by a new reader that goes on."""
    assembler, claims, state = Assembler(), Claims(), None
    spans: list[Finished] = []
    now_ns = ns(0)
    for part in parts:
        transcript = of_session(claims, state)
        for record in part:
            for fact in transcript.read_record(record):
                now_ns = max(now_ns, fact.time_ns)
                assembler.add(fact, now_ns)
        state = json.loads(json.dumps(transcript.state()))
        spans += assembler.finished(now_ns)
        saved = json.loads(json.dumps(assembler.save()))
        assembler = Assembler()
        assembler.restore(saved)
    return spans + assembler.finished(now_ns + LONG_NS)


def test_a_file_that_grows_gives_what_it_gives_at_its_end(session: Recording) -> None:
    session.prompt(1)
    session.responded(2.9, 1500)
    session.answer(3, call("c1", "agent"))
    session.called(3.5, "c1", 400, function_name="agent")
    display = {"type": "task_execution", "subagentName": "a", "status": "background"}
    session.result(3.6, "c1", "agent", resultDisplay=display)
    session.answer(5)
    session.prompt(700, notice("a-c1", "c1"), subtype="notification", provenance="system")
    session.answer(702)
    session.responded(703, 500, "memory-1", subagent_id="memory-1", subagent_type="memory")
    session.prompt(900)
    session.answer(903, call("c2"))
    session.result(1500, "c2", status="cancelled", executionStatus="cancelled")
    session.prompt(1600, "a secret", subtype="cron", provenance="system")
    session.answer(1601)
    all_of_it = records(session.path)
    at_once = follow([all_of_it])
    in_steps = follow([[record] for record in all_of_it])
    assert Counter(span.operation for span in at_once) == {
        "agent.turn": 3,
        "agent.run": 1,
        "tool.execute": 2,
        "": 2,
    }
    assert sorted(in_steps, key=_id) == sorted(at_once, key=_id)


def _id(span: Finished) -> str:
    return span.span_id


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"QWEN_HOME": "/q"}, "/q/projects"),
        ({"QWEN_HOME": "/q", "QWEN_RUNTIME_DIR": "/r"}, "/r/projects"),
    ],
)
def test_its_folder_is_where_the_environment_says(
    variables: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QWEN_HOME", "QWEN_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert registry.named("qwen-code").places() == [place]
