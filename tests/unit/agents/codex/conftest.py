from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.agents.codex.reader import Codex
from orchwatch.agents.importer import Summary, import_sessions
from orchwatch.agents.reader import session_files
from orchwatch.agents.sessions.import_record import ImportRecord

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = Path(__file__).parents[5] / "shared" / "data" / "agents"
START_MS = 1_780_000_000_000


def thread_id(number: int, second: float = 0) -> str:
    """A UUID of version 7, as Codex makes them: it begins with its time."""
    digits = f"{START_MS + round(second * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-{number:012x}"


def at(second: float) -> str:
    moment = datetime.fromtimestamp((START_MS + round(second * 1000)) / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def ns(second: float) -> int:
    return (START_MS + round(second * 1000)) * 1_000_000


@dataclass
class Rollout:
    """Writes a rollout line by line; times are seconds after the start."""

    path: Path
    thread: str
    paginated: bool = True
    ordinal: int = 0
    turn: str = ""
    total: Counter[str] = field(default_factory=Counter)

    def write(self, second: float, kind: str, **payload: Any) -> None:
        line: dict[str, Any] = {"timestamp": at(second), "type": kind, "payload": payload}
        if self.paginated:
            line = {"timestamp": at(second), "ordinal": self.ordinal, **line}
        self.ordinal += 1
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def meta(self, second: float = 0, **members: Any) -> None:
        if self.paginated:
            members = {"history_mode": "paginated", "session_id": self.thread, **members}
        self.write(
            second,
            "session_meta",
            **{"id": self.thread, "timestamp": at(second), "cwd": "/work/shop"} | members,
            cli_version="0.171.0" if self.paginated else "0.120.0",
            model_provider="openai",
        )

    def begin(self, second: float, turn: str = "") -> None:
        self.turn = turn or thread_id(1000 + self.ordinal, second)
        self.event(second, "task_started", turn_id=self.turn)
        self.write(second, "turn_context", turn_id=self.turn, model="gpt-5.5")

    def event(self, second: float, kind: str, **members: Any) -> None:
        self.write(second, "event_msg", type=kind, **members)

    def end(self, second: float, **members: Any) -> None:
        self.event(second, "task_complete", turn_id=self.turn, **members)

    def call(self, second: float, call_id: str, name: str = "exec_command", **more: Any) -> None:
        kind = "custom_tool_call" if name in ("exec", "apply_patch") else "function_call"
        self.write(second, "response_item", type=kind, name=name, call_id=call_id, **more)

    def output(self, second: float, call_id: str, output: Any = "fine") -> None:
        self.write(
            second, "response_item", type="function_call_output", call_id=call_id, output=output
        )

    def item(self, second: float, began: float, kind: str, own: str, **members: Any) -> None:
        self.event(
            second,
            "item_completed",
            turn_id=self.turn,
            started_at_ms=ns(began) // 1_000_000,
            completed_at_ms=ns(second) // 1_000_000,
            item={"type": kind, "id": own, **members},
        )

    def used(self, second: float, response: str, **counts: int) -> None:
        """A request's tokens, as each of the formats has them: the older one twice."""
        if self.paginated:
            self.write(
                second,
                "token_usage_record",
                turn_id=self.turn,
                response_id=response,
                usage=counts,
            )
            return
        self.total.update(counts)
        for _ in range(2):
            self.tokens(second, dict(self.total), counts)

    def tokens(self, second: float, total: dict[str, int], last: dict[str, int]) -> None:
        info = {"total_token_usage": total, "last_token_usage": last}
        self.event(second, "token_count", info=info)


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    return tmp_path / "codex" / "sessions"


@pytest.fixture
def rollout(sessions: Path) -> Callable[..., Rollout]:
    """Makes the file of a thread."""

    def make(thread: str, *, paginated: bool = True) -> Rollout:
        name = f"rollout-2026-05-28T00-00-00-{thread}.jsonl"
        return Rollout(sessions / "2026" / "05" / "28" / name, thread, paginated)

    return make


@pytest.fixture
def add() -> Callable[..., Summary]:
    """Imports files and folders in this process."""

    def run(*paths: Path) -> Summary:
        reader = Codex()
        found, _ = reader.find(session_files(map(str, paths), reader.suffixes))
        with ImportRecord(lambda: None) as record:
            return import_sessions([(reader, one) for one in found], record, lambda _: None)

    return run


@pytest.fixture
def spans(
    lines: Callable[[str], tuple[list[dict[str, Any]], int]],
) -> Callable[[], list[dict[str, Any]]]:
    """The imported spans, attributes as a plain dict of their values."""

    def read() -> list[dict[str, Any]]:
        return [
            {**span, "attributes": {pair["key"]: _value(pair) for pair in span["attributes"]}}
            for line in lines("history")[0]
            for resource in line["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    return read


def _value(pair: dict[str, Any]) -> Any:
    kind, content = next(iter(pair["value"].items()))
    return int(content) if kind == "intValue" else content
