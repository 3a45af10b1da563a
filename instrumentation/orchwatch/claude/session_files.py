"""Where Claude Code keeps session files, and which of them make up a session.

A session is `<project>/<session>.jsonl` with `<session>/subagents/**/agent-<id>.jsonl`; older
versions put `agent-<id>.jsonl` beside the session's own file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch.claude.fields import mapping, text, time_ns
from orchwatch.errors import UsageError
from orchwatch.files import reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SUFFIX = ".jsonl"
_AGENT = "agent-"
_SUBAGENTS = "subagents"
_SESSION_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HEAD_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16
_TIME = re.compile(rb'"timestamp":"([^"]{10,40})"')


@dataclass(frozen=True)
class SessionFile:
    """One file.

    Attributes:
        path: Where it lies.
        agent_id: The sub-agent that it is about, None for a session's own file.
        identity: The same for a copy, another for another file: of its first line.
    """

    path: str
    agent_id: str | None
    identity: str


@dataclass(frozen=True)
class RecordedSession:
    """A session's files, its own before those of its sub-agents."""

    session_id: str
    project: str
    files: tuple[SessionFile, ...]


def projects_directory() -> str:
    """Where Claude Code keeps them: `projects` in `CLAUDE_CONFIG_DIR` or `~/.claude`."""
    directory = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.expanduser("~/.claude")
    return os.path.join(os.path.abspath(directory), "projects")


def find(paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
    """The sessions in these files and directories, by id; and the files that belong to none.

    Raises:
        UsageError: A path does not exist.
    """
    sessions: dict[str, dict[str, SessionFile]] = defaultdict(dict)
    projects: dict[str, str] = {}
    strange = []
    for path in _expand(paths):
        session_id, agent_id = owner(path)
        identity = _identity(path)
        if not session_id or not identity:
            strange.append(path)
            continue
        key = f"{agent_id or ''}/{identity}"
        sessions[session_id].setdefault(key, SessionFile(path, agent_id, identity))
        if agent_id is None:
            projects.setdefault(session_id, os.path.basename(os.path.dirname(path)))
    return [
        RecordedSession(
            session_id,
            projects.get(session_id, ""),
            tuple(sorted(files.values(), key=lambda file: (file.agent_id or "", file.path))),
        )
        for session_id, files in sorted(sessions.items())
    ], strange


def agent_origin(path: str) -> dict[str, str]:
    """What newer versions keep beside a sub-agent's file: its type and the call that started it."""
    try:
        with reader(path.removesuffix(_SUFFIX) + ".meta.json") as stream:
            told = mapping(json.loads(stream.read(_HEAD_BYTES)))
    except (OSError, ValueError, RecursionError):
        return {}
    return {
        "agent_type": text(told.get("agentType")),
        "tool_use_id": text(told.get("toolUseId") or told.get("toolUseID")),
    }


def is_in_project(session: RecordedSession, project: str) -> bool:
    """Whether a session belongs to a project, given by its directory or the end of its name.

    Claude Code names a project's folder after its directory, with dashes for all but letters and
    digits.
    """
    wanted = re.sub("[^A-Za-z0-9]", "-", project.rstrip("/"))
    return session.project == wanted or session.project.endswith("-" + wanted.lstrip("-"))


def last_time_ns(session: RecordedSession) -> int:
    """The latest time at the end of a session's files, Unix nanoseconds; 0 where there is none."""
    latest = 0
    for file in session.files:
        try:
            with reader(file.path) as stream:
                size_bytes = stream.seek(0, os.SEEK_END)
                stream.seek(max(size_bytes - _TAIL_BYTES, 0))
                found = _TIME.findall(stream.read(_TAIL_BYTES))
        except OSError:  # deleted since
            continue
        latest = max(
            [latest, *(time_ns(moment.decode("ascii", "replace")) or 0 for moment in found)]
        )
    return latest


def _expand(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if os.path.isdir(path):
            yield from _below(path)
        elif os.path.exists(path):
            yield path
            yield from _below(os.path.join(path.removesuffix(_SUFFIX), _SUBAGENTS))
        else:
            raise UsageError(f"{path}: no such file or directory")


def _below(directory: str) -> Iterator[str]:
    for parent, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted(files):
            if name.endswith(_SUFFIX):
                yield os.path.join(parent, name)


def owner(path: str) -> tuple[str, str | None]:
    """The session and the sub-agent of a file, by its name or else by its first lines."""
    name = os.path.basename(path).removesuffix(_SUFFIX)
    agent_id = name.removeprefix(_AGENT) if name.startswith(_AGENT) else None
    parents = os.path.abspath(path).split(os.sep)[:-1]
    if _SUBAGENTS in parents:
        at = len(parents) - 1 - parents[::-1].index(_SUBAGENTS)
        return parents[at - 1], agent_id or name
    if agent_id is None and _SESSION_ID.fullmatch(name):
        return name, None
    return _told_session(path), agent_id


def _told_session(path: str) -> str:
    try:
        with reader(path) as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return ""
    for line in head.split(b"\n"):
        try:
            session_id = text(mapping(json.loads(line)).get("sessionId"))
        except (ValueError, RecursionError):
            continue
        if session_id:
            return session_id
    return ""


def _identity(path: str) -> str:
    """Of the first line, once that is whole; empty before, and where it cannot be read."""
    try:
        with reader(path) as stream:
            first = stream.readline(_HEAD_BYTES)
    except OSError:
        return ""
    if not first.endswith((b"\n", b"}")) and len(first) < _HEAD_BYTES:
        return ""
    return hashlib.sha256(first.rstrip(b"\n")).hexdigest()[:16]
