"""Sessions of other coding agents than Claude Code, followed by looking at their files in turn.

What a reader finds (`agents.reader`) is followed as it is: files of lines by what was appended,
a database's session by reading it again when it has changed. Spans have derived ids, so that what
is read twice is written once.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from orchwatch.agents.reader import session_files
from orchwatch.agents.registry import existing
from orchwatch.agents.sessions import records
from orchwatch.agents.sessions.assembler import Assembler
from orchwatch.agents.sessions.lines import LineFile, is_unread
from orchwatch.monitor.tail import Tail
from orchwatch.monitor.tokens import Tokens
from orchwatch.recording import losses

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchwatch.agents.reader import FileReader, Reader, RecordedSession, SessionFile
    from orchwatch.agents.sessions.claims import Claims
    from orchwatch.agents.sessions.entities import Session
    from orchwatch.agents.sessions.spans import Span

_INTERVAL_S = 1.0
_SHARE = 0.02  # of the time may go into looking for new files, however many there are
_HOT_S = 1800.0  # after which a file that was not written to is looked at with all others
_MAX_FILES = 5000
_FORGET_NS = 24 * 3600 * 1_000_000_000
_HARMLESS = (
    "blank",
    "unknown",
    "half-written",
    "compressed",
    "unread for now",
)  # reasons that mean no loss

_logger = logging.getLogger(__name__)


class _Followed:
    """A file of lines, and how far it was read."""

    __slots__ = ("reading", "session_id", "state", "tail")

    def __init__(self, session_id: str, tail: Tail, state: dict[str, Any] | None) -> None:
        self.session_id = session_id
        self.tail = tail
        self.state = state
        self.reading: FileReader | None = None

    def rest(self) -> None:
        """Keeps how far it was read, and no reader."""
        if self.reading is not None:
            self.state, self.reading = self.reading.state(), None

    def save(self) -> list[Any]:
        """As JSON."""
        state = self.reading.state() if self.reading else self.state
        return [self.session_id, self.tail.path, self.tail.position(), state]


class OtherAgent:
    """What one agent does.

    Args:
        reader: Who reads its sessions.
        claims: Which session and turn each request belongs to.
        since_s: What was last written to before, in Unix seconds, is left to the importer.
        saved: What `save` returned in the process before.

    Attributes:
        tokens: What its models used.
    """

    def __init__(
        self, reader: Reader, claims: Claims, since_s: float, saved: Mapping[str, Any]
    ) -> None:
        self.service = reader.name
        self.tokens = Tokens(saved.get("tokens"), reader.name)
        self._reader = reader
        self._claims = claims
        self._since_s = since_s
        self._assembler = Assembler(claims=claims, provider=reader.provider)
        self._assembler.restore(saved.get("assembler", {}))
        self._heard_ns: dict[str, int] = saved.get("heard_ns", {})
        self._files: dict[str, _Followed] = {}
        for key, (session_id, path, position, state) in saved.get("files", {}).items():
            self._files[key] = _Followed(session_id, Tail.restored(path, position), state)
        self._versions: dict[str, str] = saved.get("versions", {})
        self._looks: dict[str, list[int]] = {}
        self._hot: dict[str, float] = {}  # files that were written to lately, and when that was
        self._next_s = self._round_s = 0.0
        self._began_ns = time.time_ns()
        self.looks_back = False  # something may be written already: it must be looked up
        self._looked_back = False

    def save(self) -> dict[str, Any]:
        """Everything that has to survive the process; JSON."""
        kept = list(self._files.items())[-_MAX_FILES:]
        return {
            "assembler": self._assembler.save(),
            "files": {key: followed.save() for key, followed in kept},
            "versions": self._versions,
            "heard_ns": self._heard_ns,
            "tokens": self.tokens.save(),
        }

    def step(self, now_s: float) -> bool:
        """Reads what came since, as is due; whether anything did.

        Args:
            now_s: The monotonic clock.
        """
        if now_s < self._next_s:
            return False
        self._next_s = now_s + _INTERVAL_S
        begun_s = time.monotonic()
        is_round = now_s >= self._round_s
        paths = list(self._hot)
        if is_round:
            paths = list(session_files(existing(self._reader), self._reader.suffixes))
        known = {followed.tail.path for followed in self._files.values()}
        changed = [path for path in paths if self._is_new(path, known)]
        if is_round:
            self._looks = {path: self._looks[path] for path in paths}
            took_s = time.monotonic() - begun_s
            self._round_s = now_s + max(_INTERVAL_S, took_s / _SHARE)
        self._hot.update(dict.fromkeys(changed, now_s))
        for path, changed_s in list(self._hot.items()):
            if now_s - changed_s > _HOT_S:
                del self._hot[path]
        if is_round:
            self._rest()
        if changed:
            self._read(changed)
        return bool(changed)

    def finished(self, now_ns: int) -> list[Span]:
        """The spans that are complete by now."""
        for session_id, heard_ns in list(self._heard_ns.items()):
            if now_ns - heard_ns > _FORGET_NS:
                self._assembler.forget(session_id)
                del self._heard_ns[session_id]
        return self._assembler.finished(now_ns)

    def open_sessions(self) -> list[Session]:
        """Those in which something may still run."""
        return self._assembler.open_sessions()

    def _is_new(self, path: str, known: set[str]) -> bool:
        """Whether a file has changed, or is new and not of the past."""
        look = [_stamp(path), _stamp(path + "-wal")]  # SQLite writes there first
        stamps = [part for one in look for part in one]
        before = self._looks.get(path)
        self._looks[path] = stamps
        if stamps == before:
            return False
        modified_s = max(one[1] for one in look) / 1e9
        return before is not None or modified_s >= self._since_s or path in known

    def _rest(self) -> None:
        """Of files that nobody writes to only a position is kept, and only of the latest."""
        cold = [key for key, one in self._files.items() if one.tail.path not in self._hot]
        for key in cold:
            self._files[key].rest()
        for key in cold[: max(len(self._files) - _MAX_FILES, 0)]:
            del self._files[key]
            self._looked_back = False  # should it go on, it is read a second time

    def _read(self, changed: list[str]) -> None:
        sessions, _ = self._reader.find(sorted({*changed, *self._beside(changed)}))
        wanted = set(changed)
        for session in sessions:
            if not any(file.path in wanted for file in session.files):
                continue
            if any(file.version for file in session.files):
                self._replay(session)
            else:
                self._follow(session, wanted)

    def _beside(self, changed: list[str]) -> Iterator[str]:
        """The files that say which session the changed ones belong to."""
        of_path = {followed.tail.path: followed.session_id for followed in self._files.values()}
        wanted = {of_path[path] for path in changed if path in of_path}
        new = [path for path in changed if path not in of_path]
        if new:
            # A sub-agent's session may be known from its parent's file alone: then it is taken for
            # that one's.
            found, _ = self._reader.find(new)
            wanted |= {session.session_id for session in found}
        for path in changed:
            wanted |= self._reader.sessions_in(path) - {""}
        for key, followed in list(self._files.items()):
            own = followed.session_id
            if own in wanted or any(key.startswith(f"{own}/{one}/") for one in wanted):
                wanted.add(own)
        for followed in self._files.values():
            if followed.session_id in wanted and os.path.exists(followed.tail.path):
                yield followed.tail.path

    def _follow(self, session: RecordedSession, wanted: set[str]) -> None:
        for file in session.files:
            if file.path not in wanted:
                continue
            if not self._read_on(session, file):
                self._read_anew(session)
                return

    def _read_on(self, session: RecordedSession, file: SessionFile) -> bool:
        """Reads what was appended; whether what was read before is still there."""
        if type(self._reader.source(file, Counter())) is not LineFile:
            return True  # compressed: it was read before, or is of the past
        followed = self._followed(session, file)
        tail = followed.tail
        tail.path = file.path  # it may have been moved
        restarts, too_long = tail.restarts, tail.too_long
        skipped: Counter[str] = Counter()
        for piece in tail.pieces():
            if tail.restarts != restarts:
                return False
            if followed.reading is None:
                followed.reading = self._reader.file_reader(
                    session, file, self._claims, followed.state
                )
            for line in piece.split(b"\n"):
                if line:
                    for record in records.parse(line, skipped):
                        self._add(followed.reading, record, tail.modified_ns)
        if followed.reading is not None:
            skipped.update(followed.reading.skipped)
            followed.reading.skipped.clear()
        _count(skipped, tail.too_long - too_long)
        return tail.restarts == restarts

    def _followed(self, session: RecordedSession, file: SessionFile) -> _Followed:
        """How far a file was read, wherever it lay then and whatever it began with."""
        whose = f"{session.session_id}/{file.agent_id or ''}"
        key = f"{whose}/{file.identity}"
        found = self._files.pop(key, None)
        if found is not None:
            self._files[key] = found  # as the latest
            return found
        for other, followed in self._files.items():
            path = followed.tail.path
            if (other == whose or other.startswith(f"{whose}/")) and (
                path == file.path or not os.path.exists(path)
            ):
                self._files[key] = self._files.pop(other)
                return followed
        self._look_back_once(session)
        self._files[key] = _Followed(session.session_id, Tail(path=file.path), None)
        return self._files[key]

    def _read_anew(self, session: RecordedSession) -> None:
        """A file no longer holds what was read of it: its session is read from the start."""
        losses.count("rewritten_session")
        self.looks_back = True
        self._assembler.forget(session.session_id)
        for key, followed in list(self._files.items()):
            if followed.session_id == session.session_id:
                del self._files[key]
        for file in session.files:
            self._read_on(session, file)

    def _replay(self, session: RecordedSession) -> None:
        """A session in a database: read again as a whole where it has changed."""
        version = "/".join(file.version for file in session.files)
        before = self._versions.get(session.session_id)
        if before is None and session.began_ns < self._since_s * 1e9:
            before = self._versions[session.session_id] = version
        if version == before:
            return
        self._look_back_once(session)
        self._assembler.forget(session.session_id)
        now_ns = time.time_ns()
        skipped: Counter[str] = Counter()
        for file in session.files:
            source = self._reader.source(file, skipped)
            reading = self._reader.file_reader(session, file, self._claims)
            while source.peek():
                for record in source.take()[0]:
                    self._add(reading, record, now_ns)
            source.close()
            skipped.update(reading.skipped)
        if is_unread(skipped):
            for file in session.files:
                self._looks.pop(file.path, None)  # so that it is read at the next step
            return
        self._versions[session.session_id] = version
        if before is None:
            _count(skipped, 0)

    def _look_back_once(self, session: RecordedSession) -> None:
        """Of what began before this process did, another one may have written spans.

        What this one has written the recorder remembers.
        """
        if not self._looked_back and session.began_ns < self._began_ns:
            self.looks_back = self._looked_back = True

    def _add(self, reading: FileReader, record: dict[str, Any], arrived_ns: int) -> None:
        for fact in reading.read_record(record):
            self._assembler.add(fact, arrived_ns)
            self._heard_ns[fact.session_id] = time.time_ns()


class OtherAgents:
    """All of them.

    Args:
        readers: Who reads which.
        claims: As of `OtherAgent`.
        since_s: As of `OtherAgent`.
        saved: What `save` returned in the process before, by agent.
    """

    def __init__(
        self, readers: Iterable[Reader], claims: Claims, since_s: float, saved: Mapping[str, Any]
    ) -> None:
        self._agents = [
            OtherAgent(reader, claims, since_s, saved.get(reader.name, {})) for reader in readers
        ]

    def __iter__(self) -> Iterator[OtherAgent]:
        return iter(self._agents)

    def step(self, now_s: float) -> bool:
        """Reads what came since; whether anything did."""
        read = [self._step(agent, now_s) for agent in self._agents]
        return any(read)

    @staticmethod
    def _step(agent: OtherAgent, now_s: float) -> bool:
        try:
            return agent.step(now_s)
        except Exception:  # another package's reader must not end the others'
            losses.count("internal_error")
            _logger.exception("sessions of %s were left out", agent.service)
            return False

    def open_sessions(self) -> list[Session]:
        """Those in which something may still run."""
        return [session for agent in self._agents for session in agent.open_sessions()]

    def save(self) -> dict[str, Any]:
        """What has to survive the process, by agent; JSON."""
        return {agent.service: agent.save() for agent in self._agents}


def _stamp(path: str) -> list[int]:
    try:
        status = os.stat(path)
    except OSError:
        return [0, 0, 0]
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _count(skipped: Counter[str], too_long: int) -> None:
    lost = sum(number for why, number in skipped.items() if not why.startswith(_HARMLESS))
    if lost + too_long:
        losses.count("bad_session_line", lost + too_long)
