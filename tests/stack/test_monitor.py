"""The monitor process beside the real servers: what a session's files tell comes out of them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack.conftest import ENDED_WITHIN_S, counted, eventually, samples, stored, value

from native import Ports
from orchwatch.agents.sessions import ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from native import Stack

Json = dict[str, Any]


def _uuid() -> str:
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


@dataclass
class Script:
    """A session whose lines stand at given seconds after its start."""

    projects: Path
    start_s: float
    session_id: str = field(default_factory=_uuid)
    model: str = "claude-test"
    number: int = 0

    def say(self, at_s: float, role: str, *blocks: Json, agent: str = "", **more: object) -> None:
        self.number += 1
        moment = datetime.fromtimestamp(self.start_s + at_s, UTC)
        message: Json = {"role": role, "content": list(blocks)}
        if role == "assistant":
            usage = {"input_tokens": 1000, "output_tokens": 10}
            own = f"msg_{self.session_id}_{self.number}"  # one that is used again is a copy
            message |= {"id": own, "model": self.model, "usage": usage}
            message["stop_reason"] = "tool_use" if blocks[0]["type"] == "tool_use" else "end_turn"
        line = {
            "type": role,
            "sessionId": self.session_id,
            "uuid": f"{self.session_id}-{self.number}",
            "timestamp": moment.isoformat().replace("+00:00", "Z"),
            "message": message,
            **({"agentId": agent, "isSidechain": True} if agent else {}),
            **more,
        }
        self._write(line, agent)

    def prompt(self, at_s: float, prompt_id: str) -> None:
        self.say(at_s, "user", {"type": "text", "text": "x"}, promptId=prompt_id, todos=[])

    def agent(self, call: str, agent_id: str, started_s: float, ended_s: float) -> None:
        """A sub-agent that is at work from its first line to its last."""
        middle_s = (started_s + ended_s) / 2
        self.say(started_s, "user", {"type": "text", "text": agent_id}, agent=agent_id)
        self.say(middle_s, "assistant", tool_use(f"{call}_inner", "Read"), agent=agent_id)
        self.say(middle_s + 1, "user", tool_result(f"{call}_inner"), agent=agent_id)
        self.say(ended_s, "assistant", {"type": "text", "text": "x"}, agent=agent_id)

    def _write(self, line: Json, agent: str) -> None:
        file = self.projects / "-work" / f"{self.session_id}.jsonl"
        if agent:
            file = file.with_suffix("") / "subagents" / f"agent-{agent}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as stream:
            stream.write(json.dumps(line) + "\n")


def tool_use(tool_use_id: str, name: str, **given: str) -> Json:
    return {"type": "tool_use", "id": tool_use_id, "name": name, "input": given}


def tool_result(tool_use_id: str, *, failed: bool = False) -> Json:
    return {"type": "tool_result", "tool_use_id": tool_use_id, "is_error": failed, "content": "x"}


@pytest.fixture
def monitored(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Runs the monitor over the home of the test's stack, and its session files."""
    own = "own_stack" in request.fixturenames
    stack: Stack = request.getfixturevalue("own_stack" if own else "stack")

    @contextmanager
    def run() -> Iterator[subprocess.Popen[str]]:
        environment = {
            **os.environ,
            "ORCHWATCH_HOME": str(stack.home),
            "ORCHWATCH_MONITOR_PORT": str(Ports.free().monitor),
            "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_http_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "XDG_CONFIG_HOME": str(tmp_path),
        }
        command = [sys.executable, "-m", "orchwatch.cli", "monitor", "--projects"]
        with subprocess.Popen(
            [*command, str(tmp_path / "projects")],
            env=environment,
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stderr is not None
                assert "following" in process.stderr.readline()
                yield process
                process.send_signal(signal.SIGTERM)
                _, told = process.communicate(timeout=ENDED_WITHIN_S)
                assert process.returncode == 0, told
            finally:
                process.kill()

    return run


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "projects", time.time() - 300)


def test_a_running_session_is_counted_and_stored(
    stack: Stack, script: Script, monitored: Callable[[], Any]
) -> None:
    before = {
        operation: counted(stack, service="claude-code", operation=operation)
        for operation in ("tool.execute", "agent.turn")
    }
    failed = 'status_code="STATUS_CODE_ERROR",service_name="claude-code"'
    with monitored():
        script.prompt(0, "p1")
        script.say(1, "assistant", tool_use("toolu_1", "Bash"))
        script.say(3, "user", tool_result("toolu_1"))
        script.say(4, "assistant", tool_use("toolu_2", "Edit"))
        script.say(5, "user", tool_result("toolu_2", failed=True))
        script.say(6, "assistant", {"type": "text", "text": "x"})
        script.prompt(10, "p2")

        def of(operation: str) -> float:
            found = counted(stack, service="claude-code", operation=operation)
            return found - before[operation]

        assert eventually(lambda: of("tool.execute") == 2)
        assert eventually(lambda: of("agent.turn") == 1)
    trace_id = ids.trace_id(script.session_id, "p1")
    assert eventually(lambda: len(stored(stack, trace_id)) == 3)
    spans = stored(stack, trace_id)
    named = {span.name: span for span in spans}
    turn = named["agent.turn"]
    assert turn.span_id == ids.turn(script.session_id, "p1")
    assert {span.parent_span_id for span in spans} == {"", turn.span_id}
    assert round(named["execute_tool Bash"].duration_s, 3) == 2
    assert named["execute_tool Edit"].error_type == "tool_error"
    errors = "orchestration_operation_duration_seconds_count"
    assert samples(stack, f"{errors}{{{failed}}}")


def test_tokens_of_models_add_up_over_restarts(
    stack: Stack, script: Script, monitored: Callable[[], Any]
) -> None:
    script.model = f"claude-{secrets.token_hex(4)}"
    query = (
        "gen_ai_client_inference_usage_output_tokens_total"
        f'{{gen_ai_response_model="{script.model}"}}'
    )
    with monitored():
        script.prompt(0, "p1")
        script.say(1, "assistant", {"type": "text", "text": "x"})
        script.prompt(2, "p2")
        assert eventually(lambda: _turns(stack, script) >= 1)
    with monitored():
        assert eventually(lambda: value(stack, query) == 10)
        script.say(3, "assistant", {"type": "text", "text": "x"})
        script.prompt(4, "p3")
        assert eventually(lambda: _turns(stack, script) >= 2)
    with monitored():
        assert eventually(lambda: value(stack, query) == 20)


def _turns(stack: Stack, script: Script) -> int:
    text = "".join(file.read_text() for file in stack.spool.glob("operations-*.jsonl"))
    return sum(ids.turn(script.session_id, prompt_id) in text for prompt_id in ("p1", "p2", "p3"))


def test_key_figures_of_two_overlapping_agents_are_what_the_script_says(
    own_stack: Stack, script: Script, monitored: Callable[[], Any]
) -> None:
    # 0       10                40          70          100      120
    # prompt, both calls                                          end
    #         first agent ──────────────────┤
    #                           second agent ───────────┤
    script.prompt(0, "p1")
    calls = [tool_use(f"toolu_{name}", "Task", subagent_type=name) for name in ("one", "two")]
    script.say(0.0, "assistant", *calls)
    script.agent("toolu_one", "aone", 10, 70)
    script.agent("toolu_two", "atwo", 40, 100)
    script.say(70, "user", tool_result("toolu_one"), toolUseResult={"agentId": "aone"})
    script.say(100, "user", tool_result("toolu_two"), toolUseResult={"agentId": "atwo"})
    script.say(120, "assistant", {"type": "text", "text": "x"})
    with monitored():
        assert eventually(lambda: _turns(own_stack, script) >= 1)
    any_s, parallel_s = 120 - 10, 70 - 40
    # The session's own agent waits for the others until 100 s.
    busy_s, available_s = 20 + 60 + 60, 120 + 60 + 60
    expected = {
        "parallel_ratio": parallel_s / any_s,
        "agent_utilization": busy_s / available_s,
        "efficiency_ratio": busy_s / available_s,
        "task_success_ratio": 1,
        "task_error_ratio": 0,
        "task_throughput": 3,
    }
    with monitored():
        eventually(lambda: _figures(own_stack, expected) == pytest.approx(expected, rel=0.01))
    assert _figures(own_stack, expected) == pytest.approx(expected, rel=0.01)


def _figures(stack: Stack, names: Json) -> dict[str, float]:
    """Those that Prometheus has, once it has all; units at the end of their names left out."""
    found = {}
    for labels, number in samples(stack, '{__name__=~"orchestration_.*"}'):
        for name in names:
            if labels["__name__"].startswith(f"orchestration_{name}"):
                found[name] = number
    return found if found.keys() == names.keys() else {}
