"""The spans that Copilot CLI writes to a file itself: only they tell of requests tried again.

All else in them is in a session's events too, and read there.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

from orchwatch import semconv
from orchwatch.agents.sessions.facts import ApiFailed, Fact
from orchwatch.agents.sessions.fields import mapping, text, word
from orchwatch.recording import files

FILE = "spans"  # in the place of a sub-agent's id: it tells a session's two files apart
_SERVICE = "github-copilot"
_FAILED = 2
_EDGE_BYTES = 4096
_PAIR = 2  # seconds and nanoseconds
_NS = 1_000_000_000
_LATEST_NS = 4_102_444_800 * _NS  # the year 2100
_INTERACTION = "github.copilot.interaction_id"


def is_known(head: bytes) -> bool:
    """Whether a file with these first bytes is one of Copilot CLI's spans."""
    first = head.split(b"\n", 1)[0]
    if b'"type"' not in first or _SERVICE.encode() not in first:
        return False
    record = _parsed(first)
    resource = mapping(mapping(record.get("resource")).get("attributes"))
    is_theirs = resource.get(semconv.SERVICE_NAME) == _SERVICE
    return is_theirs and record.get("type") in ("span", "metric")


class FailedRequests:
    """The failed requests in a file of spans; of what was appended since, only that is read.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._inode = self._offset = 0
        self._edge = b""  # the last bytes that were read
        self._sessions: set[str] = set()

    def sessions(self) -> set[str]:
        """Their sessions; an empty one among them stands for a request that cannot be read.

        Raises:
            OSError: It cannot be read.
        """
        with files.reader(self._path) as stream:
            inode = os.fstat(stream.fileno()).st_ino
            stream.seek(max(self._offset - len(self._edge), 0))
            if inode != self._inode or stream.read(len(self._edge)) != self._edge:
                self._inode, self._offset, self._edge = inode, 0, b""
                self._sessions = set()
            stream.seek(self._offset)
            begun = set()
            for line in files.lines(stream):
                found = _failed(line)
                is_whole = line.endswith(b"\n") or len(line) == files.MAX_LINE_BYTES
                if not is_whole:  # the rest of it may be on its way
                    begun = found
                    break
                self._sessions |= found
                self._offset, self._edge = stream.tell(), line[-_EDGE_BYTES:]
        return self._sessions | begun


class Spans:
    """Reads the failed requests of one session that were tried again.

    One that was not ends its turn, and the session's events say so.

    Args:
        session_id: The session.
        state: What `state` returned.

    Attributes:
        skipped: What was passed over, by reason.
    """

    version = ""

    def __init__(self, session_id: str, state: dict[str, Any] | None = None) -> None:
        self.skipped: Counter[str] = Counter()
        self._session_id = session_id
        # By interaction: the failed request after which none has come yet, and which one it is.
        self._state: dict[str, Any] = state or {"failed": {}}

    def state(self) -> dict[str, Any]:
        """What has to be kept to go on reading later; JSON."""
        return self._state

    def read_record(self, record: dict[str, Any]) -> list[Fact]:
        """The facts of one record; never raises."""
        if not _is_request(record) or _session_id(record) != self._session_id:
            return []
        attributes = mapping(record.get("attributes"))
        interaction = text(attributes.get(_INTERACTION))
        waiting = self._state["failed"]
        before = waiting.pop(interaction, None)
        facts: list[Fact] = []
        if before:
            own, at, error_type, attempt = before
            again_ns = _time_ns(record.get("startTime"))
            facts.append(
                ApiFailed(
                    session_id=self._session_id,
                    time_ns=at,
                    prompt_id=interaction or None,
                    passive=True,
                    record_id=own,
                    error_type=error_type,
                    attempt=attempt,
                    delay_s=max(again_ns - at, 0) / _NS,
                )
            )
        if mapping(record.get("status")).get("code") != _FAILED:
            return facts
        own, at = text(record.get("spanId")), _time_ns(record.get("endTime"))
        if not (own and at):
            self.skipped["unreadable span"] += 1
            return facts
        error_type = word(attributes.get(semconv.ERROR_TYPE)) or "other"
        waiting[interaction] = [own, at, error_type, before[3] + 1 if before else 1]
        return facts


def _is_request(record: dict[str, Any]) -> bool:
    operation = mapping(record.get("attributes")).get(semconv.GEN_AI_OPERATION_NAME)
    return record.get("type") == "span" and operation == semconv.CHAT


def _failed(line: bytes) -> set[str]:
    """The session whose failed request a line is about."""
    if b'"chat"' not in line or b'"error.type"' not in line:
        return set()
    record = _parsed(line)
    return {_session_id(record)} if _is_request(record) or not record else set()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return mapping(json.loads(line))
    except (ValueError, RecursionError):
        return {}


def _session_id(record: dict[str, Any]) -> str:
    return text(mapping(record.get("attributes")).get(semconv.GEN_AI_CONVERSATION_ID))


def _time_ns(value: object) -> int:
    if not isinstance(value, list) or len(value) != _PAIR:
        return 0
    seconds, rest = value
    if type(seconds) is not int or type(rest) is not int:
        return 0
    found = seconds * _NS + rest
    return found if 0 < found < _LATEST_NS else 0
