"""Where Qwen Code keeps its sessions, and which file is whose.

A session is `projects/<folder>/chats/<session>.jsonl`; its sub-agents are
`projects/<folder>/subagents/<session>/agent-<sub-agent>.jsonl`, each with what it is beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.agents.qwen.transcript import Transcript
from orchwatch.agents.reader import Reader, RecordedSession, SessionFile
from orchwatch.agents.sessions import records
from orchwatch.agents.sessions.fields import mapping, text, time_ns
from orchwatch.agents.sessions.lines import size_bytes
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchwatch.agents.sessions.claims import Claims

_HEAD_BYTES = 1 << 16
_WHOLE_BYTES = 1 << 20  # where the first line is longer
_ABOUT_BYTES = 1 << 20
_OWN_MEMBERS = ("provenance", "systemPayload", "toolCallResult")


class _File(NamedTuple):
    path: str
    session_id: str
    agent_id: str | None
    began_ns: int
    identity: str
    size_bytes: int


class Qwen(Reader):
    """Reads `projects` in `QWEN_RUNTIME_DIR`, `QWEN_HOME` or `~/.qwen`."""

    name = "qwen-code"
    title = "Qwen Code"
    knows = "0.24.4"

    def places(self) -> list[str]:
        home = os.environ.get("QWEN_RUNTIME_DIR") or os.environ.get("QWEN_HOME") or "~/.qwen"
        return [os.path.join(os.path.abspath(os.path.expanduser(home)), "projects")]

    def find(self, paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
        found: dict[tuple[str, str | None, str], _File] = {}
        strange = []
        for path in paths:
            head = list(_head(path))
            if head and _is_summary(head[0][1]):
                continue
            one = _file(path, head)
            if one is None:
                strange.append(path)
                continue
            key = (one.session_id, one.agent_id, one.identity)
            # Of two copies the longer one holds what the other holds.
            if key not in found or found[key].size_bytes < one.size_bytes:
                found[key] = one
        sessions: dict[str, list[_File]] = {}
        for one in found.values():
            sessions.setdefault(one.session_id, []).append(one)
        recorded = [_session(session_id, members) for session_id, members in sessions.items()]
        return sorted(recorded, key=lambda one: (one.began_ns, one.session_id)), strange

    def file_reader(
        self,
        session: RecordedSession,
        file: SessionFile,
        claims: Claims,
        state: dict[str, Any] | None = None,
    ) -> Transcript:
        known = {one.agent_id for one in session.files if one.agent_id}
        chats = os.path.dirname(os.path.abspath(file.path))
        folder = os.path.join(os.path.dirname(chats), "subagents", session.session_id)

        @cache
        def is_filed(agent_id: str) -> bool:
            # One that began after its session was found.
            path = os.path.join(folder, f"agent-{os.path.basename(agent_id)}.jsonl")
            return agent_id in known or os.path.exists(path)

        origin = _origin(file.path) if file.agent_id else {}
        return Transcript(
            session.session_id, file.agent_id, claims, state, origin=origin, is_filed=is_filed
        )


def _session(session_id: str, members: list[_File]) -> RecordedSession:
    members.sort(key=lambda one: (one.agent_id or "", one.path))
    folder = os.path.dirname(os.path.dirname(os.path.abspath(members[0].path)))
    if members[0].agent_id:
        folder = os.path.dirname(folder)
    return RecordedSession(
        session_id,
        os.path.basename(folder),
        tuple(SessionFile(one.path, one.agent_id, one.identity, one.size_bytes) for one in members),
        min(one.began_ns for one in members),
    )


def _file(path: str, head: list[tuple[bytes, dict[str, Any]]]) -> _File | None:
    """What a file's first lines say; None where it is none of Qwen Code's."""
    for line, record in head:
        session_id = text(record.get("sessionId"))
        if not session_id or not _is_own(record):
            continue
        agent_id = text(record.get("agentId")) if record.get("isSidechain") is True else ""
        return _File(
            path,
            session_id,
            agent_id or None,
            time_ns(record.get("timestamp")) or 0,
            hashlib.sha256(line).hexdigest()[:16],
            size_bytes(path),
        )
    return None


def _is_own(record: dict[str, Any]) -> bool:
    """Whether a line is one of Qwen Code's, and not of another agent's that looks like it."""
    if not text(record.get("uuid")) or not text(record.get("type")):
        return False
    parts = mapping(record.get("message")).get("parts")
    return isinstance(parts, list) or any(member in record for member in _OWN_MEMBERS)


def _is_summary(record: dict[str, Any]) -> bool:
    """Whether a file adds up what its sessions have used, and is none itself."""
    return "models" in record and "totalLatencyMs" in record and not text(record.get("uuid"))


def _head(path: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The records of a file's first lines, each with its line."""
    try:
        with files.reader(path) as stream:
            head = stream.read(_HEAD_BYTES)
            if b"\n" not in head:
                head += stream.read(_WHOLE_BYTES)
    except OSError:
        return
    lines = head.split(b"\n")
    if len(head) >= _HEAD_BYTES and len(lines) > 1:
        lines.pop()  # the last one may lack its end
    ignored: Counter[str] = Counter()
    for line in lines:
        for record in records.parse(line, ignored):
            yield line, record


def _origin(path: str) -> dict[str, str]:
    """What lies beside a sub-agent's file: its type, the call that started it, its model."""
    described: dict[str, Any] = {}
    try:
        about = files.read(path.removesuffix(".jsonl") + ".meta.json", _ABOUT_BYTES)
        described = mapping(json.loads(about))
    except (OSError, ValueError, RecursionError):
        pass
    members = {"agent_type": "agentType", "tool_use_id": "toolUseId", "model": "model"}
    return {name: text(described.get(member)) for name, member in members.items()}
