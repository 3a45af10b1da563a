"""Where Codex keeps its sessions, and which file is whose."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.agents.codex import compressed
from orchwatch.agents.codex.rollout import Rollout
from orchwatch.agents.reader import Reader, RecordedSession, SessionFile
from orchwatch.agents.sessions.fields import mapping, text, time_ns
from orchwatch.agents.sessions.lines import LineFile, size_bytes
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from orchwatch.agents.sessions.claims import Claims
    from orchwatch.agents.sessions.lines import Source

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAME = re.compile(rf"rollout-.*?({_UUID})\.jsonl(?:\.zst)?")
_FIRST_BYTES = 1 << 16
_HEAD_BYTES = 1 << 20  # the first line holds the instructions: 22 kB by default
# What the first line says, where it is damaged.
_ROOT = re.compile(rf'"session_id":"({_UUID})"')
_PARENT = re.compile(rf'"parent_thread_id":"({_UUID})"')
_MAX_DEPTH = 64


class _Thread(NamedTuple):
    path: str
    thread: str
    root: str
    parent: str
    began_ns: int
    identity: str
    size_bytes: int


class Codex(Reader):
    """Reads `sessions` and `archived_sessions` in `CODEX_HOME` or `~/.codex`."""

    name = "codex"
    title = "Codex CLI"
    provider = "openai"
    suffixes = (".jsonl", ".jsonl.zst")
    knows = "0.171.0"

    def places(self) -> list[str]:
        home = os.environ.get("CODEX_HOME") or os.path.expanduser("~/.codex")
        home = os.path.abspath(home)
        return [os.path.join(home, name) for name in ("sessions", "archived_sessions")]

    def find(self, paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
        threads: dict[str, _Thread] = {}
        strange = []
        for path in paths:
            found = _thread(path)
            if found is None:
                strange.append(path)
                continue
            known = threads.get(found.thread)
            # A file that is being archived or compressed is there twice: the plain one holds all.
            if known is None or _rank(found) > _rank(known):
                threads[found.thread] = found
        sessions: dict[str, list[_Thread]] = {}
        for one in threads.values():
            sessions.setdefault(_root(one, threads), []).append(one)
        recorded = [_session(root, members) for root, members in sessions.items()]
        return sorted(recorded, key=lambda one: (one.began_ns, one.session_id)), strange

    def file_reader(
        self,
        session: RecordedSession,
        file: SessionFile,
        claims: Claims,
        state: dict[str, Any] | None = None,
    ) -> Rollout:
        return Rollout(session.session_id, file.agent_id, claims, state)

    def source(self, file: SessionFile, skipped: Counter[str]) -> Source:
        if file.path.endswith(compressed.SUFFIX):
            return compressed.CompressedLines(file.path, skipped)
        return LineFile(file.path, skipped)


def _rank(thread: _Thread) -> tuple[bool, int]:
    return not thread.path.endswith(compressed.SUFFIX), thread.size_bytes


def _root(thread: _Thread, threads: dict[str, _Thread]) -> str:
    """The session: where a file does not say, that of its parent."""
    if thread.root:
        return thread.root
    for _ in range(_MAX_DEPTH):
        if not thread.parent:
            break
        parent = threads.get(thread.parent)
        if parent is None:
            return thread.parent
        if parent.root:
            return parent.root
        thread = parent
    return thread.thread


def _session(root: str, members: list[_Thread]) -> RecordedSession:
    members.sort(key=lambda one: (one.thread != root, one.began_ns, one.thread))
    found = tuple(
        SessionFile(
            one.path,
            None if one.thread == root else one.thread,
            one.identity,
            one.size_bytes,
            _version(one.path),
        )
        for one in members
    )
    return RecordedSession(root, "", found, min(one.began_ns for one in members))


def _version(path: str) -> str:
    """Of a file that cannot be read yet, so that it is looked at again once it can."""
    unread = path.endswith(compressed.SUFFIX) and compressed.library() is None
    return compressed.MISSING if unread else ""


def _thread(path: str) -> _Thread | None:
    try:
        head = _head(path)
    except OSError:
        return None
    first = head.lstrip().split(b"\n", 1)[0]
    try:
        record = mapping(json.loads(first))
    except (ValueError, RecursionError):
        record = {}
    meta = mapping(record.get("payload")) if record.get("type") == "session_meta" else {}
    thread = text(meta.get("id"))
    identity = hashlib.sha256(first).hexdigest()[:16]
    size = size_bytes(path)
    if thread:
        return _Thread(
            path,
            thread,
            text(meta.get("session_id")),
            text(meta.get("parent_thread_id")) or _spawned_by(meta),
            time_ns(meta.get("timestamp")) or time_ns(record.get("timestamp")) or 0,
            identity,
            size,
        )
    named = _NAME.fullmatch(os.path.basename(path))
    if named is None:
        return None
    said = head.decode("utf-8", "replace")
    root, parent = _ROOT.search(said), _PARENT.search(said)
    return _Thread(
        path, named[1], root[1] if root else "", parent[1] if parent else "", 0, identity, size
    )


def _spawned_by(meta: dict[str, Any]) -> str:
    """The parent, as older versions have it."""
    spawned = mapping(mapping(meta.get("source")).get("subagent"))
    return text(mapping(spawned.get("thread_spawn")).get("parent_thread_id"))


def _head(path: str) -> bytes:
    if path.endswith(compressed.SUFFIX):
        return compressed.head(path, _HEAD_BYTES)
    with files.reader(path) as stream:
        head = stream.read(_FIRST_BYTES)
        if b"\n" not in head.lstrip():
            head += stream.read(_HEAD_BYTES)
    return head
