"""Sessions whose Claude Code is no more, whether it said so at its end or was killed."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code.sessions import clients
from orchwatch.agents.claude_code.sessions.clients import Client
from orchwatch.agents.sessions.facts import ClientLost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_INTERVAL_S = 1.0
# In which what it wrote last is read.
_READ_S = 5.0


class LostClients:
    """Looks now and then at which processes run.

    Args:
        roots: The projects folders.
        saved: What `save` returned in the process before.
    """

    def __init__(self, roots: Iterable[str], saved: Sequence[Sequence[Any]]) -> None:
        self._directories = [clients.directory(root) for root in roots]
        self._domain = clients.pid_domain()
        self._sessions: dict[Client, str] = {
            Client(int(pid), str(start)): str(session_id) for pid, start, session_id in saved
        }
        self._seen: dict[str, tuple[int, int]] = {}
        self._gone_s: dict[Client, float] = {}
        self._next_s = -math.inf

    def save(self) -> list[list[Any]]:
        """The processes and their sessions; JSON."""
        return [[*client, session_id] for client, session_id in self._sessions.items()]

    def poll(self, now_s: float) -> Iterator[ClientLost]:
        """The sessions that have lost their process.

        Args:
            now_s: The monotonic clock.
        """
        if now_s < self._next_s:
            return
        self._next_s = now_s + _INTERVAL_S
        self._look()
        for client in [one for one in self._sessions if not one.is_alive()]:
            if now_s - self._gone_s.setdefault(client, now_s) < _READ_S:
                continue
            session_id = self._sessions.pop(client)
            del self._gone_s[client]
            if session_id not in self._sessions.values():  # another process goes on with it
                yield ClientLost(session_id=session_id, time_ns=0)

    def _look(self) -> None:
        seen = {}
        for place in self._directories:
            for path in clients.file_paths(place):
                look = _look_of(path)
                seen[path] = look
                if self._seen.get(path) == look:
                    continue
                found = clients.read(path, self._domain)
                if found and found[0] not in self._gone_s:
                    client, session_id = found
                    self._sessions[client] = session_id
        self._seen = seen


def _look_of(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino
