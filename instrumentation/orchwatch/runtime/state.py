"""Copies of a session's state with a checksum, and what is wrong with a state that is damaged."""

from __future__ import annotations

import fcntl
import os

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.metrics import count

TYPE_CHECKING = False  # as in `state_paths`
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

CURRENT_FILE = "state.json"
PREVIOUS_FILE = "state.previous.json"
LOCK_FILE = "state.lock"
_MAX_BYTES = 1024 * 1024 * 1024


class StateError(OrchwatchError):
    """A session's state cannot be read, written or owned; the message names file and reason."""


def of_one_file(directory: Path) -> dict[str, Any]:
    """What a session kept in one file, as sessions did before: the last copy, or that before it.

    Raises:
        StateError: A process still owns it, or no copy is whole.
    """
    lock = _own(directory)
    try:
        return read_state(directory / CURRENT_FILE)[1]
    except StateError as damage:
        count_violation("damaged")
        try:
            return read_state(directory / PREVIOUS_FILE)[1]
        except StateError as second:
            raise StateError(f"{damage}; {second}; no good copy is left") from second
    finally:
        os.close(lock)


def _own(directory: Path) -> int:
    path = directory / LOCK_FILE
    try:
        lock = files.descriptor(path, os.O_RDWR | os.O_CREAT, links=False)
    except OSError as error:
        raise StateError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StateError(f"{path}: another process owns this session's state") from error
    return lock


def count_violation(kind: str) -> None:
    """Count that a state was found `damaged`, or that it `differs` from what it must be."""
    count(
        semconv.CONSISTENCY_VIOLATIONS,
        attributes={semconv.VIOLATION_KIND: kind},
        unit="{violation}",
    )


def encode_state(path: Path, document: dict[str, Any], version: int) -> bytes:
    """A file's content: version, checksum and state.

    Raises:
        StateError: The document is not JSON; the message names `path`.
    """
    import json  # noqa: PLC0415 - as in `_checksum`

    try:
        state = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(f"{path}: state is not JSON: {error}") from error
    checksum = _checksum(state)
    return f'{{"version":{version},"checksum":"{checksum}","state":{state}}}\n'.encode()


def read_state(path: Path) -> tuple[int, dict[str, Any]]:
    """The version and state in a file; the checksum is that of the state written compactly.

    Raises:
        StateError: It cannot be read, is torn, or its checksum does not fit.
    """
    import json  # noqa: PLC0415 - as in `_checksum`

    try:
        whole = json.loads(files.read(path, _MAX_BYTES, links=False))
        version, checksum, document = whole["version"], whole["checksum"], whole["state"]
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError(f"{path}: torn, or no state of a session") from error
    if not isinstance(version, int) or not isinstance(document, dict):
        raise StateError(f"{path}: version must be a number and state an object")
    state = json.dumps(document, separators=(",", ":"))
    if _checksum(state) != checksum:
        raise StateError(f"{path}: the checksum of version {version} does not fit its state")
    return version, document


def _checksum(text: str) -> str:
    import hashlib  # noqa: PLC0415 - slow, and a process that only asks has no copy to check

    return hashlib.sha256(text.encode()).hexdigest()
