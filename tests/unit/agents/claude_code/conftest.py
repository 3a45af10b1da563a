from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.claude_code.reader import ClaudeCode
from orchwatch.agents.claude_code.sessions import session_files
from orchwatch.agents.importer import Summary, import_sessions
from orchwatch.agents.sessions.import_record import ImportRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START_S = 1_780_000_000


def at(seconds: float, start_s: float = START_S) -> str:
    """A time as session files have it, so many seconds after the start."""
    moment = datetime.fromtimestamp(start_s + seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def ns(seconds: float) -> int:
    """The same moment in Unix nanoseconds."""
    return (START_S * 1000 + round(seconds * 1000)) * 1_000_000


@dataclass
class Recording:
    """Writes a session file, or a sub-agent's, line by line; times are seconds after the start."""

    path: Path
    session_id: str
    agent_id: str = ""
    lines: int = 0
    start_s: float = START_S
    common: dict[str, Any] = field(default_factory=dict)

    def write(self, second: float, **members: Any) -> None:
        self.lines += 1
        line = {
            "uuid": f"{self.agent_id or 'main'}-{self.lines}",
            "sessionId": self.session_id,
            "timestamp": at(second, self.start_s),
            "version": "2.1.39",
            "isSidechain": bool(self.agent_id),
            **({"agentId": self.agent_id} if self.agent_id else {}),
            **self.common,
            **members,
        }
        self.raw(json.dumps(line, separators=(",", ":")) + "\n")

    def raw(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(text)

    def prompt(self, second: float, text: str = "do it", **members: Any) -> None:
        self.write(second, type="user", message={"role": "user", "content": text}, **members)

    def say(self, second: float, text: str = "done", **members: Any) -> None:
        self._answer(second, {"type": "text", "text": text}, members)

    def call(self, second: float, tool_id: str, name: str = "Bash", **given: Any) -> None:
        block = {"type": "tool_use", "id": tool_id, "name": name, "input": given}
        self._answer(second, block, {})

    def result(
        self, second: float, tool_id: str, *, is_error: bool = False, **outcome: Any
    ) -> None:
        block = {"type": "tool_result", "tool_use_id": tool_id, "is_error": is_error}
        content = {"role": "user", "content": [block]}
        self.write(second, type="user", message=content, toolUseResult=outcome)

    def system(self, second: float, subtype: str, **members: Any) -> None:
        self.write(second, type="system", subtype=subtype, **members)

    def _answer(self, second: float, block: dict[str, Any], members: dict[str, Any]) -> None:
        message = {
            "id": f"msg-{self.agent_id}-{self.lines}",
            "model": "model-1",
            "content": [block],
            "stop_reason": None,
            "usage": {
                "input_tokens": 1,
                "output_tokens": 10,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 1000,
            },
        }
        message.update(members.pop("message", {}))
        self.write(second, type="assistant", message=message, **members)


SESSION = "0f7b6f0e-1111-4222-8333-444455556666"


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    return tmp_path / "projects"


@pytest.fixture
def session(projects: Path) -> Recording:
    """An empty session file."""
    return Recording(projects / "-work-shop" / f"{SESSION}.jsonl", SESSION)


@pytest.fixture
def agent(session: Recording) -> Callable[[str], Recording]:
    """Makes the file of one of its sub-agents."""

    def make(agent_id: str) -> Recording:
        path = session.path.with_suffix("") / "subagents" / f"agent-{agent_id}.jsonl"
        return Recording(path, session.session_id, agent_id)

    return make


@pytest.fixture
def run_import() -> Callable[..., Summary]:
    """Imports files and directories in this process."""

    def run(*paths: Path) -> Summary:
        found, _ = session_files.find(map(str, paths))
        with ImportRecord(lambda: None) as record:
            return import_sessions([(ClaudeCode(), one) for one in found], record, lambda _: None)

    return run


@pytest.fixture
def history(
    lines: Callable[[str], tuple[list[dict[str, Any]], int]],
) -> Callable[[], list[dict[str, Any]]]:
    """Reads the imported spans, attributes as a plain dict of their values."""

    def read() -> list[dict[str, Any]]:
        parsed, _ = lines("history")
        return [
            {**span, "attributes": {pair["key"]: _value(pair) for pair in span["attributes"]}}
            for line in parsed
            for resource in line["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    return read


def _value(pair: dict[str, Any]) -> Any:
    kind, content = next(iter(pair["value"].items()))
    return int(content) if kind == "intValue" else content
