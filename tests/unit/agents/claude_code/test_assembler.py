from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.agents.claude_code.conftest import SESSION, Recording, ns

from orchwatch.agents.claude_code.sessions import hook_payload
from orchwatch.agents.claude_code.sessions.transcript import Transcript
from orchwatch.agents.sessions import ids
from orchwatch.agents.sessions.assembler import Assembler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchwatch.agents.sessions.facts import Fact
    from orchwatch.agents.sessions.spans import Span

DATA = Path(__file__).parents[3] / "data" / "claude"
UNFINISHED = "orchestration.unfinished.reason"
HOUR_S = 3600


def read_facts(*paths: Path) -> list[Fact]:
    facts = []
    for path in paths:
        agent_id = path.stem.removeprefix("agent-") if path.stem.startswith("agent-") else None
        reader = Transcript(path.parents[1].name if agent_id else path.stem, agent_id)
        for line in path.read_bytes().splitlines():
            facts += reader.read(line)
    return facts


def assemble(facts: Iterable[Fact], *, now_s: float = 10 * HOUR_S) -> list[Span]:
    assembler = Assembler()
    for fact in facts:
        assembler.add(fact)
    return assembler.finished(ns(now_s))


def by_name(spans: Iterable[Span]) -> dict[str, Span]:
    return {span.name: span for span in spans}


@pytest.fixture
def facts(session: Recording, agent: Callable[[str], Recording]) -> list[Fact]:
    """A session with two turns, a failed tool and a sub-agent."""
    session.prompt(0)
    session.call(1, "t1")
    session.result(2, "t1", is_error=True)
    session.call(3, "t2", "Task", subagent_type="Explore", prompt="look")
    inner = agent("a1")
    inner.prompt(3.25, "look")
    inner.call(4, "t3", "Read")
    inner.result(5, "t3")
    inner.say(6)
    session.result(7, "t2", agentId="a1", status="completed")
    session.say(8)
    session.system(8.5, "turn_duration")
    session.prompt(60)
    session.say(61)
    return read_facts(session.path, inner.path)


def test_a_turn_holds_its_tools_and_a_call_the_sub_agent_it_started(facts: list[Fact]) -> None:
    spans = assemble(facts)
    trace = [span for span in spans if span.trace_id == ids.trace_id(SESSION, "main-1")]
    named = by_name(trace)
    turn = next(span for span in trace if not span.parent_span_id)
    assert turn.span_id == ids.turn(SESSION, "main-1")
    assert (turn.start_ns, turn.end_ns) == (ns(0), ns(8.5))
    assert named["execute_tool Bash"].parent_span_id == turn.span_id
    assert named["execute_tool Bash"].error_type == "tool_error"
    assert named["invoke_agent Explore"].parent_span_id == named["execute_tool Task"].span_id
    read = named["execute_tool Read"]
    inner_turn = next(span for span in trace if span.span_id == read.parent_span_id)
    assert inner_turn.parent_span_id == named["invoke_agent Explore"].span_id
    assert (read.start_ns, read.end_ns) == (ns(4), ns(5))


def test_a_spawn_lasts_from_the_call_to_the_first_sign_of_work(facts: list[Fact]) -> None:
    spawn = by_name(assemble(facts))["agent.spawn"]
    assert (spawn.start_ns, spawn.end_ns) == (ns(3), ns(4))
    assert spawn.operation == "agent.spawn"


def started(session: Recording, *, cost: bool = True, queued: bool = True) -> list[Fact]:
    """A file that begins at 1 s, of a client that was started at 0 s and ends at 3 s."""
    if queued:
        session.write(1, type="queue-operation", operation="enqueue")
    session.prompt(1.5)
    session.say(3)
    if cost:
        session.write(3, type="cost-state", startTime=ns(0) // 1_000_000)
    return read_facts(session.path)


def hooked(source: str = "startup", *, process: bool = True) -> list[Fact]:
    """The hook of a session's start at 0.8 s, of a process that was started at 0.1 s."""
    told = {"hook_event_name": "SessionStart", "session_id": SESSION, "source": source}
    return hook_payload.read(told, ns(0.8), ns(0.1) if process else 0) or []


def init(facts: list[Fact], now_s: float = 1e6) -> tuple[int, int] | None:
    span = by_name(assemble(facts, now_s=now_s)).get("session.init")
    assert span is None or span.trace_id == ids.trace_id(SESSION, "")
    return (span.start_ns, span.end_ns) if span else None


def test_a_session_begins_with_its_client_and_is_ready_with_the_first_line(
    session: Recording,
) -> None:
    facts = started(session)
    for told in (facts, facts + hooked(), hooked() + facts):
        assert init(told) == (ns(0), ns(1))


def test_of_a_file_that_begins_with_a_prompt_a_hook_knows_when_the_session_was_ready(
    session: Recording,
) -> None:
    facts = started(session, queued=False)
    assert init(facts) is None
    assert init(hooked() + facts) == (ns(0), ns(0.8))
    assert init(facts + hooked("clear")) == (ns(0), ns(0.8))


def test_the_start_of_a_process_counts_while_the_file_of_a_long_session_does_not_tell(
    session: Recording,
) -> None:
    facts = hooked() + started(session, cost=False)
    assert init(facts, now_s=50) is None
    assert init(facts, now_s=70) == (ns(0.1), ns(1))


@pytest.mark.parametrize("source", ["resume", "compact"])
def test_a_session_that_goes_on_does_not_begin_again(session: Recording, source: str) -> None:
    assert init(hooked(source) + started(session, cost=False)) is None


def test_an_unknown_start_makes_no_span(session: Recording) -> None:
    assert init(started(session, cost=False)) is None
    assert init(hooked(process=False)) is None


def test_a_fork_is_no_start_of_a_client_and_names_the_session_that_it_was_forked_from(
    session: Recording,
) -> None:
    session.prompt(-9)
    session.say(-8, requestSessionId="another")
    facts = started(session)
    assert init(facts) is None
    turn = by_name(assemble(facts))["agent.turn"]
    assert turn.attributes["session.previous_id"] == "another"
    assert turn.start_ns == ns(1.5)


def test_tokens_are_counted_once_a_message_with_the_cached_ones_in_the_input(
    session: Recording,
) -> None:
    session.prompt(0)
    for part in range(3):
        session.say(1 + part, message={"id": "same", "stop_reason": None})
    session.say(5)
    turn = by_name(assemble(read_facts(session.path)))["agent.turn"]
    assert turn.attributes["orchestration.api.requests"] == 2
    assert turn.attributes["gen_ai.usage.input_tokens"] == 2 * 1101
    assert turn.attributes["gen_ai.usage.output_tokens"] == 20
    assert turn.attributes["gen_ai.usage.cache_read.input_tokens"] == 200
    assert turn.attributes["gen_ai.response.model"] == "model-1"


@pytest.mark.parametrize("seed", range(10))
def test_neither_order_nor_repetition_of_the_facts_matters(seed: int) -> None:
    facts = read_facts(*sorted(DATA.rglob("*.jsonl")))
    expected = sorted(assemble(facts, now_s=1e8), key=lambda span: span.span_id)
    shuffled = facts + facts[::3]
    random.Random(seed).shuffle(shuffled)
    assert sorted(assemble(shuffled, now_s=1e8), key=lambda span: span.span_id) == expected


def test_what_is_open_survives_the_process_as_json(facts: list[Fact]) -> None:
    expected = assemble(facts)
    spans = []
    assembler = Assembler()
    for fact in sorted(facts, key=lambda fact: fact.time_ns):
        assembler.add(fact)
        spans += assembler.finished(fact.time_ns)
        saved = json.dumps(assembler.save())
        assembler = Assembler()
        assembler.restore(json.loads(saved))
    spans += assembler.finished(ns(10 * HOUR_S))
    assert {span.span_id for span in spans} == {span.span_id for span in expected}
    assert len(spans) == len(expected)


def test_what_never_ends_is_closed_after_the_stated_silence_with_a_reason(
    session: Recording,
) -> None:
    session.prompt(0)
    session.call(1, "t1")
    assembler = Assembler(silence_s=100)
    for fact in read_facts(session.path):
        assembler.add(fact)
    assert assembler.finished(ns(100)) == []
    closed = by_name(assembler.finished(ns(101)))
    assert closed["execute_tool Bash"].attributes[UNFINISHED] == "silence"
    assert closed["agent.turn"].attributes[UNFINISHED] == "silence"
    assert not assembler.is_open()
    assert assembler.finished(ns(10_000)) == []


def test_a_call_without_an_answer_is_closed_when_the_next_turn_has_ended(
    session: Recording,
) -> None:
    session.prompt(0)
    session.call(1, "t1")
    session.prompt(10)
    session.say(12)
    assert "execute_tool Bash" not in by_name(assemble(read_facts(session.path), now_s=1000))
    session.system(13, "turn_duration")
    closed = by_name(assemble(read_facts(session.path), now_s=20))["execute_tool Bash"]
    assert closed.attributes[UNFINISHED] == "next_prompt"
    assert not closed.error_type
    session.result(14, "t1")
    assert by_name(assemble(read_facts(session.path)))["execute_tool Bash"] == closed


def test_clocks_that_go_back_make_no_negative_duration(session: Recording) -> None:
    session.prompt(10)
    session.call(9, "t1")
    session.result(4, "t1")
    session.say(2)
    for span in assemble(read_facts(session.path)):
        assert span.end_ns >= span.start_ns


def test_a_background_agent_outlives_its_call_and_its_turn(
    session: Recording, agent: Callable[[str], Recording]
) -> None:
    session.prompt(0)
    session.call(1, "t1", "Agent", subagent_type="worker", prompt="long")
    session.result(1.5, "t1", agentId="b1", status="async_launched")
    session.say(2)
    session.prompt(100)
    inner = agent("b1")
    inner.prompt(1.25, "long")
    inner.call(200, "t2", "Read")
    inner.result(201, "t2")
    inner.say(300, message={"stop_reason": "end_turn"})
    spans = by_name(assemble(read_facts(session.path, inner.path)))
    run = spans["invoke_agent worker"]
    assert (run.start_ns, run.end_ns) == (ns(1.25), ns(300))
    assert run.parent_span_id == ids.tool(SESSION, "t1")
    assert spans["execute_tool Read"].trace_id == ids.trace_id(SESSION, "main-1")


def test_a_sub_agent_inside_the_sessions_own_file_is_found_by_its_prompt(
    session: Recording,
) -> None:
    session.prompt(0)
    for number, told in enumerate(("first", "second")):
        session.call(1 + number, f"t{number}", "Task", subagent_type=told, prompt=told)
    for number, told in enumerate(("second", "first")):
        side: dict[str, Any] = {"isSidechain": True}
        session.prompt(5 + number, told, parentUuid=None, uuid=f"side-{told}-1", **side)
        session.write(
            7,
            type="assistant",
            uuid=f"side-{told}-2",
            parentUuid=f"side-{told}-1",
            message={"content": [{"type": "tool_use", "id": f"in-{told}", "name": told}]},
            **side,
        )
        session.result(8, f"in-{told}")
    session.result(20, "t0")
    session.result(20, "t1")
    spans = by_name(assemble(read_facts(session.path)))
    assert spans["invoke_agent first"].parent_span_id == ids.tool(SESSION, "t0")
    assert spans["invoke_agent second"].parent_span_id == ids.tool(SESSION, "t1")
    assert spans["execute_tool first"].attributes["gen_ai.agent.name"] == "first"


def test_hooks_compactions_and_api_errors_become_spans_of_their_turn(session: Recording) -> None:
    session.prompt(0)
    session.system(
        1,
        "api_error",
        error={"status": 529, "error": {"error": {"type": "overloaded_error"}}},
        retryAttempt=1,
        retryInMs=500.5,
    )
    session.system(
        5,
        "compact_boundary",
        compactMetadata={"trigger": "auto", "preTokens": 9, "durationMs": 3000},
    )
    hook = {"type": "hook_success", "hookEvent": "PostToolUse", "hookName": "PostToolUse:Bash"}
    session.call(6, "t1")
    session.write(7, type="attachment", attachment={**hook, "toolUseID": "t1", "durationMs": 250})
    session.result(7.5, "t1")
    session.say(8)
    stop = {"type": "hook_progress", "hookEvent": "Stop", "hookName": "Stop"}
    session.write(8.25, type="progress", data=stop)
    session.system(9, "stop_hook_summary", hookInfos=[{"command": "x", "durationMs": 500}])
    spans = assemble(read_facts(session.path))
    assert {span.trace_id for span in spans if span.name != "session.init"} == {
        ids.trace_id(SESSION, "main-1")
    }
    named = by_name(spans)
    assert named["api.error"].error_type == "overloaded_error"
    assert named["api.error"].attributes["orchestration.retry.delay"] == 0.5005
    assert (named["context.compact"].start_ns, named["context.compact"].end_ns) == (ns(2), ns(5))
    hooks = sorted(span for span in spans if span.name == "hook.process")
    times = sorted((span.start_ns, span.end_ns) for span in hooks)
    assert times == [(ns(6.75), ns(7)), (ns(8.25), ns(8.75))]
    assert {span.operation for span in hooks} == {"hook.process"}


@pytest.mark.parametrize(
    ("kind", "error_type", "outcome"),
    [
        ("hook_success", "", None),
        ("hook_blocking_error", "", "blocked"),
        ("hook_stopped_continuation", "", "blocked"),
        ("hook_non_blocking_error", "hook_non_blocking_error", None),
        ("hook_cancelled", "hook_cancelled", None),
    ],
)
def test_a_hook_that_blocks_has_not_failed(
    session: Recording, kind: str, error_type: str, outcome: str | None
) -> None:
    session.prompt(0)
    hook = {"hookEvent": "PreToolUse", "hookName": "PreToolUse:Bash", "toolUseID": "t1"}
    session.write(2, type="attachment", attachment={**hook, "type": kind, "durationMs": 250})
    (span,) = [span for span in assemble(read_facts(session.path)) if span.name == "hook.process"]
    assert span.error_type == error_type
    assert span.attributes.get("orchestration.hook.outcome") == outcome


def test_a_turn_that_ends_with_an_api_error_failed_and_one_that_goes_on_did_not(
    session: Recording,
) -> None:
    session.prompt(0)
    session.say(1, isApiErrorMessage=True, error="rate_limit", message={"model": "<synthetic>"})
    session.prompt(50)
    session.say(51, isApiErrorMessage=True, error="rate_limit", message={"model": "<synthetic>"})
    session.say(60)
    turns = [span for span in assemble(read_facts(session.path)) if span.name == "agent.turn"]
    assert [span.error_type for span in sorted(turns, key=lambda span: span.start_ns)] == [
        "rate_limit",
        "",
    ]


def payloads() -> list[tuple[float, dict[str, Any]]]:
    """Two turns as hooks tell them, with when they came."""
    told: list[tuple[float, dict[str, Any]]] = []
    for turn in ("p1", "p2"):
        start = 0 if turn == "p1" else 30
        agent = {"agent_id": f"a-{turn}", "agent_type": "Explore"}
        task = {"tool_name": "Task", "tool_use_id": f"t-{turn}-task"}
        bash = {"tool_name": "Bash", "tool_use_id": f"t-{turn}-bash"}
        read = {"tool_name": "Read", "tool_use_id": f"t-{turn}-read", **agent}
        asked = {"tool_input": {"subagent_type": "Explore"}}
        answered = {"tool_response": {"agentId": f"a-{turn}", "status": "completed"}}
        for second, event, members in (
            (1, "UserPromptSubmit", {}),
            (2, "PreToolUse", bash),
            (2.5, "PermissionRequest", {"tool_name": "Bash"}),
            (4, "PostToolUse", {**bash, "duration_ms": 500}),
            (5, "PreToolUse", {**task, **asked}),
            (5.5, "SubagentStart", agent),
            (6, "PreToolUse", read),
            (7, "PostToolUseFailure", {**read, "error": "no"}),
            (8, "SubagentStop", agent),
            (8.5, "PostToolUse", {**task, **answered}),
            (9, "Stop", {}),
        ):
            told.append((start + second, {"hook_event_name": event, "prompt_id": turn, **members}))
    told.insert(0, (0, {"hook_event_name": "SessionStart", "source": "startup"}))
    told.append((50, {"hook_event_name": "SessionEnd", "reason": "exit"}))
    return [(second, {"session_id": SESSION, **payload}) for second, payload in told]


def read_hook(payload: dict[str, Any], second: float) -> list[Fact]:
    return hook_payload.read(payload, ns(second)) or []


def hook_facts(told: Iterable[tuple[float, dict[str, Any]]]) -> list[Fact]:
    return [fact for second, payload in told for fact in read_hook(payload, second) or []]


def test_hooks_alone_give_one_whole_trace_a_turn() -> None:
    spans = assemble(hook_facts(payloads()))
    for turn, start in (("p1", 0), ("p2", 30)):
        trace = by_name(span for span in spans if span.trace_id == ids.trace_id(SESSION, turn))
        assert (trace["agent.turn"].start_ns, trace["agent.turn"].end_ns) == (
            ns(start + 1),
            ns(start + 9),
        )
        wait, tool = trace["user.wait"], trace["execute_tool Bash"]
        assert (wait.start_ns, wait.end_ns) == (ns(start + 2.5), ns(start + 3.5))
        assert (tool.start_ns, tool.end_ns) == (ns(start + 3.5), ns(start + 4))
        assert wait.parent_span_id == tool.parent_span_id == trace["agent.turn"].span_id
        assert trace["execute_tool Read"].error_type == "tool_error"
        assert trace["execute_tool Read"].parent_span_id == trace["invoke_agent Explore"].span_id
        assert trace["invoke_agent Explore"].parent_span_id == trace["execute_tool Task"].span_id
        assert len(trace) == 6  # when the sub-agent began to work stands in its file alone


@pytest.mark.parametrize("seed", range(20))
def test_hooks_in_any_order_give_the_same_spans(seed: int) -> None:
    told = hook_facts(payloads())
    expected = sorted(assemble(told), key=lambda span: span.span_id)
    random.Random(seed).shuffle(told)
    assert sorted(assemble(told), key=lambda span: span.span_id) == expected


@pytest.mark.parametrize("seed", range(20))
def test_missing_halves_are_closed_with_a_reason_and_everything_else_stays(seed: int) -> None:
    told = payloads()
    kept = random.Random(seed).sample(told, len(told) * 2 // 3)
    full = {span.span_id: span for span in assemble(hook_facts(told))}
    for span in assemble(hook_facts(sorted(kept, key=lambda pair: pair[0]))):
        expected = full[span.span_id]
        assert span.trace_id in {expected.trace_id, ids.trace_id(SESSION, "")}
        if (span.start_ns, span.end_ns) != (expected.start_ns, expected.end_ns):
            assert span.end_ns >= span.start_ns
    events = [payload["hook_event_name"] for _, payload in kept]
    assert len(assemble(hook_facts(kept))) >= events.count("PreToolUse")


def test_file_and_hooks_together_give_each_span_once_under_the_files_name(
    session: Recording,
) -> None:
    session.prompt(1)
    session.call(2, "t-p1-bash")
    session.result(4, "t-p1-bash")
    session.say(9)
    from_file = read_facts(session.path)
    expected = {span.span_id for span in assemble(from_file)} | {ids.wait(SESSION, "t-p1-bash")}
    from_hooks = [
        fact for fact in hook_facts(payloads()) if fact.prompt_id == "p1" and not fact.agent_id
    ]
    from_hooks = [fact for fact in from_hooks if "task" not in getattr(fact, "tool_use_id", "")]
    for order in (from_file + from_hooks, from_hooks + from_file):
        spans = assemble(order)
        assert sorted(span.span_id for span in spans) == sorted(expected)
        assert {span.trace_id for span in spans} == {ids.trace_id(SESSION, "main-1")}


def test_a_hook_that_names_the_files_own_prompt_id_needs_no_waiting(session: Recording) -> None:
    session.prompt(0, promptId="p1")
    session.call(1, "t1")
    facts = read_facts(session.path)
    stop = {"hook_event_name": "Stop", "session_id": SESSION, "prompt_id": "p1"}
    facts += hook_payload.read(stop, ns(3)) or []
    turn = by_name(assemble(facts, now_s=4.5))["agent.turn"]
    assert turn.span_id == ids.turn(SESSION, "p1")
    assert turn.end_ns == ns(3)


def test_a_copy_of_the_past_further_down_the_file_adds_nothing(session: Recording) -> None:
    session.prompt(0)
    session.call(1, "t1")
    session.result(2, "t1")
    session.say(3)
    copied = session.path.read_text()
    session.prompt(2 * HOUR_S)
    session.say(2 * HOUR_S + 1)
    expected = assemble(read_facts(session.path))
    session.raw(copied)
    session.call(2 * HOUR_S + 2, "t2")
    session.result(2 * HOUR_S + 3, "t2")
    spans = []
    assembler = Assembler()
    clock_ns = 0
    for fact in read_facts(session.path):
        clock_ns = max(clock_ns, fact.time_ns)
        assembler.add(fact)
        spans += assembler.finished(clock_ns)
    spans += assembler.finished(ns(10 * HOUR_S))
    calls = [span.attributes["gen_ai.tool.call.id"] for span in spans if span.name[:7] == "execute"]
    assert calls == ["t1", "t2"]
    assert len(spans) == len(expected) + 1


def test_a_stop_hook_that_objects_does_not_end_the_turn(session: Recording) -> None:
    session.prompt(0)
    session.say(1)
    session.system(2, "stop_hook_summary", hookErrors=["go on"], preventedContinuation=False)
    facts = read_facts(session.path)
    assert "agent.turn" not in by_name(assemble(facts, now_s=10))
    session.say(30)
    session.system(31, "stop_hook_summary", hookErrors=[], preventedContinuation=False)
    assert by_name(assemble(read_facts(session.path)))["agent.turn"].end_ns == ns(31)


def stopped(session: Recording, *, by_hook: bool = True) -> list[Fact]:
    """A turn that says at 2 s that it is done, and the Stop hook that says so at 2.1 s."""
    session.prompt(0, promptId="p1")
    session.say(2, message={"stop_reason": "end_turn"})
    stop = {"hook_event_name": "Stop", "session_id": SESSION, "prompt_id": "p1"}
    return (hook_payload.read(stop, ns(2.1)) or []) if by_hook else []


def test_a_turn_that_a_stop_hook_sends_back_goes_on_to_its_second_end(session: Recording) -> None:
    posted = stopped(session)
    session.system(2.2, "stop_hook_summary", hookErrors=["not yet"], preventedContinuation=False)
    assert assemble(read_facts(session.path) + posted, now_s=60) == []
    session.say(9, message={"stop_reason": "end_turn"})
    session.system(9.2, "stop_hook_summary", hookErrors=[])
    turn = by_name(assemble(read_facts(session.path) + posted, now_s=10))["agent.turn"]
    assert (turn.start_ns, turn.end_ns) == (ns(0), ns(9))


def test_where_the_file_records_ends_a_hook_has_time_to_object(session: Recording) -> None:
    session.prompt(-9)
    session.say(-8, message={"stop_reason": "end_turn"})
    session.system(-7.9, "stop_hook_summary", hookErrors=[])
    stopped(session, by_hook=False)
    facts = read_facts(session.path)
    assert len(assemble(facts, now_s=6)) == 1
    assert len(assemble(facts, now_s=7)) == 2


def test_an_end_lasts_no_longer_for_what_hooks_do_then(session: Recording) -> None:
    posted = stopped(session)
    session.system(4, "stop_hook_summary", hookErrors=[])
    session.system(4.1, "turn_duration")
    for facts in (read_facts(session.path), read_facts(session.path) + posted):
        assert by_name(assemble(facts, now_s=5))["agent.turn"].end_ns == ns(2)


def test_a_message_that_says_it_is_the_last_is_believed_after_a_second(session: Recording) -> None:
    stopped(session, by_hook=False)
    facts = read_facts(session.path)
    assert assemble(facts, now_s=2.9) == []
    assert [span.name for span in assemble(facts, now_s=3)] == ["agent.turn"]
