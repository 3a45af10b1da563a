from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_MS = 1_780_000_000_000
SCHEMA = """
CREATE TABLE session (id TEXT PRIMARY KEY, parent_id TEXT, directory TEXT, version TEXT, agent TEXT,
  time_created INTEGER, time_updated INTEGER);
CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER,
  time_updated INTEGER, data TEXT);
CREATE INDEX message_session_time_created_id_idx ON message (session_id, time_created, id);
CREATE TABLE part (id TEXT PRIMARY KEY, message_id TEXT, session_id TEXT, time_created INTEGER,
  time_updated INTEGER, data TEXT);
CREATE INDEX part_message_id_id_idx ON part (message_id, id);
CREATE INDEX part_session_idx ON part (session_id);
CREATE TABLE session_message (id TEXT PRIMARY KEY, session_id TEXT);
"""


class Database:
    """Writes a database as opencode does, open all the time; times are seconds after the start."""

    def __init__(self, path: Path, start_ms: int = START_MS) -> None:
        self.path = path
        self.start_ms = start_ms
        self._parts = 0
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.executescript(SCHEMA)

    def ms(self, second: float) -> int:
        return self.start_ms + round(second * 1000)

    def session(
        self, own: str, second: float = 0, parent: str | None = None, agent: str = "build"
    ) -> None:
        at = self.ms(second)
        row = (own, parent, "/home/ada/shop", "1.18.33", agent, at, at)
        self.connection.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def user(self, session: str, own: str, second: float, *parts: dict[str, Any]) -> None:
        given = parts or ({"type": "text", "text": "a secret question"},)
        self.message(session, own, second, {"role": "user"}, *given)

    def assistant(
        self,
        session: str,
        own: str,
        asked: str,
        second: float,
        *parts: dict[str, Any],
        done: float | None = None,
        finish: str = "stop",
        **members: Any,
    ) -> None:
        data: dict[str, Any] = {
            "role": "assistant",
            "parentID": asked,
            "modelID": "big-1",
            "providerID": "google",
            "tokens": tokens(),
            **members,
        }
        if done is not None:
            data |= {"finish": finish, "time": {"completed": self.ms(done)}}
        self.message(session, own, second, data, *parts)

    def message(
        self, session: str, own: str, second: float, data: dict[str, Any], *parts: dict[str, Any]
    ) -> None:
        """A new one, or in the place of what it was before."""
        at = self.ms(second)
        data = {**data, "time": {"created": at, **data.get("time", {})}}
        row = (own, session, at, at, json.dumps(data))
        self.connection.execute("REPLACE INTO message VALUES (?, ?, ?, ?, ?)", row)
        for part in parts:
            self._parts += 1
            about = {"id": f"prt_{self._parts:04}", **part}
            values = (about.pop("id"), own, session, at, at, json.dumps(about))
            self.connection.execute("REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?)", values)

    def call(
        self,
        call_id: str,
        start: float,
        end: float | None = None,
        tool: str = "bash",
        status: str = "",
        **state: Any,
    ) -> dict[str, Any]:
        """A part that is a tool call."""
        times = {"start": self.ms(start)} | ({} if end is None else {"end": self.ms(end)})
        status = status or ("running" if end is None else "completed")
        given = {"input": {"command": "cat secret.txt"}, "output": "a secret answer", **state}
        state = {"status": status, "time": times, **given}
        about = {"id": f"prt_{call_id}", "type": "tool", "tool": tool, "callID": call_id}
        return {**about, "state": state}


def tokens(
    fresh: int = 0, output: int = 0, reasoning: int = 0, read: int = 0, write: int = 0
) -> dict[str, Any]:
    cache = {"read": read, "write": write}
    return {"input": fresh, "output": output, "reasoning": reasoning, "cache": cache}


def step(*counts: int) -> dict[str, Any]:
    return {"type": "step-finish", "tokens": tokens(*counts)}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "opencode.db")
    yield made
    made.connection.close()
