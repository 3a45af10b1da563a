"""The shared state of a session: one JSON document, persisted whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.recording.metrics import count
from orchwatch.recording.operation import operation

if TYPE_CHECKING:
    from pathlib import Path

CURRENT_FILE = "state.json"
PREVIOUS_FILE = "state.previous.json"
LOCK_FILE = "state.lock"
_MAX_BYTES = 1024 * 1024 * 1024


class StateError(OrchwatchError):
    """A session's state cannot be read, written or owned; the message names file and reason."""


class StateStore:
    """One session's document, its version and the two good copies of it on disk.

    The file holds `{"version": n, "checksum": "<sha256 of the state>", "state": {...}}`. A new
    version is written beside it, synced and renamed over it, and the version before stays as a
    hard link, so that whatever breaks there is a whole copy to go back to. One process at a time
    owns a store; a lock that the kernel drops with its holder says which.

    Attributes:
        directory: Where the copies lie.
        document: The state itself; change it in place, then `persist()`.
        version: The version on disk; 0 before the first `persist()`.
        recovered: Whether `document` is the copy before the last one, because that was damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.document: dict[str, Any] = {}
        self.version = 0
        self.recovered = False
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        self._lock = own(directory)
        try:
            if (directory / CURRENT_FILE).exists() or (directory / PREVIOUS_FILE).exists():
                self._load()
        except StateError:
            self.close()
            raise

    def persist(self) -> None:
        """Write the document as the next version.

        Raises:
            StateError: The document is no JSON, or the directory cannot be written.
        """
        with operation(semconv.STATE_PERSIST) as op:
            version = self.version + 1
            data = encode_state(self.directory / CURRENT_FILE, self.document, version)
            op.set_attribute(semconv.STATE_VERSION, version)
            op.set_attribute(semconv.STATE_SIZE, len(data))
            try:
                self._replace(data)
            except OSError as error:
                message = f"{self.directory / CURRENT_FILE}: cannot be written: {error.strerror}"
                raise StateError(message) from error
            self.version = version

    def verify(self) -> None:
        """Hold the copy on disk against the document in memory.

        Raises:
            StateError: They differ, or the copy on disk is damaged; counted as a violation.
        """
        path = self.directory / CURRENT_FILE
        try:
            version, document = read_state(path)
        except StateError:
            count_violation("damaged")
            raise
        if version != self.version or document != json.loads(json.dumps(self.document)):
            count_violation("differs")
            raise StateError(
                f"{path}: version {version} is not the state in memory, version {self.version}"
            )

    def close(self) -> None:
        """Release the store for its next owner."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _load(self) -> None:
        current, previous = self.directory / CURRENT_FILE, self.directory / PREVIOUS_FILE
        try:
            self.version, self.document = read_state(current)
        except StateError as damage:
            count_violation("damaged")
            try:
                self.version, self.document = read_state(previous)
            except StateError as second:
                raise StateError(f"{damage}; {second}; no good copy is left") from second
            self.recovered = True
            # The damaged copy must not become the "previous good one" of the next version.
            current.unlink(missing_ok=True)
            os.link(previous, current)

    def _replace(self, data: bytes) -> None:
        current = self.directory / CURRENT_FILE
        fresh = self.directory / f"{CURRENT_FILE}.new"
        kept = self.directory / f"{PREVIOUS_FILE}.new"
        files.replace(fresh, data, sync=True)
        if current.exists():
            kept.unlink(missing_ok=True)
            os.link(current, kept)
            kept.replace(self.directory / PREVIOUS_FILE)
        fresh.replace(current)
        directory = files.directory(self.directory)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def own(directory: Path) -> int:
    """The lock of a session's directory, as a file descriptor; closing it gives it up.

    Raises:
        StateError: Another process, or another store, owns the session.
    """
    path = directory / LOCK_FILE
    lock = files.descriptor(path, os.O_RDWR | os.O_CREAT, links=False)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StateError(f"{path}: another process owns this session's state") from error
    return lock


def count_violation(kind: str) -> None:
    """Count that a state was found `damaged`, or that it `differs` from what it must be."""
    count(semconv.CONSISTENCY_VIOLATIONS, attributes={"kind": kind}, unit="{violation}")


def encode_state(path: Path, document: dict[str, Any], version: int) -> bytes:
    """A file's content: version, checksum and state.

    Raises:
        StateError: The document is not JSON; the message names `path`.
    """
    try:
        state = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(f"{path}: state is not JSON: {error}") from error
    checksum = hashlib.sha256(state.encode()).hexdigest()
    return f'{{"version":{version},"checksum":"{checksum}","state":{state}}}\n'.encode()


def read_state(path: Path) -> tuple[int, dict[str, Any]]:
    """The version and state in a file; the checksum is that of the state written compactly.

    Raises:
        StateError: It cannot be read, is torn, or its checksum does not fit.
    """
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
    if hashlib.sha256(state.encode()).hexdigest() != checksum:
        raise StateError(f"{path}: the checksum of version {version} does not fit its state")
    return version, document
