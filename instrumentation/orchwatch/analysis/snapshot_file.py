"""The snapshot that the monitor process leaves for short commands: one small file.

What reads it must start fast, so nothing but the standard library's built-in parts is imported.
"""

from __future__ import annotations

import os

from orchwatch.recording import files
from orchwatch.recording.json_text import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 16 * 1024
_NAME = "snapshot.json"


def write(home: str, document: dict[str, Any]) -> None:
    """Replaces the snapshot; a reader sees the old one or the new one, whole.

    Raises:
        OSError: It cannot be written.
    """
    import json  # noqa: PLC0415 - a reader does without

    _shrink(document)
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    files.replace(os.path.join(home, _NAME), text.encode())


def read(home: str) -> dict[str, Any] | None:
    """The snapshot; None where there is none, or the file is not a snapshot."""
    try:
        text = files.read(os.path.join(home, _NAME), MAX_BYTES, links=False)
    except OSError:
        return None
    try:
        document = loads(text.decode())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def pid_namespace() -> str | None:
    """Identifies the namespace of process ids: a container's are not its host's."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _shrink(document: dict[str, Any]) -> None:
    """Leaves out what matters least until it fits.

    Who is at work first, whom only the dashboard shows; then operations without a target; sessions.
    """
    import json  # noqa: PLC0415 - a reader does without

    if len(json.dumps(document, separators=(",", ":"))) > MAX_BYTES:
        document["at_work"] = []
    excess = len(json.dumps(document, separators=(",", ":"))) - MAX_BYTES
    operations, sessions = document["operations"], document["sessions"]
    least = sorted(
        (name for name, row in operations.items() if row["target_s"] is None),
        key=lambda name: operations[name]["count"],
    )
    smallest = sorted(sessions, key=lambda name: sessions[name]["memory_bytes"] or 0)
    for rows, dispensable in ((operations, least), (sessions, smallest)):
        for name in dispensable:
            if excess <= 0:
                return
            entry = json.dumps({name: rows.pop(name)}, separators=(",", ":"))
            excess -= len(entry) - 1
