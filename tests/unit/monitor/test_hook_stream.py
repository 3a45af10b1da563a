"""A stream of hook events, each delivered by a process of its own as Claude Code does."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.claude_code.settings import registration
from orchwatch.agents.sessions import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.unit.monitor.conftest import Watching

Json = dict[str, Any]

SESSION = "00000000-0000-4000-8000-00000000000a"
PROMPTS = ("prompt-1", "prompt-2")
AGENT = "a1b2c3d"
TOOLS = ("Bash", "Edit", "Read")

_RECEIVED = r'(?<="received_ns":)\d+'


def _stream() -> list[Json]:
    events = [
        _event("Setup", trigger="init"),
        _event("SessionStart", source="startup", model="m"),
        _event("InstructionsLoaded"),
    ]
    for prompt_id in PROMPTS:
        events += _turn(prompt_id)
    return [*events, _event("SessionEnd", reason="exit")]


def _turn(prompt_id: str) -> list[Json]:
    own = {"prompt_id": prompt_id}
    inside = {**own, "agent_id": f"{AGENT}-{prompt_id}", "agent_type": "reviewer"}
    call = {"tool_name": "Agent", "tool_use_id": f"toolu_agent_{prompt_id}"}
    started = {"tool_input": {"subagent_type": "reviewer", "prompt": "in confidence"}}
    answered = {"tool_response": {"status": "completed", "agentId": inside["agent_id"]}}
    task = {"task_id": f"task-{prompt_id}", "task_subject": "in confidence"}
    failed = {"tool_name": "Write", "tool_use_id": f"toolu_failed_{prompt_id}"}
    return [
        _event("UserPromptSubmit", **own, prompt="in confidence"),
        _event("UserPromptExpansion", **own),
        _event("TaskCreated", **own, **task),
        *(event for name in TOOLS for event in _tool(name, own)),
        _event("PreToolUse", **own, **failed),
        _event("PermissionRequest", **own, **failed),
        _event("PermissionDenied", **own, **failed, reason="no"),
        _event("PostToolBatch", **own),
        _event("PreToolUse", **own, **call, **started),
        _event("SubagentStart", **inside),
        *_tool("Grep", inside),
        _event("SubagentStop", **inside, last_assistant_message="in confidence"),
        _event("PostToolUse", **own, **call, **started, **answered),
        _event("Notification", **own, message="in confidence"),
        _event("PreCompact", **own, trigger="auto"),
        _event("PostCompact", **own, trigger="auto", compact_summary="in confidence"),
        _event("TaskCompleted", **own, **task),
        _event("Stop", **own),
    ]


def _tool(name: str, where: Json) -> list[Json]:
    call = {"tool_name": name, "tool_use_id": f"toolu_{name}_{where['prompt_id']}"}
    ended = "PostToolUseFailure" if name == "Edit" else "PostToolUse"
    return [
        _event("PreToolUse", **where, **call, tool_input={"command": "in confidence"}),
        _event(ended, **where, **call, error="in confidence", duration_ms=3),
    ]


def _event(name: str, **more: object) -> Json:
    return {"hook_event_name": name, "session_id": SESSION, "cwd": "/in/confidence", **more}


def _deliver(events: Sequence[Json], home: Path, *, at_once: int = 1) -> None:
    """Each by the registered command's own interpreter and script."""

    def run(event: Json) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*registration.interpreter(), registration.HOOK_SCRIPT],
            input=json.dumps(event).encode(),
            env={**os.environ, "ORCHWATCH_HOME": str(home)},
            capture_output=True,
            check=False,
            timeout=240,
        )

    with ThreadPoolExecutor(at_once) as pool:
        for done in pool.map(run, events):
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def _bring_together(home: Path) -> None:
    """As if nothing else had kept the machine busy, in the order in which they came.

    When they came counts: what comes seconds after the end of a turn says that it goes on.
    """
    count = itertools.count()
    for segment in sorted((home / "spool").glob("hooks-*.jsonl")):
        text = segment.read_text()
        moments = [int(digits) for digits in re.findall(_RECEIVED, text)]

        def moment(_: re.Match[str], first: int = min(moments)) -> str:
            return str(first + next(count) * 1_000_000)

        segment.write_text(re.sub(_RECEIVED, moment, text))


def _expected(prompt_id: str) -> dict[str, tuple[str, str]]:
    """Span id to name and parent."""
    turn = ids.turn(SESSION, prompt_id)
    agent_id = f"{AGENT}-{prompt_id}"
    call = ids.tool(SESSION, f"toolu_agent_{prompt_id}")
    run = ids.agent_run(SESSION, agent_id)
    return {
        turn: ("agent.turn", ""),
        call: ("execute_tool Agent", turn),
        run: ("invoke_agent reviewer", call),
        ids.tool(SESSION, f"toolu_Grep_{prompt_id}"): ("execute_tool Grep", run),
        ids.tool(SESSION, f"toolu_failed_{prompt_id}"): ("execute_tool Write", turn),
        ids.event("task", SESSION, f"task-{prompt_id}"): ("agent.task", turn),
        **{
            ids.tool(SESSION, f"toolu_{name}_{prompt_id}"): (f"execute_tool {name}", turn)
            for name in TOOLS
        },
    }


def _of_trace(spans: list[Json], prompt_id: str) -> dict[str, tuple[str, str]]:
    """The same of what was recorded; spawns aside, whose two ends may have changed places."""
    trace_id = ids.trace_id(SESSION, prompt_id)
    return {
        span["spanId"]: (span["name"], span.get("parentSpanId", ""))
        for span in spans
        if span["traceId"] == trace_id and span["name"] != "agent.spawn"
    }


def _in_order(events: list[Json]) -> list[Json]:
    return events


def _shuffled(events: list[Json]) -> list[Json]:
    mixed = list(events)
    random.Random(7).shuffle(mixed)
    return mixed


@pytest.mark.parametrize(
    ("order", "at_once"), [(_in_order, 1), (_shuffled, 1), (_in_order, 20), (_shuffled, 20)]
)
def test_each_turn_is_one_correct_trace_in_whatever_order_its_events_come(
    watching: Watching,
    home: Path,
    recorded: Callable[..., list[Json]],
    order: Callable[[list[Json]], list[Json]],
    at_once: int,
) -> None:
    _deliver(order(_stream()), home, at_once=at_once)
    _bring_together(home)
    watching.watch(lambda: all(len(_of_trace(recorded(), own)) >= 9 for own in PROMPTS))
    spans = recorded()
    assert len({span["spanId"] for span in spans}) == len(spans)
    if order is _in_order and at_once == 1:  # otherwise a turn may seem to go on long after its end
        assert not [span for span in spans if "unfinished" in json.dumps(span)]
    for prompt_id in PROMPTS:
        assert _of_trace(spans, prompt_id) == _expected(prompt_id)
    assert "confidence" not in json.dumps(spans)


def test_what_is_missing_leaves_the_rest_of_the_trace_right(
    watching: Watching, home: Path, recorded: Callable[..., list[Json]]
) -> None:
    chance = random.Random(3)
    events = _stream()
    kept = [
        event
        for event in events
        if event["hook_event_name"] in ("SessionStart", "UserPromptSubmit", "SessionEnd")
        or chance.random() > 0.2
    ]
    assert len(kept) < len(events)
    _deliver(kept, home, at_once=20)
    _bring_together(home)
    watching.watch(lambda: sum(span["name"] == "agent.turn" for span in recorded()) == 2)
    spans = recorded()
    assert len({span["spanId"] for span in spans}) == len(spans)
    for prompt_id in PROMPTS:
        found, expected = _of_trace(spans, prompt_id), _expected(prompt_id)
        assert found.keys() <= expected.keys()
        assert {span_id: name for span_id, (name, _) in found.items()}.items() <= {
            span_id: name for span_id, (name, _) in expected.items()
        }.items()
        assert ids.turn(SESSION, prompt_id) in found


def test_a_home_that_cannot_be_written_costs_the_host_nothing_but_a_counter(
    home: Path, lost: Callable[[], dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_only = "/proc/1/orchwatch"
    monkeypatch.setenv("ORCHWATCH_HOME", read_only)
    events = _stream()[:10]
    _deliver(events, read_only, at_once=5)  # type: ignore[arg-type]
    assert lost() == {"spool_unwritable": len(events)}
    assert not home.exists()
