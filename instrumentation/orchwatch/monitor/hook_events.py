"""Events of hooks, however they came: the spool family `hooks`, read as it grows.

Those that come over HTTP are appended to it too, before they are answered or processed: an event
that was acknowledged survives a monitor that is killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import TYPE_CHECKING, Any

from orchwatch.agents.claude_code import hook_line
from orchwatch.agents.claude_code.sessions import hook_payload
from orchwatch.agents.claude_code.settings import registration
from orchwatch.monitor.route import Response, Route
from orchwatch.monitor.tail import Tail
from orchwatch.recording import files, losses, spool
from orchwatch.recording.home import spool_directory
from orchwatch.recording.otlp_json import to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchwatch.agents.sessions.facts import Fact

MAX_BODY_BYTES = 16 * 1024 * 1024

# A clock that was set back since may lie behind by this.
_AHEAD_NS = 86_400 * 1_000_000_000
_HEADER = b'{"orchwatch":'


def route() -> Route:
    """Where `http` hooks post their events; `registration` has the contract.

    Raises:
        SecretError: The secret cannot be read or written.
    """
    return Route(
        method="POST",
        take=receive,
        header=registration.SECRET_HEADER.lower(),
        secret=registration.make_secret().encode(),
        max_bytes=MAX_BODY_BYTES,
    )


def receive(body: bytes) -> Response:
    """Appends an event that came over HTTP; a loss is counted, and answered with an error."""
    try:
        line = hook_line.encode(body, time.time_ns())
    except (ValueError, RecursionError):
        losses.count("bad_hook_payload")
        return Response("400 Bad Request")
    if not spool.append(spool.HOOKS, to_bytes(line)):
        return Response("503 Service Unavailable")
    return Response()


class HookEvents:
    """The segments of the family.

    Args:
        positions: What `positions` returned in the process before.
    """

    def __init__(self, positions: Mapping[str, Sequence[Any]]) -> None:
        self._stored = dict(positions)
        self._tails: dict[str, Tail] = {}

    def positions(self) -> dict[str, Sequence[Any]]:
        """How far each segment has been read, by path."""
        seen = {path: tail.position() for path, tail in self._tails.items()}
        return {**self._stored, **seen}

    def read(self) -> Iterator[Fact]:
        """What was appended since."""
        for tail in self._changed():
            for piece in tail.pieces():
                for line in piece.splitlines():
                    yield from _facts(line)

    def drop_read(self) -> None:
        """Removes segments that are closed and read to their end.

        Call it when their positions are stored: their events live on in the checkpoint alone.
        """
        for path in list(self._tails)[:-1]:
            if _remove(path, self._tails[path].offset):
                del self._tails[path]

    def _changed(self) -> Iterator[Tail]:
        """The segments that have changed, oldest first."""
        directory = spool_directory()
        try:
            numbers = spool.segment_numbers(directory, spool.HOOKS)
        except OSError:  # nothing was written yet, or it cannot be looked at for now
            return
        paths = [spool.segment_path(directory, spool.HOOKS, number) for number in numbers]
        tails = {}
        for path in paths:
            stored = self._stored.pop(path, None)
            new = Tail(path=path) if stored is None else Tail.restored(path, stored)
            tails[path] = self._tails.get(path) or new
        self._tails, self._stored = tails, {}
        for path, tail in tails.items():
            try:
                status = os.stat(path)
            except OSError:  # dropped to keep the budget, or as above
                continue
            if tail.has_changed(status):
                yield tail


def _facts(line: bytes) -> list[Fact]:
    try:
        event = json.loads(line)
        received_ns = _moment(event["received_ns"])
        facts = hook_payload.read(event["payload"], received_ns, _started(event, received_ns))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        # A segment's header, or what a killed writer left of a line.
        if line.strip() and not line.startswith(_HEADER):
            losses.count("bad_hook_payload")
        return []
    return facts or []


def _moment(received_ns: object) -> int:
    """When an event came.

    Raises:
        ValueError: It is not a time, or lies in the future.
    """
    latest_ns = time.time_ns() + _AHEAD_NS
    if type(received_ns) is not int or not 0 < received_ns < latest_ns:
        raise ValueError("received_ns is no time")
    return received_ns


def _started(event: dict[str, Any], received_ns: int) -> int:
    """When the process was started that an event came from; 0 where that is not known."""
    started_ns = event.get("started_ns", 0)
    known = type(started_ns) is int and 0 < started_ns <= received_ns
    return started_ns if known else 0


def _remove(path: str, read_bytes: int) -> bool:
    try:
        with files.reader(path, links=False) as segment:
            # As in `spool`: a process that may still write to it holds a shared lock.
            fcntl.flock(segment, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rest = os.pread(segment.fileno(), 1 << 20, read_bytes)
            if b"\n" in rest:
                return False
            os.unlink(path)
    except OSError:
        return False
    return True
