from __future__ import annotations

import json
import os
import tempfile
import time
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from tests.unit.agents.codex.conftest import ns, thread_id

from orchwatch.agents.codex import compressed
from orchwatch.agents.sessions.lines import merged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.agents.codex.conftest import Rollout

    from orchwatch.agents.importer import Summary

    Spans = Callable[[], list[dict[str, Any]]]
    Add = Callable[..., Summary]
    Make = Callable[..., Rollout]

pytestmark = pytest.mark.usefixtures("home")
ONE = thread_id(1)
COUNTS = {
    "input_tokens": 100,
    "cached_input_tokens": 60,
    "cache_write_input_tokens": 10,
    "output_tokens": 20,
    "reasoning_output_tokens": 5,
}
OLD = {key: value for key, value in COUNTS.items() if "write" not in key}


def named(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [span for span in found if span["name"] == name]


def times(span: dict[str, Any]) -> tuple[int, int]:
    return int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])


@pytest.mark.parametrize("paginated", [True, False])
def test_a_turn_holds_its_tokens_once(
    rollout: Make, add: Add, spans: Spans, *, paginated: bool
) -> None:
    one = rollout(ONE, paginated=paginated)
    one.meta()
    one.begin(1)
    one.used(2, "r1", **(COUNTS if paginated else OLD))
    one.used(3, "r2", **(COUNTS if paginated else OLD))
    one.end(4)
    add(one.path)
    (turn,) = named(spans(), "agent.turn")
    told = turn["attributes"]
    assert times(turn) == (ns(1), ns(4))
    assert told["orchestration.api.requests"] == 2
    assert told["gen_ai.usage.input_tokens"] == 200
    assert told["gen_ai.usage.cache_read.input_tokens"] == 120
    assert told["gen_ai.usage.output_tokens"] == 40
    assert told["gen_ai.usage.reasoning.output_tokens"] == 10
    assert told["gen_ai.provider.name"] == "openai"
    assert told["orchestration.project.name"] == "shop"


def test_what_a_thread_has_used_is_right_after_a_compaction(
    rollout: Make, add: Add, spans: Spans
) -> None:
    one = rollout(ONE, paginated=False)
    one.meta()
    one.begin(1)
    one.used(2, "r1", **OLD)
    one.write(3, "compacted", message="x")
    one.tokens(3, dict(one.total), {**OLD, "input_tokens": 0})  # of the summary, not of a request
    one.used(4, "r2", **OLD)
    one.end(5)
    add(one.path)
    (turn,) = named(spans(), "agent.turn")
    assert turn["attributes"]["gen_ai.usage.input_tokens"] == 200
    assert len(named(spans(), "context.compact")) == 1


def test_a_call_is_as_long_as_it_ran_and_its_commands_exit_code_is_no_error(
    rollout: Make, add: Add, spans: Spans
) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    one.call(2, "c1")
    one.item(2.9, 2.2, "CommandExecution", "c1", exit_code=3, status="failed")
    one.output(
        3, "c1", "Chunk ID: 1\nWall time: 0.7 seconds\nProcess exited with code 3\nOutput:\n"
    )
    one.call(3, "c2", "nothing")
    one.output(3.1, "c2", "unsupported call: nothing")
    one.end(4)
    add(one.path)
    (command,) = named(spans(), "execute_tool exec_command")
    assert times(command) == (ns(2.2), ns(2.9))
    assert command["attributes"]["process.exit.code"] == 3
    assert "error.type" not in command["attributes"]
    (unknown,) = named(spans(), "execute_tool nothing")
    assert unknown["attributes"]["error.type"] == "unsupported"


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("Chunk ID: 8\nWall time: 1.0 seconds\nProcess exited with code 7\nOutput:\n", 7),
        ('{"output":"no","metadata":{"exit_code":2,"duration_seconds":0.1}}', 2),
        ("Exit code: 127\nWall time: 0 seconds\nOutput:\n", 127),
        ("the log says\nProcess exited with code 9\n", None),
        ([{"type": "input_text", "text": "fine"}], None),
        (None, None),
        (7, None),
    ],
)
def test_an_older_file_tells_the_exit_code_in_what_the_client_wrote(
    output: Any, code: int | None, rollout: Make, add: Add, spans: Spans
) -> None:
    one = rollout(ONE, paginated=False)
    one.meta()
    one.begin(1)
    one.call(2, "c1")
    one.output(3, "c1", output)
    one.end(4)
    add(one.path)
    (command,) = named(spans(), "execute_tool exec_command")
    assert command["attributes"].get("process.exit.code") == code
    assert times(command) == (ns(2), ns(3))


def test_commands_of_code_mode_lie_in_the_script_that_ran_then(
    rollout: Make, add: Add, spans: Spans
) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    for number in (1, 2):
        one.call(2 * number, f"s{number}", "exec")
        one.item(
            2 * number + 1, 2 * number + 0.5, "CommandExecution", f"exec-{number}", exit_code=number
        )
        one.output(2 * number + 1.1, f"s{number}", [{"text": "Script completed\n"}])
    one.end(9)
    summary = add(one.path)
    scripts = {span["spanId"]: span for span in named(spans(), "execute_tool exec")}
    assert summary.tools == {"exec": 2}
    for command in named(spans(), "command.run"):
        number = command["attributes"]["process.exit.code"]
        script = scripts[command["parentSpanId"]]
        assert script["attributes"]["gen_ai.tool.call.id"] == f"s{number}"
        assert times(command) == (ns(2 * number + 0.5), ns(2 * number + 1))


def test_a_fork_begins_with_its_parents_history_and_total_and_counts_neither(
    rollout: Make, add: Add, spans: Spans
) -> None:
    parent = rollout(ONE, paginated=False)
    parent.meta()
    parent.begin(1, turn := thread_id(9, 1))
    parent.used(2, "r", **OLD)
    parent.end(3)
    fork = rollout(two := thread_id(2, 10), paginated=False)
    fork.total.update(parent.total)
    fork.meta(10, forked_from_id=ONE)
    fork.write(10, "session_meta", id=ONE, cwd="/work/shop")
    fork.begin(10, turn)
    fork.tokens(10, dict(parent.total), OLD)
    fork.end(10)
    fork.begin(11)
    fork.used(12, "r", **OLD)
    fork.end(13)
    add(fork.path)  # even where the parent is not here
    (turn_span,) = named(spans(), "agent.turn")
    assert turn_span["attributes"]["session.id"] == two
    assert turn_span["attributes"]["session.previous_id"] == ONE
    assert turn_span["attributes"]["gen_ai.usage.input_tokens"] == 100


def test_a_sub_agents_sub_agent_belongs_to_the_root_session(
    rollout: Make, add: Add, spans: Spans
) -> None:
    ids = [thread_id(number, number) for number in (1, 2, 3)]
    for number, own in enumerate(ids):
        one = rollout(own, paginated=False)
        if number:
            spawned = {
                "thread_spawn": {"parent_thread_id": ids[number - 1], "agent_role": "helper"}
            }
            one.meta(number, source={"subagent": spawned})
        else:
            one.meta()
        one.begin(number + 1)
        if number < 2:
            one.call(number + 1.1, f"c{number}", "spawn_agent")
            one.output(number + 1.2, f"c{number}", json.dumps({"agent_id": ids[number + 1]}))
        one.end(9 - number)
    summary = add(one.path.parent)
    found = spans()
    assert (summary.turns, summary.agents) == (1, 2)
    assert {span["attributes"]["session.id"] for span in found} == {ids[0]}
    calls = {
        span["attributes"]["gen_ai.tool.call.id"]: span["spanId"]
        for span in named(found, "execute_tool spawn_agent")
    }
    parents = {
        span["attributes"]["gen_ai.agent.id"]: span["parentSpanId"]
        for span in named(found, "invoke_agent helper")
    }
    assert parents == {ids[1]: calls["c0"], ids[2]: calls["c1"]}


def test_a_turn_without_an_end_is_unfinished_and_so_is_its_call(
    rollout: Make, add: Add, spans: Spans
) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    one.call(2, "c1")
    one.begin(5)
    one.end(6)
    add(one.path)
    first, second = sorted(named(spans(), "agent.turn"), key=times)
    assert first["attributes"]["orchestration.unfinished.reason"] == "next_prompt"
    assert "orchestration.unfinished.reason" not in second["attributes"]
    (call,) = named(spans(), "execute_tool exec_command")
    assert call["attributes"]["orchestration.unfinished.reason"] == "next_prompt"


def test_an_error_of_the_api_is_the_turns_and_an_operation(
    rollout: Make, add: Add, spans: Spans
) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    info = {"response_too_many_failed_attempts": {"http_status_code": 429}}
    one.end(2, error={"message": "secret words", "codex_error_info": info})
    assert add(one.path).api_errors == 1
    (turn,) = named(spans(), "agent.turn")
    assert turn["attributes"]["error.type"] == "response_too_many_failed_attempts"
    (error,) = named(spans(), "api.error")
    assert error["attributes"]["http.response.status_code"] == 429


def test_a_session_that_is_resumed_adds_what_is_new(rollout: Make, add: Add, spans: Spans) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    one.used(2, "r1", **COUNTS)
    one.end(3)
    assert add(one.path).spans == 1
    one.begin(100)
    one.used(101, "r2", **COUNTS)
    one.end(102)
    assert add(one.path).spans == 1
    assert add(one.path).spans == 0
    assert [
        span["attributes"]["gen_ai.usage.input_tokens"] for span in named(spans(), "agent.turn")
    ] == [100, 100]


def test_what_is_not_known_is_counted_and_passed_over(rollout: Make, add: Add) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    one.write(2, "novelty")
    one.event(2, "sensation")
    one.write(2, "response_item", type="surprise")
    one.item(2, 1, "Wonder", "w")
    one.write(2, "token_usage_record", usage={"input_tokens": "many"})
    one.end(3)
    assert add(one.path).skipped == {
        "unknown kind novelty": 1,
        "unknown kind event sensation": 1,
        "unknown kind response_item surprise": 1,
        "unknown kind item Wonder": 1,
        "unreadable token_usage_record": 1,
    }


def test_an_unknown_format_is_counted_and_not_guessed(rollout: Make, add: Add) -> None:
    one = rollout(ONE)
    one.meta(history_mode="sharded")
    one.begin(1)
    one.end(3)
    summary = add(one.path)
    assert summary.skipped == {"unknown history_mode sharded": 3}
    assert summary.spans == 0


def test_a_compressed_file_gives_the_same_and_counts_once_beside_the_plain_one(
    rollout: Make, add: Add, spans: Spans, sessions: Path
) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    one.call(2, "c1")
    one.output(3, "c1")
    one.end(4)
    packed = sessions.parent / "archived_sessions" / f"{one.path.name}.zst"
    packed.parent.mkdir()
    packed.write_bytes(zstandard.ZstdCompressor().compress(one.path.read_bytes()))
    assert add(sessions.parent).spans == 2
    one.path.unlink()
    assert add(sessions.parent).spans == 0
    assert len(spans()) == 2


def test_a_compressed_file_that_is_cut_off_is_counted(rollout: Make, add: Add) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    one.event(2, "agent_message", message=os.urandom(2000).hex())
    one.end(4)
    packed = one.path.with_name(one.path.name + ".zst")
    content = zstandard.ZstdCompressor().compress(one.path.read_bytes())
    packed.write_bytes(content[: len(content) // 2])
    one.path.unlink()
    assert add(packed).skipped["unreadable end of a compressed file"] == 1


def test_what_a_small_compressed_file_stands_for_is_never_in_memory_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "rollout.jsonl.zst"
    packer = zstandard.ZstdCompressor().compressobj()
    size_bytes = 160 << 20
    line = b" " * ((1 << 20) - 1) + b"\n"
    parts = [packer.compress(line) for _ in range(size_bytes >> 20)]
    packed.write_bytes(b"".join([*parts, packer.flush()]))
    assert packed.stat().st_size < 1 << 20
    skipped: Counter[str] = Counter()
    tracemalloc.start()
    try:
        list(merged([compressed.CompressedLines(str(packed), skipped)]))
        assert tracemalloc.get_traced_memory()[1] < size_bytes / 2
    finally:
        tracemalloc.stop()
    assert +skipped == {"blank": size_bytes >> 20}
    skipped.clear()
    monkeypatch.setattr(compressed, "_MAX_BYTES", 1 << 20)
    list(merged([compressed.CompressedLines(str(packed), skipped)]))
    assert skipped.pop("more than 0 GiB in a compressed file") == 1
    assert (+skipped).keys() == {"blank"}


def test_a_compressed_file_without_room_to_unpack_it_is_read_later(
    rollout: Make, add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    one.end(4)
    packed = one.path.with_name(one.path.name + ".zst")
    packed.write_bytes(zstandard.ZstdCompressor().compress(one.path.read_bytes()))
    one.path.unlink()
    with monkeypatch.context() as full:
        full.setattr(tempfile, "tempdir", str(tmp_path / "none"))
        summary = add(packed)
    assert summary.skipped == {"unread for now: file": 1}
    assert (summary.sessions, summary.unchanged, summary.spans) == (0, 0, 0)
    assert add(packed).spans == 1


def test_without_the_library_one_line_says_what_to_do(
    rollout: Make, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    one.end(4)
    packed = one.path.with_name(one.path.name + ".zst")
    packed.write_bytes(zstandard.ZstdCompressor().compress(one.path.read_bytes()))
    one.path.unlink()
    with monkeypatch.context() as missing:
        missing.setattr(compressed, "library", lambda: None)
        assert add(packed).skipped == {"compressed: pip install 'orchwatch[codex]' to read them": 1}
    assert add(packed).spans == 1  # once it is there


def test_a_session_that_may_still_run_stays_open(rollout: Make, add: Add) -> None:
    one = rollout(ONE)
    shift = time.time() - 1_780_000_000
    one.meta(shift)
    one.begin(shift)
    summary = add(one.path)
    assert (summary.turns, summary.open_turns) == (0, 1)


def test_a_turn_says_when_its_first_answer_began(rollout: Make, add: Add, spans: Spans) -> None:
    one = rollout(ONE)
    one.meta()
    one.begin(1)
    one.end(9, time_to_first_token_ms=343)
    one.begin(20)
    one.end(29)
    add(one.path)
    first = "gen_ai.response.time_to_first_chunk"
    told = [span["attributes"].get(first) for span in named(spans(), "agent.turn")]
    assert told == [0.343, None]
