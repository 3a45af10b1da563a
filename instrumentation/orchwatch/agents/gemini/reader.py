"""Where Gemini CLI keeps its sessions, and which file is whose.

A session is `tmp/<project>/chats/session-<time>-<start of its id>.jsonl`; its sub-agents are in
`chats/<session>/`, and theirs in `chats/<sub-agent>/`. Early versions wrote one JSON document,
`session-….json`, instead.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.agents.gemini import whole
from orchwatch.agents.gemini.chat import Chat
from orchwatch.agents.reader import Reader, RecordedSession, SessionFile
from orchwatch.agents.sessions import records
from orchwatch.agents.sessions.databases import Rows
from orchwatch.agents.sessions.fields import project_name, text, time_ns
from orchwatch.agents.sessions.lines import size_bytes
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.agents.sessions.claims import Claims
    from orchwatch.agents.sessions.lines import Source

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID = re.compile(_UUID)
_HASH = re.compile("[0-9a-f]{64}")  # older versions name a project's folder so
_HEAD_BYTES = 1 << 16
_PATH_BYTES = 1 << 16
_HASHED = b'"projectHash"'
_NAMED = re.compile(rb'"sessionId":"(' + _UUID.encode() + rb')"')
_OURS = re.compile(rb'^\{"\$set":|"type":"gemini"', re.MULTILINE)
_MAX_DEPTH = 64


class _File(NamedTuple):
    path: str
    own_id: str  # of the session, or of the sub-agent
    parent: str  # who started that one; empty for a session
    began_ns: int
    identity: str
    size_bytes: int
    version: str = ""


class Gemini(Reader):
    """Reads `.gemini/tmp` in `GEMINI_CLI_HOME` or the home directory."""

    name = "gemini-cli"
    title = "Gemini CLI"
    provider = "gcp.gemini"
    suffixes = (".jsonl", whole.PATTERN)
    knows = "0.61.0"

    def places(self) -> list[str]:
        home = os.environ.get("GEMINI_CLI_HOME") or os.path.expanduser("~")
        return [os.path.join(os.path.abspath(home), ".gemini", "tmp")]

    def find(self, paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
        found: dict[tuple[str, str], _File] = {}
        strange = []
        for path in paths:
            one = _file(path)
            if one is None:
                strange.append(path)
                continue
            key = (one.own_id, one.identity)
            # Of two copies the longer one holds what the other holds.
            if key not in found or found[key].size_bytes < one.size_bytes:
                found[key] = one
        parents = {one.own_id: one.parent for one in found.values() if one.parent}
        sessions: dict[str, list[_File]] = {}
        for one in found.values():
            sessions.setdefault(_root(one.own_id, parents), []).append(one)
        recorded = [_session(root, members) for root, members in sessions.items()]
        return sorted(recorded, key=lambda one: (one.began_ns, one.session_id)), strange

    def file_reader(
        self,
        session: RecordedSession,
        file: SessionFile,
        claims: Claims,
        state: dict[str, Any] | None = None,
    ) -> Chat:
        project = "" if file.agent_id else _project(file.path)
        return Chat(session.session_id, file.agent_id, claims, state, project)

    def source(self, file: SessionFile, skipped: Counter[str]) -> Source:
        if file.version:
            return Rows(lambda: whole.read(file.path, skipped))
        return super().source(file, skipped)


def _root(own_id: str, parents: dict[str, str]) -> str:
    """The session, however deep a sub-agent lies."""
    for _ in range(_MAX_DEPTH):
        if own_id not in parents:
            break
        own_id = parents[own_id]
    return own_id


def _session(root: str, members: list[_File]) -> RecordedSession:
    members.sort(key=lambda one: (bool(one.parent), one.began_ns, one.path))
    folder = os.path.dirname(os.path.abspath(members[0].path))
    if members[0].parent:
        folder = os.path.dirname(folder)
    return RecordedSession(
        root,
        os.path.basename(os.path.dirname(folder)),
        tuple(
            SessionFile(
                one.path,
                one.own_id if one.parent else None,
                one.identity,
                one.size_bytes,
                one.version,
            )
            for one in members
        ),
        min(one.began_ns for one in members),
    )


def _file(path: str) -> _File | None:
    """What a file's first lines say; None where it is none of Gemini CLI's."""
    try:
        with files.reader(path) as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return None
    if path.endswith(whole.SUFFIX):
        found = whole.about(head)
        if found is None:
            return None
        session_id, began_ns = found
        version = whole.version(path)
        return _File(path, session_id, "", began_ns, "whole", size_bytes(path), version)
    folder, name = os.path.split(os.path.abspath(path))
    folder = os.path.basename(folder)
    about = _about(head)
    own_id, kind = text(about.get("sessionId")), text(about.get("kind"))
    if not own_id:
        # The line that says it is cut off or damaged: a sub-agent's file is named after it.
        own_id, kind = name.removesuffix(".jsonl"), "subagent"
        if not (_OURS.search(head) and _ID.fullmatch(own_id) and _ID.fullmatch(folder)):
            return None
    parent = ""
    if kind == "subagent":
        parent = folder if _ID.fullmatch(folder) else own_id
    identity = hashlib.sha256(head.split(b"\n", 1)[0]).hexdigest()[:16]
    began_ns = time_ns(about.get("startTime")) or 0
    return _File(path, own_id, parent, began_ns, identity, size_bytes(path))


def _about(head: bytes) -> dict[str, Any]:
    """The first line that says whose file it is; what is left of it where it is damaged."""
    ignored: Counter[str] = Counter()
    for line in head.split(b"\n"):
        if _HASHED not in line:
            continue
        for record in records.parse(line, ignored):
            if text(record.get("sessionId")) and text(record.get("projectHash")):
                return record
        named = _NAMED.search(line)
        if named:
            kind = "subagent" if b'"subagent"' in line else ""
            return {"sessionId": named[1].decode(), "kind": kind}
    return {}


def _project(path: str) -> str:
    """The name of the folder that a session's file is about."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(path)))
    try:
        root = files.read(os.path.join(folder, ".project_root"), _PATH_BYTES)
        return project_name(root.decode("utf-8", "replace").strip())
    except OSError:
        name = os.path.basename(folder)
        return "" if _HASH.fullmatch(name) else project_name(f"tmp/x/{name}")
