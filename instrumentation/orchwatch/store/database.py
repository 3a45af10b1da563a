"""The embedded store: everything measured on this machine, with no server.

Segments of the spool are compacted to Parquet by the next reader: closed ones, and the lines so
far of one that is written to, so that no line is parsed by every command. DuckDB reads those files
together with what only the spool holds so far. A segment is identified by the id in its header, and
each of its bytes is read from exactly one of the two places, so it makes no difference whether a
reader is killed, whether two compact at once, or whether a segment is rotated or dropped meanwhile.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from orchwatch.errors import OrchwatchError
from orchwatch.recording import safe_text, spool
from orchwatch.store import archive, engine, lines, retention, segments, unfinished
from orchwatch.store.views import Views
from orchwatch.targets import config
from orchwatch.units import counted, size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from orchwatch.store.archive import Compacted
    from orchwatch.store.segments import Segment

_logger = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

_MAX_ATTEMPTS = 5
_READ_ALL = "SELECT max(hash(stored)) FROM read_parquet($path) AS stored"
_COLUMNS_OF_FILE = "DESCRIBE FROM read_parquet($path)"
_COLUMNS_WANTED = "DESCRIBE SELECT * EXCLUDE (segment, family) FROM spool"
_REACH = "SELECT min(end_ns), max(end_ns) FROM span"
# This much of a segment that is still being written is worth a file: less is parsed faster.
_PIECE_BYTES = 1024 * 1024
# Parsing this takes about a second.
_LONG_BYTES = 16 * 1024 * 1024
# The segment shows that an operation was sent again or imported lately, see `audit`.
_SETTLED_NS = 60 * 1_000_000_000


@dataclass
class _Progress:
    """How far a segment is read.

    Attributes:
        segment: Which one.
        base: The file of the store that holds its beginning; None where there is none.
        offset: Up to where it is read, in that file and in the table `spool`.
        unreadable: How many lines and spans could not be, up to there.
    """

    segment: Segment
    base: Compacted | None
    offset: int = 0
    unreadable: int = 0


class Store:
    """What a home directory holds. Keep it open to read again: only what is new is parsed then.

    Not for several threads at once. Nothing here makes a writer wait.

    Args:
        home: The home directory, which need not exist.
        say: Called with a sentence before work that takes more than a second or so.
        sparing: Uses less memory, and more time; see `engine.connect`.
    """

    def __init__(
        self, home: Path, say: Callable[[str], None] = lambda _: None, *, sparing: bool = False
    ) -> None:
        self._say = say
        self._spool = home / "spool"
        self._directory = home / "store"
        self._connection = engine.connect(self._directory / "spill", sparing=sparing)
        lines.prepare(self._connection)
        self._views = Views(self._connection)
        self._progress: dict[str, _Progress] = {}
        self._files: dict[str, Compacted] = {}
        # Files of an earlier version that could not be written anew; the table has their rows.
        self._by_itself: set[str] = set()
        self._reach: tuple[int, int] | None = None
        # The size of each segment that the spool holds, by id.
        self._in_spool: dict[str, int] = {}
        self.refresh()
        self._name_lost()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the memory; nothing has to be saved."""
        self._connection.close()

    def interrupt(self) -> None:
        """Ends what another thread asks; that has a `KeyboardInterrupt` then."""
        self._connection.interrupt()

    def refresh(self) -> None:
        """Reads what was written since, and compacts the segments that are closed.

        Raises:
            OrchwatchError: The store's files cannot be read.
        """
        self._reach = None
        unfinished.close(self._spool.parent)
        why: Exception | None = None
        for _ in range(_MAX_ATTEMPTS):
            try:
                with engine.interruptible():
                    self._read()
                    stored = {family: self._stored(family) for family in segments.SPAN_FAMILIES}
                    if not self._views.define(stored):
                        return
                    # Of several files the first one says which columns there are.
                    firsts = [files[0] for files in stored.values() if files]
                    if not all(map(self._has_columns, firsts)) and self._set_damaged_aside():
                        continue
            except (FileNotFoundError, engine.IOError) as error:
                # A segment was dropped, or a file replaced, since we looked.
                why = error
                continue
            except engine.Error as error:
                if not self._set_damaged_aside():
                    raise self._unusable(error) from error
                continue
            return
        raise self._unusable(why or "its files keep changing")

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Asks the views that `orchwatch.store.views` defines.

        Raises:
            OrchwatchError: The store's files cannot be read.
        """
        return self.asked(lambda connection: connection.execute(sql, parameters).fetchall())

    def asked(self, ask: Callable[[engine.Connection], _Answer]) -> _Answer:
        """The same for several questions that belong together; see `using`.

        Raises:
            OrchwatchError: The store's files cannot be read.
        """
        try:
            return self.using(ask)
        except engine.Error as error:
            raise self._unusable(error) from error

    def using(self, ask: Callable[[engine.Connection], _Answer]) -> _Answer:
        """The same for a question of another's, which may be what is wrong.

        Args:
            ask: Called once more where a file was replaced, or was damaged and is left out now.

        Raises:
            OrchwatchError: The store's files cannot be read.
            engine.Error: They can be; it is the question.
        """
        why: Exception | None = None
        for _ in range(_MAX_ATTEMPTS):
            try:
                with engine.interruptible():
                    return ask(self._connection)
            except engine.IOError as error:
                why = error
                self.refresh()  # another reader replaced a file by one that holds more
            except engine.Error:
                if not self._set_damaged_aside():
                    raise
                self.refresh()
                self._name_lost()
        raise self._unusable(why or "its files keep changing")

    @property
    def directory(self) -> Path:
        """Where its files lie."""
        return self._directory

    def unreadable(self) -> dict[str, int]:
        """Lines and spans that could not be read, by segment; segments without any are left out."""
        found = {
            file.segment: file.unreadable
            for identity, file in self._files.items()
            if identity not in self._progress
        }
        for progress in self._progress.values():
            found[progress.segment.name] = progress.unreadable
        return {name: count for name, count in found.items() if count}

    def holds_history(self) -> bool:
        """Whether anything was imported."""
        return any(file.family == spool.HISTORY for file in self._files.values()) or any(
            progress.segment.family == spool.HISTORY for progress in self._progress.values()
        )

    def is_within(self, since_ns: int, until_ns: int) -> bool:
        """Whether everything stored ended within a window, so that no row need be compared with it.

        Raises:
            OrchwatchError: The store's files cannot be read.
        """
        if self._reach is None:
            first_ns, last_ns = self.query(_REACH)[0]
            self._reach = (0, 0) if first_ns is None else (first_ns, last_ns)
        return since_ns <= self._reach[0] and self._reach[1] <= until_ns

    def live_since(self, since_ns: int, families: Collection[str]) -> list[str]:
        """Ids of the segments that only the spool holds and that were written to since."""
        return [
            identity
            for identity, progress in self._progress.items()
            if progress.segment.family in families and progress.segment.modified_ns >= since_ns
        ]

    def _read(self) -> None:
        """One look at spool and store.

        The spool is listed first: what is compacted and dropped between the two lists is then seen
        in the store, and what is in both is recognised by its id.
        """
        found = segments.find(self._spool)
        self._files = archive.find(self._directory)
        self._in_spool = {segment.id: segment.size_bytes for segment in found}
        self._upgrade()
        pending = [segment for segment in found if not self._holds(segment)]
        for identity in self._progress.keys() - {segment.id for segment in pending}:
            self._forget(identity)
        worth = [segment for segment in pending if self._is_worth_a_file(segment)]
        if worth:
            self._compact(worth)
        self._expire()
        for segment in pending:
            if not self._holds(segment):
                self._load(segment)

    def _is_worth_a_file(self, segment: Segment) -> bool:
        if segment.closed:
            return segment.size_bytes > 0
        file = self._files.get(segment.id)
        unread = segment.size_bytes - (file.source_bytes if file else 0)
        settled = segment.family == spool.OPERATIONS or (
            time.time_ns() - segment.modified_ns > _SETTLED_NS
        )
        return unread >= _PIECE_BYTES and settled

    def _upgrade(self) -> None:
        """Writes files of an earlier version anew; where that cannot be, reads them by itself."""
        outdated = [file for file in self._files.values() if not file.current]
        if not outdated:
            return
        with archive.compaction_lock(self._directory) as mine:
            for file in outdated if mine else ():
                with suppress(engine.Error, OSError), engine.interruptible():
                    self._files[file.id] = archive.upgrade(self._connection, file)
        for file in outdated:
            if self._files[file.id].current:
                continue
            del self._files[file.id]
            if (
                file.id not in self._by_itself
                and self._in_spool.get(file.id, 0) < file.source_bytes
            ):
                self._by_itself.add(file.id)
                archive.load_outdated(self._connection, file)

    def _holds(self, segment: Segment) -> bool:
        file = self._files.get(segment.id)
        return file is not None and file.source_bytes >= segment.size_bytes

    def _load(self, segment: Segment) -> None:
        progress = self._progress.get(segment.id)
        base = self._files.get(segment.id)
        # Another reader may have written a file that holds more.
        if progress is not None and (progress.offset > segment.size_bytes or progress.base != base):
            self._forget(segment.id)
            progress = None
        if progress is None:
            progress = self._progress[segment.id] = _Progress(segment, base)
            if base is not None:
                progress.offset, progress.unreadable = base.source_bytes, base.unreadable
        progress.segment = segment
        for piece, end in segments.read(segment, progress.offset):
            progress.unreadable += lines.load(
                self._connection, piece, segment=segment.id, family=segment.family
            )
            progress.offset = end

    def _forget(self, identity: str) -> None:
        del self._progress[identity]
        self._connection.execute("DELETE FROM spool WHERE segment = $id", {"id": identity})

    def _compact(self, worth: list[Segment]) -> None:
        with archive.compaction_lock(self._directory) as mine:
            if not mine:
                return
            # Another reader may have finished between our look at the store and the lock.
            self._files = archive.find(self._directory)
            pending = [segment for segment in worth if not self._holds(segment)]
            size_bytes = sum(segment.size_bytes for segment in pending)
            if size_bytes >= _LONG_BYTES:
                self._say(
                    f"compacting {counted(len(pending), 'segment')} of the spool"
                    f" ({size(size_bytes)}), once; later commands answer at once"
                )
            for segment in pending:
                self._load(segment)
                # A store that cannot be written is no reason not to answer from the spool.
                with suppress(engine.Error, OSError), engine.interruptible():
                    self._replace(segment)

    def _expire(self) -> None:
        """Lets go of what is beyond the limits of retention."""
        try:
            limits = config.load().retention
        except OrchwatchError:
            return  # nothing is dropped on a guess; `doctor` says what is wrong with the file
        expired = retention.expired(
            self._files.values(), self._in_spool.keys(), limits, time.time_ns()
        )
        if not expired:
            return
        with archive.compaction_lock(self._directory) as mine:
            for file in expired if mine else ():
                with suppress(OSError):  # of another owner; `doctor` says that it is too old
                    file.path.unlink(missing_ok=True)
                    del self._files[file.id]

    def _replace(self, segment: Segment) -> None:
        outdated = self._files.get(segment.id)
        progress = self._progress[segment.id]
        if outdated is not None and outdated.source_bytes >= progress.offset:
            return  # there was no whole line behind it
        self._files[segment.id] = archive.write(
            self._connection,
            self._directory,
            segment,
            source_bytes=progress.offset,
            unreadable=progress.unreadable,
            before=progress.base,
        )
        self._forget(segment.id)
        if outdated is not None:
            outdated.path.unlink(missing_ok=True)

    def _stored(self, family: str) -> list[str]:
        read = (
            self._progress[identity].base if identity in self._progress else file
            for identity, file in self._files.items()
            if file.family == family
        )
        return [str(file.path) for file in read if file is not None]

    def _set_damaged_aside(self) -> bool:
        """Whether a damaged file was renamed; its segment is read from the spool where that has it.

        Raises:
            OrchwatchError: A damaged file cannot be renamed.
        """
        found = False
        for file in self._files.values():
            try:
                with engine.interruptible():
                    sound = self._is_sound(file)
            except (engine.IOError, engine.OutOfMemory):
                continue
            except engine.Error:
                sound = False
            if sound:
                continue
            try:
                file.path.rename(file.path.with_name(file.path.name + archive.DAMAGED_SUFFIX))
            except OSError as failed:
                raise OrchwatchError(
                    f"{file.path} is damaged and cannot be renamed: {failed.strerror}"
                ) from failed
            found = True
        return found

    def _is_sound(self, file: Compacted) -> bool:
        """Whether all of it can be read, and is what a file of the store holds."""
        self._connection.execute(_READ_ALL, {"path": str(file.path)}).fetchall()
        return not file.current or self._has_columns(str(file.path))

    def _has_columns(self, path: str) -> bool:
        held, wanted = (
            {column[:2] for column in self._connection.execute(sql, values).fetchall()}
            for sql, values in ((_COLUMNS_OF_FILE, {"path": path}), (_COLUMNS_WANTED, None))
        )
        return held == wanted

    def _name_lost(self) -> None:
        """Says which files are damaged whose operations nothing else holds."""
        held = self._in_spool | {file.id: file.source_bytes for file in self._files.values()}
        lost = [
            file.path
            for file in archive.damaged(self._directory, self._files.values())
            if held.get(file.id, 0) < file.source_bytes
        ]
        if lost:
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            _logger.warning(
                "%s%s: damaged and left out; move it away to read on without this line",
                safe_text.safe(str(lost[0])),
                more,
            )

    def _unusable(self, why: object) -> OrchwatchError:
        return OrchwatchError(
            f"{self._directory} cannot be read: {why}; what the spool still holds is read again"
            " once that directory is moved away"
        )
