"""Where Claude Code keeps session files, and which of them make up a session.

A session is `<project>/<session>.jsonl` with `<session>/subagents/**/agent-<id>.jsonl`; older
versions put `agent-<id>.jsonl` beside the session's own file. What the lines say counts for more
than how files and folders are called: people move and rename them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.sessions.transcript import KINDS
from orchwatch.agents.reader import RecordedSession, SessionFile, below
from orchwatch.agents.sessions import records
from orchwatch.agents.sessions.fields import mapping, text, time_ns
from orchwatch.recording.files import MAX_LINE_BYTES, reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_SUFFIX = ".jsonl"
_AGENT = "agent-"
_SUBAGENTS = "subagents"
_WORKFLOWS = "workflows"
_SESSION_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_FIRST_BYTES = 1 << 16
_HEAD_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16
_JOURNAL = "journal"  # of a workflow: which sub-agents it started


def projects_directory() -> str:
    """Where Claude Code keeps them: `projects` in `CLAUDE_CONFIG_DIR` or `~/.claude`."""
    directory = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.expanduser("~/.claude")
    return os.path.join(os.path.abspath(directory), "projects")


def find(paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
    """The sessions in these files and directories, by age; and the files that belong to none.

    Among these are those that cannot be read, and paths that are gone.
    """
    sessions: dict[str, dict[str, SessionFile]] = defaultdict(dict)
    projects: dict[str, str] = {}
    began_ns: dict[str, int] = {}
    strange = []
    for path in _expand(paths):
        head = _head(path)
        if head is None:
            strange.append(path)
            continue
        if not head.strip() or _is_journal(path, head):
            continue
        session_id, agent_id = _owner(path, head)
        identity = hashlib.sha256(head.split(b"\n", 1)[0]).hexdigest()[:16]
        if not session_id:
            strange.append(path)
            continue
        key = f"{agent_id or ''}/{identity}"
        found = SessionFile(path, agent_id, identity, _size_bytes(path))
        known = sessions[session_id].get(key)
        # Of two copies the longer one holds what the other holds.
        if known is None or known.size_bytes < found.size_bytes:
            sessions[session_id][key] = found
        if agent_id is None:
            projects.setdefault(session_id, os.path.basename(os.path.dirname(path)))
            began_ns.setdefault(session_id, _first_time_ns(head))
    recorded = [
        RecordedSession(
            session_id,
            projects.get(session_id, ""),
            tuple(sorted(files.values(), key=lambda file: (file.agent_id or "", file.path))),
            began_ns.get(session_id, 0),
        )
        for session_id, files in sessions.items()
    ]
    return sorted(recorded, key=_age(recorded)), strange


def _age(recorded: list[RecordedSession]) -> Callable[[RecordedSession], tuple[int, int, str]]:
    """The older session first: of two that begin alike the shorter one, as the other is a fork."""
    alike = Counter(session.began_ns for session in recorded)

    def age(session: RecordedSession) -> tuple[int, int, str]:
        ended_ns = last_time_ns(session) if alike[session.began_ns] > 1 else 0
        return session.began_ns, ended_ns, session.session_id

    return age


def agent_origin(path: str) -> dict[str, str]:
    """What lies beside a sub-agent's file: its type, the call that started it, its workflow."""
    described: dict[str, object] = {}
    try:
        with reader(path.removesuffix(_SUFFIX) + ".meta.json") as stream:
            described = mapping(json.loads(stream.read(_HEAD_BYTES)))
    except (OSError, ValueError, RecursionError):
        pass
    folder, _ = os.path.split(os.path.abspath(path))
    above, run = os.path.split(folder)
    return {
        "run": text(run) if os.path.basename(above) == _WORKFLOWS else "",
        "agent_type": text(described.get("agentType")),
        "tool_use_id": text(described.get("toolUseId") or described.get("toolUseID")),
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
    return max((_last_time_ns(file.path) for file in session.files), default=0)


def _last_time_ns(path: str) -> int:
    """The latest time in the last lines that have one."""
    wanted = _TAIL_BYTES
    try:
        with reader(path) as stream:
            end = stream.seek(0, os.SEEK_END)
            while True:
                start = max(end - wanted, 0)
                stream.seek(start)
                lines = stream.read(end - start).split(b"\n")[1 if start else 0 :]
                ignored: Counter[str] = Counter()
                times = [
                    time_ns(record.get("timestamp")) or 0
                    for line in lines
                    if line.strip()
                    for record in records.parse(line, ignored)
                ]
                latest = max(times, default=0)
                if latest or not start or wanted > MAX_LINE_BYTES:
                    return latest
                wanted *= 16
    except OSError:
        return 0


def _expand(paths: Iterable[str]) -> Iterator[str]:
    """The files in them, each once, with those of their sub-agents."""
    seen: set[str] = set()
    for path in paths:
        if os.path.isdir(path):
            found = below(path, (_SUFFIX,))
        else:
            agents = os.path.join(path.removesuffix(_SUFFIX), _SUBAGENTS)
            found = chain([path], below(agents, (_SUFFIX,)))
        for one in found:
            if one not in seen:
                seen.add(one)
                yield one


def owner(path: str) -> tuple[str, str | None]:
    """The session and the sub-agent of a file, by its first lines or else by its name."""
    return _owner(path, _head(path) or b"")


def _owner(path: str, head: bytes) -> tuple[str, str | None]:
    name = text(os.path.basename(path).removesuffix(_SUFFIX))
    agent_id = name.removeprefix(_AGENT) if name.startswith(_AGENT) else None
    parents = os.path.abspath(path).split(os.sep)[:-1]
    session_id = ""
    found = list(_records(head))
    if found and not _is_claude_codes(found):
        return "", agent_id
    for record in found:
        described = text(record.get("sessionId"))
        if not described:
            continue
        session_id = session_id or described
        if not record.get("uuid"):
            continue  # of a kind that every file may begin with
        if record.get("isSidechain") is not True:
            agent_id = None if "isSidechain" in record else agent_id
        elif _SUBAGENTS in parents or agent_id:
            agent_id = text(record.get("agentId")) or agent_id or name
        return described, agent_id
    if session_id:
        return session_id, agent_id
    if _SUBAGENTS in parents:
        at = len(parents) - 1 - parents[::-1].index(_SUBAGENTS)
        return text(parents[at - 1]), agent_id or name
    if agent_id is None and _SESSION_ID.fullmatch(name):
        return name, None
    return "", agent_id


def _is_claude_codes(found: list[dict[str, Any]]) -> bool:
    """Whether Claude Code writes lines like those that name the session, and none is another's.

    Others say `sessionId`, too; Qwen Code's lines differ in what a message is made of.
    """
    messages = [mapping(record.get("message")) for record in found]
    if any("parts" in message and "content" not in message for message in messages):
        return False
    naming = [record for record in found if text(record.get("sessionId"))]
    return any(
        record.get("uuid") or text(record.get("type")) in KINDS for record in naming or found
    )


def _first_time_ns(head: bytes) -> int:
    """When the first record was written that a fork would have copied."""
    times = (time_ns(record.get("timestamp")) for record in _records(head) if record.get("uuid"))
    return next((found for found in times if found), 0)


def _is_journal(path: str, head: bytes) -> bool:
    """Whether it only lists the sub-agents of a workflow."""
    if os.path.basename(path) != _JOURNAL + _SUFFIX:
        return False
    first = next(_records(head), {})
    return "key" in first and not text(first.get("sessionId"))


def _records(head: bytes) -> Iterator[dict[str, Any]]:
    ignored: Counter[str] = Counter()
    for line in head.split(b"\n"):
        if line.strip():
            yield from records.parse(line, ignored)


def _head(path: str) -> bytes | None:
    """The first lines, so many that one names the session if that can be had; None unread."""
    try:
        with reader(path) as stream:
            head = _whole_lines(stream.read(_FIRST_BYTES))
            if not any(text(record.get("sessionId")) for record in _records(head)):
                stream.seek(0)
                head = _whole_lines(stream.read(_HEAD_BYTES))
    except OSError:
        return None
    return head


def _whole_lines(head: bytes) -> bytes:
    end = head.rfind(b"\n") + 1
    return head[:end] if end and len(head) >= _FIRST_BYTES else head


def _size_bytes(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
