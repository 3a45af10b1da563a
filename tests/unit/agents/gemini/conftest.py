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


@dataclass
class Recording:
    """Writes a conversation's file line by line; times are seconds after the start."""

    path: Path
    own_id: str
    kind: str = "main"

    def write(self, record: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")

    def start(self, second: float) -> None:
        times = {"startTime": at(second), "lastUpdated": at(second)}
        self.write({"sessionId": self.own_id, "projectHash": "a" * 64, **times, "kind": self.kind})

    def patch(self, **members: Any) -> None:
        self.write({"$set": members})

    def message(self, second: float, own: str, kind: str, content: Any, **more: Any) -> None:
        told = {"id": own, "timestamp": at(second), "type": kind, "content": content}
        self.write({**told, **more})

    def prompt(self, second: float, own: str) -> None:
        self.message(second, own, "user", [{"text": "a secret question"}])

    def answer(self, second: float, own: str, content: str = "a secret", **more: Any) -> None:
        tokens = {"input": 100, "output": 10, "cached": 60, "thoughts": 4, "tool": 0, "total": 114}
        told = {"thoughts": [], "tokens": tokens, "model": "gemini-3.8-flash"}
        self.message(second, own, "gemini", content, **told | more)

    def results(self, second: float, own: str) -> None:
        self.message(second, own, "user", [{"functionResponse": {"id": "call", "name": "tool"}}])


def call(own: str, second: float | None, name: str = "read_file", **more: Any) -> dict[str, Any]:
    """A call that has ended, or with no time still runs."""
    ended = {"status": "executing"} if second is None else {"timestamp": at(second)}
    return {"id": own, "name": name, "args": {"path": "/a/secret"}, "status": "success"} | (
        ended | more
    )


def shell(own: str, second: float, output: str) -> dict[str, Any]:
    answer = {"id": own, "name": "run_shell_command", "response": {"output": output}}
    return call(own, second, "run_shell_command", result=[{"functionResponse": answer}])


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    return tmp_path / ".gemini" / "tmp" / "shop" / "chats"


@pytest.fixture
def session(chats: Path) -> Recording:
    """A session's file, which a process has begun."""
    recording = Recording(chats / f"session-2026-05-28T20-26-{SESSION[:8]}.jsonl", SESSION)
    recording.start(0)
    return recording


@pytest.fixture
def agent(chats: Path) -> Callable[..., Recording]:
    """Makes the file of a sub-agent of the session, or of another sub-agent."""

    def make(own_id: str, parent: str = SESSION) -> Recording:
        return Recording(chats / parent / f"{own_id}.jsonl", own_id, "subagent")

    return make
