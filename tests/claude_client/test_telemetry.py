"""The client's own telemetry on the real servers, beside what the client itself says."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.claude_client.watch import Watch, monitor
from tests.stack.conftest import DURATION, counted, eventually, get, running, samples, search

from orchwatch.mixin import dashboards
from ports import variable_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.claude_client.client import Client
    from tests.claude_client.model_stub import ModelStub

    from native import Stack

REPO = Path(__file__).parents[2]
SECRET = "of no concern to anybody"
TOKENS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cacheRead": "cache_read_input_tokens",
    "cacheCreation": "cache_creation_input_tokens",
}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running(tmp_path / "stack") as found:
        yield found


@pytest.fixture
def watch(client: Client, stack: Stack) -> Watch:
    return watching(stack, client)


def watching(stack: Stack, client: Client) -> Watch:
    """An `ORCHWATCH_HOME` of which this stack follows the spool."""
    found = Watch(stack.home, client)
    for name, port in stack.ports.numbers().items():
        found.environment[variable_of(name)] = str(port)
    return found


def ask(client: Client, prompt: str, *options: str) -> dict[str, Any]:
    """What the client says of itself at its end."""
    done = client.ask(prompt, "--output-format", "json", *options)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def shown(stack: Stack, panel: str) -> float:
    """What a panel shows of the last ten minutes."""
    dashboard = json.loads((REPO / dashboards.DIRECTORY / "kpis.json").read_text())
    (target,) = [
        target
        for one in dashboard["panels"]
        for target in one.get("targets", [])
        if panel in target.get("expr", "")
    ]
    found = samples(stack, target["expr"].replace("$__interval", "10m"))
    return sum(value for _, value in found)


@pytest.mark.timeout(600)
def test_cost_and_tokens_of_sessions_of_a_second_are_what_the_client_says(
    client: Client, watch: Watch, model: ModelStub, stack: Stack
) -> None:
    watch.run("claude", "install", "--telemetry")
    told = [ask(client, prompt) for prompt in ("[[text]] a", "[[agent]] b", "[[bash]] c")]
    # Of a session that is resumed it says what all of it cost.
    told.append(ask(client, "[[bash]] d", "--resume", told.pop()["session_id"]))
    cost_usd = sum(one["total_cost_usd"] for one in told)
    tokens = Counter[str]()
    for request in model.requests():
        tokens.update({kind: request.usage[name] for kind, name in TOKENS.items()})

    query = "sum by (type) (claude_code_token_usage_tokens_total)"

    def arrived() -> dict[str, float]:
        return {labels["type"]: number for labels, number in samples(stack, query)}

    eventually(lambda: arrived() == tokens)
    assert arrived() == tokens
    assert shown(stack, "claude_code_cost_usage_USD_total") == pytest.approx(cost_usd, rel=0.01)


@pytest.mark.timeout(600)
def test_its_traces_are_found_by_session_name_our_calls_and_hold_no_content(
    client: Client, watch: Watch, model: ModelStub, stack: Stack
) -> None:
    watch.run("claude", "install", "--telemetry", "traces", "--hooks", "command")
    talkative = {
        "OTEL_LOG_USER_PROMPTS": "1",
        "OTEL_LOG_TOOL_DETAILS": "1",
        "OTEL_LOG_TOOL_CONTENT": "1",
    }
    client = replace(client, environment=talkative)
    session_id = ask(client, f"[[bash|c=echo {SECRET}]] {SECRET}")["session_id"]
    watch.run("claude", "import")

    name = '{{ span.session.id = "{}" && name = "{}" }}'
    (theirs,) = eventually(
        lambda: search(stack, name.format(session_id, "claude_code.interaction"))
    )
    (ours,) = eventually(lambda: search(stack, name.format(session_id, "agent.turn")))
    requests = [request for request in model.requests(session_id) if request.usage]
    (call,) = [call for request in requests for call, _ in request.tools]
    of_call = f'{{ span.gen_ai.tool.call.id = "{call}" }}'
    assert eventually(lambda: search(stack, of_call) == {theirs, ours})
    stored = json.dumps(get(f"{stack.tempo_url}/api/traces/{theirs}"))
    assert stored.count('"ttft_ms"') == len(requests)
    assert SECRET not in stored
    assert SECRET.split(maxsplit=1)[0] + " no" not in stored
    assert counted(stack, service="claude-code") == 0


def counts(stack: Stack) -> dict[str, float]:
    """How often Prometheus has each operation of the client's."""
    found = Counter[str]()
    for labels, number in samples(stack, f'{DURATION}_count{{service_name="claude-code"}}'):
        found[labels["orchestration_operation_name"]] += int(number)
    return dict(found)


def ask_twice(client: Client, stack: Stack) -> None:
    """A call, and a sub-agent in the background that makes one, until the traces are stored."""
    for prompt in ("[[bash]] a", "[[agent]] b"):
        session_id = ask(client, prompt)["session_id"]
        sent = f'{{ span.session.id = "{session_id}" && span.span.type = "interaction" }}'
        assert eventually(partial(search, stack, sent))


@pytest.mark.timeout(600)
def test_a_session_that_is_read_and_sends_its_traces_is_counted_once(
    client: Client, watch: Watch, stack: Stack
) -> None:
    watch.run("claude", "install", "--telemetry", "traces")
    with monitor(watch):
        ask_twice(client, stack)
        # The second session goes on once its sub-agent has told what it found.
        once = {"agent.turn": 3, "tool.execute": 3, "agent.run": 1, "agent.spawn": 1}
        eventually(lambda: {name: counts(stack).get(name) for name in once} == once)
    assert {name: counts(stack).get(name) for name in once} == once


@pytest.mark.timeout(600)
def test_a_session_whose_files_nobody_reads_is_counted_by_what_it_sends(
    client: Client, model: ModelStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHWATCH_OTLP_COUNTED", "claude-code")
    with running(tmp_path / "counting") as stack:
        watch = watching(stack, client)
        watch.run("claude", "install", "--telemetry", "traces")
        ask_twice(client, stack)
        failed = ask(client, "[[failures]] c")["session_id"]
        # A tool that is not there has no span.
        sent = {"agent.turn": 4, "tool.execute": 5}
        assert eventually(lambda: counts(stack) == sent), counts(stack)
        errors = samples(stack, f'{DURATION}_count{{error_type="tool_error"}}')
        assert [value for _, value in errors] == [2]

        (trace,) = search(stack, f'{{ span.session.id = "{failed}" && name = "agent.turn" }}')
        spans = [
            {item["key"]: item["value"] for item in one["attributes"]}
            for batch in get(f"{stack.tempo_url}/api/traces/{trace}")["batches"]
            for scope in batch["scopeSpans"]
            for one in scope["spans"]
        ]
        for kind in ("input", "output"):
            used = [one.get(f"gen_ai.usage.{kind}_tokens") for one in spans]
            answered = [one.usage for one in model.requests(failed) if one.usage]
            cached = ("cacheRead", "cacheCreation") if kind == "input" else ()
            assert sum(int(one["intValue"]) for one in used if one) == sum(
                usage[TOKENS[name]] for usage in answered for name in (kind, *cached)
            )
