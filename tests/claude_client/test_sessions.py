"""Sessions of the real client: what the model was asked is what Orchwatch says, three ways."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.claude_client.terminal import terminal
from tests.claude_client.watch import Span, Watch, monitor, summary, truth

if TYPE_CHECKING:
    from tests.claude_client.client import Client
    from tests.claude_client.model_stub import ModelStub

WITHIN_S = 60.0
PROMPTS = (
    "[[text]] hello",
    "[[bash]] one call",
    "[[tools|dir={project}]] several calls",
    "[[failures]] calls that fail",
    "[[agent]] one agent",
    "[[agents]] two at once",
    "[[nested]] an agent in an agent",
    "[[overloaded|n=2]] a retry",
    "[[refused]] an API error",
)
HOOKED_RUNS = 30
# By which half of all turns may end later than the model's log says; the client itself writes down
# some later, and an API error always.
LAG_S = 0.05
LATE_S = 1.0


def play(client: Client) -> list[float]:
    """When each client was started."""
    started_s = []
    for prompt in PROMPTS:
        started_s.append(time.time())
        client.ask(prompt.format(project=client.project))
    return started_s


def watched(client: Client, watch: Watch, way: str) -> list[float]:
    if way == "files":
        started_s = play(client)
        watch.run("claude", "import")
        return started_s
    with monitor(watch):
        watch.run("claude", "install", "--hooks", way)
        started_s = play(client)
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline and not _quiet(watch):
            time.sleep(0.5)
    return started_s


def _quiet(watch: Watch) -> bool:
    before = len(watch.spans())
    time.sleep(5.0)
    return before == len(watch.spans())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["files", "http", "command"])
def test_what_the_model_was_asked_is_what_is_recorded(
    client: Client, watch: Watch, model: ModelStub, way: str
) -> None:
    started_s = watched(client, watch, way)
    spans = watch.spans()

    assert summary(spans) == truth(model.requests())
    assert len({(span.trace_id, span.span_id) for span in spans}) == len(spans)
    assert _missing_parents(spans) == []
    asked = [request for request in model.requests() if request.status == 200]
    requests = [span for span in spans if span.attributes.get("gen_ai.operation.name") == "chat"]
    assert len(requests) == len(asked)
    assert sorted(span.start_s for span in requests) == pytest.approx(
        sorted(request.received_s for request in asked), abs=LATE_S
    )
    lags_s = []
    for session_id in model.sessions():
        ends_s, answers_s = _turn_ends(spans, session_id), _last_answers(model, session_id)
        assert ends_s == pytest.approx(answers_s, abs=LATE_S)
        lags_s += [abs(end_s - at_s) for end_s, at_s in zip(ends_s, answers_s, strict=True)]
    assert statistics.median(lags_s) < LAG_S
    inits = _named(spans, "session.init")
    assert len(inits) == len(PROMPTS)
    for init, at_s, session_id in zip(inits, started_s, model.sessions(), strict=True):
        assert init.attributes["session.id"] == session_id
        first_s = model.requests(session_id)[0].received_s
        assert at_s < init.start_s < init.end_s < first_s


@pytest.mark.timeout(600)
def test_command_hooks_lose_no_end_of_a_turn(client: Client, watch: Watch) -> None:
    watch.run("claude", "install", "--hooks", "command")

    for _ in range(HOOKED_RUNS):
        client.ask("[[text]] hello")

    events = Counter(
        line["payload"]["hook_event_name"]
        for segment in (watch.home / "spool").glob("hooks-*.jsonl")
        for line in _lines(segment.read_text())
        if "payload" in line
    )
    assert {name: events[name] for name in ("SessionStart", "Stop", "SessionEnd")} == dict.fromkeys(
        ("SessionStart", "Stop", "SessionEnd"), HOOKED_RUNS
    )


def test_a_fork_counts_its_own_work_only(client: Client, watch: Watch, model: ModelStub) -> None:
    client.ask("[[bash]] first")
    (first,) = model.sessions()
    client.ask("[[bash]] second", "--resume", first, "--fork-session")
    watch.run("claude", "import")

    spans = watch.spans()
    assert summary(spans) == truth(model.requests())
    assert len(model.sessions()) == 2
    turns = [span.attributes for span in _named(spans, "agent.turn")]
    assert [turn.get("session.previous_id") for turn in turns] == [None, first]
    assert len(_named(spans, "session.init")) == 1


@pytest.mark.parametrize("way", ["http", "command"])
def test_a_session_in_a_terminal_is_ready_before_a_person_has_typed(
    client: Client, watch: Watch, way: str
) -> None:
    with monitor(watch):
        watch.run("claude", "install", "--hooks", way)
        started_s = time.time()
        with terminal(client) as screen:
            shown_s = time.time()
            time.sleep(2.0)  # a person reads
            screen.type("[[text]] hello")
            screen.wait_for(lambda: "● Hello." in screen.text)
            screen.type("/clear")
            screen.wait_for(lambda: "● Hello." not in screen.text)
            screen.type("[[text]] hello")
            screen.wait_for(lambda: "● Hello." in screen.text)
        deadline = time.monotonic() + 120.0
        while time.monotonic() < deadline and not _named(watch.spans(), "session.init"):
            time.sleep(0.5)

    init = _named(watch.spans(), "session.init")[0]
    assert started_s < init.start_s < init.end_s < shown_s + LATE_S


def test_a_session_that_is_resumed_counts_once(
    client: Client, watch: Watch, model: ModelStub
) -> None:
    client.ask("[[bash]] first")
    (session_id,) = model.sessions()
    watch.run("claude", "import")
    client.ask("[[text]] second", "--resume", session_id)
    watch.run("claude", "import")

    assert summary(watch.spans()) == truth(model.requests())


def test_a_client_that_is_killed_leaves_a_session_that_is_closed_within_a_minute(
    client: Client, watch: Watch, model: ModelStub
) -> None:
    with monitor(watch):
        watch.run("claude", "install")
        process = subprocess.Popen(
            [
                client.binary,
                "-p",
                "[[bash|c=timeout 90 tail -f /dev/null]]",
                "--dangerously-skip-permissions",
            ],
            cwd=client.project,
            env=client.variables(),
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + WITHIN_S
        while not any(request.tools for request in model.requests()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1.0)  # the call is written and runs
        process.kill()
        process.wait()
        deadline = time.monotonic() + 90.0
        while time.monotonic() < deadline and not _named(watch.spans(), "agent.turn"):
            time.sleep(0.5)

    (turn,) = _named(watch.spans(), "agent.turn")
    assert turn.attributes["orchestration.unfinished.reason"]


@pytest.mark.parametrize("event", ["PreToolUse", "PostToolUse", "UserPromptSubmit", "Stop"])
def test_a_wrapped_hook_that_blocks_says_what_it_said_and_is_a_part_of_its_turn(
    client: Client, model: ModelStub, watch: Watch, event: str
) -> None:
    hook = client.directory / "block.sh"
    hook.write_text(
        '#!/bin/sh\n[ -e "$0.done" ] && exit 0\ntouch "$0.done"\n'
        "echo 'not like this' >&2\nexit 2\n"
    )
    hook.chmod(0o755)
    settings = client.config / "settings.json"
    entry = {"hooks": [{"type": "command", "command": str(hook)}]}
    settings.write_text(json.dumps({"hooks": {event: [entry]}}))
    client.ask("[[bash]] first")
    plain = _results_and_texts(model)
    (client.directory / "block.sh.done").unlink()
    watch.run("claude", "install", "--wrap")
    client.ask("[[bash]] first")

    told = [
        tuple(_without_launcher(part, str(hook)) for part in request)
        for request in _results_and_texts(model)[len(plain) :]
    ]
    assert told == plain
    watch.run("claude", "import")
    spans = watch.spans()
    ran = [span for span in spans if "orchestration.hook.outcome" in span.attributes]
    assert ran[0].attributes["orchestration.hook.outcome"] == "blocked"
    assert not any(span.failed for span in ran)
    if event != "UserPromptSubmit":  # then there is no turn that it could be a part of
        (call,) = [
            span
            for span in _named(spans, "execute_tool Bash")
            if span.attributes["session.id"] == ran[0].attributes["session.id"]
        ]
        assert {span.trace_id for span in ran} == {call.trace_id}
        parent = call.parent_span_id if event == "Stop" else call.span_id
        assert {span.parent_span_id for span in ran} == {parent}


def _results_and_texts(model: ModelStub) -> list[tuple[str, ...]]:
    """What the model read of the conversation; the client's own reminders left out."""
    return [
        (request.text.rpartition("</system-reminder>")[2], *request.answers)
        for request in model.requests()
    ]


def _without_launcher(told: str, command: str) -> str:
    launcher = r"\S*/wrapped-hooks/\w+-block\.sh"
    started = rf'test ! -x {launcher} \|\| exec {launcher} "\$@" ; exec "\$@"'
    around = rf'set -- "\$0" -c {re.escape(command)} ; {started}'
    return re.sub(around, lambda _: command, told)


def _named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def _missing_parents(spans: list[Span]) -> list[str]:
    there = {(span.trace_id, span.span_id) for span in spans}
    return [
        span.name
        for span in spans
        if span.parent_span_id and (span.trace_id, span.parent_span_id) not in there
    ]


def _turn_ends(spans: list[Span], session_id: str) -> list[float]:
    return sorted(
        span.end_s
        for span in _named(spans, "agent.turn")
        if span.attributes["session.id"] == session_id and "gen_ai.agent.id" not in span.attributes
    )


def _last_answers(model: ModelStub, session_id: str) -> list[float]:
    """When each turn of the session's main conversation got its last answer."""
    requests = [request for request in model.requests(session_id) if not request.agent_id]
    return [
        request.ended_s
        for request, following in zip(requests, [*requests[1:], None], strict=True)
        if not request.tools and (request.status == 200 or following is None)
    ]


def _lines(text: str) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    return parsed
