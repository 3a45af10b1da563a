"""A session of an early Gemini CLI: one JSON document, written anew with each message."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from orchwatch.agents.sessions.fields import mapping, time_ns
from orchwatch.agents.sessions.lines import MAX_LINE_BYTES, UNREAD
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

SUFFIX = ".json"
PATTERN = "session-*.json"
"""What such files are called."""

_SESSION = re.compile(rb'"sessionId"\s*:\s*"([\w.-]{1,64})"')
_BEGAN = re.compile(rb'"startTime"\s*:\s*"([^"]{1,64})"')
_HASHED = b'"projectHash"'


def about(head: bytes) -> tuple[str, int] | None:
    """The session and when it began, Unix nanoseconds; None where a file is none of these.

    Args:
        head: Its first bytes.
    """
    session, began = _SESSION.search(head), _BEGAN.search(head)
    if not head.lstrip().startswith(b"{") or session is None or _HASHED not in head:
        return None
    at = time_ns(began[1].decode("utf-8", "replace")) if began else None
    return session[1].decode(), at or 0


def version(path: str) -> str:
    """What differs when it was written anew."""
    try:
        status = os.stat(path)
    except OSError:
        return "gone"
    return f"{status.st_size}/{status.st_mtime_ns}/{status.st_ino}"


def read(path: str, skipped: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """What is said of the session, then its messages: as the lines of later versions have them.

    Args:
        path: The file.
        skipped: Counts what cannot be read, by reason.
    """
    try:
        content = files.read(path, MAX_LINE_BYTES)
        found = mapping(json.loads(content))
    except FileNotFoundError:
        return
    except files.TooLargeError:
        skipped["longer than 64 MiB"] += 1
        return
    except OSError:
        skipped[f"{UNREAD}file"] += 1
        return
    except (ValueError, RecursionError):
        skipped["no JSON"] += 1
        return
    messages = found.pop("messages", None)
    at = time_ns(found.get("startTime")) or 0
    yield at, found
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            skipped["no JSON object"] += 1
            continue
        at = time_ns(message.get("timestamp")) or at
        yield at, message
