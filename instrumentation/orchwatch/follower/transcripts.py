"""The readers of session files, which can go on in another process where they stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch import files
from orchwatch.claude.session_files import agent_origin, owner
from orchwatch.claude.transcript import Transcript
from orchwatch.follower.tail import PIECE_BYTES, Tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchwatch.claude.facts import Fact


class Transcripts:
    """One reader for each file.

    Args:
        states: What `states` returned in the process before.
    """

    def __init__(self, states: Mapping[str, dict[str, Any]]) -> None:
        self._stored = dict(states)
        self._readers: dict[str, Transcript] = {}

    def states(self) -> dict[str, dict[str, Any]]:
        """The state of each reader, by path."""
        return {
            **self._stored,
            **{path: reader.state() for path, reader in self._readers.items()},
        }

    def read(self, tail: Tail) -> Iterator[Fact]:
        """What a file tells that was not read yet."""
        read_bytes = tail.offset
        for piece in tail.pieces():
            start = tail.offset - len(piece)
            if start == 0 and read_bytes:  # another file has taken its place
                self._readers.pop(tail.path, None)
                self._stored.pop(tail.path, None)
            read_bytes = tail.offset
            reader = self._readers.get(tail.path)
            if reader is None:
                reader = self._readers[tail.path] = self._open(tail.path, start)
            for line in piece.splitlines():
                yield from reader.read(line)

    def _open(self, path: str, start: int) -> Transcript:
        session_id, agent_id = owner(path)
        state = self._stored.pop(path, None)
        origin = agent_origin(path) if agent_id else {}
        reader = Transcript(session_id, agent_id, state, **origin)
        if start and state is None:
            _prime(reader, path, start)
        return reader


def _prime(reader: Transcript, path: str, end: int) -> None:
    """Lets a reader know where it is in a file whose start was left to the importer.

    How the session began and what its current prompt is stand at the two ends of what is left out.
    """
    try:
        with files.reader(path) as file:
            lines = file.read(min(PIECE_BYTES, end)).splitlines()
            if end > PIECE_BYTES:
                file.seek(max(PIECE_BYTES, end - PIECE_BYTES))
                lines += file.read(end - file.tell()).splitlines()
    except OSError:  # deleted since
        return
    for line in lines:
        reader.read(line)
