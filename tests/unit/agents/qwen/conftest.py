from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START_S = 1_780_000_000
SESSION = "0f7b6f0e-1111-4222-8333-444455556666"


def at(second: float) -> str:
    moment = datetime.fromtimestamp(START_S + second, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def ns(second: float) -> int:
    return (START_S * 1000 + round(second * 1000)) * 1_000_000


def call(own: str, name: str = "read_file", **given: Any) -> dict[str, Any]:
    return {"functionCall": {"id": own, "name": name, "args": {"path": "a secret", **given}}}


@dataclass
class Recording:
    """Writes a file line by line; times are seconds after the start."""

    path: Path
    session_id: str = SESSION
    agent_id: str = ""
    agent_name: str = ""
    lines: int = 0

    def write(self, second: float, kind: str, **members: Any) -> None:
        self.lines += 1
        side = {"agentId": self.agent_id, "agentName": self.agent_name, "isSidechain": True}
        line = {
            "uuid": f"{self.session_id[:4]}-{self.agent_id}-{self.lines}",
            "sessionId": self.session_id,
            "timestamp": at(second),
            "type": kind,
            "cwd": "/work/shop",
            "version": "0.24.4",
            **(side if self.agent_id else {}),
            **members,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def prompt(self, second: float, said: str = "a secret question", **members: Any) -> None:
        message = {"role": "user", "parts": [{"text": said}]}
        told = {} if self.agent_id else {"provenance": "real_user"}
        self.write(second, "user", message=message, **told | members)

    def answer(self, second: float, *parts: Any, **members: Any) -> None:
        used = {
            "promptTokenCount": 100,
            "candidatesTokenCount": 14,
            "thoughtsTokenCount": 4,
            "cachedContentTokenCount": 60,
            "totalTokenCount": 114,
        }
        message = {"role": "model", "parts": list(parts) or [{"text": "a secret"}]}
        model = {} if self.agent_id else {"model": "qwen3.5-plus"}
        self.write(
            second, "assistant", **{"message": message, "usageMetadata": used, **model} | members
        )

    def result(
        self, second: float, own: str, name: str = "read_file", said: Any = None, **result: Any
    ) -> None:
        answer = {"id": own, "name": name, "response": said or {"output": "a secret"}}
        parts = [{"functionResponse": answer}]
        status = {} if self.agent_id else {"status": "success"}
        self.write(
            second,
            "tool_result",
            message={"role": "user", "parts": parts},
            toolCallResult={"callId": own, **status | result},
        )

    def event(self, second: float, name: str, agent: str = "", **members: Any) -> None:
        whose = f"{SESSION}#{agent}#0" if agent else f"{SESSION}########0"
        told = {"event.name": f"qwen-code.{name}", "event.timestamp": at(second)}
        event = {**told, "prompt_id": whose, **members}
        self.write(second, "system", subtype="ui_telemetry", systemPayload={"uiEvent": event})

    def called(self, second: float, own: str, took_ms: int, agent: str = "", **more: Any) -> None:
        told = {"call_id": own, "function_name": "read_file", "duration_ms": took_ms}
        self.event(second, "tool_call", agent, **{**told, "status": "success"} | more)

    def responded(self, second: float, took_ms: int, agent: str = "", **more: Any) -> None:
        told = {"response_id": f"r-{self.lines}", "model": "qwen3.5-plus", "duration_ms": took_ms}
        used = {"input_token_count": 100, "output_token_count": 14, "thoughts_token_count": 4}
        used |= {"cached_content_token_count": 60, "total_token_count": 114}
        self.event(second, "api_response", agent, **{**told, **used} | more)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / ".qwen" / "projects" / "-work-shop"


@pytest.fixture
def session(project: Path) -> Recording:
    """An empty session's file."""
    return Recording(project / "chats" / f"{SESSION}.jsonl")


@pytest.fixture
def agent(project: Path) -> Callable[..., Recording]:
    """Makes the file of a sub-agent, and what lies beside it."""

    def make(agent_id: str, name: str, **about: Any) -> Recording:
        path = project / "subagents" / SESSION / f"agent-{agent_id}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        if about:
            path.with_suffix(".meta.json").write_text(json.dumps({"agentType": name, **about}))
        return Recording(path, agent_id=agent_id, agent_name=name)

    return make
