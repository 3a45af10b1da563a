"""The client's own telemetry on the real servers, beside what the client itself says."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.claude_client.watch import Watch
from tests.stack.conftest import counted, eventually, get, running, samples, search

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
