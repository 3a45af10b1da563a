"""Which session and turn own a message: the first to claim it does, elsewhere it is a copy.

A fork, a resumed session and a conversation that a program feeds in again repeat what was asked
and paid for before, under another session id or as another turn. The message ids stay the same.
Importer and monitor share their claims, so the order in which they run does not matter.

What comes after its turn's span is out counts in a part of its own. It stays in that part however
often it is read again: until the part's span is out, nothing else holds it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import ExitStack
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.errors import OrchwatchError
from orchwatch.recording import losses
from orchwatch.recording.files import descriptor
from orchwatch.recording.home import DIRECTORY_MODE, home

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchwatch.agents.sessions.spans import Span

_NAME = "claude-messages.sqlite"
_DIGEST_BYTES = 8
_WAIT_S = 10.0
_MAX_KEYS = 100_000
_MARK = b""  # a span has no owner


class Ownership(Enum):
    """Who owns a message, seen from where it was just read."""

    FRESH = 1  # read for the first time
    SAME = 2  # read here before
    TURN = 3  # belongs to another turn, or another sub-agent, of the same session
    SESSION = 4  # belongs to another session


class Claims:
    """Which turn owns which message; in memory, see `StoredClaims`."""

    def __init__(self) -> None:
        self._held: dict[bytes, bytes] = {}

    def ownership(
        self, message: str, session_id: str, turn: str, *, claim: bool = True
    ) -> Ownership:
        """Claims a message for a turn of a session, unless it is claimed already.

        Args:
            message: Its id, or that of another record; with a kind in front.
            session_id: The session that it was read in.
            turn: Which turn or sub-agent of that session.
            claim: Whether to claim it if it is unclaimed.
        """
        key = _digest(message)
        owner = _owner_digest(session_id) + _owner_digest(turn)
        known = self._held.get(key) or self._stored(key)
        if known is None:
            if claim:
                self._held[key] = owner
            return Ownership.FRESH
        if known == owner:
            return Ownership.SAME
        is_same = known[:_DIGEST_BYTES] == owner[:_DIGEST_BYTES]
        return Ownership.TURN if is_same else Ownership.SESSION

    def mark(self, spans: Iterable[Span]) -> None:
        """Remembers which turns and sub-agents' runs go out, with all messages claimed so far."""
        for span in spans:
            if span.operation in (semconv.AGENT_TURN, semconv.AGENT_RUN):
                self._held[_digest(f"span:{span.span_id}")] = _MARK

    def is_marked(self, span_id: str) -> bool:
        """Whether `mark` was given that span."""
        key = _digest(f"span:{span_id}")
        return key in self._held or self._stored(key) is not None

    def put(self, message: str, part: str) -> None:
        """Remembers in which part of a turn, or of a sub-agent, a message counts.

        Args:
            message: What names it, its owner included.
            part: That part's key.
        """
        self._held[_digest(f"part:{message}")] = part.encode("utf-8", "surrogatepass")

    def part(self, message: str) -> str:
        """What `put` was given for that message; empty where it was given nothing."""
        key = _digest(f"part:{message}")
        found = self._held.get(key) or self._stored(key) or b""
        return found.decode("utf-8", "surrogatepass")

    def _stored(self, _key: bytes) -> bytes | None:
        return None


class StoredClaims(Claims):
    """Claims in `ORCHWATCH_HOME`, which any process may open.

    Raises:
        OrchwatchError: They cannot be opened.
    """

    def __init__(self) -> None:
        super().__init__()
        directory = home()
        self._path = os.path.join(directory, _NAME)
        opened = ExitStack()
        try:
            os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
            os.close(descriptor(self._path, os.O_RDWR | os.O_CREAT, links=False))
            self._connection = sqlite3.connect(
                self._path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            opened.callback(self._connection.close)
            execute = self._connection.execute
            execute("PRAGMA journal_mode = WAL")
            # Survives a killed process, not a power failure: no more does the spool.
            execute("PRAGMA synchronous = NORMAL")
            execute(
                "CREATE TABLE IF NOT EXISTS claim (message BLOB PRIMARY KEY, owner BLOB)"
                " WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            opened.close()
            raise OrchwatchError(f"{self._path}: {error}") from None
        # What is stored, as long as it is not too much: most of what is asked for is not there.
        self._keys: set[bytes] | None = set()
        self._seen: tuple[int, int] | None = None  # how the log of writes looked then
        self._version = -1

    def keep(self) -> None:
        """Stores what was claimed; call it before any span that follows from it is written.

        Raises:
            OrchwatchError: They cannot be written.
        """
        if not self._held:
            return
        try:
            self._insert(self._held)
        except (sqlite3.Error, OSError) as error:
            raise OrchwatchError(f"{self._path}: {error}") from None
        if self._keys is not None:
            self._keys.update(self._held)
        self._held = {}

    def close(self) -> None:
        """Closes the file; claims that were not kept are forgotten."""
        self._connection.close()

    def _insert(self, held: Mapping[bytes, bytes]) -> None:
        with self._connection:  # commits, or rolls back
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR IGNORE INTO claim VALUES (?, ?)", held.items())

    def _stored(self, key: bytes) -> bytes | None:
        try:
            if not self._may_hold(key):
                return None
            row = self._connection.execute("SELECT owner FROM claim WHERE message = ?", [key])
            found = row.fetchone()
        except (OSError, sqlite3.Error):  # taken for unclaimed: the caller goes on
            losses.count("internal_error")
            return None
        return found[0] if found else None

    def _may_hold(self, key: bytes) -> bool:
        """Whether a key may be stored, whoever has stored it."""
        if self._keys is None:
            return True
        status = os.stat(f"{self._path}-wal")
        look = (status.st_size, status.st_mtime_ns)
        if look != self._seen:
            self._seen = look
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            if version != self._version:  # another process has written
                self._version = version
                found = self._connection.execute(
                    "SELECT message FROM claim LIMIT ?", [_MAX_KEYS + 1]
                )
                self._keys = {one for (one,) in found}
            if len(self._keys) > _MAX_KEYS:
                self._keys = None
                return True
        return key in self._keys


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).digest()


_owner_digest = lru_cache(maxsize=256)(_digest)  # many messages have one owner
