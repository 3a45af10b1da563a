"""What the monitor process has to remember: one file, replaced as a whole, and one owner."""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any

from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE, home

_VERSION = 4
# Thousands of sessions, each with what is open in it.
_MAX_BYTES = 256 * 1024 * 1024


class Checkpoint:
    """The state in `ORCHWATCH_HOME/monitor`, held by one process at a time.

    Raises:
        OrchwatchError: Another monitor runs, or the directory cannot be written.
    """

    def __init__(self) -> None:
        directory = os.path.join(home(), "monitor")
        self._path = os.path.join(directory, "checkpoint.json")
        try:
            for made in (os.path.dirname(home()), home(), directory):
                os.makedirs(made, DIRECTORY_MODE, exist_ok=True)
            lock = os.path.join(directory, "lock")
            self._lock = files.descriptor(lock, os.O_RDWR | os.O_CREAT, links=False)
        except OSError as error:
            raise OrchwatchError(
                f"{directory} cannot be written: {error.strerror};"
                " give the user write access to it, or set ORCHWATCH_HOME"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise OrchwatchError(f"another monitor already runs over {home()}") from None

    def load(self) -> dict[str, Any] | None:
        """What `save` was last given; None where there is nothing, or nothing of use."""
        try:
            saved = json.loads(files.read(self._path, _MAX_BYTES, links=False))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(saved, dict) or saved.get("version") != _VERSION:
            return None
        return saved

    def save(self, values: dict[str, Any]) -> None:
        """Replaces what is stored; a process that is killed leaves the old or the new.

        Raises:
            OSError: It cannot be written; what was stored before stays.
        """
        text = json.dumps({"version": _VERSION, **values}, separators=(",", ":"))
        files.replace(self._path, text.encode(), sync=True)

    def close(self) -> None:
        """Lets another monitor begin."""
        os.close(self._lock)
