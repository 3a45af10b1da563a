from __future__ import annotations

import json
import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.monitor.conftest import Watching, Writer

from orchwatch.agents import importer
from orchwatch.agents.claude_code import hook_line
from orchwatch.agents.claude_code.reader import ClaudeCode
from orchwatch.agents.claude_code.sessions import session_files
from orchwatch.agents.sessions.import_record import ImportRecord
from orchwatch.errors import OrchwatchError
from orchwatch.monitor import hook_events
from orchwatch.monitor.checkpoint import Checkpoint
from orchwatch.monitor.following import Following
from orchwatch.recording import spool

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]

FOLLOW = """
    from orchwatch.monitor import following
    from orchwatch.monitor.checkpoint import Checkpoint

    following._CHECKPOINT_INTERVAL_S = 0.02
    found = following.Following(Checkpoint(), sys.argv[1:2])
    while True:
        found.step(0.25)
"""


def _named(spans: list[Json], name: str) -> list[Json]:
    return [span for span in spans if span["name"] == name]


def _is_recorded(recorded: Callable[..., list[Json]], turns: int) -> Callable[[], bool]:
    return lambda: len(_named(recorded(), "agent.turn")) == turns


def test_a_turn_is_recorded_while_the_session_runs(
    watching: Watching, session: Writer, recorded: Callable[..., list[Json]]
) -> None:
    session.turn(tools=3)
    watching.watch(_is_recorded(recorded, 1))
    spans = recorded()
    (turn,) = _named(spans, "agent.turn")
    tools = _named(spans, "execute_tool Bash")
    assert len(tools) == 3
    assert {tool["parentSpanId"] for tool in tools} == {turn["spanId"]}
    assert {span["traceId"] for span in tools} == {turn["traceId"]}
    session.turn()
    watching.watch(_is_recorded(recorded, 2))


def test_what_is_open_at_the_end_is_finished_by_the_next_process(
    watching: Watching, session: Writer, recorded: Callable[..., list[Json]]
) -> None:
    session.turn(tools=1, ended=False)
    watching.watch(lambda: bool(_named(recorded(), "execute_tool Bash")))
    watching.stop()
    session.tool()
    session.end()
    watching.start()
    watching.watch(_is_recorded(recorded, 1))
    assert len(_named(recorded(), "execute_tool Bash")) == 2


def test_what_was_not_saved_is_read_again_and_recorded_once(
    watching: Watching, session: Writer, recorded: Callable[..., list[Json]]
) -> None:
    session.turn()
    watching.watch(_is_recorded(recorded, 1))
    tokens = watching.following.tokens.save()["totals"]
    watching.stop(cleanly=False)
    session.turn()
    watching.start()
    watching.watch(_is_recorded(recorded, 2))
    spans = recorded()
    assert len({span["spanId"] for span in spans}) == len(spans)
    assert tokens == {
        "claude-test": {"input": 200, "output": 20, "cache_read": 0, "cache_creation": 0}
    }
    assert watching.following.tokens.save()["totals"]["claude-test"]["input"] == 400


@pytest.mark.parametrize(
    "broken", [{"files": []}, {"assembler": {"version": 1}}, {"tokens": {}}, {"files": {"a": [1]}}]
)
def test_a_checkpoint_that_cannot_be_used_makes_it_look_in_the_spool(
    watching: Watching, session: Writer, recorded: Callable[..., list[Json]], broken: Json
) -> None:
    session.turn()
    watching.watch(_is_recorded(recorded, 1))
    watching.checkpoint.save({**broken, "spool": {}})
    watching.stop(cleanly=False)
    session.turn()
    watching.start()
    watching.watch(_is_recorded(recorded, 2))
    spans = recorded()
    assert len({span["spanId"] for span in spans}) == len(spans)


def test_killed_at_any_moment_it_neither_repeats_nor_forgets(
    home: Path,
    projects: Path,
    recorded: Callable[..., list[Json]],
    start_python: Callable[..., subprocess.Popen[str]],
) -> None:
    writers = [
        Writer(projects / "p" / f"{session_id}.jsonl", session_id, step_s=0.001)
        for session_id in (f"00000000-0000-4000-8000-{number:012d}" for number in range(3))
    ]
    moments = random.Random(4)
    turns = 0
    for _ in range(12):
        process = start_python(FOLLOW, projects)
        kill_at = time.monotonic() + moments.uniform(0.2, 1.5)
        while time.monotonic() < kill_at:
            for writer in writers:
                writer.at_s = max(writer.at_s, time.time() - 3)
                writer.turn(tools=2)
                turns += 1
            time.sleep(0.03)
        process.kill()
        process.wait()
    process = start_python(FOLLOW, projects)

    def found() -> list[str]:
        spans = recorded("operations", "history")
        return [span["spanId"] for span in spans if span["name"] != "session.init"]

    _wait(lambda: len(found()) >= turns * 3)
    assert len(found()) == len(set(found())) == turns * 3
    checkpoint = home / "monitor" / "checkpoint.json"
    _wait(lambda: _output_tokens(checkpoint) >= turns * 30)
    assert _output_tokens(checkpoint) == turns * 30
    process.kill()


def _output_tokens(checkpoint: Path) -> int:
    totals = json.loads(checkpoint.read_text())["tokens"]["totals"]
    return sum(kinds["output"] for kinds in totals.values())


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_hooks_alone_give_the_turn_too(
    watching: Watching, session: Writer, recorded: Callable[..., list[Json]]
) -> None:
    tool = {"tool_name": "Bash", "tool_use_id": "toolu_1"}
    _hook(session, "UserPromptSubmit", prompt_id="p")
    _hook(session, "PreToolUse", prompt_id="p", **tool)
    _hook(session, "PostToolUse", prompt_id="p", duration_ms=5, **tool)
    hook_events.receive(_payload(session, "Stop", prompt_id="p"))
    watching.watch(_is_recorded(recorded, 1))
    assert len(_named(recorded(), "execute_tool Bash")) == 1


def test_a_spool_that_cannot_be_used_for_a_while_is_waited_for(
    watching: Watching,
    session: Writer,
    recorded: Callable[..., list[Json]],
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _hook(session, "UserPromptSubmit", prompt_id="p")
    watching.watch(lambda: bool(watching.following.unfinished()))
    (home / "spool").rename(home / "away")
    (home / "spool").write_text("in the way")
    for _ in range(3):
        watching.following.step(0.25)
        watching.following.save()
    assert len(caplog.messages) == 1
    (home / "spool").unlink()
    (home / "away").rename(home / "spool")
    _hook(session, "Stop", prompt_id="p")
    watching.watch(_is_recorded(recorded, 1))


def test_a_spool_that_cannot_be_read_is_one_clear_line(home: Path, projects: Path) -> None:
    home.mkdir()
    (home / "spool").write_text("in the way")
    with pytest.raises(OrchwatchError, match="spool cannot be read"):
        Following(Checkpoint(), [str(projects)])


def test_read_segments_of_hooks_are_removed_and_their_events_kept(
    watching: Watching, home: Path, session: Writer, recorded: Callable[..., list[Json]]
) -> None:
    os.environ["ORCHWATCH_SPOOL_SEGMENT_BYTES"] = "400"
    try:
        _hook(session, "UserPromptSubmit", prompt_id="p")
        for number in range(10):
            tool = {"tool_name": "Bash", "tool_use_id": f"toolu_{number}"}
            _hook(session, "PreToolUse", prompt_id="p", **tool)
            _hook(session, "PostToolUse", prompt_id="p", **tool)
    finally:
        del os.environ["ORCHWATCH_SPOOL_SEGMENT_BYTES"]
    assert len(list((home / "spool").glob("hooks-*"))) > 3
    watching.watch(lambda: len(_named(recorded(), "execute_tool Bash")) == 10)
    watching.following.save()
    assert len(list((home / "spool").glob("hooks-*"))) == 1
    watching.stop()
    _hook(session, "Stop", prompt_id="p")
    watching.start()
    watching.watch(_is_recorded(recorded, 1))
    assert len(_named(recorded(), "execute_tool Bash")) == 10


def test_a_session_of_last_week_that_goes_on_does_not_begin_anew(
    watching: Watching, session: Writer, recorded: Callable[..., list[Json]]
) -> None:
    session.at_s -= 7 * 24 * 3600
    session.turn(tools=1, ended=False)
    os.utime(session.path, (session.at_s, session.at_s))
    watching.watch(lambda: watching.following._files.complete)
    session.at_s = time.time() - 10
    session.tool()
    session.end()
    session.turn()
    watching.watch(_is_recorded(recorded, 2))
    assert _named(recorded(), "session.init") == []
    assert recorded("history") == []


def _payload(session: Writer, event: str, **more: object) -> bytes:
    return json.dumps({"hook_event_name": event, "session_id": session.session_id, **more}).encode()


def _hook(session: Writer, event: str, **more: object) -> None:
    line = hook_line.encode(_payload(session, event, **more), time.time_ns())
    assert spool.append(spool.HOOKS, line.encode())


def test_an_import_adds_nothing_to_what_was_followed(
    watching: Watching, session: Writer, projects: Path, recorded: Callable[..., list[Json]]
) -> None:
    session.turn(tools=3)
    watching.watch(_is_recorded(recorded, 1))
    with ImportRecord(lambda: None) as record:
        sessions, _ = session_files.find([str(projects)])
        assert (
            importer.import_sessions(
                [(ClaudeCode(), one) for one in sessions], record, lambda _: None
            ).spans
            == 0
        )
    assert recorded("history") == []


def test_what_was_imported_is_not_recorded_as_happening_now(
    watching: Watching, session: Writer, projects: Path, recorded: Callable[..., list[Json]]
) -> None:
    watching.stop()
    session.turn(tools=3)
    with ImportRecord(lambda: None) as record:
        sessions, _ = session_files.find([str(projects)])
        importer.import_sessions([(ClaudeCode(), one) for one in sessions], record, lambda _: None)
    imported = recorded("history")
    assert len(_named(imported, "execute_tool Bash")) == 3
    watching.start()
    session.turn(tools=1)
    watching.watch(_is_recorded(recorded, 1))
    assert len(recorded("operations")) == 2
    assert recorded("history") == imported
