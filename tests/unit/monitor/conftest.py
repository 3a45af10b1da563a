from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import record  # noqa: F401 - a fixture of these tests, too

from orchwatch.monitor.checkpoint import Checkpoint
from orchwatch.monitor.following import Following

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Json = dict[str, Any]


@dataclass
class Writer:
    """Writes a session's file as Claude Code does: line by line, as things happen.

    Each tool call is an answer of the model that uses 100 tokens of input and 10 of output.
    """

    path: Path
    session_id: str
    at_s: float = field(default_factory=lambda: time.time() - 60)
    step_s: float = 0.1
    number: int = 0

    def turn(self, tools: int = 1, *, ended: bool = True) -> None:
        self.prompt()
        for _ in range(tools):
            self.tool()
        if ended:
            self.end()

    def prompt(self) -> None:
        number = self._count()
        self.line("user", {"role": "user", "content": "do it"}, promptId=f"prompt-{number}")

    def tool(self) -> None:
        tool_use_id = f"toolu_{self.session_id}_{self._count()}"
        self._answer(
            {"type": "tool_use", "id": tool_use_id, "name": "Bash", "input": {}}, "tool_use"
        )
        result = {"type": "tool_result", "tool_use_id": tool_use_id, "content": "done"}
        self.line("user", {"role": "user", "content": [result]})

    def end(self) -> None:
        self._answer({"type": "text", "text": "done"}, "end_turn")
        self.line("system", None, subtype="turn_duration", durationMs=1)

    def line(self, kind: str, message: Json | None, **more: object) -> None:
        self.at_s += self.step_s
        moment = datetime.fromtimestamp(self.at_s, UTC).isoformat().replace("+00:00", "Z")
        content = {
            "type": kind,
            "sessionId": self.session_id,
            "uuid": f"{self.session_id}-{self._count()}",
            "version": "2.1.39",
            "timestamp": moment,
            **({"message": message} if message else {}),
            **more,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(content) + "\n")

    def _answer(self, block: Json, stop_reason: str) -> None:
        usage = {"input_tokens": 100, "output_tokens": 10}
        self.line(
            "assistant",
            {
                "id": f"msg_{self.session_id}_{self._count()}",
                "role": "assistant",
                "model": "claude-test",
                "content": [block],
                "stop_reason": stop_reason,
                "usage": usage,
            },
        )

    def _count(self) -> int:
        self.number += 1
        return self.number


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    return tmp_path / "projects"


@pytest.fixture
def session(projects: Path) -> Writer:
    session_id = "00000000-0000-4000-8000-000000000001"
    return Writer(projects / "-work" / f"{session_id}.jsonl", session_id)


class Watching:
    """A follower in this very process, with a checkpoint of its own."""

    def __init__(self, projects: Path) -> None:
        self._projects = projects
        self.start()

    def start(self) -> None:
        self.checkpoint = Checkpoint()
        self.following = Following(self.checkpoint, [str(self._projects)])

    def stop(self, *, cleanly: bool = True) -> None:
        if cleanly:
            self.following.save()
        self.following.close()
        self.checkpoint.close()

    def watch(self, until: Callable[[], bool]) -> None:
        """Steps until it holds; fails when that takes too long."""
        deadline = time.monotonic() + 60
        while not until():
            assert time.monotonic() < deadline
            self.following.step(0.25)
            time.sleep(0.02)


@pytest.fixture
def watching(home: Path, projects: Path) -> Iterator[Watching]:  # noqa: ARG001 - it lies there
    found = Watching(projects)
    yield found
    found.stop()


@pytest.fixture
def recorded(lines: Callable[[str], Any]) -> Callable[..., list[Json]]:
    """The spans in the spool; by default the ones that are counted."""

    def read(*families: str) -> list[Json]:
        return [
            span
            for family in families or ("operations",)
            for line in lines(family)[0]
            for resource in line["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    return read
