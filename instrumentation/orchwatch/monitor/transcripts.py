"""The readers of session files, which can go on in another process where they stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.agents.claude_code.sessions.session_files import agent_origin, owner
from orchwatch.agents.claude_code.sessions.transcript import Transcript
from orchwatch.agents.sessions.facts import AgentStarted, ProjectSeen
from orchwatch.monitor.tail import PIECE_BYTES, Tail
from orchwatch.recording import files, losses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchwatch.agents.sessions.claims import Claims
    from orchwatch.agents.sessions.facts import Fact

_NAMED_NS = 60_000_000_000  # by which that may come later than the file


class _Unnamed(NamedTuple):
    """A sub-agent's file."""

    session_id: str
    agent_id: str
    written_ns: int


class Transcripts:
    """One reader for each file.

    Args:
        states: What `states` returned in the process before.
        claims: Which session and turn own each message.
    """

    def __init__(self, states: Mapping[str, dict[str, Any]], claims: Claims) -> None:
        self._stored = dict(states)
        self._claims = claims
        self._readers: dict[str, Transcript] = {}
        # Sub-agents without a metadata file yet: when their own file was last written to.
        self._unnamed = {
            path: _Unnamed(state["session"], state["unnamed"], 0)
            for path, state in states.items()
            if state["unnamed"]
        }

    def states(self) -> dict[str, dict[str, Any]]:
        """The state of each reader, by path."""
        return {
            **self._stored,
            **{path: reader.state() for path, reader in self._readers.items()},
        }

    def read(self, tail: Tail) -> Iterator[Fact]:
        """The facts in a file that were not read yet.

        Raises:
            RewrittenError: What was read of it has changed.
        """
        restarts, too_long = tail.restarts, tail.too_long
        for piece in tail.pieces():
            start = tail.offset - len(piece)
            if tail.restarts != restarts:
                raise RewrittenError(tail.path)
            reader = self._readers.get(tail.path)
            if reader is None:
                reader, primed = self._open(tail.path, start)
                self._readers[tail.path] = reader
                yield from primed
            if tail.path in self._unnamed:
                unnamed = self._unnamed[tail.path]
                self._unnamed[tail.path] = unnamed._replace(written_ns=tail.modified_ns)
            for line in piece.split(b"\n"):
                if line:
                    yield from reader.read(line)
            _count_unreadable(reader, tail.too_long - too_long)
            too_long = tail.too_long
        if tail.restarts != restarts:
            raise RewrittenError(tail.path)

    def named(self, now_ns: int) -> Iterator[Fact]:
        """What came to lie beside sub-agents' files since they were read.

        Args:
            now_ns: By the clock that writes files' times, in nanoseconds.
        """
        for path, (session_id, agent_id, written_ns) in list(self._unnamed.items()):
            origin = agent_origin(path)
            if origin.get("agent_type") or origin.get("tool_use_id"):
                del self._unnamed[path]
                self._named(path)
                fields: dict[str, Any] = {**origin, "session_id": session_id, "agent_id": agent_id}
                yield AgentStarted(**fields, time_ns=0, passive=True)
            elif not written_ns:  # not read yet by this process
                self._unnamed[path] = _Unnamed(session_id, agent_id, now_ns)
            elif now_ns - written_ns > _NAMED_NS:
                del self._unnamed[path]

    def _named(self, path: str) -> None:
        """No other process has to look for it either."""
        reader = self._readers.get(path)
        state = reader.state() if reader else self._stored.get(path)
        if state:
            state["unnamed"] = False

    def forget(self, session_id: str) -> set[str]:
        """Lets the next readers of a session's files begin at their start.

        Returns:
            Those files.
        """
        paths = {
            path for path, state in self.states().items() if state.get("session") == session_id
        }
        for path in paths:
            self._readers.pop(path, None)
            self._stored.pop(path, None)
        return paths

    def _open(self, path: str, start: int) -> tuple[Transcript, list[Fact]]:
        session_id, agent_id = owner(path)
        state = self._stored.pop(path, None)
        origin = agent_origin(path) if agent_id else {}
        reader = Transcript(session_id, agent_id, state, self._claims, **origin)
        if agent_id and reader.state()["unnamed"]:
            self._unnamed[path] = _Unnamed(session_id, agent_id, 0)
        return reader, _primed(reader, path, start) if start and state is None else []


class RewrittenError(Exception):
    """A file is not what it was; its path is the first argument."""


def _count_unreadable(reader: Transcript, too_long: int) -> None:
    number = too_long + reader.unreadable()
    if number:
        losses.count("bad_session_line", number)
    reader.skipped.clear()


def _primed(reader: Transcript, path: str, end: int) -> list[Fact]:
    """Lets a reader know where it is in a file whose start was left to the importer.

    How the session began and what its current prompt is stand at the two ends of what is left out.

    Returns:
        What its spans are named by, as the importer names them.
    """
    try:
        with files.reader(path) as file:
            lines = file.read(min(PIECE_BYTES, end)).split(b"\n")
            if end > PIECE_BYTES:
                file.seek(max(PIECE_BYTES, end - PIECE_BYTES))
                lines += file.read(end - file.tell()).split(b"\n")
    except OSError:  # deleted since
        return []
    facts = [fact for line in filter(None, lines) for fact in reader.read(line)]
    reader.skipped.clear()  # the importer counts them
    return [fact for fact in facts if isinstance(fact, ProjectSeen)]
