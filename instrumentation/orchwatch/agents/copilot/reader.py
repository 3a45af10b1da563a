"""Where Copilot CLI keeps its sessions, and the table of what their requests used."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchwatch.agents.copilot import spans
from orchwatch.agents.copilot.events import Events
from orchwatch.agents.reader import Reader, RecordedSession, SessionFile
from orchwatch.agents.sessions import databases, records
from orchwatch.agents.sessions.fields import mapping, project_name, text, time_ns, word
from orchwatch.agents.sessions.lines import UNREAD, size_bytes
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchwatch.agents.reader import FileReader
    from orchwatch.agents.sessions.claims import Claims

_NAME = "events.jsonl"
_STORE = "session-store.db"
_HEAD_BYTES = 1 << 16
_USED = """
SELECT id, agent_id, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
  reasoning_tokens, created_at
FROM assistant_usage_events WHERE session_id = ? AND id > ? ORDER BY id
"""


class Copilot(Reader):
    """Reads `session-state/*/events.jsonl` in `COPILOT_HOME` or `~/.copilot`."""

    name = "copilot-cli"
    title = "Copilot CLI"
    provider = "github"
    knows = "1.0.102"

    def __init__(self) -> None:
        self._failed: dict[str, spans.FailedRequests] = {}

    def places(self) -> list[str]:
        home = os.environ.get("COPILOT_HOME") or os.path.expanduser("~/.copilot")
        spans_file = os.environ.get("COPILOT_OTEL_FILE_EXPORTER_PATH")
        own = [os.path.join(os.path.abspath(home), "session-state")]
        return [*own, os.path.abspath(spans_file)] if spans_file else own

    def find(self, paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
        found: dict[str, RecordedSession] = {}
        strange = []
        traced: list[tuple[str, set[str]]] = []
        for path in paths:
            if _is_store(path):
                continue  # read with the sessions that it is about
            head = _head(path)
            one = _session(path, head)
            if one is None:
                failed = self._failed_requests(path, head)
                if failed is None:
                    strange.append(path)
                else:
                    traced.append((path, failed))
                continue
            known = found.get(one.session_id)
            if known is None or known.files[0].size_bytes < one.files[0].size_bytes:
                found[one.session_id] = one
        for path, failed in traced:
            for session_id in sorted(failed & found.keys()):
                one = found[session_id]
                file = SessionFile(path, spans.FILE, session_id, size_bytes(path))
                found[session_id] = replace(one, files=(*one.files, file))
            # Of sessions that are not here it is all there is, and more than can be read.
            strange += [path] if failed - found.keys() else []
        return sorted(found.values(), key=lambda one: (one.began_ns, one.session_id)), strange

    def sessions_in(self, path: str) -> set[str]:
        return self._failed_requests(path, _head(path)) or set()

    def _failed_requests(self, path: str, head: bytes) -> set[str] | None:
        """The sessions of which a file of spans has some; None if it is no such file."""
        if not spans.is_known(head):
            return None
        try:
            return self._failed.setdefault(path, spans.FailedRequests(path)).sessions()
        except OSError:
            return None

    def file_reader(
        self,
        session: RecordedSession,
        file: SessionFile,
        claims: Claims,
        state: dict[str, Any] | None = None,
    ) -> FileReader:
        if file.agent_id == spans.FILE:
            return spans.Spans(session.session_id, state)
        return Events(session.session_id, claims, _table(file.path, session.session_id), state)


def _table(path: str, session_id: str) -> Callable[[int, Counter[str]], list[dict[str, Any]]]:
    """Reads what the table says of a session's requests, after the row of that number."""
    folder = os.path.dirname(os.path.abspath(path))
    store = os.path.join(os.path.dirname(os.path.dirname(folder)), _STORE)

    wait_s = databases.WAIT_S

    def read(after: int, skipped: Counter[str]) -> list[dict[str, Any]]:
        nonlocal wait_s
        if not os.path.exists(store):
            return []
        try:
            found = databases.rows(store, _USED, [session_id, after], wait_s)
        except (OSError, sqlite3.Error) as error:
            if databases.is_passing(error):
                wait_s = 0.0  # or each answer in the file would wait again
                skipped[f"{UNREAD}{_STORE}"] = 1
            elif not isinstance(error, sqlite3.OperationalError):
                skipped[f"unreadable {_STORE}"] += 1
            # Else it is an older one, without the table.
            return []
        wait_s = databases.WAIT_S
        return found

    return read


def _is_store(path: str) -> bool:
    if os.path.basename(path) != _STORE:
        return False
    try:
        databases.rows(path, "SELECT session_id FROM assistant_usage_events LIMIT 1")
    except (OSError, sqlite3.Error):
        return False
    return True


def _head(path: str) -> bytes:
    try:
        with files.reader(path) as stream:
            return stream.read(_HEAD_BYTES)
    except OSError:
        return b""


def _session(path: str, head: bytes) -> RecordedSession | None:
    folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
    session_id, is_known, began_ns, project = "", False, 0, ""
    for line in head.split(b"\n"):
        for record in records.parse(line, Counter()):
            data = mapping(record.get("data"))
            begins = record.get("type") == "session.start" and "copilotVersion" in data
            if begins:
                session_id = session_id or text(data.get("sessionId"))
                project = project or project_name(mapping(data.get("context")).get("cwd"))
            # Where the first line is damaged: the others, in a file of that name.
            is_event = {"type", "data", "id", "parentId"} <= record.keys()
            is_known = is_known or begins or (is_event and os.path.basename(path) == _NAME)
            began_ns = began_ns or (time_ns(record.get("timestamp")) or 0)
    session_id = session_id or (word(folder) if is_known else "")
    if not session_id:
        return None
    file = SessionFile(path, None, session_id, size_bytes(path))
    return RecordedSession(session_id, project, (file,), began_ns)
